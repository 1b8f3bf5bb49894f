//! Reads of the log: its head, its events, and the streams that they make up.

#[cfg(feature = "contract")]
pub mod contract;
pub(super) mod postgres;
pub(super) mod sqlite;

use super::PoolState;
use super::archived::ArchivedStore;
use super::{Head, Position, StoreError, StoredEvent, WrappedKey};
use archive_ledger_domain::{ArchivedEntity, EntityKey, EventName};
use async_trait::async_trait;
use cqrs_es::Aggregate as _;

/// An entity's whole stream and its key.
#[derive(Debug, Clone)]
pub struct EntityStream {
    /// Its events, in order.
    pub events: Vec<StoredEvent>,
    /// Its data key; absent when it was never sealed anything, or was purged.
    pub data_key: Option<WrappedKey>,
}

/// What events of one stream, from its first on, made of their entity. For whoever has read them for what is sealed beside
/// them, and so has to see both in one snapshot; who needs the entity alone loads it through `cqrs-es`.
#[must_use]
pub fn entity_of(events: &[StoredEvent]) -> ArchivedEntity {
    let mut entity = ArchivedEntity::default();
    for event in events {
        entity.apply(event.event.clone());
    }
    entity
}

/// Reads, each in a snapshot of its own.
#[async_trait]
pub trait ReadStore: ArchivedStore {
    /// What somebody should look at although the database answers, one sentence each, for anybody to read.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// How the pools of its connections are, for whoever keeps the service running.
    fn pools(&self) -> Vec<PoolState> {
        Vec::new()
    }

    /// Whether the database answers, and is the one that this process knows: it has what was acknowledged and signed. For
    /// whoever begins to act on the log: at a new connection, when a lease is taken up.
    ///
    /// # Errors
    /// [`StoreError::Diverged`] when it is another one, which also ends the process; [`StoreError`] when it does not answer.
    async fn vouch(&self) -> Result<(), StoreError>;

    /// The head of the log.
    async fn head(&self) -> Result<Head, StoreError>;

    /// An entity's stream; `None` when the ledger has never heard of it.
    async fn stream(&self, key: &EntityKey) -> Result<Option<EntityStream>, StoreError>;

    /// The events after a position, in order, `limit` at the most; of the given names only, when there are any.
    async fn log_after(
        &self,
        position: Position,
        names: &[EventName],
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// The events at these positions, in order; those that do not exist are left out.
    async fn log_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, StoreError>;
}
