//! SQLite: the rows of the storage cleanup's jobs, as they are read.

use super::{Owed, by_job, of_one_job};
use crate::store::StoreError;
use crate::store::cleanup_jobs::Obligation;
use crate::store::damaged::report;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

/// All together, and one by one where one of them cannot be read.
pub(in crate::store::cleanup_jobs) async fn owed(
    connection: &mut SqliteConnection,
    operation: &'static str,
    jobs: &[Uuid],
) -> Result<Owed, StoreError> {
    let whole = |found: HashMap<Uuid, Vec<Obligation>>| found.into_iter().map(|(job, all)| (job, Some(all)));
    match load_obligations(connection, operation, jobs).await {
        Ok(found) => return Ok(whole(found).collect()),
        Err(error) if !error.is_of_one_row() => return Err(error),
        Err(_) => {}
    }
    let mut owed = Owed::new();
    for job in jobs {
        match load_obligations(connection, operation, &[*job]).await {
            Ok(found) => owed.extend(whole(found)),
            Err(error) if error.is_of_one_row() => {
                report(&error);
                owed.insert(*job, None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(owed)
}

/// What one job owes; an obligation that cannot be read is one of which nothing is known.
pub(in crate::store::cleanup_jobs) async fn owed_by(
    connection: &mut SqliteConnection,
    operation: &'static str,
    job: Uuid,
) -> Result<Vec<Obligation>, StoreError> {
    of_one_job(operation, &obligations(connection, operation, &[job]).await?)
}

async fn load_obligations(
    connection: &mut SqliteConnection,
    operation: &'static str,
    jobs: &[Uuid],
) -> Result<HashMap<Uuid, Vec<Obligation>>, StoreError> {
    by_job(operation, &obligations(connection, operation, jobs).await?)
}

async fn obligations(
    connection: &mut SqliteConnection,
    operation: &'static str,
    jobs: &[Uuid],
) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(
        "SELECT event_id, ordinal, state, objects, bytes, last_error, storage_hash, under_way, at_least, failed_at,
                nobody_since
         FROM cleanup_obligations WHERE event_id IN (SELECT value FROM json_each(?1)) ORDER BY event_id, ordinal",
    )
    .bind(Json(jobs.iter().map(Uuid::to_string).collect::<Vec<_>>()))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database(operation))
}
