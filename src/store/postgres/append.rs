//! PostgreSQL: the append transaction.

use super::super::{
    AppendBackend, BatchSnapshot, BatchWrite, Hash, Head, IdempotencyRecord, NewEvent, Position, StoreError,
    StreamSnapshot, WrappedKey, ensure_rows,
};
use super::read::{hash, head_from_row};
use archive_ledger_domain::{AGGREGATE_TYPE, EntityKey};
use archive_ledger_projections::{ArchivedEntry, ArchivedListChange, Changes, PurgeWork, PurgeWorkChange};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::persist::SerializedEvent;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::Json;
use sqlx::{Connection, Executor, PgConnection, Row};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The appending connection.
#[derive(Debug)]
pub struct PostgresAppend {
    options: PgConnectOptions,
    connection: PgConnection,
}

impl PostgresAppend {
    pub(super) async fn connect(options: PgConnectOptions) -> Result<Self, StoreError> {
        let connection = open(&options).await?;
        Ok(Self { options, connection })
    }
}

pub(super) async fn open(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connecting = PgConnection::connect_with(options);
    let mut connection = tokio::time::timeout(super::CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)
        .and_then(|connected| connected)
        .map_err(StoreError::database("connect the writer"))?;
    super::prepare(&mut connection)
        .await
        .map_err(StoreError::database("prepare the writer's session"))?;
    Ok(connection)
}

#[async_trait]
impl AppendBackend for PostgresAppend {
    async fn begin(&mut self, streams: &[String], answers: &[Hash]) -> Result<BatchSnapshot, StoreError> {
        let loaded = load(&mut self.connection, streams, answers).await;
        if loaded.is_err() {
            // The first error is the one to tell; a connection that cannot roll back is replaced by the caller.
            let _ = self.rollback().await;
        }
        loaded
    }

    async fn commit(&mut self, write: &BatchWrite) -> Result<(), StoreError> {
        if let Err(error) = write_all(&mut self.connection, write).await {
            let _ = self.rollback().await;
            // Nothing was sent to be committed, so the outcome is known, whatever happened to the connection.
            return Err(error);
        }
        self.connection
            .execute("COMMIT")
            .await
            .map_err(StoreError::database("commit the batch"))?;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.connection
            .execute("ROLLBACK")
            .await
            .map_err(StoreError::database("roll the batch back"))?;
        Ok(())
    }

    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError> {
        // Under the head lock: a commit whose connection was lost may still be on its way, and holds the lock until it ends.
        let asked = async {
            self.connection.execute("BEGIN").await?;
            self.connection
                .execute("SELECT position FROM ledger_head WHERE id = 1 FOR UPDATE")
                .await?;
            let found: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM events WHERE position = $1 AND event_id = $2)",
            )
            .bind(signed(position))
            .bind(event_id)
            .fetch_one(&mut self.connection)
            .await?;
            self.connection.execute("ROLLBACK").await?;
            Ok(found)
        };
        asked.await.map_err(StoreError::database("look a commit up"))
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.connection = open(&self.options).await?;
        Ok(())
    }
}

async fn load(
    connection: &mut PgConnection,
    streams: &[String],
    answers: &[Hash],
) -> Result<BatchSnapshot, StoreError> {
    connection
        .execute("BEGIN")
        .await
        .map_err(StoreError::database("begin the batch"))?;
    let head =
        sqlx::query("SELECT position, frontier, root, recorded_at FROM ledger_head WHERE id = 1 FOR UPDATE")
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::database("lock the head"))?;
    let head = head_from_row(&head)?;
    let mut found = load_events(connection, streams).await?;
    if !found.is_empty() {
        load_keys(connection, &mut found).await?;
    }
    let answers = if answers.is_empty() {
        Vec::new()
    } else {
        load_answers(connection, answers).await?
    };
    Ok(BatchSnapshot {
        head,
        streams: found,
        answers,
    })
}

async fn load_events(
    connection: &mut PgConnection,
    streams: &[String],
) -> Result<BTreeMap<String, StreamSnapshot>, StoreError> {
    let rows = sqlx::query(
        "SELECT aggregate_id, sequence, event_type, event_version, payload, leaf
         FROM events
         WHERE aggregate_type = $1 AND aggregate_id = ANY ($2)
         ORDER BY aggregate_id, sequence",
    )
    .bind(AGGREGATE_TYPE)
    .bind(streams)
    .fetch_all(&mut *connection)
    .await
    .map_err(StoreError::database("load the streams"))?;
    let mut found: BTreeMap<String, StreamSnapshot> = BTreeMap::new();
    for row in rows {
        let aggregate_id: String = row.get("aggregate_id");
        let event = SerializedEvent::new(
            aggregate_id.clone(),
            usize::try_from(row.get::<i64, _>("sequence")).unwrap_or(0),
            AGGREGATE_TYPE.to_owned(),
            row.get("event_type"),
            row.get("event_version"),
            row.get::<Json<serde_json::Value>, _>("payload").0,
            serde_json::Value::Null,
        );
        let stream = found.entry(aggregate_id).or_default();
        stream.last_leaf = Some(hash("load the streams", row.get("leaf"))?);
        stream.events.push(event);
    }
    Ok(found)
}

async fn load_keys(
    connection: &mut PgConnection,
    found: &mut BTreeMap<String, StreamSnapshot>,
) -> Result<(), StoreError> {
    let ids: Vec<String> = found.keys().cloned().collect();
    let rows = sqlx::query(
        "SELECT aggregate_id, key_id, kek_id, wrapped, false AS fenced
         FROM entity_keys WHERE aggregate_id = ANY ($1)
         UNION ALL
         SELECT aggregate_id, NULL, NULL, NULL, true
         FROM erasures WHERE aggregate_id = ANY ($1)",
    )
    .bind(&ids)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("load the keys"))?;
    for row in rows {
        let Some(stream) = found.get_mut(row.get::<&str, _>("aggregate_id")) else {
            continue;
        };
        if row.get("fenced") {
            stream.fenced = true;
        } else {
            stream.key = Some(WrappedKey {
                key_id: row.get("key_id"),
                kek_id: row.get("kek_id"),
                wrapped: row.get("wrapped"),
            });
        }
    }
    Ok(())
}

async fn load_answers(
    connection: &mut PgConnection,
    keys: &[Hash],
) -> Result<Vec<IdempotencyRecord>, StoreError> {
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    let rows =
        sqlx::query("SELECT key, request, answer, recorded_at FROM idempotency_answers WHERE key = ANY ($1)")
            .bind(&keys)
            .fetch_all(connection)
            .await
            .map_err(StoreError::database("load the answers"))?;
    rows.iter()
        .map(|row| {
            Ok(IdempotencyRecord {
                key: hash("load the answers", row.get("key"))?,
                request: hash("load the answers", row.get("request"))?,
                answer: row.get::<Json<serde_json::Value>, _>("answer").0,
                recorded_at: row.get("recorded_at"),
            })
        })
        .collect()
}

async fn write_all(connection: &mut PgConnection, write: &BatchWrite) -> Result<(), StoreError> {
    if !write.events.is_empty() {
        insert_events(connection, &write.events).await?;
    }
    if !write.keys.is_empty() {
        insert_keys(connection, &write.keys).await?;
    }
    if !write.erased.is_empty() {
        erase(connection, &write.erased).await?;
    }
    write_changes(connection, &write.changes).await?;
    for target in &write.targets {
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
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("insert a callback target"))?;
    }
    if !write.answers.is_empty() {
        insert_answers(connection, &write.answers).await?;
    }
    update_head(connection, &write.head).await
}

async fn insert_events(connection: &mut PgConnection, events: &[NewEvent]) -> Result<(), StoreError> {
    let columns = EventColumns::from(events);
    let inserted = sqlx::query(
        "INSERT INTO events
             (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
              event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf)
         SELECT position, $1, aggregate_id, sequence, event_type, event_version, payload, metadata,
                event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf
         FROM UNNEST ($2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::json[], $8::json[],
                      $9::uuid[], $10::timestamptz[], $11::uuid[], $12::text[], $13::uuid[], $14::text[],
                      $15::bytea[], $16::bytea[], $17::bytea[], $18::bytea[])
              AS new (position, aggregate_id, sequence, event_type, event_version, payload, metadata,
                      event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry,
                      leaf)",
    )
    .bind(AGGREGATE_TYPE)
    .bind(columns.position)
    .bind(columns.aggregate_id)
    .bind(columns.sequence)
    .bind(columns.event_type)
    .bind(columns.event_version)
    .bind(columns.payload)
    .bind(columns.metadata)
    .bind(columns.event_id)
    .bind(columns.recorded_at)
    .bind(columns.command_id)
    .bind(columns.correlation_id)
    .bind(columns.causation_id)
    .bind(columns.actor)
    .bind(columns.salt)
    .bind(columns.sealed)
    .bind(columns.entry)
    .bind(columns.leaf)
    .execute(connection)
    .await
    .map_err(StoreError::database("insert the events"))?;
    ensure_rows("insert the events", rows(events), inserted.rows_affected())
}

/// The events, column by column, as `UNNEST` takes them.
#[derive(Default)]
struct EventColumns<'a> {
    position: Vec<i64>,
    aggregate_id: Vec<&'a str>,
    sequence: Vec<i64>,
    event_type: Vec<&'a str>,
    event_version: Vec<&'a str>,
    payload: Vec<Json<&'a serde_json::Value>>,
    metadata: Vec<Json<&'a serde_json::Value>>,
    event_id: Vec<Uuid>,
    recorded_at: Vec<DateTime<Utc>>,
    command_id: Vec<Uuid>,
    correlation_id: Vec<Option<&'a str>>,
    causation_id: Vec<Option<Uuid>>,
    actor: Vec<&'a str>,
    salt: Vec<&'a [u8]>,
    sealed: Vec<Option<&'a [u8]>>,
    entry: Vec<&'a [u8]>,
    leaf: Vec<&'a [u8]>,
}

impl<'a> From<&'a [NewEvent]> for EventColumns<'a> {
    fn from(events: &'a [NewEvent]) -> Self {
        let mut columns = Self::default();
        for event in events {
            let stored = &event.stored;
            columns.position.push(signed(stored.position));
            columns.aggregate_id.push(&event.serialized.aggregate_id);
            columns.sequence.push(signed(stored.sequence));
            columns.event_type.push(&event.serialized.event_type);
            columns.event_version.push(&event.serialized.event_version);
            columns.payload.push(Json(&event.serialized.payload));
            columns.metadata.push(Json(&event.serialized.metadata));
            columns.event_id.push(stored.event_id);
            columns.recorded_at.push(stored.recorded_at);
            columns.command_id.push(stored.command_id);
            columns.correlation_id.push(stored.metadata.request_id.as_deref());
            columns.causation_id.push(stored.metadata.causation_id);
            columns.actor.push(&stored.metadata.actor);
            columns.salt.push(&event.salt);
            columns.sealed.push(stored.sealed.as_deref());
            columns.entry.push(&stored.entry);
            columns.leaf.push(&stored.leaf);
        }
        columns
    }
}

async fn insert_keys(connection: &mut PgConnection, keys: &[(String, WrappedKey)]) -> Result<(), StoreError> {
    let ids: Vec<&str> = keys.iter().map(|(id, _)| id.as_str()).collect();
    let key_ids: Vec<Uuid> = keys.iter().map(|(_, key)| key.key_id).collect();
    let kek_ids: Vec<&str> = keys.iter().map(|(_, key)| key.kek_id.as_str()).collect();
    let wrapped: Vec<&[u8]> = keys.iter().map(|(_, key)| key.wrapped.as_slice()).collect();
    let inserted = sqlx::query(
        "INSERT INTO entity_keys (aggregate_id, key_id, kek_id, wrapped)
         SELECT * FROM UNNEST ($1::text[], $2::uuid[], $3::text[], $4::bytea[])",
    )
    .bind(ids)
    .bind(key_ids)
    .bind(kek_ids)
    .bind(wrapped)
    .execute(connection)
    .await
    .map_err(StoreError::database("insert the keys"))?;
    ensure_rows("insert the keys", rows(keys), inserted.rows_affected())
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

/// Applies what the projections made of the events.
pub(super) async fn write_changes(
    connection: &mut PgConnection,
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
    write_purge_work(connection, changes).await
}

async fn put_archived(connection: &mut PgConnection, entries: &[&ArchivedEntry]) -> Result<(), StoreError> {
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

async fn remove_archived(connection: &mut PgConnection, keys: &[&EntityKey]) -> Result<(), StoreError> {
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

async fn write_purge_work(connection: &mut PgConnection, changes: &Changes) -> Result<(), StoreError> {
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

async fn insert_answers(
    connection: &mut PgConnection,
    answers: &[IdempotencyRecord],
) -> Result<(), StoreError> {
    let keys: Vec<&[u8]> = answers.iter().map(|answer| answer.key.as_slice()).collect();
    let requests: Vec<&[u8]> = answers.iter().map(|answer| answer.request.as_slice()).collect();
    let values: Vec<Json<&serde_json::Value>> = answers.iter().map(|answer| Json(&answer.answer)).collect();
    let times: Vec<DateTime<Utc>> = answers.iter().map(|answer| answer.recorded_at).collect();
    let inserted = sqlx::query(
        "INSERT INTO idempotency_answers (key, request, answer, recorded_at)
         SELECT * FROM UNNEST ($1::bytea[], $2::bytea[], $3::json[], $4::timestamptz[])",
    )
    .bind(keys)
    .bind(requests)
    .bind(values)
    .bind(times)
    .execute(connection)
    .await
    .map_err(StoreError::database("insert the answers"))?;
    ensure_rows("insert the answers", rows(answers), inserted.rows_affected())
}

async fn update_head(connection: &mut PgConnection, head: &Head) -> Result<(), StoreError> {
    let updated = sqlx::query(
        "UPDATE ledger_head SET position = $1, frontier = $2, root = $3, recorded_at = $4 WHERE id = 1",
    )
    .bind(signed(head.position))
    .bind(head.frontier.concat())
    .bind(&head.root[..])
    .bind(head.recorded_at)
    .execute(connection)
    .await
    .map_err(StoreError::database("move the head"))?;
    ensure_rows("move the head", 1, updated.rows_affected())
}

/// A position or sequence as the database holds it. Both are checked to be positive and far below the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn rows<T>(written: &[T]) -> u64 {
    u64::try_from(written.len()).unwrap_or(u64::MAX)
}
