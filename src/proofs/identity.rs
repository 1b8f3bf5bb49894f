//! Who the ledger is to an auditor: its origin, its key, and how it came about.
//!
//! The first origin is `<service domain>/ledger/1`, fixed when the ledger is first opened; a later change of the domain does
//! not change it. Every fork opens the next number. What is remembered: `origin/1` is the first verifier key, `fork/<n>` the
//! statement that origin n began with. A copy that is older than a fork has never heard of that one's number: the next fork
//! skips it, so that no number stands for two histories, and its statement is remembered under the first number that is missing.

use super::ProofError;
use super::fork_statement::Statement;
use super::losses::SKIPPED_MAX;
use crate::bus::marks::Marks;
use crate::merkle::checkpoint::{Checkpoint, statement_hash};
use crate::merkle::note::{SigningKey, VerifierKey};
use crate::numbering::Numbering;
use crate::store::proofs::ProofStore;
use crate::store::{Hash, Position};

/// Where the first origin's verifier key is remembered.
pub(super) const FIRST_ORIGIN: &str = "origin/1";

/// Where the statement of a fork is remembered.
pub(super) fn fork_name(ledger: u64) -> String {
    format!("fork/{ledger}")
}

/// The name of an origin.
#[must_use]
pub fn origin_name(domain: &str, ledger: u64) -> String {
    format!("{domain}/ledger/{ledger}")
}

/// The number of an origin of the ledger whose first one is `first`; `None` for one of another ledger.
pub(super) fn origin_number(first: &VerifierKey, name: &str) -> Option<u64> {
    let number = name.strip_prefix(base(first))?.strip_prefix("/ledger/")?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    (origin_name(base(first), number) == name).then_some(number)
}

/// What the names of all origins begin with.
pub(super) fn base(first: &VerifierKey) -> &str {
    first.name().strip_suffix("/ledger/1").unwrap_or(first.name())
}

/// The number of an origin, from its name.
#[must_use]
pub fn number_of(name: &str) -> u64 {
    name.rsplit_once("/ledger/")
        .and_then(|(_, number)| number.parse().ok())
        .unwrap_or(1)
}

/// Whether two names are of origins of one ledger.
#[must_use]
pub fn same_ledger(one: &str, other: &str) -> bool {
    let base = |name: &str| name.rsplit_once("/ledger/").map(|(base, _)| base.to_owned());
    base(one).is_some() && base(one) == base(other)
}

/// The verifier key that the seed makes for an origin.
#[must_use]
pub fn verifier_of(name: &str, seed: &[u8; 32]) -> Option<VerifierKey> {
    signing_key(name, seed).ok().map(|key| key.verifier().clone())
}

/// The ledger as it signs.
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
    /// The verifier keys of all origins, oldest first; the last one is the key's own.
    origins: Vec<VerifierKey>,
    /// The statement that the current origin was forked with.
    statement: Option<String>,
    numbering: Numbering,
    marks: Marks,
}

/// What a ledger remembers of its origins.
struct Remembered {
    origins: Vec<VerifierKey>,
    statement: Option<String>,
    /// The number that each fork opened, and how many entries it went on from.
    forks: Vec<(u64, Position)>,
}

impl Identity {
    /// The current origin of the ledger in `store`, which is named after `domain` if it has none yet.
    ///
    /// # Errors
    /// [`ProofError::OtherKey`] when the seed is not that of the ledger's key; [`ProofError::Origin`] when what is remembered
    /// was changed.
    pub async fn open(store: &dyn ProofStore, seed: &[u8; 32], domain: &str) -> Result<Self, ProofError> {
        let remembered = match Self::recall(store).await? {
            Some(remembered) => remembered,
            None => {
                let fresh = signing_key(&origin_name(domain, 1), seed)?;
                let standing = store
                    .remember(FIRST_ORIGIN, &fresh.verifier().to_string())
                    .await?;
                Remembered {
                    origins: vec![verifier(1, &standing)?],
                    statement: None,
                    forks: Vec::new(),
                }
            }
        };
        let Remembered {
            origins,
            statement,
            forks,
        } = remembered;
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
            numbering: Numbering::new(forks),
            marks: Marks::new(seed),
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
        let remembered = Self::recall(store).await?;
        Ok(remembered.map(|remembered| (remembered.origins, remembered.statement)))
    }

    /// Which origin recorded which position, of a ledger that was opened once.
    ///
    /// # Errors
    /// [`ProofError::Origin`] when what is remembered was changed.
    pub async fn numbering_of(store: &dyn ProofStore) -> Result<Option<Numbering>, ProofError> {
        let remembered = Self::recall(store).await?;
        Ok(remembered.map(|remembered| Numbering::new(remembered.forks)))
    }

    async fn recall(store: &dyn ProofStore) -> Result<Option<Remembered>, ProofError> {
        let Some(first) = store.recall(FIRST_ORIGIN).await? else {
            return Ok(None);
        };
        let first = verifier(1, &first)?;
        let mut remembered = Remembered {
            origins: vec![first.clone()],
            statement: None,
            forks: Vec::new(),
        };
        let mut next = 2;
        while let Some(text) = store.recall(&fork_name(next)).await? {
            let statement = Statement::open(&text).map_err(|reason| changed(next, reason))?;
            let opened = origin_number(&first, statement.new.name());
            let opened = opened
                .filter(|opened| (next..=next + SKIPPED_MAX).contains(opened))
                .ok_or_else(|| changed(next, "it is no origin of this ledger"))?;
            for skipped in next..opened {
                let name = origin_name(base(&first), skipped);
                remembered.origins.push(first.renamed(&name));
            }
            if remembered.origins.last() != Some(&statement.old) {
                return Err(changed(next, "it does not follow the origin before it"));
            }
            remembered.origins.push(statement.new);
            remembered.forks.push((opened, statement.size));
            remembered.statement = Some(text);
            next = opened + 1;
        }
        Ok(Some(remembered))
    }

    /// Which origin recorded which position.
    #[must_use]
    pub fn numbering(&self) -> Numbering {
        self.numbering.clone()
    }

    /// How the ledger marks what it publishes.
    #[must_use]
    pub const fn marks(&self) -> &Marks {
        &self.marks
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

    /// The verifier key of the origin `number` of this ledger, whether it has heard of it or not.
    #[must_use]
    pub fn origin(&self, number: u64) -> VerifierKey {
        let verifier = self.verifier();
        verifier.renamed(&origin_name(base(&self.origins[0]), number))
    }

    /// Whether an origin is a later one of this ledger, which it has not heard of.
    #[must_use]
    pub fn precedes(&self, origin: &VerifierKey) -> bool {
        let number = origin_number(&self.origins[0], origin.name());
        number.is_some_and(|number| number > self.ledger() && *origin == self.origin(number))
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
