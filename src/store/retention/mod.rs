//! Finished work, and how long it is kept. The log and the history are kept for ever; what is owed is never removed.
//!
//! Cleanup jobs stay: their obligations hold the hashes by which leftovers in the storage are recognized.

mod postgres;
mod sqlite;

use super::StoreError;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The most that one transaction removes, so that nobody waits for it.
pub const PRUNED_AT_ONCE: u32 = 500;

/// Removes finished work, a batch at a time. Any number of instances may do so at once.
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Removes the deliveries, with their attempts, of entities that are gone and of which every delivery was delivered or
    /// superseded before `before`; their targets go too, so that an outcome that is told again makes no new delivery.
    ///
    /// A delivery that is due or dead keeps all those of its entity, and so does an entity whose purge has failed and may be
    /// asked for again. Of at most [`PRUNED_AT_ONCE`] entities; returns of how many.
    async fn prune_deliveries(&self, before: DateTime<Utc>) -> Result<u64, StoreError>;

    /// Removes the answers to idempotency keys that were stored before `before`. [`PRUNED_AT_ONCE`] at the most; returns how
    /// many.
    async fn prune_answers(&self, before: DateTime<Utc>) -> Result<u64, StoreError>;
}
