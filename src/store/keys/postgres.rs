//! PostgreSQL: which keys of the keyring are in use.

use super::KeyStore;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::values::non_negative;
use crate::store::{StoreError, WrappedKey};
use async_trait::async_trait;
use sqlx::postgres::PgRow;

#[async_trait]
impl KeyStore for PostgresStore {
    async fn recall_all(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let operation = "recall what is known of the keys";
        let rows =
            sqlx::query("SELECT name, value FROM ledger_meta WHERE starts_with(name, $1) ORDER BY name")
                .bind(prefix)
                .fetch_all(&self.pool)
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
        let rows =
            sqlx::query("SELECT kek_id, count(*) AS count FROM entities WHERE wrapped IS NOT NULL GROUP BY kek_id ORDER BY kek_id")
                .fetch_all(&self.pool)
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
            "SELECT aggregate_id, key_id, kek_id, wrapped FROM entities WHERE kek_id = $1 LIMIT $2",
        )
        .bind(kek_id)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                let key = WrappedKey {
                    key_id: row.read(operation, "key_id")?,
                    kek_id: row.read(operation, "kek_id")?,
                    wrapped: row.read(operation, "wrapped")?,
                };
                Ok((row.read(operation, "aggregate_id")?, key))
            })
            .collect()
    }

    async fn sealed_for_service(&self, limit: u32) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let operation = "read sealed callback URLs";
        let rows = sqlx::query(
            "(SELECT aggregate_id, url_sealed FROM callback_targets LIMIT $1)
             UNION ALL
             (SELECT aggregate_id, url_sealed FROM callback_deliveries LIMIT $1)",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
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

/// The stream's key, where it has one.
pub(in crate::store) fn wrapped_key(
    operation: &'static str,
    row: &PgRow,
) -> Result<Option<WrappedKey>, StoreError> {
    let Some(key_id) = row.read(operation, "key_id")? else {
        return Ok(None);
    };
    Ok(Some(WrappedKey {
        key_id,
        kek_id: row.read(operation, "kek_id")?,
        wrapped: row.read(operation, "wrapped")?,
    }))
}
