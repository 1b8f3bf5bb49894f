//! The rollback guard: the last checkpoint, kept outside the database.
//!
//! A database that was restored from an older copy does not know what was signed since. The guard does. It is a file beside
//! the database by default; on another disk it also outlives the database's own.

use super::{Identity, ProofError};
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::unverified_text;
use crate::small_files::{self, NOTE_MAX};
use crate::store::Hash;
use crate::store::witness::Signed;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The guard file.
#[derive(Debug, Clone)]
pub struct Guard {
    path: PathBuf,
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
}

impl Guard {
    /// The guard in a file.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
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

    /// The size and the note of the guard, if it is of the current origin.
    pub(super) fn read_for(&self, identity: &Identity) -> Result<Option<(u64, String)>, ProofError> {
        match self.read(identity)? {
            Guarded::Nothing | Guarded::Earlier(_) => Ok(None),
            Guarded::Current(checkpoint) => Ok(self.content()?.map(|note| (checkpoint.size, note))),
        }
    }

    /// What the guard says of the current origin.
    ///
    /// # Errors
    /// [`ProofError`], as [`Guard::read`].
    pub fn signed(&self, identity: &Identity) -> Result<Option<Signed>, ProofError> {
        Ok(match self.read(identity)? {
            Guarded::Nothing | Guarded::Earlier(_) => None,
            Guarded::Current(checkpoint) => Some(Signed {
                ledger: identity.ledger(),
                size: checkpoint.size,
                root: checkpoint.root,
            }),
        })
    }

    /// Keeps a checkpoint, unless the file has a later one of the same origin (instances may share it).
    ///
    /// # Errors
    /// [`ProofError`], as [`Guard::read`].
    pub fn keep(&self, identity: &Identity, size: u64, note: &str) -> Result<(), ProofError> {
        if let Guarded::Current(checkpoint) = self.read(identity)?
            && checkpoint.size >= size
        {
            return Ok(());
        }
        self.replace(note)
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
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".new-{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let mut file = File::create(&temporary)?;
        file.write_all(note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        File::open(directory)?.sync_all()
    }

    fn unusable(&self, source: std::io::Error) -> ProofError {
        ProofError::GuardFile {
            path: self.path.clone(),
            source,
        }
    }
}
