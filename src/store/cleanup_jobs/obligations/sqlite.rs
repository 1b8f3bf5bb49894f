//! SQLite: the rows of the storage cleanup's jobs, as they are read.

use crate::store::StoreError;
use crate::store::cleanup_jobs::{Obligation, obligation_state, small, storage_hash};
use crate::store::columns::Columns as _;
use crate::store::values::{non_negative, time, uuid};
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

pub(in crate::store::cleanup_jobs) async fn load_obligations(
    connection: &mut SqliteConnection,
    operation: &'static str,
    jobs: &[&str],
) -> Result<HashMap<Uuid, Vec<Obligation>>, StoreError> {
    let rows = sqlx::query(
        "SELECT event_id, ordinal, state, objects, bytes, last_error, storage_hash, under_way, at_least, failed_at,
                nobody_since
         FROM cleanup_obligations WHERE event_id IN (SELECT value FROM json_each(?1)) ORDER BY event_id, ordinal",
    )
    .bind(Json(jobs))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database(operation))?;
    let mut found: HashMap<Uuid, Vec<Obligation>> = HashMap::new();
    for row in &rows {
        let event_id = uuid(operation, row.read(operation, "event_id")?)?;
        found.entry(event_id).or_default().push(Obligation {
            ordinal: small(operation, row.read(operation, "ordinal")?)?,
            state: obligation_state(operation, row.read(operation, "state")?)?,
            objects: non_negative(operation, row.read(operation, "objects")?)?,
            bytes: non_negative(operation, row.read(operation, "bytes")?)?,
            last_error: row.read(operation, "last_error")?,
            storage_hash: storage_hash(operation, row.read(operation, "storage_hash")?)?,
            under_way: row.read(operation, "under_way")?,
            at_least: row.read(operation, "at_least")?,
            failed_at: row.read(operation, "failed_at")?,
            nobody_since: optional_time(operation, row, "nobody_since")?,
        });
    }
    Ok(found)
}

pub(in crate::store::cleanup_jobs) fn optional_time(
    operation: &'static str,
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    row.read::<Option<i64>>(operation, column)?
        .map(|micros| time(operation, micros))
        .transpose()
}
