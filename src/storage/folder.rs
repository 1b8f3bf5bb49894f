//! What the system says of an open folder: which one it is, and through which mount it was reached.
//!
//! A folder can have any number of paths: links, bind mounts, overlays. Device and inode are one and the same under all of them,
//! and the number of the mount tells where a walk leaves the file system that it began in, which the device does not: a bind
//! mount of the same file system has the same one.

use crate::storage::roots::known::Numbers;
use cap_std::fs::{Dir, MetadataExt as _};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A file or folder, whatever its path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(meta: &cap_std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }

    /// Of what a path leads to.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        path.metadata().map(|meta| Self::from(&meta))
    }

    pub(super) fn of_folder(dir: &Dir) -> io::Result<Self> {
        dir.dir_metadata().map(|meta| Self::of(&meta))
    }

    pub(super) const fn device(self) -> u64 {
        self.device
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}

/// What a folder is recognized by where no marker can be written into it.
pub(super) fn numbers_of(dir: &Dir) -> io::Result<Numbers> {
    let meta = dir.dir_metadata()?;
    let born = meta.created().ok().and_then(|born| {
        let since = born
            .into_std()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .ok()?;
        i64::try_from(since.as_nanos()).ok()
    });
    Ok(Numbers {
        device: meta.dev(),
        inode: meta.ino(),
        born,
    })
}

/// The number of the mount that an open folder was reached through.
///
/// # Errors
/// Where the system does not tell: nothing may be deleted then, as nobody could say where the file system ends.
#[cfg(target_os = "linux")]
pub(super) fn mount_of(dir: &Dir) -> io::Result<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    use rustix::io::Errno;
    match statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
        Ok(facts) if facts.stx_mask & StatxFlags::MNT_ID.bits() != 0 => return Ok(facts.stx_mnt_id),
        // Before Linux 5.8, or kept away from us.
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", raw(dir)))?;
    facts
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The device, which tells most mounts apart.
#[cfg(not(target_os = "linux"))]
pub(super) fn mount_of(dir: &Dir) -> io::Result<u64> {
    FileId::of_folder(dir).map(FileId::device)
}

#[cfg(target_os = "linux")]
fn raw(dir: &Dir) -> i32 {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    dir.as_fd().as_raw_fd()
}

/// The resolved path of an open folder, as this process sees it now.
#[cfg(target_os = "linux")]
pub(super) fn path_of(dir: &Dir) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", raw(dir)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn path_of(_: &Dir) -> io::Result<PathBuf> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether something is mounted at a folder's entry or anywhere below it, as this process sees it.
#[cfg(target_os = "linux")]
pub(super) fn mounted_in(dir: &Dir, name: &OsStr) -> io::Result<bool> {
    Ok(Mounts::read()?.any_in(&path_of(dir)?.join(name)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn mounted_in(_: &Dir, _: &OsStr) -> io::Result<bool> {
    Ok(false)
}

/// What is mounted where, as this process sees it.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    by_id: HashMap<u64, Mount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// `major:minor`.
    device: String,
    /// The folder of the file system that is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// A folder by its way from the root of its file system, which is the same under all mounts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    device: String,
    path: PathBuf,
}

impl Origin {
    /// Whether `self` is `other` or lies below it.
    pub(super) fn is_in(&self, other: &Self) -> bool {
        self.device == other.device && self.path.starts_with(&other.path)
    }
}

impl Mounts {
    #[cfg(target_os = "linux")]
    pub(super) fn read() -> io::Result<Self> {
        std::fs::read("/proc/self/mountinfo").map(|table| Self::parse(&table))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// See `proc_pid_mountinfo(5)`.
    fn parse(table: &[u8]) -> Self {
        let by_id = table.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
            let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
            Some((id, Mount { device, root, point }))
        });
        Self {
            by_id: by_id.collect(),
        }
    }

    /// Whether something is mounted at `path` or below it.
    pub(super) fn any_in(&self, path: &Path) -> bool {
        self.by_id.values().any(|mount| mount.point.starts_with(path))
    }

    /// All paths at which a folder can be reached, as far as this process sees its file system mounted. What else is mounted above
    /// may hide some of them.
    pub(super) fn paths_of(&self, origin: &Origin) -> Vec<PathBuf> {
        let mounts = self.by_id.values().filter(|mount| mount.device == origin.device);
        let paths = mounts.filter_map(|mount| {
            let below = origin.path.strip_prefix(&mount.root).ok()?;
            Some(mount.point.join(below))
        });
        paths.collect()
    }

    /// A folder by its canonical path and the number of its mount; `None` when the table does not tell.
    pub(super) fn origin(&self, path: &Path, mount: u64) -> Option<Origin> {
        let mount = self.by_id.get(&mount)?;
        let below = path.strip_prefix(&mount.point).ok()?;
        Some(Origin {
            device: mount.device.clone(),
            path: mount.root.join(below),
        })
    }
}

/// Space, tab, line break and backslash are written in octal.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;

    fn open(path: &Path) -> Dir {
        Dir::open_ambient_dir(path, ambient_authority()).unwrap()
    }

    #[test]
    fn a_mount_is_told_from_the_folder_that_it_hides_and_other_folders_are_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        let inner = open(&dir.path().join("inner"));
        assert_eq!(mount_of(&inner).unwrap(), mount_of(&open(dir.path())).unwrap());
        assert_ne!(
            mount_of(&inner).unwrap(),
            mount_of(&open(Path::new("/proc"))).unwrap()
        );
    }

    #[test]
    fn the_table_of_mounts_names_a_folder_by_its_way_in_its_file_system() {
        let table = b"22 27 0:21 / /proc rw - proc proc rw\n\
            27 1 254:0 / / rw - ext4 /dev/vda rw\n\
            90 27 254:0 /srv/a\\040b /mnt/x rw shared:1 master:2 - ext4 /dev/vda rw\n\
            91 27 8:1 / /mnt/y rw - ext4 /dev/sda1 rw\n\
            broken\n";
        let mounts = Mounts::parse(table);
        let origin = |path: &str, mount| mounts.origin(Path::new(path), mount).unwrap();
        assert_eq!(origin("/mnt/x", 90), origin("/srv/a b", 27));
        assert!(origin("/mnt/x/deep", 90).is_in(&origin("/srv", 27)));
        assert!(!origin("/srv", 27).is_in(&origin("/mnt/x", 90)));
        assert!(!origin("/mnt/y/srv", 91).is_in(&origin("/srv", 27)));
        assert!(mounts.any_in(Path::new("/mnt")) && !mounts.any_in(Path::new("/srv")));
        assert_eq!(mounts.origin(Path::new("/x"), 7), None);
        let mut paths = mounts.paths_of(&origin("/mnt/x/deep", 90));
        paths.sort();
        assert_eq!(paths, [Path::new("/mnt/x/deep"), Path::new("/srv/a b/deep")]);
    }

    #[test]
    fn this_machines_own_table_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let mount = mount_of(&open(&path)).unwrap();
        if cfg!(target_os = "linux") {
            assert!(Mounts::read().unwrap().origin(&path, mount).is_some());
        }
    }
}
