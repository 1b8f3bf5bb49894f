//! The obligations of purges: what each owes, URI by URI.

pub(super) mod postgres;
pub(super) mod sqlite;

use super::{CleanupJob, JobLease, Obligation, ObligationState, obligation_state, small, storage_hash};
use crate::store::StoreError;
use crate::store::damaged::{DamagedRow, report};
use crate::store::values::StoredRow;
use std::collections::HashMap;
use uuid::Uuid;

/// What jobs owe, by job; `None` where that cannot be read.
pub(super) type Owed = HashMap<Uuid, Option<Vec<Obligation>>>;

/// Obligations by job, each job's in order.
fn by_job<R: StoredRow>(
    operation: &'static str,
    rows: &[R],
) -> Result<HashMap<Uuid, Vec<Obligation>>, StoreError> {
    let mut found: HashMap<Uuid, Vec<Obligation>> = HashMap::new();
    for row in rows {
        let job = row.uuid(operation, "event_id")?;
        found.entry(job).or_default().push(obligation(operation, row)?);
    }
    Ok(found)
}

/// What one job owes, in order. Of an obligation whose row cannot be read nothing is known but that it may owe anything.
///
/// # Errors
/// [`StoreError`] where not even its number can be read.
fn of_one_job<R: StoredRow>(operation: &'static str, rows: &[R]) -> Result<Vec<Obligation>, StoreError> {
    let read = |row: &R| {
        obligation(operation, row).or_else(|error| {
            report(&error);
            unknown(operation, row)
        })
    };
    rows.iter().map(read).collect()
}

fn unknown(operation: &'static str, row: &impl StoredRow) -> Result<Obligation, StoreError> {
    let hash = row.optional_bytes(operation, "storage_hash");
    let hash = hash.and_then(|bytes| storage_hash(operation, bytes));
    let failed = row
        .text(operation, "state")
        .is_ok_and(|state| state == ObligationState::Failed.as_str());
    Ok(Obligation {
        ordinal: small(operation, row.number(operation, "ordinal")?)?,
        state: if failed {
            ObligationState::Failed
        } else {
            ObligationState::Owed
        },
        objects: 0,
        bytes: 0,
        last_error: None,
        storage_hash: hash.ok().flatten(),
        under_way: true,
        at_least: true,
        failed_at: None,
        nobody_since: None,
    })
}

fn obligation(operation: &'static str, row: &impl StoredRow) -> Result<Obligation, StoreError> {
    Ok(Obligation {
        ordinal: small(operation, row.number(operation, "ordinal")?)?,
        state: obligation_state(operation, &row.text(operation, "state")?)?,
        objects: row.natural(operation, "objects")?,
        bytes: row.natural(operation, "bytes")?,
        last_error: row.optional_text(operation, "last_error")?,
        storage_hash: storage_hash(operation, row.optional_bytes(operation, "storage_hash")?)?,
        under_way: row.flag(operation, "under_way")?,
        at_least: row.flag(operation, "at_least")?,
        failed_at: row.optional_bytes(operation, "failed_at")?,
        nobody_since: row.optional_time(operation, "nobody_since")?,
    })
}

/// Takes what a job owes; one that owes nothing that was written down owes nothing.
pub(super) fn take_owed(
    operation: &'static str,
    owed: &mut Owed,
    job: Uuid,
) -> Result<Vec<Obligation>, StoreError> {
    owed.remove(&job)
        .unwrap_or(Some(Vec::new()))
        .ok_or_else(|| StoreError::inconsistent(operation, "what it owes cannot be read"))
}

/// A job that was claimed under this token.
pub(super) fn claimed_job(
    operation: &'static str,
    row: &impl StoredRow,
    token: Uuid,
    owed: &mut Owed,
) -> Result<CleanupJob, StoreError> {
    let event_id = row.uuid(operation, "event_id")?;
    Ok(CleanupJob {
        lease: JobLease { event_id, token },
        key: row.entity(operation, "aggregate_id")?,
        purge_id: row.uuid(operation, "purge_id")?,
        attempts: small(operation, row.number(operation, "attempts")?)?,
        begun: small(operation, row.number(operation, "begun")?)?,
        obligations: take_owed(operation, owed, event_id)?,
    })
}

/// What can be read of a job's row that cannot be read whole; its id is the job's.
pub(super) fn damaged_job(operation: &'static str, row: &impl StoredRow) -> DamagedRow {
    DamagedRow {
        id: row.uuid(operation, "event_id").ok(),
        key: row.entity(operation, "aggregate_id").ok(),
        ..DamagedRow::default()
    }
}
