//! Who names which storage: what a purge asks before it deletes.
//!
//! ```text
//! /srv         h(/srv)
//! /srv/a       h(/srv) h(/srv/a)                  below a place: whatever begins with its bytes
//! /srv/a/b     h(/srv) h(/srv/a) h(/srv/a/b)      above it: its own bytes, cut off after each hash
//! ```
//!
//! - A claim is written in the transaction that records the event which names the storage, and goes in the one that records the
//!   end of the purge. A restore undoes its deletion's claims without writing anything: the log says that they stand no more.
//! - The head says up to where the claims are complete. A version that knows nothing of claims leaves it behind; what is missing
//!   is filled in from the sealed details, and until then nobody can say whose else a place is.

#[cfg(feature = "contract")]
pub mod contract;
pub(super) mod postgres;
pub(super) mod sqlite;

use super::reconcile::Page;
use super::{Position, StoreError, WrappedKey};
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use std::collections::BTreeSet;
use uuid::Uuid;

/// How many bytes of its hash each folder on the way to a place contributes. Two folders side by side that meet by chance make
/// one purge fail that need not: with ten million in one folder, once in a hundred thousand ledgers.
pub const LEVEL_LEN: usize = 8;

/// How many folders on the way to a place are told apart, so that a place fits into an index. What lies deeper counts as the
/// folder at this depth.
pub const MAX_LEVELS: usize = 256;

/// How many events are looked at for missing claims under the head lock.
pub(super) const LOOKED_AT_UNDER_LOCK: i64 = 5_000;

/// How many claims that others have at one place a question looks at.
pub(super) const ROWS_LOOKED_AT: u32 = 10_000;

/// A place in the storage, as a chain of keyed hashes ([`Keyring::place`](crate::keyring::Keyring::place)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceKey(Vec<u8>);

impl PlaceKey {
    /// From the hashes, outermost first.
    #[must_use]
    pub const fn new(levels: Vec<u8>) -> Self {
        Self(levels)
    }

    /// The hashes, outermost first.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is `other` or lies below it.
    #[must_use]
    pub fn is_in(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Every folder above it.
    pub fn above(&self) -> impl Iterator<Item = &[u8]> {
        let levels = self.0.len() / LEVEL_LEN;
        (1..levels).filter_map(|level| self.0.get(..level * LEVEL_LEN))
    }

    /// Every folder above any of them, each once.
    pub(super) fn all_above(places: &[Self]) -> impl Iterator<Item = &[u8]> {
        let folders: BTreeSet<&[u8]> = places.iter().flat_map(Self::above).collect();
        folders.into_iter()
    }

    /// The first bytes that sort behind everything below it.
    #[must_use]
    pub fn behind(&self) -> Vec<u8> {
        let mut behind = self.0.clone();
        while let Some(last) = behind.pop() {
            if let Some(next) = last.checked_add(1) {
                behind.push(next);
                return behind;
            }
        }
        // Nothing sorts behind a place of nothing but 0xff, save for what is longer than any place.
        vec![u8::MAX; LEVEL_LEN * MAX_LEVELS + 1]
    }
}

/// A storage URI that an event names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The event.
    pub position: Position,
    /// Which of its URIs, from 1.
    pub ordinal: u16,
    /// What it names.
    pub place: PlaceKey,
}

/// Whom a question about places is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Everybody whose claim stands.
    All,
    /// Those that are not themselves being purged: who is has ordered the same deletion.
    NotPurged,
}

/// Who names storage at, around or below some places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimants {
    /// The first of them, by their stream ids.
    pub first: Vec<EntityKey>,
    /// How many there are.
    pub count: u64,
    /// Whether there may be more than `count`: not all were looked at.
    pub at_least: bool,
    /// Whether the claims are complete. While they are not, there may be others.
    pub complete: bool,
}

/// How far the claims are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completeness {
    /// Up to this position they are.
    pub claims: Position,
    /// The head of the log.
    pub head: Position,
}

impl Completeness {
    /// Whether nothing is missing.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.claims == self.head
    }
}

/// An event that names storage, or that claims are kept for although it names none.
#[derive(Debug, Clone)]
pub struct Naming {
    /// The event.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
    /// The entity.
    pub key: EntityKey,
    /// Its sealed details; absent when the entity was purged.
    pub sealed: Option<Vec<u8>>,
    /// The entity's data key.
    pub data_key: Option<WrappedKey>,
    /// Whether a restore has undone it.
    pub undone: bool,
    /// The claims that are kept for it, in the order of their bytes.
    pub kept: Vec<PlaceKey>,
}

/// Storage that only a deletion named which was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftPlace {
    /// The event that named it.
    pub position: Position,
    /// Which of its URIs, from 1.
    pub ordinal: u16,
    /// The entity.
    pub key: EntityKey,
    /// The position of the restore.
    pub restored: Position,
    /// The place.
    pub place: PlaceKey,
}

/// Where a page of [`ClaimStore::left_places`] goes on: the last one's event and number, as they stand; zeros at first.
pub type LeftCursor = (Position, i64);

/// The claims. Each read is one snapshot.
#[async_trait]
pub trait ClaimStore: Send + Sync {
    /// Who else than `except` names storage at, around or below any of the places; `first` of them are named. The work is
    /// bounded: of very many, not all are counted.
    async fn claimants(
        &self,
        places: &[PlaceKey],
        except: &EntityKey,
        whom: Whom,
        first: u32,
    ) -> Result<Claimants, StoreError>;

    /// How far the claims are complete.
    async fn claims_completeness(&self) -> Result<Completeness, StoreError>;

    /// The events after a position and up to another that name storage, or that claims are kept for, in order.
    async fn naming(&self, after: Position, until: Position) -> Result<Vec<Naming>, StoreError>;

    /// Adds what is missing between two positions, and notes that the claims are complete up to the second: up to the head, if
    /// nothing is missing behind it either. Those that are there already are left out, and so are those of entities that were
    /// purged meanwhile, which lose theirs. `false`, and nothing is written, when they are not complete up to `after` exactly.
    async fn fill_claims(
        &self,
        after: Position,
        until: Position,
        missing: &[Claim],
    ) -> Result<bool, StoreError>;

    /// Replaces the claims of these events, save for entities that were purged meanwhile: these lose theirs.
    async fn replace_claims(&self, events: &[Position], claims: &[Claim]) -> Result<(), StoreError>;

    /// Storage that only an undone deletion of its entity named, by the event and its number, those after `after`.
    async fn left_places(
        &self,
        after: LeftCursor,
        limit: u32,
    ) -> Result<Page<LeftPlace, LeftCursor>, StoreError>;
}
