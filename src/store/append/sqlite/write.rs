//! What a batch writes: events, keys, claims, erasures, callback targets, answers, and the head.

use super::changes::write_changes;
use super::pages;
use crate::store::append::{BatchWrite, IdempotencyRecord, NewEvent, PageSizes};
use crate::store::chunks::chunks;
use crate::store::claims::sqlite::{insert_claims, release_claims};
use crate::store::values::{micros, rows, signed};
use crate::store::{Position, StoreError, WrappedKey, ensure_rows};
use archive_ledger_domain::AGGREGATE_TYPE;
use sqlx::types::Json;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

/// Writes all of it but the commit.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    write: &BatchWrite,
    sizes: PageSizes,
) -> Result<(), StoreError> {
    insert_events(connection, &write.events).await?;
    insert_keys(connection, &write.keys).await?;
    insert_claims(connection, &write.claims).await?;
    if !write.erased.is_empty() {
        erase(connection, &write.erased).await?;
    }
    if !write.released.is_empty() {
        release_claims(connection, &write.released).await?;
    }
    write_changes(connection, &write.changes).await?;
    pages::count(connection, &write.changes, sizes).await?;
    for target in &write.targets {
        sqlx::query(
            "INSERT INTO callback_targets
                 (target_id, aggregate_id, url_hash, url_sealed, host, dataset_id, registered, created_at, receiver)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (aggregate_id, url_hash) DO UPDATE
             SET registered = callback_targets.registered AND excluded.registered",
        )
        .bind(target.target_id.to_string())
        .bind(target.key.stream_id())
        .bind(&target.url_hash[..])
        .bind(&target.url_sealed)
        .bind(&target.host)
        .bind(&target.dataset_id)
        .bind(target.registered)
        .bind(micros(target.created_at))
        .bind(&target.receiver)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("insert a callback target"))?;
    }
    insert_answers(connection, &write.answers).await?;
    let head = &write.head;
    let updated = sqlx::query(
        "UPDATE ledger_head SET position = ?1, frontier = ?2, root = ?3, recorded_at = ?4,
             claims_position = CASE WHEN claims_position = position THEN ?1 ELSE claims_position END
         WHERE id = 1",
    )
    .bind(signed(head.position))
    .bind(head.frontier.concat())
    .bind(&head.root[..])
    .bind(head.recorded_at.map(micros))
    .execute(connection)
    .await
    .map_err(StoreError::database("move the head"))?;
    ensure_rows("move the head", 1, updated.rows_affected())
}

async fn insert_events(connection: &mut SqliteConnection, events: &[NewEvent]) -> Result<(), StoreError> {
    for chunk in chunks(events) {
        let mut insert: QueryBuilder<'_, Sqlite> = QueryBuilder::new(
            "INSERT INTO events
                 (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                  event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf) ",
        );
        insert.push_values(chunk, |mut row, event| {
            let stored = &event.stored;
            row.push_bind(signed(stored.position))
                .push_bind(AGGREGATE_TYPE)
                .push_bind(&event.serialized.aggregate_id)
                .push_bind(signed(stored.sequence))
                .push_bind(&event.serialized.event_type)
                .push_bind(&event.serialized.event_version)
                .push_bind(Json(&event.serialized.payload))
                .push_bind(Json(&event.serialized.metadata))
                .push_bind(stored.event_id.to_string())
                .push_bind(micros(stored.recorded_at))
                .push_bind(stored.command_id.to_string())
                .push_bind(stored.metadata.request_id.as_deref())
                .push_bind(stored.metadata.causation_id.map(|id| id.to_string()))
                .push_bind(&stored.metadata.actor)
                .push_bind(&event.salt[..])
                .push_bind(stored.sealed.as_deref())
                .push_bind(&stored.entry[..])
                .push_bind(&stored.leaf[..]);
        });
        let inserted = insert
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("insert the events"))?;
        ensure_rows("insert the events", rows(chunk), inserted.rows_affected())?;
    }
    Ok(())
}

async fn insert_keys(
    connection: &mut SqliteConnection,
    keys: &[(String, WrappedKey)],
) -> Result<(), StoreError> {
    for chunk in chunks(keys) {
        let mut insert: QueryBuilder<'_, Sqlite> =
            QueryBuilder::new("INSERT INTO entity_keys (aggregate_id, key_id, kek_id, wrapped) ");
        insert.push_values(chunk, |mut row, (stream_id, key)| {
            row.push_bind(stream_id)
                .push_bind(key.key_id.to_string())
                .push_bind(&key.kek_id)
                .push_bind(&key.wrapped[..]);
        });
        let inserted = insert
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("insert the keys"))?;
        ensure_rows("insert the keys", rows(chunk), inserted.rows_affected())?;
    }
    Ok(())
}

async fn insert_answers(
    connection: &mut SqliteConnection,
    answers: &[IdempotencyRecord],
) -> Result<(), StoreError> {
    for chunk in chunks(answers) {
        let mut insert: QueryBuilder<'_, Sqlite> =
            QueryBuilder::new("INSERT INTO idempotency_answers (key, request, answer, recorded_at) ");
        insert.push_values(chunk, |mut row, answer| {
            row.push_bind(&answer.key[..])
                .push_bind(&answer.request[..])
                .push_bind(Json(&answer.answer))
                .push_bind(micros(answer.recorded_at));
        });
        let inserted = insert
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("insert the answers"))?;
        ensure_rows("insert the answers", rows(chunk), inserted.rows_affected())?;
    }
    Ok(())
}

/// Destroys and fences keys, and scrubs what they sealed.
async fn erase(connection: &mut SqliteConnection, erased: &[(String, Position)]) -> Result<(), StoreError> {
    let ids: Vec<&str> = erased.iter().map(|(stream_id, _)| stream_id.as_str()).collect();
    sqlx::query("DELETE FROM entity_keys WHERE aggregate_id IN (SELECT value FROM json_each(?1))")
        .bind(Json(&ids))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("destroy the keys"))?;
    let fenced = sqlx::query(
        "INSERT INTO erasures (aggregate_id, position)
         SELECT value ->> 0, value ->> 1 FROM json_each(?1)",
    )
    .bind(Json(erased))
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database("fence the keys"))?;
    ensure_rows("fence the keys", rows(erased), fenced.rows_affected())?;
    sqlx::query(
        "UPDATE events SET sealed = NULL
         WHERE aggregate_type = ?1 AND aggregate_id IN (SELECT value FROM json_each(?2)) AND sealed IS NOT NULL",
    )
    .bind(AGGREGATE_TYPE)
    .bind(Json(&ids))
    .execute(connection)
    .await
    .map_err(StoreError::database("scrub the sealed details"))?;
    Ok(())
}
