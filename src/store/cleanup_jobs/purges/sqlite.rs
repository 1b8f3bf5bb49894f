//! SQLite: the rows of the purges that are owed, each read by itself.

use crate::store::StoreError;
use crate::store::cleanup_jobs::obligations::sqlite::{Owed, optional_time, owed, take_owed};
use crate::store::cleanup_jobs::{JobStatus, PurgeStatus, purge_state, small};
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, Readable};
use crate::store::values::{entity_key, non_negative, time, uuid};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

pub(in crate::store::cleanup_jobs) async fn purges(
    connection: &mut SqliteConnection,
    operation: &'static str,
    rows: &[SqliteRow],
) -> Result<Readable<PurgeStatus>, StoreError> {
    let jobs: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.read::<Option<&str>>(operation, "job").ok().flatten())
        .collect();
    let mut all = owed(connection, operation, &jobs).await?;
    Ok(Readable::of(
        rows,
        |row| purge(operation, row, &mut all),
        |row| left(operation, row),
    ))
}

fn purge(operation: &'static str, row: &SqliteRow, owed: &mut Owed) -> Result<PurgeStatus, StoreError> {
    let event_id = uuid(operation, row.read(operation, "event_id")?)?;
    let job = match row.read::<Option<&str>>(operation, "job")? {
        None => None,
        Some(_) => Some(JobStatus {
            attempts: small(operation, row.read(operation, "attempts")?)?,
            begun: small(operation, row.read(operation, "begun")?)?,
            next_attempt_at: time(operation, row.read(operation, "next_attempt_at")?)?,
            leased_until: optional_time(operation, row, "lease_until")?,
            last_error: row.read(operation, "last_error")?,
            finished_at: optional_time(operation, row, "finished_at")?,
            obligations: take_owed(operation, owed, event_id)?,
        }),
    };
    Ok(PurgeStatus {
        position: non_negative(operation, row.read(operation, "position")?)?,
        event_id,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        purge_id: uuid(operation, row.read(operation, "purge_id")?)?,
        state: purge_state(operation, row.read(operation, "state")?)?,
        requested_at: time(operation, row.read(operation, "requested_at")?)?,
        storage_count: small(operation, row.read(operation, "storage_count")?)?,
        job,
    })
}

/// What can be read of a row that cannot be read whole.
fn left(operation: &'static str, row: &SqliteRow) -> DamagedRow {
    let id = row.read(operation, "purge_id").and_then(|id| uuid(operation, id));
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
