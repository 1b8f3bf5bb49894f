//! The audit: everything that happened in one order, and everything that was only attempted.
//!
//! ```text
//! log        1       2       3               4        events, in the order of their positions
//! attempts      1         2      3  4                 denied, failed, and reads of the audit: a sequence of their own
//! place     1.0 1.1  2.0  2.2 3.0 3.3 3.4  4.0        (position, sequence): an attempt stands behind the event that was the
//!                                                     last one when it was written
//! ```
//!
//! - Positions and sequences have no gap, and an attempt's position never goes back along its sequence: places are one total
//!   order, and what is written later stands behind all that a snapshot holds.
//! - A snapshot is the last position and the last sequence, read at once. A walk that stays within it sees every row once,
//!   whatever is written meanwhile and however many rows share a time.
//! - `count` and `last_at` of an attempt grow until its minute is over; nothing else of a row ever changes.

mod attempts;
pub mod blocks;
#[cfg(feature = "contract")]
pub mod contract;
mod events;
pub mod filter;
mod postgres;
mod scan;
mod sqlite;

pub use filter::{AuditAction, AuditFilter, Outcome};
pub use scan::{export, page};

use super::{Position, StoreError};
use archive_ledger_domain::{EntityKey, Event, EventMetadata};
use async_trait::async_trait;
use blocks::{IndexTrust, IndexedValues};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// How far the log and the attempts went at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditSnapshot {
    /// The last position of the log.
    pub position: Position,
    /// The last sequence of the attempts.
    pub sequence: u64,
}

/// Where a record stands in the one order of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// The event's position, or the last one when the attempt was written.
    pub position: Position,
    /// The attempt's sequence; 0 for an event.
    pub sequence: u64,
}

/// An event as the audit shows it: what is readable of it.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// Its place in the log.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
    /// The entity that it happened to.
    pub key: EntityKey,
    /// The entity's version after it.
    pub version: u64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// What happened.
    pub event: Event,
    /// Who and what stands behind it.
    pub metadata: EventMetadata,
    /// The command that it follows from.
    pub command_id: Uuid,
}

/// Something that was only attempted, or a read of the audit; alike ones of a minute are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// What was attempted.
    pub action: AuditAction,
    /// Why it was not allowed: the error's id, or what was wrong with the token.
    pub reason: Option<String>,
    /// Who, if a valid token said so.
    pub actor: Option<String>,
    /// The issuer of that token.
    pub token_issuer: Option<String>,
    /// The hash of that token's id.
    pub token_id_hash: Option<String>,
    /// From where.
    pub ip: Option<String>,
    /// With which program, the first time.
    pub user_agent: Option<String>,
    /// By which request, the first time.
    pub request_id: Option<String>,
    /// On which entity, where it is known.
    pub key: Option<EntityKey>,
    /// More, such as the filters of a read.
    pub detail: Option<String>,
    /// The first time.
    pub first_at: DateTime<Utc>,
    /// The last time so far.
    pub last_at: DateTime<Utc>,
    /// How often so far.
    pub count: u64,
}

/// An attempt and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// Its place.
    pub place: AuditPlace,
    /// What it was.
    pub attempt: Attempt,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRecord {
    /// Its place.
    pub place: AuditPlace,
    /// The entity, where that can be read.
    pub key: Option<EntityKey>,
    /// The event's id, where that can be read.
    pub event_id: Option<Uuid>,
}

/// One line of the audit.
#[derive(Debug, Clone)]
pub enum AuditRecord {
    /// Something stands there that cannot be read.
    Unreadable(Box<UnreadableRecord>),
    /// It happened.
    Event(Box<AuditEvent>),
    /// It was attempted, or read.
    Attempt(Box<StoredAttempt>),
}

impl AuditRecord {
    /// Where it stands.
    #[must_use]
    pub const fn place(&self) -> AuditPlace {
        match self {
            Self::Event(event) => AuditPlace {
                position: event.position,
                sequence: 0,
            },
            Self::Attempt(stored) => stored.place,
            Self::Unreadable(record) => record.place,
        }
    }
}

/// Which way a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// One step of a walk through the audit.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    /// What is asked for.
    pub filter: AuditFilter,
    /// What the walk stays within.
    pub snapshot: AuditSnapshot,
    /// Which way.
    pub order: Order,
    /// Where the step before ended; nothing at the first one.
    pub after: Option<AuditPlace>,
    /// How many records at the most.
    pub limit: u32,
}

/// What a step came to.
#[derive(Debug)]
pub struct AuditPage {
    /// The records, in the order that was asked for.
    pub records: Vec<AuditRecord>,
    /// Where the next step begins; `None` when nothing that matches is left within the snapshot. A step ends after a bounded
    /// amount of work, so there may be a next one after fewer records than were asked for, or none.
    pub next: Option<AuditPlace>,
}

/// Which rows a backend reads.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// What is asked for.
    pub filter: &'a AuditFilter,
    /// Which way.
    pub order: Order,
    /// How many at the most.
    pub limit: u32,
}

/// Which attempts a backend looks at.
#[derive(Debug, Clone, Copy)]
pub struct AttemptSpan {
    /// Behind this place.
    pub low: AuditPlace,
    /// Before this place.
    pub high: AuditPlace,
    /// Up to this sequence. An attempt that was written while the snapshot was taken may stand among those before it.
    pub last: u64,
    /// How many to look at, at the most.
    pub scanned: u32,
}

/// What is added to the attempts in one transaction.
#[derive(Debug, Clone, Default)]
pub struct AttemptsWrite {
    /// New rows, in order.
    pub added: Vec<Attempt>,
    /// What rows of this minute have grown by: sequence, how often more, and the last time.
    pub grown: Vec<(u64, u64, DateTime<Utc>)>,
}

/// Reads the audit, and keeps what the log does not.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// How far log and attempts go, at one moment.
    async fn audit_snapshot(&self) -> Result<AuditSnapshot, StoreError>;

    /// The last position up to `last` that was recorded before `time`; 0 when none was. Times never go back along the log.
    async fn position_before(&self, time: DateTime<Utc>, last: Position) -> Result<Position, StoreError>;

    /// The events in these ranges of positions (from, to; both included; apart, and in ascending order) that match.
    async fn audit_events(
        &self,
        rows: Rows<'_>,
        ranges: &[(Position, Position)],
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// The events of the filter's entities between two positions (both included) that match.
    async fn audit_entity_events(
        &self,
        rows: Rows<'_>,
        low: Position,
        high: Position,
    ) -> Result<Vec<AuditRecord>, StoreError>;

    /// The attempts of a span that match. Also says how far it looked, when it ended before the span did and before it had
    /// found as many as were asked for.
    async fn audit_attempts(
        &self,
        rows: Rows<'_>,
        span: AttemptSpan,
    ) -> Result<(Vec<AuditRecord>, Option<AuditPlace>), StoreError>;

    /// Adds attempts, all or none; returns the sequences of the new rows.
    async fn add_attempts(&self, write: &AttemptsWrite) -> Result<Vec<u64>, StoreError>;

    /// How many blocks the index of blocks covers.
    async fn indexed_blocks(&self) -> Result<u64, StoreError>;

    /// The blocks in which any of the tokens occurs, between two blocks (both included), the first `limit` in this order.
    async fn blocks_with(
        &self,
        tokens: &[i64],
        low: u64,
        high: u64,
        order: Order,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError>;

    /// What the index of blocks says, in the order of token and block, behind a pair of them: `limit` pairs at the most.
    async fn index_entries(
        &self,
        after: Option<(i64, u64)>,
        limit: u32,
    ) -> Result<Vec<(i64, u64)>, StoreError>;

    /// Whether this process has reason to look into the index of blocks.
    fn index_trust(&self) -> &IndexTrust;

    /// Empties the index of blocks: it is built again from the first block on, and the log itself is read meanwhile.
    async fn empty_index(&self) -> Result<(), StoreError>;

    /// What is indexed of the events between two positions (both included), in any order.
    async fn indexed_values(&self, low: Position, high: Position) -> Result<Vec<IndexedValues>, StoreError>;

    /// Adds `count` blocks from `first` on to the index, with their entries (token and block) in its order; nothing when the
    /// index does not end at `first`, because another instance was faster.
    async fn add_blocks(&self, first: u64, count: u64, entries: &[(i64, u64)]) -> Result<(), StoreError>;
}
