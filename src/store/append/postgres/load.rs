//! What a batch has to know before it is decided.

use crate::store::columns::Columns as _;
use crate::store::keys::postgres::wrapped_key;
use crate::store::server::session::Session;
use crate::store::values::{hash, signed};
use crate::store::{BatchNeeds, FoundAnswers, Hash, IdempotencyRecord, StoreError, StreamSnapshot};
use archive_ledger_domain::AGGREGATE_TYPE;
use cqrs_es::persist::SerializedEvent;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::{BTreeMap, BTreeSet};

/// Streams, keys and answers, each in one query and only where there is something to ask for. A row that cannot be read
/// concerns its stream or its idempotency key alone.
pub(super) async fn load(
    connection: &mut Session,
    needs: &BatchNeeds,
) -> Result<(BTreeMap<String, StreamSnapshot>, FoundAnswers), StoreError> {
    let mut found = load_events(connection, &needs.streams).await?;
    // A stream that nothing is known of and nothing was found of has no key and no fence.
    let sealing: Vec<&str> = needs
        .sealing
        .iter()
        .filter(|id| found.contains_key(*id) || needs.streams.get(*id).is_some_and(|version| *version > 0))
        .map(String::as_str)
        .collect();
    if !sealing.is_empty() {
        load_keys(connection, &sealing, &mut found).await?;
    }
    let answers = if needs.answers.is_empty() {
        FoundAnswers::default()
    } else {
        load_answers(connection, &needs.answers).await?
    };
    Ok((found, answers))
}

async fn load_events(
    connection: &mut Session,
    streams: &BTreeMap<String, u64>,
) -> Result<BTreeMap<String, StreamSnapshot>, StoreError> {
    let operation = "load the streams";
    let ids: Vec<&str> = streams.keys().map(String::as_str).collect();
    let known: Vec<i64> = streams.values().map(|version| signed(*version)).collect();
    // The sort in the inner query keeps it from being merged into a join. As `aggregate_id = ANY ($2)` the same is planned as
    // a scan of the whole index whose every row is compared with every id, because that comes in the right order.
    let query = sqlx::query(
        // An entity whose first event is not where its row says is found without one: its stream cannot be read.
        "SELECT e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.leaf
         FROM UNNEST ($1::text[], $2::bigint[]) AS asked (id, known)
         CROSS JOIN LATERAL (
             SELECT n.aggregate_id, 1::bigint AS sequence, opening.event_type, opening.event_version, opening.payload, opening.leaf
             FROM entities n
             LEFT JOIN events AS opening
                 ON opening.position = n.first_position AND opening.aggregate_id = n.aggregate_id AND opening.sequence = 1
             WHERE n.aggregate_id = asked.id AND asked.known = 0
             UNION ALL
             SELECT aggregate_id, sequence, event_type, event_version, payload, leaf FROM events
             WHERE aggregate_id = asked.id AND sequence > asked.known AND sequence > 1
             ORDER BY sequence) e
         ORDER BY e.aggregate_id, e.sequence",
    )
    .bind(ids)
    .bind(known);
    let rows = query
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

fn event(row: &PgRow, aggregate_id: String) -> Result<(SerializedEvent, Hash), StoreError> {
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
    connection: &mut Session,
    ids: &[&str],
    found: &mut BTreeMap<String, StreamSnapshot>,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "SELECT aggregate_id, key_id, kek_id, wrapped, erased_at IS NOT NULL AS fenced
         FROM entities WHERE aggregate_id = ANY ($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await
    .map_err(StoreError::database("load the keys"))?;
    for row in rows {
        let stream = found
            .entry(row.read("load the keys", "aggregate_id")?)
            .or_default();
        stream.fenced = row.read("load the keys", "fenced")?;
        match wrapped_key("load the keys", &row) {
            Ok(key) => stream.key = key,
            Err(error) => stream.cannot_be_read(&error),
        }
    }
    Ok(())
}

async fn load_answers(connection: &mut Session, keys: &BTreeSet<Hash>) -> Result<FoundAnswers, StoreError> {
    let operation = "load the answers";
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 32]>::as_slice).collect();
    let rows =
        sqlx::query("SELECT key, request, answer, recorded_at FROM idempotency_answers WHERE key = ANY ($1)")
            .bind(&keys)
            .fetch_all(connection)
            .await
            .map_err(StoreError::database(operation))?;
    let mut found = FoundAnswers::default();
    for row in rows {
        let key = hash(operation, row.read(operation, "key")?)?;
        found.add(key, answer(&row, key));
    }
    Ok(found)
}

fn answer(row: &PgRow, key: Hash) -> Result<IdempotencyRecord, StoreError> {
    let operation = "load the answers";
    Ok(IdempotencyRecord {
        key,
        request: hash(operation, row.read(operation, "request")?)?,
        answer: row.read::<Json<serde_json::Value>>(operation, "answer")?.0,
        recorded_at: row.read(operation, "recorded_at")?,
    })
}
