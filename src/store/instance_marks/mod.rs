//! What instances must have in common: each tells its own, as keyed hashes, and sees what the others have told.

mod postgres;
mod sqlite;

use super::StoreError;
use async_trait::async_trait;
use std::time::Duration;
use uuid::Uuid;

/// What an instance has of something that all must share: one mark, or several while it is being replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceMark {
    /// What it is.
    pub name: String,
    /// Keyed hashes of it.
    pub marks: Vec<String>,
}

/// Keeps what running instances have.
#[async_trait]
pub trait InstanceMarkStore: Send + Sync {
    /// Tells what this instance has, and returns what every other instance has told within `fresh`, by the database's time. What
    /// was told longer ago is removed: that instance is gone.
    async fn tell_marks(
        &self,
        instance: Uuid,
        own: &[InstanceMark],
        fresh: Duration,
    ) -> Result<Vec<(Uuid, InstanceMark)>, StoreError>;

    /// Removes what this instance has told: it ends.
    async fn forget_marks(&self, instance: Uuid) -> Result<(), StoreError>;
}
