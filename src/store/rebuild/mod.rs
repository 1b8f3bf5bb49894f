//! What a rebuild of the projections asks of a store: to read the log quickly, to keep a second set of the projections'
//! tables beside the live ones, to compare the two, and to make the live ones equal.
//!
//! ```text
//! log      1 ─────────────────────────────▶ n ──────▶ m
//!          read in pages, nothing is locked           │ frozen: a snapshot or the head lock; the last few events
//! shadow   filled in the order of the log             ▼
//! live     untouched                                  compared; replaced only in the transaction that holds the head lock
//! ```
//!
//! The shadow tables belong to one rebuild: nobody else sees them, and they go with it, however it ends.

mod postgres;
mod side_file;
mod sqlite;

use super::{Position, StoreError, decode_payload};
use archive_ledger_domain::{EntityKey, Event};
use archive_ledger_projections::{Changes, Recorded};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// The projections' tables, in the order in which they are compared.
///
/// The pages of the archived list have no shadow: where they begin is history, and what they count is the list. They are
/// compared with the live list, and counted anew where they or the list differ.
pub const TABLES: [&str; 4] = [
    "archived_entries",
    "archived_summary",
    "purge_work",
    "archived_pages",
];

/// How many differing rows of a table are named.
pub const EXAMPLES: i64 = 10;

/// An event as a replay reads it: what projections see, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedEvent {
    /// Its place in the log.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
    /// The entity that it happened to.
    pub key: EntityKey,
    /// The entity's version after it, from 1.
    pub sequence: u64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// What happened.
    pub event: Event,
}

/// The columns of an event that name and hold what happened, as they are stored.
pub(super) struct Columns<'a> {
    pub(super) aggregate_id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) event_version: &'a str,
    pub(super) payload: &'a str,
}

impl Columns<'_> {
    pub(super) fn read(&self) -> Result<(EntityKey, Event), StoreError> {
        let key = EntityKey::from_stream_id(self.aggregate_id)
            .map_err(|error| StoreError::inconsistent("replay the log", error.to_string()))?;
        let event = decode_payload(self.event_type, self.event_version, self.payload)?;
        Ok((key, event))
    }
}

impl ReplayedEvent {
    /// The event as projections take it.
    #[must_use]
    pub const fn recorded(&self) -> Recorded<'_> {
        Recorded {
            position: self.position,
            event_id: self.event_id,
            key: &self.key,
            sequence: self.sequence,
            recorded_at: self.recorded_at,
            event: &self.event,
        }
    }
}

/// What the shadow and live tables are held still with while they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A snapshot: nobody waits, and nothing can be replaced.
    Snapshot,
    /// The head lock: commands wait.
    HeadLock,
}

/// How a live row differs from what the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// The log says that it should be there, and it is not.
    Missing,
    /// It is there, and the log does not say so.
    Surplus,
    /// It says something else than the log.
    Different,
}

impl DifferenceKind {
    /// The kind in words, as the comparison's views have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Surplus => "surplus",
            Self::Different => "different",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Missing, Self::Surplus, Self::Different]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                StoreError::inconsistent("compare the projections", "an unknown kind of difference")
            })
    }
}

/// How one live table differs from what the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDifferences {
    /// The table.
    pub table: &'static str,
    /// Rows that should be there and are not.
    pub missing: u64,
    /// Rows that are there and should not be.
    pub surplus: u64,
    /// Rows that say something else.
    pub different: u64,
    /// Some of them: `<entity_type>:<id>`, for the summary the type alone.
    pub examples: Vec<(DifferenceKind, String)>,
}

impl TableDifferences {
    /// A table without differences.
    #[must_use]
    pub const fn none(table: &'static str) -> Self {
        Self {
            table,
            missing: 0,
            surplus: 0,
            different: 0,
            examples: Vec::new(),
        }
    }

    /// How many rows differ.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.missing + self.surplus + self.different
    }

    pub(super) const fn count(&mut self, kind: DifferenceKind, rows: u64) {
        match kind {
            DifferenceKind::Missing => self.missing = rows,
            DifferenceKind::Surplus => self.surplus = rows,
            DifferenceKind::Different => self.different = rows,
        }
    }
}

/// Reads the log for a replay.
#[async_trait]
pub trait ReplayLog: Send + Sync {
    /// The events after a position that are committed, in order, `limit` at the most. No lock is held before or after.
    async fn page(&self, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError>;
}

/// The shadow tables of one rebuild, empty at first. Dropping them takes them away.
#[async_trait]
pub trait ShadowTables: Send {
    /// Which of these entities the shadow list holds.
    async fn listed(&mut self, keys: &[&EntityKey]) -> Result<HashSet<EntityKey>, StoreError>;

    /// Applies changes to the shadow tables, whose list is found by entities and not by places.
    async fn apply(&mut self, changes: &Changes) -> Result<(), StoreError>;

    /// Holds log and live tables still until [`ShadowTables::thaw`] or [`ShadowTables::replace`]; returns the head's position.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is held then.
    async fn freeze(&mut self, hold: Hold) -> Result<Position, StoreError>;

    /// The events after a position, as [`ReplayLog::page`], within what [`ShadowTables::freeze`] holds.
    async fn frozen_page(&mut self, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError>;

    /// How the live tables differ from the shadow ones, each of [`TABLES`].
    async fn differences(&mut self) -> Result<Vec<TableDifferences>, StoreError>;

    /// Makes the live tables equal to the shadow ones, commits, and gives the head lock back. Only rows that differ are
    /// written, so that readers see the tables as they were or as they shall be, and every index, constraint and grant
    /// stays.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is replaced then.
    async fn replace(&mut self) -> Result<(), StoreError>;

    /// Lets go of what [`ShadowTables::freeze`] holds; nothing is replaced.
    async fn thaw(&mut self) -> Result<(), StoreError>;

    /// Takes the shadow tables away and lets the next rebuild begin.
    async fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Everything that a rebuild needs of a store.
pub struct RebuildStore {
    /// The log.
    pub log: Arc<dyn ReplayLog>,
    /// The shadow tables.
    pub shadow: Box<dyn ShadowTables>,
}

impl std::fmt::Debug for RebuildStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RebuildStore").finish_non_exhaustive()
    }
}
