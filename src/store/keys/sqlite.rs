//! SQLite: which keys of the keyring are in use.

use super::KeyStore;
use crate::store::columns::Columns as _;
use crate::store::sqlite::SqliteStore;
use crate::store::values::non_negative;
use crate::store::{StoreError, WrappedKey};
use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

#[async_trait]
impl KeyStore for SqliteStore {
    async fn recall_all(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let operation = "recall what is known of the keys";
        let rows = sqlx::query(
            "SELECT name, value FROM ledger_meta WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
        )
        .bind(prefix)
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| Ok((row.read(operation, "name")?, row.read(operation, "value")?)))
            .collect()
    }

    async fn remember_key(&self, name: &str, value: &str) -> Result<String, StoreError> {
        self.remember(name, value).await
    }

    async fn keks_in_use(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let operation = "find the keys in use";
        let rows = sqlx::query(
            "SELECT CAST(kek_id AS TEXT) AS kek_id, count(*) AS count
             FROM entities WHERE wrapped IS NOT NULL GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                let count = non_negative(operation, row.read(operation, "count")?)?;
                Ok((row.read(operation, "kek_id")?, count))
            })
            .collect()
    }

    async fn wrapped_with(&self, kek_id: &str, limit: u32) -> Result<Vec<(String, WrappedKey)>, StoreError> {
        let operation = "read wrapped keys";
        let rows = sqlx::query(
            "SELECT aggregate_id, key_id, kek_id, wrapped FROM entities WHERE kek_id = ?1 LIMIT ?2",
        )
        .bind(kek_id)
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .filter_map(|row| {
                let key = wrapped_key(row)?;
                Some(
                    row.read(operation, "aggregate_id")
                        .map(|stream_id| (stream_id, key)),
                )
            })
            .collect()
    }

    async fn sealed_for_service(&self, limit: u32) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let operation = "read sealed callback URLs";
        let rows = sqlx::query(
            "SELECT * FROM (SELECT aggregate_id, url_sealed FROM callback_targets LIMIT ?1)
             UNION ALL
             SELECT * FROM (SELECT aggregate_id, url_sealed FROM callback_deliveries LIMIT ?1)",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                Ok((
                    row.read(operation, "aggregate_id")?,
                    row.read(operation, "url_sealed")?,
                ))
            })
            .collect()
    }
}

/// The stream's key. One that was made unreadable opens nothing, which concerns its entity and nobody else: it is no error of the
/// page that it stands on.
pub(in crate::store) fn wrapped_key(row: &SqliteRow) -> Option<WrappedKey> {
    let key_id = row
        .try_get::<Option<String>, _>("key_id")
        .unwrap_or(Some(String::new()))?;
    Some(WrappedKey {
        key_id: key_id.parse().unwrap_or_default(),
        kek_id: row.try_get("kek_id").unwrap_or_default(),
        wrapped: row.try_get("wrapped").unwrap_or_default(),
    })
}
