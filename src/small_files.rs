//! Files that an option names: regular ones, and no larger than their kind may be.
//!
//! A path on the command line, in the environment or in a link may lead anywhere. A pipe is waited for without end, a device has
//! no end, and a file that grew by mistake fills the memory: all of them are refused before they do harm.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// The largest configuration file, in bytes.
pub const CONFIG_MAX: u64 = 1 << 20;

/// The largest signed note or verifier key, in bytes. It is that of a note: a hundred witnesses may have signed it.
pub const NOTE_MAX: u64 = 1 << 20;

/// The largest evidence of one entity, in bytes.
pub const BUNDLE_MAX: u64 = 256 << 20;

/// The largest certificate or key of a TLS connection, in bytes.
pub const TLS_MAX: u64 = 4 << 20;

/// Opens a regular file, by whatever links it is reached.
///
/// # Errors
/// [`io::Error`], whose text says what it is instead.
pub fn open(path: &Path) -> io::Result<File> {
    // Without the flag, opening a pipe waits for somebody who writes into it. To regular files it means nothing.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let what = if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("it is {what}, not a regular file")))
}

/// What is in a regular file of `limit` bytes at the most.
///
/// # Errors
/// [`io::Error`], also for a larger one.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    rest(open(path)?, limit)
}

/// The same, which must be text.
///
/// # Errors
/// [`io::Error`].
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// What is left of a file that [`open`] opened, `limit` bytes at the most.
///
/// # Errors
/// [`io::Error`], also when there is more.
pub fn rest(file: File, limit: u64) -> io::Result<Vec<u8>> {
    // What the file says of its length may be wrong: it may grow, and those of /proc have none.
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_regular_file_is_read_up_to_its_limit_also_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "12345").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert_eq!(read(path, 5).unwrap(), b"12345");
            assert_eq!(read_text(path, 6).unwrap(), "12345");
            assert_eq!(read(path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        }
        std::fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 5).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(
            read(&dir.path().join("none"), 5).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn what_has_no_end_or_nobody_writes_to_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, zero) = (dir.path().join("pipe"), dir.path().join("zero"));
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        let _listening = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        for path in [
            dir.path().to_owned(),
            pipe,
            zero,
            dir.path().join("socket"),
            "/dev/null".into(),
            "/dev/tty".into(),
        ] {
            assert!(read(&path, 1 << 20).is_err(), "{}", path.display());
        }
    }
}
