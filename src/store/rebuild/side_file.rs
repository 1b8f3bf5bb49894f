//! The file of a rebuild's shadow tables: one rebuild at a time, and nothing left behind.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A fresh file beside the ledger's, and the right to have it. Dropping it removes the file.
///
/// The right is a lock on `<ledger>-rebuild.lock`, which the system takes back when the process ends in whatever way. The
/// shadow file has another name each time: a rebuild that was dropped may still be writing to its own.
#[derive(Debug)]
pub(super) struct SideFile {
    ledger: String,
    path: PathBuf,
    lock_path: PathBuf,
    /// Held open: closing it gives the lock back.
    _lock: File,
}

impl SideFile {
    /// Takes the lock, removes what a crashed rebuild left, and makes the file, readable by its owner alone. `None`: another
    /// rebuild holds the lock.
    pub(super) fn acquire(ledger: &Path) -> io::Result<Option<Self>> {
        let ledger = fs::canonicalize(ledger)?;
        let text = ledger
            .to_str()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidFilename, "the ledger's path is no UTF-8"))?
            .to_owned();
        let lock_path = PathBuf::from(format!("{text}-rebuild.lock"));
        let Some(lock) = lock(&lock_path)? else {
            return Ok(None);
        };
        remove_leftovers(&ledger)?;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("{text}{}{}-{count}", SUFFIX, std::process::id()));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Some(Self {
            ledger: text,
            path,
            lock_path,
            _lock: lock,
        }))
    }

    /// The shadow file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The ledger's absolute path.
    pub(super) fn ledger(&self) -> &str {
        &self.ledger
    }
}

impl Drop for SideFile {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next rebuild.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// What the names of shadow files go on with after that of the ledger.
const SUFFIX: &str = "-rebuild-";

fn lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Its holder may have removed the file between our opening and locking it: then the lock locks nothing.
        let locked = file.metadata()?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

fn remove_leftovers(ledger: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (ledger.parent(), ledger.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(());
    };
    let prefix = format!("{name}{SUFFIX}");
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(&prefix))
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rebuild_at_a_time_and_nothing_is_left() {
        let home = tempfile::tempdir().unwrap();
        let ledger = home.path().join("ledger.db");
        fs::write(&ledger, "").unwrap();
        fs::write(home.path().join("ledger.db-rebuild-7-0"), "left by a crash").unwrap();
        fs::write(home.path().join("ledger.db-wal"), "not ours").unwrap();
        let first = SideFile::acquire(&ledger).unwrap().unwrap();
        assert!(SideFile::acquire(&ledger).unwrap().is_none());
        let names = || {
            let mut names: Vec<_> = fs::read_dir(home.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names().len(), 4, "{:?}", names());
        assert_eq!(first.path().metadata().unwrap().mode() & 0o777, 0o600);
        drop(first);
        assert_eq!(names(), ["ledger.db", "ledger.db-wal"]);
        assert!(SideFile::acquire(&ledger).unwrap().is_some());
    }
}
