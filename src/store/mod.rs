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
//! - There is a room per subject: the trait with what it promises, both databases beside it (`postgres`, `sqlite`), which never
//!   import each other and alone hold SQL, and where it has one its contract. [`postgres`] and [`sqlite`] themselves are the
//!   connections.

pub mod append;
pub mod archived;
pub mod audit;
pub mod callbacks;
mod called;
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
mod file;
pub mod forks;
pub mod instance_marks;
pub mod keys;
pub mod log;
mod pool;
pub mod postgres;
pub mod proofs;
pub mod rebuild;
pub mod reconcile;
pub mod retention;
mod schema;
mod server;
pub mod side;
pub mod sqlite;
pub mod storage_roots;
mod values;
pub mod witness;

pub use crate::merkle::Hash;
pub use append::{
    AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, CallbackTarget, FoundAnswers, IdempotencyRecord,
    NewEvent, PageSizes, StreamSnapshot,
};
pub use archived::{ArchivedPage, ArchivedRow, ArchivedStore, ListPage};
pub use coordination::CoordinationStore;
pub use error::{StoreError, ensure_rows};
pub use log::{EntityStream, ReadStore, entity_of};
pub use pool::PoolState;

use archive_ledger_domain::{EntityKey, Event, EventMetadata};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::persist::SerializedEvent;
use uuid::Uuid;

/// The place of an event in the log: 1 is the first.
pub type Position = u64;

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
