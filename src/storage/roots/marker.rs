//! The file in a local storage root that says whose root it is.
//!
//! Two lines: the ledger's id, and the root's own. A folder that a volume should be mounted at does not have it, so that it is
//! never taken for an empty root; and the volume of another root has another one.

use aws_lc_rs::rand;
use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt as _, OpenOptionsSyncExt as _};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _, Permissions, PermissionsExt as _};
use std::io::{self, Read as _, Write as _};
use uuid::Uuid;

/// Its name in the root.
pub const MARKER: &str = ".archive-ledger-root";

/// The largest one that is read, in bytes.
const LARGEST: u64 = 1_024;

/// Whose root a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct Marker {
    /// The ledger.
    pub(in crate::storage) ledger: Uuid,
    /// Which of its roots; absent where a person has written the ledger's id alone.
    pub(in crate::storage) root: Option<Uuid>,
}

/// What a folder holds under the marker's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum MarkerFile {
    Nothing,
    Marker(Marker),
    /// Something that is no marker, and what.
    Odd(&'static str),
}

/// Whether a name in a root is the marker's, or that of one that is being written. File systems that know no case are thought
/// of.
pub(in crate::storage) fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.strip_prefix(MARKER)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What the folder says of itself. Whatever lies there, this neither waits for it nor reads more than a little.
pub(in crate::storage) fn read(root: &Dir) -> io::Result<MarkerFile> {
    let meta = match root.symlink_metadata(MARKER) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(MarkerFile::Nothing),
        Err(error) => return Err(error),
    };
    if meta.is_symlink() {
        return Ok(MarkerFile::Odd("it is a symbolic link"));
    }
    if !meta.is_file() {
        return Ok(MarkerFile::Odd("it is no regular file"));
    }
    let mut options = OpenOptions::new();
    options
        .read(true)
        .follow(FollowSymlinks::No)
        // Should a pipe have taken its place: opening it would wait for a writer.
        .nonblock(true);
    let file = root.open_with(MARKER, &options)?;
    if !file.metadata()?.is_file() {
        return Ok(MarkerFile::Odd("it is no regular file"));
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Ok(MarkerFile::Odd("it is too large"));
    }
    Ok(parse(&content).map_or(MarkerFile::Odd("it names no ledger"), MarkerFile::Marker))
}

fn parse(content: &[u8]) -> Option<Marker> {
    let mut lines = std::str::from_utf8(content).ok()?.lines().map(str::trim);
    let ledger = lines.next()?.parse().ok()?;
    let root = match lines.next() {
        None | Some("") => None,
        Some(root) => Some(root.parse().ok()?),
    };
    Some(Marker { ledger, root })
}

/// A name beside the marker's that nobody has used, and nobody may name.
pub(super) fn unused_name() -> io::Result<String> {
    let mut tag = [0; 8];
    rand::fill(&mut tag).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(format!("{MARKER}.{}", hex::encode(tag)))
}

/// Writes the marker, durably and whole; where there is one by now, that one stays.
pub(super) fn write(root: &Dir, ledger: Uuid, id: Uuid) -> io::Result<()> {
    write_as(root, ledger, id, name_unless_there)
}

/// Puts a whole marker into the place of one that does not say which root it is.
pub(super) fn complete(root: &Dir, ledger: Uuid, id: Uuid) -> io::Result<()> {
    write_as(root, ledger, id, |root, temporary| {
        root.rename(temporary, root, MARKER)
    })
}

fn write_as(
    root: &Dir,
    ledger: Uuid,
    id: Uuid,
    name: impl FnOnce(&Dir, &str) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = unused_name()?;
    let written =
        write_file(root, &temporary, &format!("{ledger}\n{id}\n")).and_then(|()| name(root, &temporary));
    match root.remove_file(&temporary) {
        // It was renamed, or never made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return written.and(Err(error)),
        Ok(()) => {}
    }
    written?;
    synced(root.open(".").and_then(|folder| folder.sync_all()))
}

/// Some network and FUSE file systems know no fsync.
fn synced(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

fn write_file(root: &Dir, temporary: &str, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let mut file = root.open_with(temporary, &options)?;
    file.write_all(content.as_bytes())?;
    // Other instances may run as other users, whatever this one's umask is. Not every file system knows modes.
    let _ = file.set_permissions(Permissions::from_mode(0o644));
    synced(file.sync_all())
}

fn name_unless_there(root: &Dir, temporary: &str) -> io::Result<()> {
    match root.hard_link(temporary, root, MARKER) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Not every file system knows hard links.
        Err(error) => rename_unless_there(root, temporary).map_err(|_| error),
        Ok(()) => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn rename_unless_there(root: &Dir, temporary: &str) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    match renameat_with(root, temporary, root, MARKER, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        renamed => Ok(renamed?),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_unless_there(_: &Dir, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;
    use std::sync::Barrier;

    const LEDGER: Uuid = Uuid::from_u128(1);
    const ROOT: Uuid = Uuid::from_u128(2);

    fn open(path: &Path) -> Dir {
        Dir::open_ambient_dir(path, ambient_authority()).unwrap()
    }

    #[test]
    fn a_marker_that_was_written_is_read_and_one_that_stands_stays() {
        let dir = tempfile::tempdir().unwrap();
        let root = open(dir.path());
        assert_eq!(read(&root).unwrap(), MarkerFile::Nothing);
        write(&root, LEDGER, ROOT).unwrap();
        write(&root, ROOT, LEDGER).unwrap();
        let marker = Marker {
            ledger: LEDGER,
            root: Some(ROOT),
        };
        assert_eq!(read(&root).unwrap(), MarkerFile::Marker(marker));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(
            fs::read_to_string(dir.path().join(MARKER)).unwrap(),
            format!("{LEDGER}\n{ROOT}\n")
        );
    }

    #[test]
    fn of_many_that_write_at_once_one_wins_and_all_read_it_whole() {
        let dir = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(8);
        let seen: Vec<MarkerFile> = std::thread::scope(|scope| {
            let racers: Vec<_> = (1..=8_u128)
                .map(|number| {
                    let (barrier, root) = (&barrier, open(dir.path()));
                    scope.spawn(move || {
                        barrier.wait();
                        write(&root, Uuid::from_u128(number), Uuid::from_u128(number)).unwrap();
                        read(&root).unwrap()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(
            seen.iter()
                .all(|found| *found == seen[0] && matches!(found, MarkerFile::Marker(_))),
            "{seen:?}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_marker_is_told_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (root, path) = (open(dir.path()), dir.path().join(MARKER));
        let real = dir.path().join("real");
        fs::write(&real, LEDGER.to_string()).unwrap();
        for (make, remove) in [
            (
                &(|| symlink(&real, &path).unwrap()) as &dyn Fn(),
                fs::remove_file as fn(_) -> _,
            ),
            (&|| symlink("/nowhere", &path).unwrap(), fs::remove_file),
            (&|| symlink("/dev/zero", &path).unwrap(), fs::remove_file),
            (&|| fs::create_dir(&path).unwrap(), fs::remove_dir),
            (
                &|| assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
                fs::remove_file,
            ),
            (
                &|| drop(std::os::unix::net::UnixListener::bind(&path).unwrap()),
                fs::remove_file,
            ),
            (
                &|| fs::File::create(&path).unwrap().set_len(1 << 40).unwrap(),
                fs::remove_file,
            ),
            (&|| fs::write(&path, "").unwrap(), fs::remove_file),
            (&|| fs::write(&path, "\n").unwrap(), fs::remove_file),
            (&|| fs::write(&path, [0xff; 36]).unwrap(), fs::remove_file),
            (
                &|| fs::write(&path, format!("ledger {LEDGER}")).unwrap(),
                fs::remove_file,
            ),
            (
                &|| fs::write(&path, format!("{LEDGER}\nroot")).unwrap(),
                fs::remove_file,
            ),
            (
                &|| fs::write(&path, format!("{LEDGER}{ROOT}")).unwrap(),
                fs::remove_file,
            ),
        ] {
            make();
            let found = read(&root).unwrap();
            assert!(matches!(found, MarkerFile::Odd(_)), "{found:?}");
            remove(path.clone()).unwrap();
        }
    }

    #[test]
    fn a_person_may_write_the_ledgers_id_alone() {
        for (content, root) in [
            (format!("{LEDGER}"), None),
            (format!("{LEDGER}\r\n"), None),
            (format!(" {LEDGER} \n\n"), None),
            (format!("{LEDGER}\n{ROOT}"), Some(ROOT)),
            (format!("{LEDGER}\n{ROOT}\nmoved on Monday\n"), Some(ROOT)),
        ] {
            assert_eq!(
                parse(content.as_bytes()),
                Some(Marker { ledger: LEDGER, root }),
                "{content:?}"
            );
        }
    }

    #[test]
    fn the_markers_name_is_reserved_in_any_case_and_its_neighbours_are_not() {
        for (name, reserved) in [
            (MARKER, true),
            (".Archive-Ledger-ROOT", true),
            (".archive-ledger-root.0123", true),
            (".archive-ledger-rooted", false),
            ("archive-ledger-root", false),
            (".archive-ledger", false),
        ] {
            assert_eq!(is_reserved(name), reserved, "{name}");
        }
    }
}
