//! What a comparison of the storage with the ledger reads, page by page.

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

/// Where a page of [`ReconcileStore::purged_storage`] goes on: the last one's job and number; the nil id and 0 at first.
pub type PurgedCursor = (Uuid, u32);

/// Reads for a comparison of the storage with the ledger. Each page is a snapshot of its own.
#[async_trait]
pub trait ReconcileStore: Send + Sync {
    /// Entities that something is sealed for and that were not purged, by stream id, those after `after`: their stream ids, which
    /// name no entity where somebody changed them.
    async fn sealed_streams(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError>;

    /// Storage URIs of entities whose purge is over, as far as their hashes were kept.
    async fn purged_storage(&self, after: PurgedCursor, limit: u32)
    -> Result<Vec<PurgedStorage>, StoreError>;
}
