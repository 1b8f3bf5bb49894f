//! SQLite: what a comparison of the storage with the ledger reads.

use super::{BAD_KEYS, Page, PurgedCursor, PurgedStorage, ReconcileStore};
use crate::store::StoreError;
use crate::store::cleanup_jobs::storage_hash;
use crate::store::columns::Columns as _;
use crate::store::sqlite::SqliteStore;
use crate::store::values::{entity_key, non_negative, uuid};
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

#[async_trait]
impl ReconcileStore for SqliteStore {
    async fn sealed_streams(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        let operation = "list the sealed entities";
        // Columns take values of any kind. What is no text has no place in the order, and is told as SQL writes it.
        let mut streams: Vec<String> = if after.is_empty() {
            sqlx::query_scalar(
                "SELECT quote(aggregate_id) FROM entities
                 WHERE typeof(aggregate_id) <> 'text' AND wrapped IS NOT NULL LIMIT ?1",
            )
            .bind(BAD_KEYS)
            .fetch_all(&self.reads)
            .await
            .map_err(StoreError::database(operation))?
        } else {
            Vec::new()
        };
        let page: Vec<String> = sqlx::query_scalar(
            "SELECT aggregate_id FROM entities
             WHERE aggregate_id > ?1 AND typeof(aggregate_id) = 'text' AND wrapped IS NOT NULL
             ORDER BY aggregate_id LIMIT ?2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        streams.extend(page);
        Ok(streams)
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
             WHERE (o.event_id, o.ordinal) > (?1, ?2) AND o.storage_hash IS NOT NULL
               AND typeof(o.event_id) = 'text' AND typeof(o.ordinal) = 'integer'
             ORDER BY o.event_id, o.ordinal
             LIMIT ?3",
        )
        .bind(&after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        let page = Page::of(
            &rows,
            |row| purged(operation, row),
            |row| row.read(operation, "aggregate_id").ok(),
            |row| Ok((row.read(operation, "event_id")?, row.read(operation, "ordinal")?)),
        )?;
        if !after.0.is_empty() {
            return Ok(page);
        }
        // Columns take values of any kind: such a key has no place in the order.
        let bad = sqlx::query(
            "SELECT 1 FROM cleanup_obligations WHERE typeof(event_id) <> 'text' OR typeof(ordinal) <> 'integer' LIMIT ?1",
        )
        .bind(BAD_KEYS)
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(page.behind_bad_keys(operation, bad.len()))
    }
}

fn purged(operation: &'static str, row: &SqliteRow) -> Result<PurgedStorage, StoreError> {
    let missing = || StoreError::inconsistent(operation, "a hash or number is missing");
    Ok(PurgedStorage {
        event_id: uuid(operation, row.read(operation, "event_id")?)?,
        ordinal: u32::try_from(row.read::<i64>(operation, "ordinal")?).map_err(|_| missing())?,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        purge_id: uuid(operation, row.read(operation, "purge_id")?)?,
        given_up: row.read::<&str>(operation, "state")? != "done",
        position: non_negative(operation, row.read(operation, "position")?)?,
        hash: storage_hash(operation, row.read(operation, "storage_hash")?)?.ok_or_else(missing)?,
    })
}
