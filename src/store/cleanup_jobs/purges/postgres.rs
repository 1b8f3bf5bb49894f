//! PostgreSQL: the rows of the purges that are owed, each read by itself.

use crate::store::StoreError;
use crate::store::cleanup_jobs::obligations::postgres::load_obligations;
use crate::store::cleanup_jobs::{JobStatus, Obligation, PurgeStatus, purge_state, small};
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, Readable, report};
use crate::store::server::session::Session;
use crate::store::values::{entity_key, non_negative};
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use uuid::Uuid;

/// What jobs owe, by job; `None` where that cannot be read.
type Owed = HashMap<Uuid, Option<Vec<Obligation>>>;

pub(in crate::store::cleanup_jobs) async fn purges(
    connection: &mut Session,
    operation: &'static str,
    rows: &[PgRow],
) -> Result<Readable<PurgeStatus>, StoreError> {
    let jobs: Vec<Uuid> = rows
        .iter()
        .filter_map(|row| row.read::<Option<Uuid>>(operation, "job").ok().flatten())
        .collect();
    let mut owed = owed(connection, operation, &jobs).await?;
    Ok(Readable::of(
        rows,
        |row| purge(operation, row, &mut owed),
        |row| left(operation, row),
    ))
}

/// All together, and one by one where one of them cannot be read.
async fn owed(connection: &mut Session, operation: &'static str, jobs: &[Uuid]) -> Result<Owed, StoreError> {
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

fn purge(operation: &'static str, row: &PgRow, owed: &mut Owed) -> Result<PurgeStatus, StoreError> {
    let event_id = row.read(operation, "event_id")?;
    let job = match row.read::<Option<Uuid>>(operation, "job")? {
        None => None,
        Some(_) => Some(JobStatus {
            attempts: small(operation, row.read(operation, "attempts")?)?,
            begun: small(operation, row.read(operation, "begun")?)?,
            next_attempt_at: row.read(operation, "next_attempt_at")?,
            leased_until: row.read(operation, "lease_until")?,
            last_error: row.read(operation, "last_error")?,
            finished_at: row.read(operation, "finished_at")?,
            obligations: owed
                .remove(&event_id)
                .unwrap_or(Some(Vec::new()))
                .ok_or_else(|| StoreError::inconsistent(operation, "what it owes cannot be read"))?,
        }),
    };
    Ok(PurgeStatus {
        position: non_negative(operation, row.read(operation, "position")?)?,
        event_id,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        purge_id: row.read(operation, "purge_id")?,
        state: purge_state(operation, row.read(operation, "state")?)?,
        requested_at: row.read(operation, "requested_at")?,
        storage_count: small(operation, row.read(operation, "storage_count")?)?,
        job,
    })
}

/// What can be read of a row that cannot be read whole.
fn left(operation: &'static str, row: &PgRow) -> DamagedRow {
    let id = row.read(operation, "purge_id");
    let key = row
        .read(operation, "aggregate_id")
        .and_then(|id| entity_key(operation, id));
    let position = row
        .read(operation, "position")
        .and_then(|position| non_negative(operation, position));
    DamagedRow {
        position: position.ok(),
        key: key.ok(),
        id: id.ok(),
        ..DamagedRow::default()
    }
}
