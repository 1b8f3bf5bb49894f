//! What few batches write beside events, entities and projections: keys of entities that had none, claims that are released, purge
//! work, callback targets.

use crate::store::append::entities::EntityWrites;
use crate::store::claims::postgres::release_claims;
use crate::store::server::session::Session;
use crate::store::values::{rows, signed};
use crate::store::{BatchWrite, CallbackTarget, StoreError, WrappedKey, ensure_rows};
use archive_ledger_projections::{Changes, PurgeWork, PurgeWorkChange};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use uuid::Uuid;

/// Whether a batch has anything of this; without it, one statement writes the batch.
pub(super) fn any(write: &BatchWrite, entities: &EntityWrites<'_>) -> bool {
    !(write.released.is_empty()
        && write.changes.purge_work.is_empty()
        && write.targets.is_empty()
        && entities.keys.is_empty())
}

/// Writes it.
pub(super) async fn write(
    connection: &mut Session,
    write: &BatchWrite,
    entities: &EntityWrites<'_>,
) -> Result<(), StoreError> {
    if !entities.keys.is_empty() {
        insert_keys(connection, &entities.keys).await?;
    }
    if !write.released.is_empty() {
        release_claims(connection, &write.released).await?;
    }
    write_purge_work(connection, &write.changes).await?;
    if !write.targets.is_empty() {
        insert_targets(connection, &write.targets).await?;
    }
    Ok(())
}

/// One statement for all: a row of its own for each purge that names a callback was a round trip each.
async fn insert_targets(connection: &mut Session, targets: &[CallbackTarget]) -> Result<(), StoreError> {
    // A statement cannot change a row twice, so what is named twice comes to what the second would have made of the first.
    let mut places: HashMap<(String, &[u8]), usize> = HashMap::new();
    let mut columns = TargetColumns::default();
    for target in targets {
        let stream_id = target.key.stream_id();
        match places.entry((stream_id.clone(), &target.url_hash[..])) {
            Entry::Occupied(place) => {
                if let Some(registered) = columns.registered.get_mut(*place.get()) {
                    *registered &= target.registered;
                }
            }
            Entry::Vacant(place) => {
                place.insert(columns.target_id.len());
                columns.push(stream_id, target);
            }
        }
    }
    sqlx::query(
        "INSERT INTO callback_targets
             (target_id, aggregate_id, url_hash, url_sealed, host, dataset_id, registered, created_at, receiver)
         SELECT * FROM UNNEST ($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::text[], $6::text[], $7::boolean[],
                               $8::timestamptz[], $9::text[])
         ON CONFLICT (aggregate_id, url_hash) DO UPDATE
         SET registered = callback_targets.registered AND excluded.registered",
    )
    .bind(columns.target_id)
    .bind(columns.stream_id)
    .bind(columns.url_hash)
    .bind(columns.url_sealed)
    .bind(columns.host)
    .bind(columns.dataset_id)
    .bind(columns.registered)
    .bind(columns.created_at)
    .bind(columns.receiver)
    .execute(connection)
    .await
    .map_err(StoreError::database("insert callback targets"))?;
    Ok(())
}

/// Targets, column by column, as `UNNEST` takes them.
#[derive(Default)]
struct TargetColumns<'a> {
    target_id: Vec<Uuid>,
    stream_id: Vec<String>,
    url_hash: Vec<&'a [u8]>,
    url_sealed: Vec<&'a [u8]>,
    host: Vec<&'a str>,
    dataset_id: Vec<Option<&'a str>>,
    registered: Vec<bool>,
    created_at: Vec<DateTime<Utc>>,
    receiver: Vec<&'a str>,
}

impl<'a> TargetColumns<'a> {
    fn push(&mut self, stream_id: String, target: &'a CallbackTarget) {
        self.target_id.push(target.target_id);
        self.stream_id.push(stream_id);
        self.url_hash.push(&target.url_hash[..]);
        self.url_sealed.push(&target.url_sealed);
        self.host.push(&target.host);
        self.dataset_id.push(target.dataset_id.as_deref());
        self.registered.push(target.registered);
        self.created_at.push(target.created_at);
        self.receiver.push(&target.receiver);
    }
}

/// Writes the keys of entities that were there without one.
async fn insert_keys(connection: &mut Session, keys: &[(&str, &WrappedKey)]) -> Result<(), StoreError> {
    let operation = "insert the keys";
    let written = sqlx::query(
        "UPDATE entities SET key_id = new.key_id, kek_id = new.kek_id, wrapped = new.wrapped
         FROM UNNEST ($1::text[], $2::uuid[], $3::text[], $4::bytea[]) AS new (aggregate_id, key_id, kek_id, wrapped)
         WHERE entities.aggregate_id = new.aggregate_id AND entities.wrapped IS NULL AND entities.erased_at IS NULL",
    )
    .bind(keys.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, key)| key.key_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, key)| key.kek_id.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, key)| key.wrapped.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(StoreError::database(operation))?;
    ensure_rows(operation, rows(keys), written.rows_affected())
}

pub(super) async fn write_purge_work(connection: &mut Session, changes: &Changes) -> Result<(), StoreError> {
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
    connection: &mut Session,
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
