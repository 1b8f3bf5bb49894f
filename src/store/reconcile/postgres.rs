//! PostgreSQL: what a comparison of the storage with the ledger reads.

use super::{Page, PurgedCursor, PurgedStorage, ReconcileStore};
use crate::store::StoreError;
use crate::store::cleanup_jobs::storage_hash;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::values::{entity_key, non_negative};
use async_trait::async_trait;
use sqlx::postgres::PgRow;
use uuid::Uuid;

#[async_trait]
impl ReconcileStore for PostgresStore {
    async fn sealed_streams(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT aggregate_id FROM entities WHERE aggregate_id > $1 AND wrapped IS NOT NULL ORDER BY aggregate_id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database("list the sealed entities"))
    }

    async fn purged_storage(
        &self,
        after: &PurgedCursor,
        limit: u32,
    ) -> Result<Page<PurgedStorage, PurgedCursor>, StoreError> {
        let operation = "list the purged storage";
        let rows = sqlx::query(
            "SELECT o.event_id, o.ordinal, o.state, o.storage_hash, j.position, j.aggregate_id, j.purge_id
             FROM cleanup_obligations o
             JOIN cleanup_jobs j ON j.event_id = o.event_id
             JOIN entities e ON e.aggregate_id = j.aggregate_id AND e.erased_at IS NOT NULL
             WHERE (o.event_id, o.ordinal) > ($1, $2) AND o.storage_hash IS NOT NULL
             ORDER BY o.event_id, o.ordinal
             LIMIT $3",
        )
        .bind(after.0.parse::<Uuid>().unwrap_or_default())
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        Page::of(
            &rows,
            |row| purged(operation, row),
            |row| row.read(operation, "aggregate_id").ok(),
            |row| {
                let event_id: Uuid = row.read(operation, "event_id")?;
                Ok((event_id.to_string(), row.read(operation, "ordinal")?))
            },
        )
    }
}

fn purged(operation: &'static str, row: &PgRow) -> Result<PurgedStorage, StoreError> {
    let missing = || StoreError::inconsistent(operation, "a hash or number is missing");
    Ok(PurgedStorage {
        event_id: row.read(operation, "event_id")?,
        ordinal: u32::try_from(row.read::<i64>(operation, "ordinal")?).map_err(|_| missing())?,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        purge_id: row.read(operation, "purge_id")?,
        given_up: row.read::<&str>(operation, "state")? != "done",
        position: non_negative(operation, row.read(operation, "position")?)?,
        hash: storage_hash(operation, row.read(operation, "storage_hash")?)?.ok_or_else(missing)?,
    })
}
