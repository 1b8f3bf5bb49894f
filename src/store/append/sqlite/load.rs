//! What a batch has to know before it is decided.

use super::read_head;
use crate::store::chunks::chunks;
use crate::store::columns::Columns as _;
use crate::store::file::LedgerFile;
use crate::store::keys::sqlite::wrapped_key;
use crate::store::values::{hash, time};
use crate::store::{
    BatchNeeds, BatchSnapshot, FoundAnswers, Hash, IdempotencyRecord, StoreError, StreamSnapshot,
};
use archive_ledger_domain::AGGREGATE_TYPE;
use cqrs_es::persist::SerializedEvent;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet};

/// Head, streams, keys and answers. A row that cannot be read concerns its stream or its idempotency key alone.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    file: &LedgerFile,
    needs: &BatchNeeds,
) -> Result<BatchSnapshot, StoreError> {
    let head = read_head(connection, file).await?;
    let mut found = load_events(connection, &needs.streams).await?;
    // A stream that nothing is known of and nothing was found of has no key and no fence.
    let sealing: Vec<&String> = needs
        .sealing
        .iter()
        .filter(|id| found.contains_key(*id) || needs.streams.get(*id).is_some_and(|version| *version > 0))
        .collect();
    if !sealing.is_empty() {
        load_keys(connection, &sealing, &mut found).await?;
    }
    let answers = if needs.answers.is_empty() {
        FoundAnswers::default()
    } else {
        load_answers(connection, &needs.answers).await?
    };
    Ok(BatchSnapshot {
        head,
        streams: found,
        answers,
    })
}

async fn load_events(
    connection: &mut SqliteConnection,
    streams: &BTreeMap<String, u64>,
) -> Result<BTreeMap<String, StreamSnapshot>, StoreError> {
    let operation = "load the streams";
    let rows = sqlx::query(
        // An entity whose first event is not where its row says is found without one: its stream cannot be read.
        "SELECT n.aggregate_id AS aggregate_id, 1 AS sequence, e.event_type AS event_type, e.event_version AS event_version,
                e.payload AS payload, e.leaf AS leaf
         FROM json_each(?1) AS asked
         CROSS JOIN entities n ON n.aggregate_id = asked.key
         LEFT JOIN events e ON e.position = n.first_position AND e.aggregate_id = n.aggregate_id AND e.sequence = 1
         WHERE asked.value = 0
         UNION ALL
         SELECT e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.leaf
         FROM json_each(?1) AS asked
         CROSS JOIN events e ON e.aggregate_id = asked.key AND e.sequence > asked.value AND e.sequence > 1
         ORDER BY 1, 2",
    )
    .bind(Json(streams))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database(operation))?;
    let mut found: BTreeMap<String, StreamSnapshot> = BTreeMap::new();
    for row in rows {
        let aggregate_id: String = row.read(operation, "aggregate_id")?;
        let stream = found.entry(aggregate_id.clone()).or_default();
        match event(&row, aggregate_id) {
            Ok((event, leaf)) => {
                stream.last_leaf = Some(leaf);
                stream.events.push(event);
            }
            Err(error) => stream.cannot_be_read(&error),
        }
    }
    Ok(found)
}

fn event(row: &SqliteRow, aggregate_id: String) -> Result<(SerializedEvent, Hash), StoreError> {
    let operation = "load the streams";
    let sequence: i64 = row.read(operation, "sequence")?;
    let sequence = usize::try_from(sequence)
        .map_err(|_| StoreError::inconsistent(operation, "a version is negative"))?;
    let event = SerializedEvent::new(
        aggregate_id,
        sequence,
        AGGREGATE_TYPE.to_owned(),
        row.read(operation, "event_type")?,
        row.read(operation, "event_version")?,
        row.read::<Json<serde_json::Value>>(operation, "payload")?.0,
        serde_json::Value::Null,
    );
    Ok((event, hash(operation, row.read(operation, "leaf")?)?))
}

async fn load_keys(
    connection: &mut SqliteConnection,
    ids: &[&String],
    found: &mut BTreeMap<String, StreamSnapshot>,
) -> Result<(), StoreError> {
    let operation = "load the keys";
    let rows = sqlx::query(
        "SELECT aggregate_id, key_id, kek_id, wrapped, erased_at IS NOT NULL AS fenced
         FROM entities WHERE aggregate_id IN (SELECT value FROM json_each(?1))",
    )
    .bind(Json(ids))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database(operation))?;
    for row in rows {
        let stream = found.entry(row.read(operation, "aggregate_id")?).or_default();
        stream.fenced = row.read(operation, "fenced")?;
        stream.key = wrapped_key(&row);
    }
    Ok(())
}

async fn load_answers(
    connection: &mut SqliteConnection,
    keys: &BTreeSet<Hash>,
) -> Result<FoundAnswers, StoreError> {
    let operation = "load the answers";
    let keys: Vec<&Hash> = keys.iter().collect();
    let mut found = FoundAnswers::default();
    for chunk in chunks(&keys) {
        let mut select: QueryBuilder<'_, Sqlite> = QueryBuilder::new(
            "SELECT key, request, answer, recorded_at FROM idempotency_answers WHERE key IN (",
        );
        let mut asked = select.separated(", ");
        for key in chunk {
            asked.push_bind(&key[..]);
        }
        asked.push_unseparated(")");
        let rows = select
            .build()
            .fetch_all(&mut *connection)
            .await
            .map_err(StoreError::database(operation))?;
        for row in rows {
            let key = hash(operation, row.read(operation, "key")?)?;
            found.add(key, answer(&row, key));
        }
    }
    Ok(found)
}

fn answer(row: &SqliteRow, key: Hash) -> Result<IdempotencyRecord, StoreError> {
    let operation = "load the answers";
    Ok(IdempotencyRecord {
        key,
        request: hash(operation, row.read(operation, "request")?)?,
        answer: row.read::<Json<serde_json::Value>>(operation, "answer")?.0,
        recorded_at: time(operation, row.read(operation, "recorded_at")?)?,
    })
}
