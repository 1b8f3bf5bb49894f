//! PostgreSQL: the end of what is finished.

use super::{PRUNED_AT_ONCE, RetentionStore};
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

#[async_trait]
impl RetentionStore for PostgresStore {
    async fn prune_deliveries(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let operation = "remove finished callback deliveries";
        let failed = StoreError::database;
        let mut tx = self.pool.begin().await.map_err(failed(operation))?;
        let mut entities: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT told.aggregate_id FROM callback_deliveries told
             WHERE told.state = 'delivered' AND told.final AND told.finished_at < $1
               AND NOT EXISTS (SELECT 1 FROM callback_deliveries d
                               WHERE d.aggregate_id = told.aggregate_id
                                 AND (d.state IN ('due', 'dead') OR d.finished_at >= $1))
             LIMIT $2",
        )
        .bind(before)
        .bind(i64::from(PRUNED_AT_ONCE))
        .fetch_all(&mut *tx)
        .await
        .map_err(failed(operation))?;
        if entities.is_empty() {
            return Ok(0);
        }
        // A replay in between makes a delivery due: with the rows locked, what is not finished any more shows and keeps its
        // entity. In one order, as replays and other instances take them.
        let rows: Vec<(String, bool)> = sqlx::query_as(
            "SELECT aggregate_id, state NOT IN ('due', 'dead') AND finished_at < $2 FROM callback_deliveries
             WHERE aggregate_id = ANY ($1) ORDER BY delivery_id FOR UPDATE",
        )
        .bind(&entities)
        .bind(before)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed(operation))?;
        entities.retain(|entity| rows.iter().all(|(of, over)| of != entity || *over));
        for sql in [
            "DELETE FROM callback_attempts WHERE delivery_id IN
                 (SELECT delivery_id FROM callback_deliveries WHERE aggregate_id = ANY ($1))",
            "DELETE FROM callback_deliveries WHERE aggregate_id = ANY ($1)",
            "DELETE FROM callback_targets WHERE aggregate_id = ANY ($1)",
        ] {
            sqlx::query(sql)
                .bind(&entities)
                .execute(&mut *tx)
                .await
                .map_err(failed(operation))?;
        }
        tx.commit().await.map_err(failed(operation))?;
        Ok(entities.len() as u64)
    }

    async fn prune_answers(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let removed = sqlx::query(
            "DELETE FROM idempotency_answers WHERE key IN
                 (SELECT key FROM idempotency_answers WHERE recorded_at < $1
                  ORDER BY recorded_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        )
        .bind(before)
        .bind(i64::from(PRUNED_AT_ONCE))
        .execute(&self.pool)
        .await
        .map_err(StoreError::database("remove expired answers"))?;
        Ok(removed.rows_affected())
    }
}
