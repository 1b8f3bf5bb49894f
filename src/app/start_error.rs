//! Why the service does not start: each cause names the option that sets it right.

use crate::config::{Config, Database};
use crate::keyring::KeyringError;
use crate::keyring_check::Mismatch;
use crate::proofs::ProofError;
use crate::secret_files::SecretFileError;
use crate::storage::roots::RootError;
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;

/// Why the service does not start. Each names the option that sets it right.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives the writer no thread.
    #[error("the writer cannot have a thread of its own")]
    Thread(#[source] io::Error),
    /// The database cannot be reached, or holds something else than a ledger.
    #[error("{option}: {source}")]
    Store {
        /// The option.
        option: &'static str,
        /// Why.
        source: StoreError,
    },
    /// A key file cannot be used.
    #[error("{option}: {source}")]
    SecretFile {
        /// The option.
        option: &'static str,
        /// Why.
        source: SecretFileError,
    },
    /// The keyring file is no keyring.
    #[error("--keyring-file: {0}")]
    Keyring(#[source] KeyringError),
    /// It is not the keyring that the ledger was sealed with.
    #[error("--keyring-file: {0}")]
    OtherKeyring(#[source] Mismatch),
    /// The ledger was sealed with a keyring, and the file is not there.
    #[error(
        "--keyring-file: {path} does not exist, and the ledger was sealed with the keyring {expected}: bring the file back"
    )]
    KeyringMissing {
        /// The file.
        path: String,
        /// What the ledger remembers.
        expected: String,
    },
    /// The ledger was signed, and its key file is not there.
    #[error(
        "--ledger-key-file: {path} does not exist, and the ledger is signed by {expected}: bring the file back"
    )]
    LedgerKeyMissing {
        /// The file.
        path: String,
        /// What the ledger remembers.
        expected: String,
    },
    /// A key is missing, where only the service makes keys.
    #[error(
        "{option}: there is no key {}: the service makes it when it first starts; run this in the folder that it was started \
         in, or name its --data-dir",
        path.display()
    )]
    NoKey {
        /// The option that names the file.
        option: &'static str,
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The ledger was never signed: it has no key yet.
    #[error("{option}: the ledger has no key yet: the service makes it when it first starts")]
    NeverServed {
        /// The option that names the ledger.
        option: &'static str,
    },
    /// The log is not what was signed, or cannot be signed: nothing may be appended to it.
    #[error("{option}: the ledger refuses to append: {source}")]
    Proof {
        /// The option.
        option: &'static str,
        /// Why.
        source: ProofError,
    },
    /// A storage root cannot be used.
    #[error("--storage-root: {0}")]
    Root(#[source] RootError),
    /// Anything else that an option sets right.
    #[error("{option}: {source}")]
    Option {
        /// The option.
        option: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    /// Blames an option.
    pub fn option(option: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Option {
            option,
            source: source.into(),
        }
    }
}

/// The option that names the store.
pub(super) const fn store_option(config: &Config) -> &'static str {
    match config.database {
        Database::Postgres { .. } => "--database-url",
        Database::Sqlite { .. } => "--data-dir",
    }
}

pub(super) const fn blame(option: &'static str, source: StoreError) -> StartError {
    StartError::Store { option, source }
}

/// Blames the option that sets it right.
pub(super) fn refuse(config: &Config, source: ProofError) -> StartError {
    let option = match &source {
        ProofError::OtherKey { .. } => "--ledger-key-file",
        ProofError::Key { .. } => "--service-domain",
        ProofError::OtherGuard { .. } | ProofError::Guard { .. } | ProofError::GuardFile { .. } => {
            "--guard-file"
        }
        ProofError::Keyring(_) => "--keyring-file",
        ProofError::Store(_)
        | ProofError::Origin { .. }
        | ProofError::Note(_)
        | ProofError::StoredCheckpoint { .. }
        | ProofError::TileFrontier(_)
        | ProofError::Entry { .. }
        | ProofError::Missing { .. }
        | ProofError::Head { .. }
        | ProofError::Signed { .. }
        | ProofError::RolledBack { .. }
        | ProofError::OtherLog { .. }
        | ProofError::BeforeFork { .. }
        | ProofError::TooFarAhead { .. }
        | ProofError::Forked
        | ProofError::Running => store_option(config),
    };
    StartError::Proof { option, source }
}
