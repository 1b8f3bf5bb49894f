//! Who the ledger is to an auditor: its origin, its key, and how it came about.
//!
//! The first origin is `<service domain>/ledger/1`, fixed when the ledger is first opened; a later change of the domain does
//! not change it. Every fork opens the next number. What is remembered: `origin/1` is the first verifier key, `fork/<n>` the
//! statement that origin n began with.

use super::ProofError;
use super::fork::Statement;
use crate::merkle::checkpoint::{Checkpoint, statement_hash};
use crate::merkle::note::{SigningKey, VerifierKey};
use crate::store::Hash;
use crate::store::proofs::ProofStore;

/// Where the first origin's verifier key is remembered.
const FIRST_ORIGIN: &str = "origin/1";

/// Where the statement of a fork is remembered.
pub(super) fn fork_name(ledger: u64) -> String {
    format!("fork/{ledger}")
}

/// The name of an origin.
#[must_use]
pub fn origin_name(domain: &str, ledger: u64) -> String {
    format!("{domain}/ledger/{ledger}")
}

/// The ledger as it signs.
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
    /// The verifier keys of all origins, oldest first; the last one is the key's own.
    origins: Vec<VerifierKey>,
    /// The statement that the current origin was forked with.
    statement: Option<String>,
}

impl Identity {
    /// The current origin of the ledger in `store`, which is named after `domain` if it has none yet.
    ///
    /// # Errors
    /// [`ProofError::OtherKey`] when the seed is not that of the ledger's key; [`ProofError::Origin`] when what is remembered
    /// was changed.
    pub async fn open(store: &dyn ProofStore, seed: &[u8; 32], domain: &str) -> Result<Self, ProofError> {
        let (origins, statement) = match Self::remembered(store).await? {
            Some(remembered) => remembered,
            None => {
                let fresh = signing_key(&origin_name(domain, 1), seed)?;
                let standing = store
                    .remember(FIRST_ORIGIN, &fresh.verifier().to_string())
                    .await?;
                (vec![verifier(1, &standing)?], None)
            }
        };
        let Some(current) = origins.last() else {
            return Err(changed(1, "it has no key"));
        };
        let key = signing_key(current.name(), seed)?;
        if key.verifier() != current {
            return Err(ProofError::OtherKey {
                expected: current.to_string(),
                actual: key.verifier().to_string(),
            });
        }
        Ok(Self {
            key,
            origins,
            statement,
        })
    }

    /// The verifier keys of every origin of a ledger, oldest first, and the last fork's statement; `None` for a ledger that
    /// was never opened.
    ///
    /// # Errors
    /// [`ProofError::Origin`] when what is remembered was changed.
    pub async fn remembered(
        store: &dyn ProofStore,
    ) -> Result<Option<(Vec<VerifierKey>, Option<String>)>, ProofError> {
        let Some(first) = store.recall(FIRST_ORIGIN).await? else {
            return Ok(None);
        };
        let mut origins = vec![verifier(1, &first)?];
        let mut last = None;
        for ledger in 2.. {
            let Some(text) = store.recall(&fork_name(ledger)).await? else {
                break;
            };
            let statement = Statement::open(&text).map_err(|reason| changed(ledger, reason))?;
            if origins.last() != Some(&statement.old) {
                return Err(changed(ledger, "it does not follow the origin before it"));
            }
            origins.push(statement.new);
            last = Some(text);
        }
        Ok(Some((origins, last)))
    }

    /// The number of the current origin.
    #[must_use]
    pub fn ledger(&self) -> u64 {
        u64::try_from(self.origins.len()).unwrap_or(u64::MAX)
    }

    /// The key that signs.
    #[must_use]
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// What an auditor trusts.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The verifier keys of all origins, oldest first.
    #[must_use]
    pub fn origins(&self) -> &[VerifierKey] {
        &self.origins
    }

    /// The statement that the current origin was forked with.
    #[must_use]
    pub fn statement(&self) -> Option<&str> {
        self.statement.as_deref()
    }

    /// The checkpoint of a tree.
    #[must_use]
    pub fn checkpoint(&self, size: u64, root: Hash) -> Checkpoint {
        Checkpoint {
            origin: self.verifier().name().to_owned(),
            size,
            root,
            fork: self.statement.as_deref().map(statement_hash),
        }
    }
}

pub(super) fn signing_key(name: &str, seed: &[u8; 32]) -> Result<SigningKey, ProofError> {
    SigningKey::from_seed(name, seed).map_err(|source| ProofError::Key {
        name: name.to_owned(),
        source,
    })
}

fn verifier(ledger: u64, text: &str) -> Result<VerifierKey, ProofError> {
    text.parse()
        .map_err(|error: crate::merkle::note::InvalidKey| changed(ledger, error.to_string()))
}

fn changed(ledger: u64, reason: impl Into<String>) -> ProofError {
    ProofError::Origin {
        ledger,
        reason: reason.into(),
    }
}
