//! SQLite: the end of what is finished.

use super::{PRUNED_AT_ONCE, RetentionStore};
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::store::values::micros;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Connection;
use sqlx::types::Json;

#[async_trait]
impl RetentionStore for SqliteStore {
    async fn prune_deliveries(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let operation = "remove finished callback deliveries";
        let failed = StoreError::database;
        let mut connection = self.writing().await;
        let mut tx = connection.begin().await.map_err(failed(operation))?;
        let entities: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT told.aggregate_id FROM callback_deliveries told
             WHERE told.state = 'delivered' AND told.final AND told.finished_at < ?1
               AND NOT EXISTS (SELECT 1 FROM callback_deliveries d
                               WHERE d.aggregate_id = told.aggregate_id
                                 AND (d.state IN ('due', 'dead') OR d.finished_at >= ?1))
             LIMIT ?2",
        )
        .bind(micros(before))
        .bind(PRUNED_AT_ONCE)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed(operation))?;
        if entities.is_empty() {
            return Ok(0);
        }
        for sql in [
            "DELETE FROM callback_attempts WHERE delivery_id IN
                 (SELECT delivery_id FROM callback_deliveries WHERE aggregate_id IN (SELECT value FROM json_each(?1)))",
            "DELETE FROM callback_deliveries WHERE aggregate_id IN (SELECT value FROM json_each(?1))",
            "DELETE FROM callback_targets WHERE aggregate_id IN (SELECT value FROM json_each(?1))",
        ] {
            sqlx::query(sql)
                .bind(Json(&entities))
                .execute(&mut *tx)
                .await
                .map_err(failed(operation))?;
        }
        tx.commit().await.map_err(failed(operation))?;
        Ok(entities.len() as u64)
    }

    async fn prune_answers(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut connection = self.writing().await;
        let removed = sqlx::query(
            "DELETE FROM idempotency_answers WHERE key IN
                 (SELECT key FROM idempotency_answers WHERE recorded_at < ?1 ORDER BY recorded_at LIMIT ?2)",
        )
        .bind(micros(before))
        .bind(PRUNED_AT_ONCE)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("remove expired answers"))?;
        Ok(removed.rows_affected())
    }
}
