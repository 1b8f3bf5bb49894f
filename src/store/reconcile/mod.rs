//! What a comparison of the storage with the ledger reads, page by page.

mod postgres;
pub mod scratch;
mod sqlite;

use super::{Hash, Position, StoreError};
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use uuid::Uuid;

/// One storage URI of an entity that was purged: all that is known of it is a keyed hash of what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgedStorage {
    /// The job that it was an obligation of.
    pub event_id: Uuid,
    /// Which of the purge's URIs, from 1.
    pub ordinal: u32,
    /// The entity.
    pub key: EntityKey,
    /// The purge.
    pub purge_id: Uuid,
    /// Whether it was given up rather than seen empty.
    pub given_up: bool,
    /// The position of the request.
    pub position: Position,
    /// What it names.
    pub hash: Hash,
}

/// Where a page of [`ReconcileStore::purged_storage`] goes on: the last one's job and number, as they stand; nothing and 0 at first.
pub type PurgedCursor = (String, i64);

/// A page of rows, each of which may be unreadable by itself: somebody changed it.
#[derive(Debug)]
pub struct Page<T, C> {
    /// The rows, in order.
    pub rows: Vec<Result<T, BadRow>>,
    /// Where the next page goes on; none behind the last one.
    pub next: Option<C>,
}

/// A row that cannot be read.
#[derive(Debug)]
pub struct BadRow {
    /// The stream id of the entity that it is about, where that can be read.
    pub stream_id: Option<String>,
    /// What is wrong.
    pub error: StoreError,
}

/// How many rows are told whose very key is of another kind, so that no page reaches them.
pub(super) const BAD_KEYS: u32 = 1_000;

impl<T, C> Page<T, C> {
    /// What `read` makes of rows; `at` says where each stands.
    pub(super) fn of<R>(
        rows: &[R],
        read: impl Fn(&R) -> Result<T, StoreError>,
        stream_id: impl Fn(&R) -> Option<String>,
        at: impl Fn(&R) -> Result<C, StoreError>,
    ) -> Result<Self, StoreError> {
        let told = |row| {
            read(row).map_err(|error| BadRow {
                stream_id: stream_id(row),
                error,
            })
        };
        Ok(Self {
            next: rows.last().map(at).transpose()?,
            rows: rows.iter().map(told).collect(),
        })
    }

    /// With as many rows before it whose keys cannot be read.
    pub(super) fn behind_bad_keys(mut self, operation: &'static str, count: usize) -> Self {
        let bad = || BadRow {
            stream_id: None,
            error: StoreError::inconsistent(operation, "a row's key is of another kind"),
        };
        self.rows.splice(..0, (0..count).map(|_| Err(bad())));
        self
    }
}

/// Reads for a comparison of the storage with the ledger. Each page is a snapshot of its own.
#[async_trait]
pub trait ReconcileStore: Send + Sync {
    /// Entities that something is sealed for and that were not purged, by stream id, those after `after`: their stream ids, which
    /// name no entity where somebody changed them.
    async fn sealed_streams(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError>;

    /// Storage URIs of entities whose purge is over, as far as their hashes were kept.
    async fn purged_storage(
        &self,
        after: &PurgedCursor,
        limit: u32,
    ) -> Result<Page<PurgedStorage, PurgedCursor>, StoreError>;
}
