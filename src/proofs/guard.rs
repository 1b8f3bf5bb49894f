//! The rollback guard: the last checkpoint, kept outside the database.
//!
//! A database that was restored from an older copy does not know what was signed since. The guard does. It is a file beside
//! the database by default; on another disk it also outlives the database's own.
//!
//! While it cannot be written, commands are recorded all the same: what is acknowledged is durable in the database, the
//! process itself remembers what it acknowledged, and whoever waits for the guard would make its disk as precious as the
//! database's. What is missing then is a refusal after a restart from an older copy, so it is told: in `/readyz` as a warning, in
//! the metrics, and in the log.

use super::identity::number_of;
use super::{Identity, ProofError};
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{VerifierKey, unverified_text};
use crate::small_files::{self, NOTE_MAX};
use crate::store::Hash;
use crate::store::witness::Signed;
use crate::telemetry;
use metrics::{counter, gauge};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How old what was left of an interrupted writing must be to be removed: others may be writing.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// The guard file.
#[derive(Debug, Clone)]
pub struct Guard {
    path: PathBuf,
    /// Why it could not be kept last; shared by all who hold this guard.
    failing: Arc<Mutex<Option<String>>>,
}

/// What the guard file says of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// There is no file.
    Nothing,
    /// A checkpoint of the current origin.
    Current(Checkpoint),
    /// A checkpoint of an origin that this ledger had before it was forked.
    Earlier(Checkpoint),
    /// A checkpoint of an origin that this ledger was forked to, and has never heard of.
    Later(Checkpoint),
}

impl Guard {
    /// The guard in a file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            failing: Arc::default(),
        }
    }

    /// Why the guard cannot be kept; `None` while it can.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        self.failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the guard says.
    ///
    /// # Errors
    /// [`ProofError::Guard`] when it is no checkpoint that this ledger's key has signed, [`ProofError::OtherGuard`] when it is
    /// that of another ledger, [`ProofError::GuardFile`] when it cannot be read.
    pub fn read(&self, identity: &Identity) -> Result<Guarded, ProofError> {
        let Some(note) = self.content()? else {
            return Ok(Guarded::Nothing);
        };
        let guard = |source| ProofError::Guard {
            path: self.path.clone(),
            source,
        };
        let claimed = unverified_text(&note).map_err(|error| guard(error.into()))?;
        let origin = Checkpoint::parse(claimed).map_err(guard)?.origin;
        let Some(known) = identity.origins().iter().find(|key| key.name() == origin) else {
            let later = identity.origin(number_of(&origin));
            if later.name() == origin && identity.precedes(&later) {
                return Ok(Guarded::Later(Checkpoint::open(&note, &later).map_err(guard)?));
            }
            return Err(ProofError::OtherGuard {
                path: self.path.clone(),
                actual: origin,
                expected: identity.verifier().name().to_owned(),
            });
        };
        let checkpoint = Checkpoint::open(&note, known).map_err(guard)?;
        Ok(if known == identity.verifier() {
            Guarded::Current(checkpoint)
        } else {
            Guarded::Earlier(checkpoint)
        })
    }

    /// The note of the guard, if it is of this origin.
    pub(super) fn note_of(&self, origin: &VerifierKey) -> Result<Option<String>, ProofError> {
        let note = self.content()?;
        Ok(note.filter(|note| Checkpoint::open(note, origin).is_ok()))
    }

    /// What the guard says of the current origin.
    ///
    /// # Errors
    /// [`ProofError`], as [`Guard::read`].
    pub fn signed(&self, identity: &Identity) -> Result<Option<Signed>, ProofError> {
        Ok(match self.read(identity)? {
            Guarded::Nothing | Guarded::Earlier(_) | Guarded::Later(_) => None,
            Guarded::Current(checkpoint) => Some(Signed {
                ledger: identity.ledger(),
                size: checkpoint.size,
                root: checkpoint.root,
            }),
        })
    }

    /// Keeps a checkpoint, unless the file has a later one of the same origin (instances may share it). A file that is no
    /// checkpoint at all is replaced: what is kept here is known.
    ///
    /// # Errors
    /// [`ProofError`], as [`Guard::read`].
    pub fn keep(&self, identity: &Identity, size: u64, note: &str) -> Result<(), ProofError> {
        let kept = self.keep_later(identity, size, note);
        self.tell(kept.as_ref().err());
        kept
    }

    fn keep_later(&self, identity: &Identity, size: u64, note: &str) -> Result<(), ProofError> {
        match self.read(identity) {
            Ok(Guarded::Current(checkpoint)) if checkpoint.size >= size => Ok(()),
            // What was signed after a fork outlives what somebody still signs who slept through it.
            Ok(Guarded::Later(_)) => Err(ProofError::Forked),
            Ok(_) => self.replace(note),
            Err(ruined @ ProofError::Guard { .. }) => {
                tracing::warn!(error = %telemetry::chain(&ruined), "the guard is written anew");
                self.replace(note)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells when the guard cannot be kept, and when it can again.
    fn tell(&self, error: Option<&ProofError>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match (error, failing.is_some()) {
            (None, true) => {
                tracing::info!("{} is kept again", self.path.display());
                *failing = None;
            }
            (None, false) => {}
            (Some(error), known) => {
                counter!(telemetry::GUARD_FAILURES_TOTAL).increment(1);
                let reason = telemetry::chain(error);
                if !known {
                    tracing::error!(
                        "the guard cannot be kept, a rollback would not be noticed after a restart: {reason}"
                    );
                }
                *failing = Some(reason);
            }
        }
        gauge!(telemetry::GUARD_UP).set(if failing.is_some() { 0.0 } else { 1.0 });
    }

    /// Keeps the root over the first `size` entries, as [`Guard::keep`] does; it was acknowledged and need not be published.
    ///
    /// # Errors
    /// [`ProofError`], as [`Guard::keep`].
    pub fn keep_root(&self, identity: &Identity, size: u64, root: Hash) -> Result<(), ProofError> {
        let note = identity.key().sign(&identity.checkpoint(size, root).text())?;
        self.keep(identity, size, &note)
    }

    /// Keeps a checkpoint, whatever the file has.
    ///
    /// # Errors
    /// [`ProofError::GuardFile`].
    pub fn replace(&self, note: &str) -> Result<(), ProofError> {
        self.write(note).map_err(|source| self.unusable(source))
    }

    fn content(&self) -> Result<Option<String>, ProofError> {
        match small_files::read_text(&self.path, NOTE_MAX) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unusable(error)),
        }
    }

    /// A reader sees the old content or the new one, also after the loss of power.
    fn write(&self, note: &str) -> std::io::Result<()> {
        let directory = self.directory();
        // A name of its own: another process, of the same number in another container, may be writing at the same moment. What
        // fails leaves nothing behind.
        let mut file = tempfile::Builder::new()
            .prefix(&self.temporary_prefix())
            .tempfile_in(directory)?;
        file.write_all(note.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    }

    /// Removes what processes left behind that were killed while they wrote.
    pub(super) fn remove_leftovers(&self) {
        let prefix = self.temporary_prefix();
        let Ok(entries) = fs::read_dir(self.directory()) else {
            return;
        };
        for entry in entries.flatten() {
            let left = entry.file_name().to_string_lossy().starts_with(&prefix)
                && entry
                    .metadata()
                    .and_then(|metadata| metadata.modified())
                    .is_ok_and(|written| written.elapsed().is_ok_and(|age| age > LEFT_BEHIND));
            if left {
                // It is in nobody's way.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn temporary_prefix(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        format!("{}.new-", name.to_string_lossy())
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        }
    }

    fn unusable(&self, source: std::io::Error) -> ProofError {
        ProofError::GuardFile {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_one_number_write_one_guard_at_once_and_none_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let guard = Guard::new(path.clone());
                scope.spawn(move || {
                    for round in 0..50 {
                        guard.replace(&format!("note {writer} {round}\n")).unwrap();
                        assert!(fs::read_to_string(guard.path()).unwrap().starts_with("note "));
                    }
                });
            }
        });
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn what_was_left_behind_long_ago_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let guard = Guard::new(folder.path().join("checkpoint.guard"));
        for (name, age, kept) in [
            ("checkpoint.guard", 7_200, true),
            ("checkpoint.guard.new-1", 7_200, false),
            ("checkpoint.guard.new-a8fj2k", 7_200, false),
            ("checkpoint.guard.new-z8fj2k", 1, true),
            ("another.guard.new-1", 7_200, true),
        ] {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            let written = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            let now = file.metadata().unwrap().modified().unwrap();
            let written = now.checked_sub(Duration::from_secs(age)).unwrap_or(written);
            file.set_modified(written).unwrap();
            guard.remove_leftovers();
            assert_eq!(path.exists(), kept, "{name}");
        }
    }
}
