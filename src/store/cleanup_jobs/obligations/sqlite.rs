//! SQLite: the rows of the storage cleanup's jobs, as they are read.

use crate::store::StoreError;
use crate::store::cleanup_jobs::{CleanupJob, JobLease, Obligation, obligation_state, small, storage_hash};
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, report};
use crate::store::values::{entity_key, non_negative, time, uuid};
use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

/// What jobs owe, by job; `None` where that cannot be read.
pub(in crate::store::cleanup_jobs) type Owed = HashMap<Uuid, Option<Vec<Obligation>>>;

/// All together, and one by one where one of them cannot be read.
pub(in crate::store::cleanup_jobs) async fn owed(
    connection: &mut SqliteConnection,
    operation: &'static str,
    jobs: &[&str],
) -> Result<Owed, StoreError> {
    let whole = |found: HashMap<Uuid, Vec<Obligation>>| found.into_iter().map(|(job, all)| (job, Some(all)));
    match load_obligations(connection, operation, jobs).await {
        Ok(found) => return Ok(whole(found).collect()),
        Err(error) if !error.is_of_one_row() => return Err(error),
        Err(_) => {}
    }
    let mut owed = Owed::new();
    for job in jobs {
        match load_obligations(connection, operation, &[job]).await {
            Ok(found) => owed.extend(whole(found)),
            Err(error) if error.is_of_one_row() => {
                report(&error);
                owed.extend(uuid(operation, job).ok().map(|job| (job, None)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(owed)
}

/// Takes what a job owes; one that owes nothing that was written down owes nothing.
pub(in crate::store::cleanup_jobs) fn take_owed(
    operation: &'static str,
    owed: &mut Owed,
    job: Uuid,
) -> Result<Vec<Obligation>, StoreError> {
    owed.remove(&job)
        .unwrap_or(Some(Vec::new()))
        .ok_or_else(|| StoreError::inconsistent(operation, "what it owes cannot be read"))
}

/// A job that was claimed under this token.
pub(in crate::store::cleanup_jobs) fn claimed_job(
    operation: &'static str,
    row: &SqliteRow,
    token: Uuid,
    owed: &mut Owed,
) -> Result<CleanupJob, StoreError> {
    let event_id = uuid(operation, row.read(operation, "event_id")?)?;
    Ok(CleanupJob {
        lease: JobLease { event_id, token },
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        purge_id: uuid(operation, row.read(operation, "purge_id")?)?,
        attempts: small(operation, row.read(operation, "attempts")?)?,
        begun: small(operation, row.read(operation, "begun")?)?,
        obligations: take_owed(operation, owed, event_id)?,
    })
}

/// What can be read of a job's row that cannot be read whole; its id is the job's.
pub(in crate::store::cleanup_jobs) fn damaged_job(operation: &'static str, row: &SqliteRow) -> DamagedRow {
    let id = row.read(operation, "event_id").and_then(|id| uuid(operation, id));
    let key = row.read(operation, "aggregate_id");
    DamagedRow {
        id: id.ok(),
        key: key.and_then(|id| entity_key(operation, id)).ok(),
        ..DamagedRow::default()
    }
}

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
