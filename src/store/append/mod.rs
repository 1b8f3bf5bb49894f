//! The append transaction: what it finds, what it writes, and what a backend promises of it.

#[cfg(feature = "contract")]
pub mod contract;
mod entities;
mod found;
pub mod postgres;
pub mod sqlite;

pub use found::{BatchSnapshot, FoundAnswers, IdempotencyRecord, StreamSnapshot};

use super::claims::Claim;
use super::witness::Witness;
use super::{Hash, Head, Position, StoreError, StoredEvent, WrappedKey};
use archive_ledger_domain::{EntityKey, Event};
use archive_ledger_projections::Changes;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::persist::SerializedEvent;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

/// An event on its way into the log, complete except for nothing: it is written as it stands.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What is stored and read back as [`StoredEvent`].
    pub stored: StoredEvent,
    /// The payload and metadata as `cqrs-es` reads them.
    pub serialized: SerializedEvent,
    /// The salt of the commitment to the payload, readable beside it.
    pub salt: [u8; 32],
}

/// A callback that waits for an entity's purge, written with the event that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackTarget {
    /// The target's id.
    pub target_id: Uuid,
    /// The entity.
    pub key: EntityKey,
    /// A keyed hash of the URL: one target per entity and URL.
    pub url_hash: Hash,
    /// The URL, sealed under the service's own key (the entity's is gone when it is needed).
    pub url_sealed: Vec<u8>,
    /// The URL's host and port, for filters.
    pub host: String,
    /// The URL as limits and circuits count it, behind its endpoint.
    pub receiver: String,
    /// The data set that the callback names.
    pub dataset_id: Option<String>,
    /// Whether it came with the registration: it is called only when no purge request named one.
    pub registered: bool,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// What a batch has to know of the ledger before it is decided.
#[derive(Debug, Clone, Default)]
pub struct BatchNeeds {
    /// The streams, by stream id, and the version up to which the caller knows each: only later events are loaded.
    pub streams: BTreeMap<String, u64>,
    /// Streams that something may be sealed for: their keys and fences are loaded.
    pub sealing: BTreeSet<String>,
    /// Idempotency keys whose answers are loaded.
    pub answers: BTreeSet<Hash>,
    /// Whether the batch is nothing but soft-deletes of entities that are taken for new, without storage or idempotency keys. A
    /// backend need not look then, if its commit finds out where that is wrong: it fails with [`StoreError::HeadMoved`] and has
    /// written nothing.
    pub only_new: bool,
}

/// Everything that one append transaction writes.
#[derive(Debug, Clone)]
pub struct BatchWrite {
    /// The head after the batch.
    pub head: Head,
    /// New events, in the order of their positions.
    pub events: Vec<NewEvent>,
    /// New data keys, by stream id.
    pub keys: Vec<(String, WrappedKey)>,
    /// Entities whose key is destroyed and fenced and whose sealed details are scrubbed: stream id and position.
    pub erased: Vec<(String, Position)>,
    /// What storage the events name.
    pub claims: Vec<Claim>,
    /// Of the erased entities those that had storage: their claims go.
    pub released: Vec<String>,
    /// What the projections make of the events.
    pub changes: Changes,
    /// Callbacks that wait for a purge.
    pub targets: Vec<CallbackTarget>,
    /// Answers to remember.
    pub answers: Vec<IdempotencyRecord>,
}

impl BatchWrite {
    /// Where the last event of a purge stands, if there is one.
    #[must_use]
    pub fn last_of_a_purge(&self) -> Option<Position> {
        let of_a_purge = |event: &&NewEvent| match event.stored.event {
            Event::PurgeRequested(_) | Event::Purged(_) | Event::PurgeFailed(_) | Event::PurgeForced(_) => {
                true
            }
            Event::Registered(_) | Event::SoftDeleted(_) | Event::Restored(_) => false,
        };
        let last = self.events.iter().rev().find(of_a_purge);
        last.map(|event| event.stored.position)
    }
}

/// How large the counted pages of the archived list may become, in rows; a contract makes them small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSizes {
    /// Beyond it a page is cut in two.
    pub page: i64,
    /// Beyond it the first page of a type is closed and a new first one begun: most rows come there.
    pub first: i64,
    /// Beyond it a group of pages is cut in two.
    pub group: i64,
}

impl Default for PageSizes {
    fn default() -> Self {
        Self {
            page: 1_024,
            first: 512,
            group: 65_536,
        }
    }
}

/// One append transaction at a time, on a connection of its own.
///
/// After an error whose connection is not known to be clean, the next call has a new connection: nobody ever works in what is
/// left of a transaction that failed.
///
/// What `begin` returns is the truth that the batch is decided on: nobody appends between it and the commit, on any instance.
/// A backend sees to that by the head lock, taken in `begin` and held until `commit` or `rollback`; or by writing only if the
/// head is still where `begin` had it, and failing with [`StoreError::HeadMoved`] if not.
#[async_trait]
pub trait AppendBackend: Send {
    /// Opens the transaction and loads what the batch needs, all streams in one go. The head is compared with what the process
    /// knows (`Witness`).
    ///
    /// # Errors
    /// [`StoreError`]; no transaction is open then. [`StoreError::Diverged`] when the database is another one.
    async fn begin(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError>;

    /// Writes the batch and commits.
    ///
    /// # Errors
    /// [`StoreError`]; the transaction is rolled back, unless [`StoreError::outcome_unknown`] says that it may have been
    /// committed. After [`StoreError::HeadMoved`] the next `begin` takes the lock.
    async fn commit(&mut self, write: &BatchWrite) -> Result<(), StoreError>;

    /// Gives the lock back, if there is one, without writing.
    ///
    /// # Errors
    /// [`StoreError`] when the database could not be told; the connection is replaced then.
    async fn rollback(&mut self) -> Result<(), StoreError>;

    /// Whether the event with this id stands at this position: what became of a commit whose answer was lost. After
    /// `false` it never will: a commit that is still on its way comes to nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError>;

    /// Replaces a connection that failed. The new one is compared with what the process knows.
    ///
    /// # Errors
    /// [`StoreError`] when no connection can be had, or it leads to another database ([`StoreError::Diverged`]).
    async fn reconnect(&mut self) -> Result<(), StoreError>;

    /// Whether a batch could be written now: takes the head lock, compares the head with what the process knows, and gives the
    /// lock back. With `prove`, something is written and committed as well, which changes nothing.
    ///
    /// # Errors
    /// [`StoreError`], as [`AppendBackend::begin`].
    async fn look(&mut self, prove: bool) -> Result<(), StoreError>;

    /// What the process knows of the log.
    fn witness(&self) -> &Arc<Witness>;
}
