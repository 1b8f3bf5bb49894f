//! Stores that lie or stall, to bring the relay into states that only bad luck brings about.

use archive_ledger::store::{
    ArchivedPage, ArchivedStore, CoordinationStore, EntityStream, Head, ListPage, Position, ReadStore,
    StoreError, StoredEvent,
};
use archive_ledger_domain::{EntityKey, EntityType, EventName};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Grants every lease to everybody: each relay believes for ever that it leads.
pub struct EverybodyLeads(pub Arc<dyn CoordinationStore>);

#[async_trait]
impl CoordinationStore for EverybodyLeads {
    async fn acquire_lease(
        &self,
        _name: &str,
        _owner: Uuid,
        _ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        Ok(Some(1))
    }

    async fn release_lease(&self, _name: &str, _owner: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        self.0.cursor(name).await
    }

    async fn advance_cursor(&self, name: &str, position: Position) -> Result<(), StoreError> {
        self.0.advance_cursor(name, position).await
    }
}

/// Stops the whole thread after a page of the log was read, until it is told to go on: what SIGSTOP does to a process.
pub struct Stalling {
    pub store: Arc<dyn ReadStore>,
    /// The pause lasts for as long as the test has this set.
    pub stall: Arc<AtomicBool>,
    /// Set once it has begun: the position behind which the page was read.
    pub stalled_after: Arc<AtomicU64>,
}

#[async_trait]
impl ArchivedStore for Stalling {
    async fn summary(&self) -> Result<BTreeMap<EntityType, u64>, StoreError> {
        self.store.summary().await
    }

    async fn list(
        &self,
        entity_type: EntityType,
        page: &ListPage,
        limit: u32,
    ) -> Result<ArchivedPage, StoreError> {
        self.store.list(entity_type, page, limit).await
    }
}

#[async_trait]
impl ReadStore for Stalling {
    async fn vouch(&self) -> Result<(), StoreError> {
        self.store.vouch().await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.store.head().await
    }

    async fn stream(&self, key: &EntityKey) -> Result<Option<EntityStream>, StoreError> {
        self.store.stream(key).await
    }

    async fn log_after(
        &self,
        position: Position,
        names: &[EventName],
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let page = self.store.log_after(position, names, limit).await?;
        while page.len() > 1 && self.stall.load(Ordering::SeqCst) {
            self.stalled_after.store(position, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(page)
    }

    async fn log_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, StoreError> {
        self.store.log_at(positions).await
    }
}
