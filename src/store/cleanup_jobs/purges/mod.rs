//! The purges that are owed, as rows are read, each by itself.

pub(super) mod postgres;
pub(super) mod sqlite;

use super::obligations::{Owed, take_owed};
use super::{JobStatus, PurgeStatus, purge_state, small};
use crate::store::StoreError;
use crate::store::damaged::{DamagedRow, Readable};
use crate::store::values::StoredRow;
use uuid::Uuid;

const JOB: &str = "job";

/// The jobs that rows name, as far as they can be read.
fn jobs_of<R: StoredRow>(operation: &'static str, rows: &[R]) -> Vec<Uuid> {
    rows.iter()
        .filter_map(|row| row.optional_uuid(operation, JOB).ok().flatten())
        .collect()
}

fn readable<R: StoredRow>(operation: &'static str, rows: &[R], mut owed: Owed) -> Readable<PurgeStatus> {
    Readable::of(
        rows,
        |row| purge(operation, row, &mut owed),
        |row| DamagedRow {
            position: row.natural(operation, "position").ok(),
            key: row.entity(operation, "aggregate_id").ok(),
            id: row.uuid(operation, "purge_id").ok(),
            ..DamagedRow::default()
        },
    )
}

fn purge(operation: &'static str, row: &impl StoredRow, owed: &mut Owed) -> Result<PurgeStatus, StoreError> {
    let event_id = row.uuid(operation, "event_id")?;
    let job = match row.optional_uuid(operation, JOB)? {
        None => None,
        Some(_) => Some(JobStatus {
            attempts: small(operation, row.number(operation, "attempts")?)?,
            begun: small(operation, row.number(operation, "begun")?)?,
            next_attempt_at: row.time(operation, "next_attempt_at")?,
            leased_until: row.optional_time(operation, "lease_until")?,
            last_error: row.optional_text(operation, "last_error")?,
            finished_at: row.optional_time(operation, "finished_at")?,
            obligations: take_owed(operation, owed, event_id)?,
        }),
    };
    Ok(PurgeStatus {
        position: row.natural(operation, "position")?,
        event_id,
        key: row.entity(operation, "aggregate_id")?,
        purge_id: row.uuid(operation, "purge_id")?,
        state: purge_state(operation, &row.text(operation, "state")?)?,
        requested_at: row.time(operation, "requested_at")?,
        storage_count: small(operation, row.number(operation, "storage_count")?)?,
        job,
    })
}
