//! What a batch writes: events, entities, keys, claims, erasures, callback targets, answers, and the head. One row per call: a prepared
//! statement that is called again costs no more than many rows in one.

use super::rows::{AnswerRow, EntityRow, EventRow, Rows};
use super::{changes, pages};
use crate::store::called::{IdText, execute, failed};
use crate::store::claims::Claim;
use crate::store::claims::sqlite::RELEASE;
use crate::store::values::{micros, signed};
use crate::store::{CallbackTarget, Head, PageSizes, Position, StoreError, WrappedKey, ensure_rows};
use archive_ledger_domain::AGGREGATE_TYPE;
use rusqlite::{Connection, params};

/// Writes all of it but the commit.
pub(super) fn write(connection: &Connection, write: &Rows, sizes: PageSizes) -> Result<(), StoreError> {
    insert_events(connection, &write.events)?;
    insert_entities(connection, &write.entities)?;
    add_keys(connection, &write.keys)?;
    insert_claims(connection, &write.claims)?;
    erase(connection, &write.erased)?;
    for stream_id in &write.released {
        execute(connection, "release the claims", RELEASE, [stream_id])?;
    }
    changes::write(connection, write)?;
    pages::count(connection, &write.placed, sizes)?;
    for target in &write.targets {
        insert_target(connection, target)?;
    }
    insert_answers(connection, &write.answers)?;
    move_head(connection, &write.head)
}

fn insert_events(connection: &Connection, events: &[EventRow]) -> Result<(), StoreError> {
    let operation = "insert the events";
    let mut insert = connection
        .prepare_cached(
            "INSERT INTO events
                 (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                  event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )
        .map_err(failed(operation))?;
    for event in events {
        insert
            .execute(params![
                event.position,
                AGGREGATE_TYPE,
                event.stream_id,
                event.sequence,
                event.event_type,
                event.event_version,
                event.payload,
                event.metadata,
                IdText::of(event.event_id),
                event.recorded_at,
                IdText::of(event.command_id),
                event.request_id,
                event.causation_id.map(IdText::of),
                event.actor,
                event.salt,
                event.sealed,
                event.entry,
                event.leaf,
            ])
            .map_err(failed(operation))?;
    }
    Ok(())
}

fn insert_entities(connection: &Connection, entities: &[EntityRow]) -> Result<(), StoreError> {
    let operation = "insert the entities";
    let mut insert = connection
        .prepare_cached(
            "INSERT INTO entities (aggregate_id, first_position, key_id, kek_id, wrapped, erased_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .map_err(failed(operation))?;
    for entity in entities {
        let key = entity.key.as_ref();
        insert
            .execute(params![
                entity.stream_id,
                entity.first_position,
                key.map(|key| IdText::of(key.key_id)),
                key.map(|key| &key.kek_id),
                key.map(|key| &key.wrapped),
                entity.erased_at,
            ])
            .map_err(failed(operation))?;
    }
    Ok(())
}

/// Gives entities a key that have none and never had one destroyed.
fn add_keys(connection: &Connection, keys: &[(String, WrappedKey)]) -> Result<(), StoreError> {
    let operation = "add a key";
    for (stream_id, key) in keys {
        let added = execute(
            connection,
            operation,
            "UPDATE entities SET key_id = ?2, kek_id = ?3, wrapped = ?4
             WHERE aggregate_id = ?1 AND wrapped IS NULL AND erased_at IS NULL",
            params![stream_id, IdText::of(key.key_id), key.kek_id, key.wrapped],
        )?;
        ensure_rows(operation, 1, added)?;
    }
    Ok(())
}

fn insert_claims(connection: &Connection, claims: &[Claim]) -> Result<(), StoreError> {
    for claim in claims {
        execute(
            connection,
            "insert the claims",
            "INSERT INTO storage_claims (position, ordinal, place) VALUES (?1, ?2, ?3)",
            params![signed(claim.position), claim.ordinal, claim.place.as_bytes()],
        )?;
    }
    Ok(())
}

/// Destroys and fences keys, and scrubs what they sealed.
fn erase(connection: &Connection, erased: &[(String, Position)]) -> Result<(), StoreError> {
    let operation = "destroy and fence the keys";
    for (stream_id, position) in erased {
        let fenced = execute(
            connection,
            operation,
            "UPDATE entities SET key_id = NULL, kek_id = NULL, wrapped = NULL, erased_at = ?2
             WHERE aggregate_id = ?1 AND erased_at IS NULL",
            params![stream_id, signed(*position)],
        )?;
        ensure_rows(operation, 1, fenced)?;
        execute(
            connection,
            "scrub the sealed details",
            "UPDATE events SET sealed = NULL
             WHERE sealed IS NOT NULL AND position IN (SELECT position FROM entity_events WHERE aggregate_id = ?1)",
            [stream_id],
        )?;
    }
    Ok(())
}

fn insert_target(connection: &Connection, target: &CallbackTarget) -> Result<(), StoreError> {
    execute(
        connection,
        "insert a callback target",
        "INSERT INTO callback_targets
             (target_id, aggregate_id, url_hash, url_sealed, host, dataset_id, registered, created_at, receiver)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (aggregate_id, url_hash) DO UPDATE
         SET registered = callback_targets.registered AND excluded.registered",
        params![
            IdText::of(target.target_id),
            target.key.stream_id(),
            target.url_hash,
            target.url_sealed,
            target.host,
            target.dataset_id,
            target.registered,
            micros(target.created_at),
            target.receiver,
        ],
    )?;
    Ok(())
}

fn insert_answers(connection: &Connection, answers: &[AnswerRow]) -> Result<(), StoreError> {
    for answer in answers {
        execute(
            connection,
            "insert the answers",
            "INSERT INTO idempotency_answers (key, request, answer, recorded_at) VALUES (?1, ?2, ?3, ?4)",
            params![answer.key, answer.request, answer.answer, answer.recorded_at],
        )?;
    }
    Ok(())
}

fn move_head(connection: &Connection, head: &Head) -> Result<(), StoreError> {
    let moved = execute(
        connection,
        "move the head",
        "UPDATE ledger_head SET position = ?1, frontier = ?2, root = ?3, recorded_at = ?4,
             claims_position = CASE WHEN claims_position = position THEN ?1 ELSE claims_position END
         WHERE id = 1",
        params![
            signed(head.position),
            head.frontier.concat(),
            head.root,
            head.recorded_at.map(micros)
        ],
    )?;
    ensure_rows("move the head", 1, moved)
}
