//! Key files: made once, whole or not at all, readable by their owner alone.
//!
//! A file appears under its name by a hard link to a finished and synced temporary one. So a reader never
//! sees half a key, a crash leaves either no file or a whole one, and of several processes that start at the
//! same moment one wins and all use its bytes.

use crate::small_files;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The largest key file that is read, in bytes: a keyring of 4096 keys is well below.
const LARGEST: u64 = 4 << 20;

/// The name of the HS256 key in the data directory.
pub const JWT_SECRET: &str = "jwt-secret";

/// The name of the HS256 key before it, while its tokens still count.
pub const JWT_FORMER_SECRET: &str = "jwt-secret.former";

/// The least that an HS256 key may have, in bytes (RFC 7518, section 3.2).
const JWT_SECRET_LEAST: usize = 32;

/// Why a key file cannot be used. The messages name the file and never quote it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The directory above the file cannot be made.
    #[error("cannot create the directory {}: {source}", path.display())]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is absent and cannot be made.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there and cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody on the machine can read or write the file.
    #[error("{} is open to every user (mode {mode:04o}): chmod 600 it, and replace a key that was read", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file's content is no such key.
    #[error("{} {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system gave no random bytes.
    #[error("cannot create {}: the system gives no random bytes", path.display())]
    Random {
        /// The file that was to be made.
        path: PathBuf,
    },
}

/// The bytes of the key file `path`; when there is none, it is made with the bytes of `generate`.
///
/// After `Ok` the file is durable, and every process that asked for it, also at the same moment, got the same
/// bytes. A new file has mode 0600, new directories above it have mode 0700. A file that exists is only read,
/// so it may be on read-only media, a link, or owned by somebody else; its group may read it (so are keys
/// handed to containers), everybody may not.
///
/// # Errors
/// [`SecretFileError`]; an empty file is an error, never replaced.
pub fn load_or_create(path: &Path, generate: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, SecretFileError> {
    if let Some(bytes) = load(path)? {
        return Ok(bytes);
    }
    let create = |source| SecretFileError::Create {
        path: path.to_owned(),
        source,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    create_private_directory(directory)?;
    let won = create_whole(path, directory, &generate()).map_err(create)?;
    match load(path)? {
        Some(bytes) => Ok(bytes),
        None if won => Err(create(ErrorKind::NotFound.into())),
        None => Err(create(io::Error::other("it is a link that leads nowhere"))),
    }
}

/// The bytes of the key file `path`, `None` when there is none.
///
/// # Errors
/// [`SecretFileError::Read`], [`SecretFileError::OpenToOthers`], [`SecretFileError::Content`].
pub fn load(path: &Path) -> Result<Option<Vec<u8>>, SecretFileError> {
    let read = |source| SecretFileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match small_files::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let mode = file.metadata().map_err(read)?.permissions().mode() & 0o7777;
    if mode & 0o006 != 0 {
        return Err(SecretFileError::OpenToOthers {
            path: path.to_owned(),
            mode,
        });
    }
    let content = |reason| SecretFileError::Content {
        path: path.to_owned(),
        reason,
    };
    let bytes = small_files::rest(file, LARGEST).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => content("is too large for a key file"),
        _ => read(error),
    })?;
    if bytes.is_empty() {
        return Err(content("is empty"));
    }
    Ok(Some(bytes))
}

/// The bytes of the key file `path`, which must be there.
///
/// # Errors
/// As [`load`], and [`SecretFileError::Read`] when there is none.
pub fn existing(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    load(path)?.ok_or_else(|| SecretFileError::Read {
        path: path.to_owned(),
        source: ErrorKind::NotFound.into(),
    })
}

/// The HS256 key of the file `path`, made of 32 random bytes when there is none.
///
/// One line of unpadded base64url that stands for at least 32 bytes is decoded: so is it made. Anything else
/// is taken as it is, a text without the line break at its end, if it has at least 32 bytes.
///
/// # Errors
/// [`SecretFileError`]; [`SecretFileError::Content`] when the key is too short.
pub fn jwt_secret(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    let mut fresh = [0; JWT_SECRET_LEAST];
    rand::fill(&mut fresh).map_err(|_| SecretFileError::Random {
        path: path.to_owned(),
    })?;
    let content = load_or_create(path, || {
        format!("{}\n", URL_SAFE_NO_PAD.encode(fresh)).into_bytes()
    })?;
    read_jwt_secret(path, content)
}

/// The HS256 key of the file `path` as [`jwt_secret`] reads it, `None` when there is none: only the service makes one.
///
/// # Errors
/// [`SecretFileError`]; [`SecretFileError::Content`] when the key is too short.
pub fn existing_jwt_secret(path: &Path) -> Result<Option<Vec<u8>>, SecretFileError> {
    let content = load(path)?;
    content.map(|content| read_jwt_secret(path, content)).transpose()
}

fn read_jwt_secret(path: &Path, content: Vec<u8>) -> Result<Vec<u8>, SecretFileError> {
    let key = match std::str::from_utf8(&content) {
        Ok(text) => {
            let line = text.trim_end_matches(['\r', '\n']);
            match URL_SAFE_NO_PAD.decode(line) {
                Ok(decoded) if decoded.len() >= JWT_SECRET_LEAST => decoded,
                Ok(_) | Err(_) => line.as_bytes().to_vec(),
            }
        }
        Err(_) => content,
    };
    if key.len() < JWT_SECRET_LEAST {
        let reason = "is too short: a signing key has at least 32 bytes";
        return Err(SecretFileError::Content {
            path: path.to_owned(),
            reason,
        });
    }
    Ok(key)
}

/// The seed of the ledger's signing key in the file `path`: one line of unpadded base64url of 32 bytes. Random when there is
/// no file and `create` says so; `None` when there is none and it does not.
///
/// # Errors
/// [`SecretFileError`]; [`SecretFileError::Content`] when the file holds something else.
pub fn ledger_seed(path: &Path, create: bool) -> Result<Option<[u8; 32]>, SecretFileError> {
    let content = if create {
        let mut fresh = [0; 32];
        rand::fill(&mut fresh).map_err(|_| SecretFileError::Random {
            path: path.to_owned(),
        })?;
        Some(load_or_create(path, || {
            format!("{}\n", URL_SAFE_NO_PAD.encode(fresh)).into_bytes()
        })?)
    } else {
        load(path)?
    };
    let Some(content) = content else {
        return Ok(None);
    };
    let line = content.strip_suffix(b"\n").unwrap_or(&content);
    let seed = URL_SAFE_NO_PAD
        .decode(line)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    seed.map(Some).ok_or(SecretFileError::Content {
        path: path.to_owned(),
        reason: "is no ledger key: one line of unpadded base64url of 32 bytes",
    })
}

/// Makes `directory` and what is missing above it, durably and for the owner alone (mode 0700); what is there stays as it
/// is.
///
/// # Errors
/// [`SecretFileError::CreateDirectory`].
pub fn create_private_directory(directory: &Path) -> Result<(), SecretFileError> {
    let failed = |source| SecretFileError::CreateDirectory {
        path: directory.to_owned(),
        source,
    };
    let missing = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists());
    let missing = missing.count();
    if missing == 0 {
        let there = directory.is_dir();
        return if there {
            Ok(())
        } else {
            Err(failed(ErrorKind::NotADirectory.into()))
        };
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    for changed in directory.ancestors().skip(1).take(missing) {
        let changed = if changed.as_os_str().is_empty() {
            Path::new(".")
        } else {
            changed
        };
        sync_directory(changed).map_err(failed)?;
    }
    Ok(())
}

/// Makes `path` with `bytes`, unless it is there already. Whether it was made.
fn create_whole(path: &Path, directory: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut tag = [0; 8];
    rand::fill(&mut tag).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let temporary = directory.join(format!(".new-key-{}", hex::encode(tag)));
    let made = write_and_link(&temporary, path, bytes);
    // What the temporary file is named must not stay behind, whatever happened; only the link's outcome
    // counts.
    let removed = std::fs::remove_file(&temporary);
    let made = made?;
    removed?;
    sync_directory(directory)?;
    Ok(made)
}

fn write_and_link(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    match std::fs::hard_link(temporary, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::sync::Barrier;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_missing_file_is_made_for_its_owner_alone_and_read_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/key");
        assert_eq!(load_or_create(&path, || b"first".to_vec()).unwrap(), b"first");
        assert_eq!(load_or_create(&path, || b"second".to_vec()).unwrap(), b"first");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            (mode(&dir.path().join("a")), mode(&dir.path().join("a/b"))),
            (0o700, 0o700)
        );
        assert_eq!(
            fs::read_dir(dir.path().join("a/b")).unwrap().count(),
            1,
            "a temporary file stayed"
        );
    }

    #[test]
    fn racing_first_starts_end_with_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/key");
        let barrier = Barrier::new(8);
        let seen: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let racer = |number: u8| {
                let (barrier, path) = (&barrier, &path);
                move || {
                    barrier.wait();
                    load_or_create(path, || vec![number; 4096]).unwrap()
                }
            };
            let racers: Vec<_> = (1..=8).map(|number| scope.spawn(racer(number))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|bytes| *bytes == seen[0] && bytes.len() == 4096));
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_everybody_can_read_is_refused_and_one_that_the_group_can_read_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"bytes", 0o644);
        let error = load_or_create(&path, Vec::new).unwrap_err().to_string();
        assert!(
            error.contains("mode 0644") && error.contains(path.to_str().unwrap()),
            "{error}"
        );
        write(&path, b"bytes", 0o440);
        assert_eq!(load_or_create(&path, Vec::new).unwrap(), b"bytes");
    }

    #[test]
    fn an_empty_file_a_directory_and_a_dangling_link_are_errors_and_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, folder, link) = (
            dir.path().join("empty"),
            dir.path().join("folder"),
            dir.path().join("link"),
        );
        write(&empty, b"", 0o600);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(
            create_private_directory(&empty).is_err(),
            "a file is no directory"
        );
        for path in [&empty, &folder, &link] {
            assert!(
                load_or_create(path, || b"x".to_vec()).is_err(),
                "{}",
                path.display()
            );
        }
        assert_eq!(fs::read(&empty).unwrap(), b"");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_signing_key_is_made_of_32_bytes_or_taken_from_the_operator() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        assert!(existing_jwt_secret(&made).unwrap().is_none() && !made.exists());
        let key = jwt_secret(&made).unwrap();
        assert_eq!(existing_jwt_secret(&made).unwrap().as_ref(), Some(&key));
        assert_eq!(key.len(), 32);
        assert_eq!(jwt_secret(&made).unwrap(), key);
        assert_eq!(
            fs::read_to_string(&made).unwrap(),
            format!("{}\n", URL_SAFE_NO_PAD.encode(&key))
        );

        let given = dir.path().join("given");
        let read = |bytes: &[u8]| {
            write(&given, bytes, 0o600);
            jwt_secret(&given)
        };
        assert_eq!(read(&[0xff; 33]).unwrap(), [0xff; 33]);
        assert_eq!(
            read(b"a pass phrase, that is long enough\r\n").unwrap(),
            b"a pass phrase, that is long enough"
        );
        assert_eq!(read(URL_SAFE_NO_PAD.encode([7; 64]).as_bytes()).unwrap(), [7; 64]);
        for short in [&b"short"[..], &[0xff; 31], b"a phrase with only 31 bytes in \n"] {
            assert!(matches!(read(short), Err(SecretFileError::Content { .. })));
        }
    }
}
