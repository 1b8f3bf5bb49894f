//! What the projections make of events, written table by table.

use crate::store::chunks::chunks;
use crate::store::values::{micros, rows, signed};
use crate::store::{StoreError, ensure_rows};
use archive_ledger_projections::{ArchivedEntry, ArchivedListChange, Changes, PurgeWork, PurgeWorkChange};
use sqlx::types::Json;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

/// Applies what the projections made of the events.
pub(super) async fn write_changes(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), StoreError> {
    let leaving = changes.placed().filter(|placed| placed.delta < 0);
    let removed: Vec<_> = leaving
        .map(|placed| {
            let key = placed.key;
            (key.entity_type().as_str(), micros(placed.deleted_at), key.id())
        })
        .collect();
    if !removed.is_empty() {
        remove_archived(connection, &removed).await?;
    }
    let put: Vec<_> = changes
        .archived
        .values()
        .filter_map(|change| match change {
            ArchivedListChange::Put(entry) => Some(entry),
            ArchivedListChange::Remove(_) => None,
        })
        .collect();
    put_archived(connection, &put).await?;
    for (entity_type, delta) in changes.summary.iter() {
        let updated = sqlx::query(
            // Of a text, arithmetic would make a number, and a wrong one.
            "UPDATE archived_summary SET count = CASE typeof(count) WHEN 'integer' THEN count + ?1 ELSE count END
             WHERE entity_type = ?2",
        )
            .bind(delta)
            .bind(entity_type.as_str())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("update a counter"))?;
        if updated.rows_affected() == 0 {
            sqlx::query("INSERT INTO archived_summary (entity_type, count) VALUES (?1, ?2)")
                .bind(entity_type.as_str())
                .bind(delta)
                .execute(&mut *connection)
                .await
                .map_err(StoreError::database("open a counter"))?;
        }
    }
    let mut done = Vec::new();
    for (stream_id, change) in &changes.purge_work {
        match change {
            PurgeWorkChange::Put(work) => put_purge_work(connection, stream_id, work).await?,
            PurgeWorkChange::Fail(_) => fail_purge_work(connection, stream_id).await?,
            PurgeWorkChange::Remove(_) => done.push(stream_id.as_str()),
        }
    }
    if !done.is_empty() {
        sqlx::query("DELETE FROM purge_work WHERE aggregate_id IN (SELECT value FROM json_each(?1))")
            .bind(Json(done))
            .execute(connection)
            .await
            .map_err(StoreError::database("remove done purges"))?;
    }
    Ok(())
}

/// The rows are named before the first is removed, each by its place.
async fn remove_archived(
    connection: &mut SqliteConnection,
    removed: &[(&str, i64, &str)],
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM archived_entries WHERE (entity_type, deleted_at, entity_id) IN
             (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1))",
    )
    .bind(Json(removed))
    .execute(connection)
    .await
    .map_err(StoreError::database("shorten the archived list"))?;
    Ok(())
}

async fn put_archived(
    connection: &mut SqliteConnection,
    entries: &[&ArchivedEntry],
) -> Result<(), StoreError> {
    for chunk in chunks(entries) {
        let mut put: QueryBuilder<'_, Sqlite> = QueryBuilder::new(
            "INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id) ",
        );
        put.push_values(chunk, |mut row, entry| {
            row.push_bind(entry.key.entity_type().as_str())
                .push_bind(entry.key.id())
                .push_bind(micros(entry.deleted_at))
                .push_bind(signed(entry.position))
                .push_bind(entry.deletion_id.to_string());
        });
        put.push(
            " ON CONFLICT (entity_type, deleted_at, entity_id) DO UPDATE
              SET position = excluded.position, deletion_id = excluded.deletion_id",
        );
        let written = put
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("write the archived list"))?;
        ensure_rows("write the archived list", rows(chunk), written.rows_affected())?;
    }
    Ok(())
}

async fn fail_purge_work(connection: &mut SqliteConnection, stream_id: &str) -> Result<(), StoreError> {
    let updated = sqlx::query("UPDATE purge_work SET state = 'purge_failed' WHERE aggregate_id = ?1")
        .bind(stream_id)
        .execute(connection)
        .await
        .map_err(StoreError::database("mark a failed purge"))?;
    ensure_rows("mark a failed purge", 1, updated.rows_affected())
}

async fn put_purge_work(
    connection: &mut SqliteConnection,
    stream_id: &str,
    work: &PurgeWork,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO purge_work (aggregate_id, purge_id, position, event_id, requested_at, storage_count, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (aggregate_id) DO UPDATE
         SET purge_id = excluded.purge_id, position = excluded.position, event_id = excluded.event_id,
             requested_at = excluded.requested_at, storage_count = excluded.storage_count, state = excluded.state",
    )
    .bind(stream_id)
    .bind(work.purge_id.to_string())
    .bind(signed(work.position))
    .bind(work.event_id.to_string())
    .bind(micros(work.requested_at))
    .bind(i64::from(work.storage_count))
    .bind(work.state.as_str())
    .execute(connection)
    .await
    .map_err(StoreError::database("write the purge work"))?;
    Ok(())
}
