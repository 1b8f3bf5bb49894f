//! What the projections make of events, written table by table.

use super::rows::{ListedRow, PlacedRow, Rows};
use crate::store::called::{IdText, execute};
use crate::store::values::{micros, signed};
use crate::store::{StoreError, ensure_rows};
use archive_ledger_domain::EntityType;
use archive_ledger_projections::{PurgeWork, PurgeWorkChange};
use rusqlite::{Connection, params};

/// Applies what the projections made of the events.
pub(super) fn write(connection: &Connection, write: &Rows) -> Result<(), StoreError> {
    // A row that is put where another one stood comes after it has left.
    for placed in write.placed.iter().filter(|placed| placed.delta < 0) {
        remove_listed(connection, placed)?;
    }
    for row in &write.listed {
        put_listed(connection, row)?;
    }
    for (entity_type, delta) in &write.summary {
        count(connection, *entity_type, *delta)?;
    }
    for (stream_id, change) in &write.purge_work {
        match change {
            PurgeWorkChange::Put(work) => put_purge_work(connection, stream_id, work)?,
            PurgeWorkChange::Fail(_) => fail_purge_work(connection, stream_id)?,
            PurgeWorkChange::Remove(_) => remove_purge_work(connection, stream_id)?,
        }
    }
    Ok(())
}

/// A row is found by its place. Where it stands is what the entity says; one that was moved from outside stays, and a rebuild tells of it.
fn remove_listed(connection: &Connection, placed: &PlacedRow) -> Result<(), StoreError> {
    execute(
        connection,
        "shorten the archived list",
        "DELETE FROM archived_entries WHERE entity_type = ?1 AND deleted_at = ?2 AND entity_id = ?3",
        params![placed.entity_type.as_str(), placed.deleted_at, placed.id],
    )?;
    Ok(())
}

fn put_listed(connection: &Connection, row: &ListedRow) -> Result<(), StoreError> {
    let operation = "write the archived list";
    let written = execute(
        connection,
        operation,
        "INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (entity_type, deleted_at, entity_id) DO UPDATE
         SET position = excluded.position, deletion_id = excluded.deletion_id",
        params![row.entity_type.as_str(), row.id, row.deleted_at, row.position, IdText::of(row.deletion_id)],
    )?;
    ensure_rows(operation, 1, written)
}

fn count(connection: &Connection, entity_type: EntityType, delta: i64) -> Result<(), StoreError> {
    let counted = execute(
        connection,
        "update a counter",
        // Of a text, arithmetic would make a number, and a wrong one.
        "UPDATE archived_summary SET count = CASE typeof(count) WHEN 'integer' THEN count + ?1 ELSE count END
         WHERE entity_type = ?2",
        params![delta, entity_type.as_str()],
    )?;
    if counted == 0 {
        execute(
            connection,
            "open a counter",
            "INSERT INTO archived_summary (entity_type, count) VALUES (?1, ?2)",
            params![entity_type.as_str(), delta],
        )?;
    }
    Ok(())
}

fn put_purge_work(connection: &Connection, stream_id: &str, work: &PurgeWork) -> Result<(), StoreError> {
    execute(
        connection,
        "write the purge work",
        "INSERT INTO purge_work (aggregate_id, purge_id, position, event_id, requested_at, storage_count, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (aggregate_id) DO UPDATE
         SET purge_id = excluded.purge_id, position = excluded.position, event_id = excluded.event_id,
             requested_at = excluded.requested_at, storage_count = excluded.storage_count, state = excluded.state",
        params![
            stream_id,
            IdText::of(work.purge_id),
            signed(work.position),
            IdText::of(work.event_id),
            micros(work.requested_at),
            work.storage_count,
            work.state.as_str(),
        ],
    )?;
    Ok(())
}

fn fail_purge_work(connection: &Connection, stream_id: &str) -> Result<(), StoreError> {
    let operation = "mark a failed purge";
    let marked = execute(
        connection,
        operation,
        "UPDATE purge_work SET state = 'purge_failed' WHERE aggregate_id = ?1",
        [stream_id],
    )?;
    ensure_rows(operation, 1, marked)
}

fn remove_purge_work(connection: &Connection, stream_id: &str) -> Result<(), StoreError> {
    execute(
        connection,
        "remove done purges",
        "DELETE FROM purge_work WHERE aggregate_id = ?1",
        [stream_id],
    )?;
    Ok(())
}
