//! What few batches write beside events, keys and projections: erasures, purge work, callback targets.

use super::{rows, signed};
use crate::store::{BatchWrite, CallbackTarget, Position, StoreError, ensure_rows};
use archive_ledger_domain::AGGREGATE_TYPE;
use archive_ledger_projections::{Changes, PurgeWork, PurgeWorkChange};
use sqlx::PgConnection;

/// Whether a batch has anything of this; without it, one statement writes the batch.
pub(super) fn any(write: &BatchWrite) -> bool {
    !(write.erased.is_empty() && write.changes.purge_work.is_empty() && write.targets.is_empty())
}

/// Writes it.
pub(super) async fn write(connection: &mut PgConnection, write: &BatchWrite) -> Result<(), StoreError> {
    if !write.erased.is_empty() {
        erase(connection, &write.erased).await?;
    }
    write_purge_work(connection, &write.changes).await?;
    for target in &write.targets {
        insert_target(connection, target).await?;
    }
    Ok(())
}

async fn insert_target(connection: &mut PgConnection, target: &CallbackTarget) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO callback_targets
             (target_id, aggregate_id, url_hash, url_sealed, host, dataset_id, registered, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (aggregate_id, url_hash) DO UPDATE
         SET registered = callback_targets.registered AND excluded.registered",
    )
    .bind(target.target_id)
    .bind(target.key.stream_id())
    .bind(&target.url_hash[..])
    .bind(&target.url_sealed)
    .bind(&target.host)
    .bind(&target.dataset_id)
    .bind(target.registered)
    .bind(target.created_at)
    .execute(connection)
    .await
    .map_err(StoreError::database("insert a callback target"))?;
    Ok(())
}

/// Destroys and fences the keys, and scrubs what they sealed.
async fn erase(connection: &mut PgConnection, erased: &[(String, Position)]) -> Result<(), StoreError> {
    let ids: Vec<&str> = erased.iter().map(|(id, _)| id.as_str()).collect();
    let positions: Vec<i64> = erased.iter().map(|(_, position)| signed(*position)).collect();
    sqlx::query("DELETE FROM entity_keys WHERE aggregate_id = ANY ($1)")
        .bind(&ids)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("destroy the keys"))?;
    let fenced = sqlx::query(
        "INSERT INTO erasures (aggregate_id, position) SELECT * FROM UNNEST ($1::text[], $2::bigint[])",
    )
    .bind(&ids)
    .bind(positions)
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database("fence the keys"))?;
    ensure_rows("fence the keys", rows(erased), fenced.rows_affected())?;
    sqlx::query(
        "UPDATE events SET sealed = NULL
         WHERE aggregate_type = $1 AND aggregate_id = ANY ($2) AND sealed IS NOT NULL",
    )
    .bind(AGGREGATE_TYPE)
    .bind(&ids)
    .execute(connection)
    .await
    .map_err(StoreError::database("scrub the sealed details"))?;
    Ok(())
}

pub(super) async fn write_purge_work(
    connection: &mut PgConnection,
    changes: &Changes,
) -> Result<(), StoreError> {
    let mut removed = Vec::new();
    for (stream_id, change) in &changes.purge_work {
        match change {
            PurgeWorkChange::Put(work) => put_purge_work(connection, stream_id, work).await?,
            PurgeWorkChange::Fail(_) => {
                let updated =
                    sqlx::query("UPDATE purge_work SET state = 'purge_failed' WHERE aggregate_id = $1")
                        .bind(stream_id)
                        .execute(&mut *connection)
                        .await
                        .map_err(StoreError::database("mark a failed purge"))?;
                ensure_rows("mark a failed purge", 1, updated.rows_affected())?;
            }
            PurgeWorkChange::Remove(_) => removed.push(stream_id.as_str()),
        }
    }
    if !removed.is_empty() {
        sqlx::query("DELETE FROM purge_work WHERE aggregate_id = ANY ($1)")
            .bind(removed)
            .execute(connection)
            .await
            .map_err(StoreError::database("remove done purges"))?;
    }
    Ok(())
}

async fn put_purge_work(
    connection: &mut PgConnection,
    stream_id: &str,
    work: &PurgeWork,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO purge_work (aggregate_id, purge_id, position, event_id, requested_at, storage_count, state)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (aggregate_id) DO UPDATE
         SET purge_id = excluded.purge_id, position = excluded.position, event_id = excluded.event_id,
             requested_at = excluded.requested_at, storage_count = excluded.storage_count, state = excluded.state",
    )
    .bind(stream_id)
    .bind(work.purge_id)
    .bind(signed(work.position))
    .bind(work.event_id)
    .bind(work.requested_at)
    .bind(i64::from(work.storage_count))
    .bind(work.state.as_str())
    .execute(connection)
    .await
    .map_err(StoreError::database("write the purge work"))?;
    Ok(())
}
