//! The ledger's proofs: who signs, what is signed, and what an auditor is given.
//!
//! ```text
//! writer ── commits ──▶ events, ledger_head
//!                          │ read back
//! checkpointer ── hashes the entries again, compares with the head, signs ──▶ checkpoints, tree_hashes
//!                          │ read back                                          │
//! guard file ◀── last checkpoint, outside the database                          ▼
//!                                                       HTTP: checkpoint, tiles, proofs, evidence
//! ```
//!
//! - A checkpoint is published only as it is read back from the database, and it has one root per size for ever: of two that
//!   sign the same size, on two instances or after a takeover, the second finds the first and gives up if it differs.
//! - Before anything is appended, the frontier of the tree is hashed again from the entries and compared with the head and
//!   with the last checkpoint (`start.rs`), and the database is compared with the guard file (`guard.rs`).

pub mod checkpointer;
pub mod evidence;
pub mod fork;
pub mod fork_statement;
pub mod guard;
pub mod identity;
pub mod losses;
pub mod reader;
pub mod start;
pub mod tile_frontier;

pub use identity::Identity;
pub use reader::{Answer, Consistency, Proofs};
pub use start::{Started, start};

use crate::merkle::checkpoint::CheckpointError;
use crate::merkle::note::{InvalidKey, NoteError};
use crate::merkle::tree::TileFrontierMismatch;
use crate::store::{Hash, StoreError};
use crate::task_states::TaskFailure;
use std::path::PathBuf;

/// Why the ledger does not vouch for its log.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The key that signs cannot carry the ledger's name.
    #[error("the ledger cannot be signed as {name:?}")]
    Key {
        /// The origin.
        name: String,
        /// Why.
        #[source]
        source: InvalidKey,
    },
    /// The ledger was signed with another key.
    #[error("the ledger is signed by {expected}, and this key is {actual}: bring the key file back")]
    OtherKey {
        /// What the ledger remembers.
        expected: String,
        /// What the file holds.
        actual: String,
    },
    /// What the ledger remembers of its origins is not what it wrote.
    #[error("what the ledger remembers of its origin {ledger} was changed: {reason}")]
    Origin {
        /// The number of the origin.
        ledger: u64,
        /// What is wrong.
        reason: String,
    },
    /// A note cannot be signed or read.
    #[error("a note cannot be signed")]
    Note(#[from] NoteError),
    /// A checkpoint that stands in the database is none.
    #[error("the stored checkpoint of {size} entries was changed")]
    StoredCheckpoint {
        /// Its size.
        size: u64,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// The hashes of the frontier do not belong to its size.
    #[error("the tiles' hashes were changed")]
    TileFrontier(#[from] TileFrontierMismatch),
    /// An entry is not what its leaf hash says.
    #[error("the entry at position {position} does not have its leaf hash: it was changed")]
    Entry {
        /// Its position.
        position: u64,
    },
    /// Entries that must be there are not.
    #[error("the log ends at position {actual} and must go on to {expected}")]
    Missing {
        /// How far it goes.
        actual: u64,
        /// How far it must go.
        expected: u64,
    },
    /// The entries do not have the root that the head row names.
    #[error("the entries up to position {size} have the root {actual}, and the head says {expected}")]
    Head {
        /// How many entries.
        size: u64,
        /// What the head says.
        expected: String,
        /// What the entries have.
        actual: String,
    },
    /// The entries do not have the root that was signed.
    #[error("the first {size} entries have the root {actual}, and {expected} was signed")]
    Signed {
        /// How many entries.
        size: u64,
        /// What was signed.
        expected: String,
        /// What the entries have.
        actual: String,
    },
    /// The database has fewer entries than were signed.
    #[error(
        "the database has {actual} entries, and a checkpoint over {expected} was signed: it was restored from an older copy. \
         Bring the newer one back, or go on from this one with `archive-ledger ledger fork --reason …`"
    )]
    RolledBack {
        /// How many the guard knows.
        expected: u64,
        /// How many there are.
        actual: u64,
    },
    /// The database holds another log than the one that was signed.
    #[error(
        "the database holds another log than the one whose checkpoint over {size} entries was signed. Bring that one back, or \
         go on from this one with `archive-ledger ledger fork --reason …`"
    )]
    OtherLog {
        /// How many entries the guard knows.
        size: u64,
    },
    /// A later origin of this ledger is known of than the database knows.
    #[error(
        "the database knows nothing of {newer}, which the ledger was forked to: it was restored from a copy older than that fork ({older}). Bring the newer one back, or go on from this one with `archive-ledger ledger fork --reason …`"
    )]
    BeforeFork {
        /// The origin that is known of.
        newer: String,
        /// The database's last one.
        older: String,
    },
    /// More numbers would be skipped than any ledger had.
    #[error("{newer} is too far ahead of {older} to be an origin of the same ledger")]
    TooFarAhead {
        /// The origin that is known of.
        newer: String,
        /// The database's last one.
        older: String,
    },
    /// The guard file belongs to another ledger.
    #[error("{} is of the ledger {actual}, and this one is {expected}", path.display())]
    OtherGuard {
        /// The file.
        path: PathBuf,
        /// The origin that it is of.
        actual: String,
        /// The origin of this ledger.
        expected: String,
    },
    /// The guard file is no checkpoint of this ledger.
    #[error("{} is no checkpoint of this ledger", path.display())]
    Guard {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CheckpointError,
    },
    /// The guard file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    GuardFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The ledger was forked by somebody else.
    #[error("the ledger was forked while this process ran: start it again")]
    Forked,
    /// A fork was asked for while an instance signs.
    #[error("an instance of the service is running on this ledger: stop it first")]
    Running,
    /// A sealed part could not be opened.
    #[error("sealed details could not be opened")]
    Keyring(#[from] crate::keyring::KeyringError),
}

impl ProofError {
    /// Whether the same operation may succeed when it is tried again: nothing is proven against the log.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => match error {
                // What the database refuses to do says nothing of what it holds.
                StoreError::Database { .. }
                | StoreError::HeadMoved
                | StoreError::Unready { .. }
                | StoreError::TimedOut { .. } => true,
                StoreError::Inconsistent { .. }
                | StoreError::RowCount { .. }
                | StoreError::Migrate(_)
                | StoreError::Unfit(_)
                | StoreError::Diverged(_) => false,
            },
            Self::GuardFile { .. } => true,
            Self::Key { .. }
            | Self::OtherKey { .. }
            | Self::Origin { .. }
            | Self::Note(_)
            | Self::StoredCheckpoint { .. }
            | Self::TileFrontier(_)
            | Self::Entry { .. }
            | Self::Missing { .. }
            | Self::BeforeFork { .. }
            | Self::TooFarAhead { .. }
            | Self::Head { .. }
            | Self::Signed { .. }
            | Self::RolledBack { .. }
            | Self::OtherLog { .. }
            | Self::OtherGuard { .. }
            | Self::Guard { .. }
            | Self::Forked
            | Self::Running
            | Self::Keyring(_) => false,
        }
    }
}

impl TaskFailure for ProofError {
    fn is_proven(&self) -> bool {
        match self {
            Self::Store(error) => error.is_proven(),
            Self::OtherKey { .. }
            | Self::Origin { .. }
            | Self::StoredCheckpoint { .. }
            | Self::TileFrontier(_)
            | Self::Entry { .. }
            | Self::Missing { .. }
            | Self::Head { .. }
            | Self::Signed { .. }
            | Self::RolledBack { .. }
            | Self::OtherLog { .. }
            | Self::BeforeFork { .. }
            | Self::TooFarAhead { .. }
            | Self::Forked => true,
            // They say something of a file, a key or another process, and nothing of the log.
            Self::Key { .. }
            | Self::Note(_)
            | Self::OtherGuard { .. }
            | Self::Guard { .. }
            | Self::GuardFile { .. }
            | Self::Running
            | Self::Keyring(_) => false,
        }
    }

    fn brief(&self) -> String {
        match self {
            Self::Store(error) => error.brief(),
            Self::OtherGuard { .. } | Self::Guard { .. } | Self::GuardFile { .. } => {
                "the guard file cannot be used".to_owned()
            }
            Self::Key { .. }
            | Self::OtherKey { .. }
            | Self::Origin { .. }
            | Self::Note(_)
            | Self::StoredCheckpoint { .. }
            | Self::TileFrontier(_)
            | Self::Entry { .. }
            | Self::Missing { .. }
            | Self::Head { .. }
            | Self::Signed { .. }
            | Self::RolledBack { .. }
            | Self::OtherLog { .. }
            | Self::BeforeFork { .. }
            | Self::TooFarAhead { .. }
            | Self::Forked
            | Self::Running
            | Self::Keyring(_) => self.to_string(),
        }
    }
}

/// A hash as messages show it.
fn short(hash: &Hash) -> String {
    hex::encode(&hash[..8])
}
