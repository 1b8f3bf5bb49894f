//! Verification: whether a log is what its ledger signed.
//!
//! Nothing is believed but the verifier key (and the old checkpoint) that the auditor brings along. Every entry is hashed,
//! every root is built from the entries; tiles, rows and projections are compared with what was built.
//!
//! | given | checked |
//! |---|---|
//! | `--url`, `--dir` | signature, every entry's form, hash and position, every stream's revisions and chain, times, roots, tiles |
//! | a database | the same, and: every row against its entry, commitments, sealed details (with the keyring), every checkpoint ever signed, the guard file, head, entities, keys and their fingerprints, jobs and their counts, callback targets and deliveries, claims, forks, remembered answers, attempts, the audit's index, projections, what the database itself tells of damage |
//! | `--since` | that the log goes on from an old checkpoint |
//! | `--payloads` | that disclosed payloads are what the entries commit to; with a database, that what no entry says is what the rows say |
//! | `--bundle` | one entity's evidence, offline |

mod beside;
pub mod bundle;
mod callbacks;
pub mod database;
mod followed;
mod jobs;
mod left;
mod log;
mod payloads;
mod remembered;
pub mod rows;
pub mod source;
mod table;

pub use log::{LogReport, Request, check_log};
pub use payloads::{Disclosures, PayloadLine};

use crate::store::StoreError;

/// Why a log is not found sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Something is not what was signed.
    #[error("tampered{}: {what}", at(*position))]
    Tampered {
        /// The first position where it shows; absent where no single one can be named.
        position: Option<u64>,
        /// What is wrong.
        what: String,
    },
    /// Something that is needed is not there, or cannot be read.
    #[error("incomplete: {0}")]
    Incomplete(String),
}

impl Finding {
    /// Something is wrong at a position.
    pub fn at(position: u64, what: impl Into<String>) -> Self {
        Self::Tampered {
            position: Some(position),
            what: what.into(),
        }
    }

    /// Something is wrong with the whole.
    pub fn tampered(what: impl Into<String>) -> Self {
        Self::Tampered {
            position: None,
            what: what.into(),
        }
    }
}

/// What is stored and contradicts itself was changed; what cannot be read is missing.
impl From<StoreError> for Finding {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Inconsistent { .. } | StoreError::RowCount { .. } => {
                Self::tampered(error.to_string())
            }
            StoreError::Database { source, .. } => match source {
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
                    Self::tampered(error.to_string())
                }
                sqlx::Error::Database(told) if told.code().is_some_and(|code| is_damage(&code)) => {
                    Self::tampered(format!("{error}: {told}"))
                }
                other => Self::Incomplete(format!("{error}: {other}")),
            },
            StoreError::Migrate(_)
            | StoreError::Unfit(_)
            | StoreError::HeadMoved
            | StoreError::Diverged(_)
            | StoreError::Unready { .. }
            | StoreError::TimedOut { .. } => Self::Incomplete(error.to_string()),
        }
    }
}

/// Whether a code says that pages or indexes are damaged: SQLite's, whose primary code is in the lowest eight bits, or
/// PostgreSQL's, which have five characters.
fn is_damage(code: &str) -> bool {
    const CORRUPT: u32 = 11;
    match code.len() {
        5 => matches!(code, "XX001" | "XX002"),
        _ => code.parse::<u32>().is_ok_and(|code| code & 0xff == CORRUPT),
    }
}

fn at(position: Option<u64>) -> String {
    position.map_or_else(String::new, |position| format!(" at position {position}"))
}
