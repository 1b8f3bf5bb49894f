//! The event store: one contract, two backends.
//!
//! ```text
//! position   1      2      3      4      5          gap-free, in commit order, assigned under one head row
//! stream     a      b      a      a      c          one stream per entity
//! sequence   1      1      2      3      1          the entity's version after the event
//! ```
//!
//! - An append transaction takes the head row first, so positions are assigned in commit order and a reader that sees
//!   position *n* sees everything below it.
//! - What is acknowledged is committed and fsynced, projections included.
//! - `postgres` and `sqlite` implement the same traits and never import each other; only they hold SQL.

pub mod archived;
pub mod audit;
pub mod callbacks;
mod chunks;
pub mod claims;
pub mod cleanup_jobs;
pub mod clock_moves;
mod columns;
#[cfg(feature = "contract")]
pub mod contract;
pub mod coordination;
pub mod damaged;
pub mod error;
pub mod forks;
mod found;
pub mod instance_marks;
pub mod keys;
pub mod log;
pub mod postgres;
pub mod proofs;
pub mod rebuild;
pub mod reconcile;
pub mod repository;
pub mod retention;
mod schema;
pub mod side;
pub mod sqlite;
pub mod storage_roots;
mod values;
pub mod witness;
pub mod writer;

use archive_ledger_domain::{EntityKey, EntityType, Event, EventMetadata, EventName, State};
use archive_ledger_projections::Changes;
pub use archived::{ArchivedPage, ArchivedRow, ArchivedStore, ListPage};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use claims::Claim;
pub use coordination::CoordinationStore;
use cqrs_es::persist::SerializedEvent;
use damaged::DamagedRow;
pub use error::{StoreError, ensure_rows};
pub use found::{BatchSnapshot, FoundAnswers, IdempotencyRecord, StreamSnapshot};
pub use log::{EntityStream, OwedPurge, ReadStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;
use witness::Witness;

/// The place of an event in the log: 1 is the first.
pub type Position = u64;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The head row: how far the log goes, and the Merkle tree over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last position; 0 in an empty ledger.
    pub position: Position,
    /// The roots of the perfect subtrees over the leaves, largest first (RFC 6962).
    pub frontier: Vec<Hash>,
    /// The tree's root hash.
    pub root: Hash,
    /// When the last event was recorded; recording times never go back along the log.
    pub recorded_at: Option<DateTime<Utc>>,
}

/// How far ahead of the clock the last event may be dated before it is told: instances' clocks differ a little.
const AHEAD: TimeDelta = TimeDelta::seconds(5);

impl Head {
    /// How far ahead of the time the last event is dated; `None` where it is not.
    #[must_use]
    pub fn ahead_of(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let ahead = self.recorded_at? - now;
        (ahead > AHEAD).then_some(ahead)
    }
}

/// An event as the log keeps it.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its place in the log.
    pub position: Position,
    /// Its id (UUID version 7), which is also its id on the bus.
    pub event_id: Uuid,
    /// The entity that it happened to.
    pub key: EntityKey,
    /// The entity's version after it, from 1.
    pub sequence: u64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// What happened.
    pub event: Event,
    /// Who and what stands behind it.
    pub metadata: EventMetadata,
    /// The command that it follows from; one command's events share it.
    pub command_id: Uuid,
    /// The sealed details; absent when there were none, or when the entity was purged.
    pub sealed: Option<Vec<u8>>,
    /// The canonical entry (RFC 8785) that the leaf hash is taken of.
    pub entry: Vec<u8>,
    /// The leaf hash (RFC 6962).
    pub leaf: Hash,
}

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

/// An entity's data key, wrapped by the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The data key's own id.
    pub key_id: Uuid,
    /// The id of the keyring key that wraps it.
    pub kek_id: String,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
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
    /// knows ([`witness::Witness`]).
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

/// The upcasters, oldest first.
static UPCASTERS: std::sync::LazyLock<Vec<Box<dyn cqrs_es::persist::EventUpcaster>>> =
    std::sync::LazyLock::new(archive_ledger_domain::upcasters);

/// Reads an event as `cqrs-es` stores it, through the upcasters.
///
/// # Errors
/// [`StoreError::Inconsistent`] when it is no event that this version knows.
pub fn decode_event(serialized: SerializedEvent) -> Result<Event, StoreError> {
    let current = UPCASTERS.iter().fold(serialized, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    });
    serde_json::from_value(current.payload).map_err(|error| unreadable(&current.event_type, &error))
}

/// Reads an event from its columns, as [`decode_event`] does; without a detour over a JSON tree where no upcaster wants one.
///
/// # Errors
/// [`StoreError::Inconsistent`] when it is no event that this version knows.
pub fn decode_payload(event_type: &str, event_version: &str, payload: &str) -> Result<Event, StoreError> {
    let outdated = UPCASTERS
        .iter()
        .any(|upcaster| upcaster.can_upcast(event_type, event_version));
    if !outdated {
        return serde_json::from_str(payload).map_err(|error| unreadable(event_type, &error));
    }
    let payload = serde_json::from_str(payload).map_err(|error| unreadable(event_type, &error))?;
    decode_event(SerializedEvent::new(
        String::new(),
        0,
        archive_ledger_domain::AGGREGATE_TYPE.to_owned(),
        event_type.to_owned(),
        event_version.to_owned(),
        payload,
        serde_json::Value::Null,
    ))
}

fn unreadable(event_type: &str, error: &serde_json::Error) -> StoreError {
    StoreError::inconsistent("decode an event", format!("{event_type}: {error}"))
}
