//! What the projections make of events, written table by table: how a rebuild fills its tables.

use super::rare;
use crate::store::server::session::Session;
use crate::store::values::{rows, signed};
use crate::store::{StoreError, ensure_rows};
use archive_ledger_domain::EntityKey;
use archive_ledger_projections::{ArchivedEntry, ArchivedListChange, Changes};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Applies what the projections made of the events.
pub(in crate::store) async fn write_changes(
    connection: &mut Session,
    changes: &Changes,
) -> Result<(), StoreError> {
    let mut put = Vec::new();
    let mut removed = Vec::new();
    for change in changes.archived.values() {
        match change {
            ArchivedListChange::Put(entry) => put.push(entry),
            ArchivedListChange::Remove(key) => removed.push(key),
        }
    }
    if !put.is_empty() {
        put_archived(connection, &put).await?;
    }
    if !removed.is_empty() {
        remove_archived(connection, &removed).await?;
    }
    let (types, deltas): (Vec<&str>, Vec<i64>) = changes
        .summary
        .iter()
        .map(|(entity_type, delta)| (entity_type.as_str(), delta))
        .unzip();
    if !types.is_empty() {
        // An insert of a negative count would trip the check before the conflict is seen, so rows are made first, at zero.
        sqlx::query(
            "INSERT INTO archived_summary (entity_type, count)
             SELECT entity_type, 0 FROM UNNEST ($1::text[]) AS new (entity_type)
             WHERE NOT EXISTS (SELECT 1 FROM archived_summary old WHERE old.entity_type = new.entity_type)",
        )
        .bind(&types)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("open the counters"))?;
        let updated = sqlx::query(
            "UPDATE archived_summary SET count = count + delta
             FROM UNNEST ($1::text[], $2::bigint[]) AS change (entity_type, delta)
             WHERE archived_summary.entity_type = change.entity_type",
        )
        .bind(&types)
        .bind(&deltas)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("update the counters"))?;
        ensure_rows("update the counters", rows(&types), updated.rows_affected())?;
    }
    rare::write_purge_work(connection, changes).await
}

async fn put_archived(connection: &mut Session, entries: &[&ArchivedEntry]) -> Result<(), StoreError> {
    let types: Vec<&str> = entries
        .iter()
        .map(|entry| entry.key.entity_type().as_str())
        .collect();
    let ids: Vec<&str> = entries.iter().map(|entry| entry.key.id()).collect();
    let deleted_at: Vec<DateTime<Utc>> = entries.iter().map(|entry| entry.deleted_at).collect();
    let positions: Vec<i64> = entries.iter().map(|entry| signed(entry.position)).collect();
    let deletions: Vec<Uuid> = entries.iter().map(|entry| entry.deletion_id).collect();
    let written = sqlx::query(
        "INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
         SELECT * FROM UNNEST ($1::text[], $2::text[], $3::timestamptz[], $4::bigint[], $5::uuid[])
         ON CONFLICT (entity_type, entity_id) DO UPDATE
         SET deleted_at = excluded.deleted_at, position = excluded.position, deletion_id = excluded.deletion_id",
    )
    .bind(types)
    .bind(ids)
    .bind(deleted_at)
    .bind(positions)
    .bind(deletions)
    .execute(connection)
    .await
    .map_err(StoreError::database("write the archived list"))?;
    ensure_rows("write the archived list", rows(entries), written.rows_affected())
}

async fn remove_archived(connection: &mut Session, keys: &[&EntityKey]) -> Result<(), StoreError> {
    let types: Vec<&str> = keys.iter().map(|key| key.entity_type().as_str()).collect();
    let ids: Vec<&str> = keys.iter().map(|key| key.id()).collect();
    sqlx::query(
        "DELETE FROM archived_entries
         USING UNNEST ($1::text[], $2::text[]) AS gone (entity_type, entity_id)
         WHERE archived_entries.entity_type = gone.entity_type AND archived_entries.entity_id = gone.entity_id",
    )
    .bind(types)
    .bind(ids)
    .execute(connection)
    .await
    .map_err(StoreError::database("shorten the archived list"))?;
    Ok(())
}
