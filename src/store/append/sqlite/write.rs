//! What a batch writes: events, entities, keys, claims, erasures, callback targets, answers, and the head.

use super::changes::write_changes;
use super::pages;
use crate::store::append::entities::{EntityWrites, NewEntity};
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
    let entities = EntityWrites::from(write);
    insert_entities(connection, &entities.new).await?;
    for (stream_id, key) in entities.keys {
        add_key(connection, stream_id, key).await?;
    }
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

async fn insert_entities(
    connection: &mut SqliteConnection,
    entities: &[NewEntity<'_>],
) -> Result<(), StoreError> {
    for chunk in chunks(entities) {
        let mut insert: QueryBuilder<'_, Sqlite> = QueryBuilder::new(
            "INSERT INTO entities (aggregate_id, first_position, key_id, kek_id, wrapped) ",
        );
        insert.push_values(chunk, |mut row, entity| {
            row.push_bind(entity.stream_id)
                .push_bind(signed(entity.first_position))
                .push_bind(entity.key.map(|key| key.key_id.to_string()))
                .push_bind(entity.key.map(|key| key.kek_id.as_str()))
                .push_bind(entity.key.map(|key| &key.wrapped[..]));
        });
        let inserted = insert
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("insert the entities"))?;
        ensure_rows("insert the entities", rows(chunk), inserted.rows_affected())?;
    }
    Ok(())
}

/// Gives an entity a key that has none and never had one destroyed.
async fn add_key(
    connection: &mut SqliteConnection,
    stream_id: &str,
    key: &WrappedKey,
) -> Result<(), StoreError> {
    let added = sqlx::query(
        "UPDATE entities SET key_id = ?2, kek_id = ?3, wrapped = ?4
         WHERE aggregate_id = ?1 AND wrapped IS NULL AND erased_at IS NULL",
    )
    .bind(stream_id)
    .bind(key.key_id.to_string())
    .bind(&key.kek_id)
    .bind(&key.wrapped[..])
    .execute(connection)
    .await
    .map_err(StoreError::database("add a key"))?;
    ensure_rows("add a key", 1, added.rows_affected())
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
    for (stream_id, position) in erased {
        let fenced = sqlx::query(
            "UPDATE entities SET key_id = NULL, kek_id = NULL, wrapped = NULL, erased_at = ?2
             WHERE aggregate_id = ?1 AND erased_at IS NULL",
        )
        .bind(stream_id)
        .bind(signed(*position))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("destroy and fence the keys"))?;
        ensure_rows("destroy and fence the keys", 1, fenced.rows_affected())?;
    }
    let ids: Vec<&str> = erased.iter().map(|(stream_id, _)| stream_id.as_str()).collect();
    sqlx::query(
        "UPDATE events SET sealed = NULL
         WHERE sealed IS NOT NULL AND position IN (
             SELECT position FROM entity_events WHERE aggregate_id IN (SELECT value FROM json_each(?1)))",
    )
    .bind(Json(&ids))
    .execute(connection)
    .await
    .map_err(StoreError::database("scrub the sealed details"))?;
    Ok(())
}
