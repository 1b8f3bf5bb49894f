//! What the ledger knows of the keys that its entities' keys are wrapped with.

pub(super) mod postgres;
pub(super) mod sqlite;

use super::{StoreError, WrappedKey};
use async_trait::async_trait;

/// Reads which keys of the keyring are in use, and keeps what is remembered of them.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// What the ledger remembers under names that begin with `prefix`, by name.
    async fn recall_all(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Remembers a fact once and for all; returns what stands, which is not `value` when something stood before.
    async fn remember_key(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// The ids of the keys that entities' keys are wrapped with, and how many entities each of them has.
    async fn keks_in_use(&self) -> Result<Vec<(String, u64)>, StoreError>;

    /// Some entities' keys that are wrapped with a key, and their streams.
    async fn wrapped_with(&self, kek_id: &str, limit: u32) -> Result<Vec<(String, WrappedKey)>, StoreError>;

    /// Some callback URLs, which are sealed under the service's own key, and the streams of their entities.
    async fn sealed_for_service(&self, limit: u32) -> Result<Vec<(String, Vec<u8>)>, StoreError>;
}
