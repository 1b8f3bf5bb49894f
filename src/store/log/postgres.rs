//! PostgreSQL: reads of the log.

use super::{EntityStream, ReadStore};
use crate::store::PoolState;
use crate::store::columns::Columns as _;
use crate::store::keys::postgres::wrapped_key;
use crate::store::postgres::PostgresStore;
use crate::store::values::{entity_key, hash, non_negative, signed};
use crate::store::witness::postgres::vouch_pooled;
use crate::store::{Head, Position, StoreError, StoredEvent, decode_event};
use archive_ledger_domain::{AGGREGATE_TYPE, EntityKey, EventMetadata, EventName};
use async_trait::async_trait;
use cqrs_es::persist::SerializedEvent;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::HashMap;

#[async_trait]
impl ReadStore for PostgresStore {
    fn warnings(&self) -> Vec<String> {
        self.connections.warnings()
    }

    fn pools(&self) -> Vec<PoolState> {
        vec![self.pool.state("shared"), self.deliveries.state("callbacks")]
    }

    async fn vouch(&self) -> Result<(), StoreError> {
        vouch_pooled(&self.pool, &self.witness).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        let row = sqlx::query("SELECT position, frontier, root, recorded_at FROM ledger_head WHERE id = 1")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::database("read the head"))?;
        head_from_row(&row)
    }

    async fn stream(&self, key: &EntityKey) -> Result<Option<EntityStream>, StoreError> {
        let operation = "read a stream";
        let stream_id = key.stream_id();
        let rows = sqlx::query(
            "SELECT e.position, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata,
                    e.event_id, e.recorded_at, e.command_id, e.causation_id, e.actor, e.sealed, e.entry, e.leaf,
                    k.key_id, k.kek_id, k.wrapped
             FROM entity_events e
             LEFT JOIN entities k ON k.aggregate_id = e.aggregate_id
             WHERE e.aggregate_id = $1
             ORDER BY e.sequence",
        )
        .bind(&stream_id)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let data_key = wrapped_key(operation, first)?;
        let events = rows.iter().map(stored_event).collect::<Result<_, _>>()?;
        Ok(Some(EntityStream { events, data_key }))
    }

    async fn log_after(
        &self,
        position: Position,
        names: &[EventName],
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let purges_only = !names.is_empty() && names.iter().all(|name| PURGE_EVENTS.contains(name));
        let query = if purges_only {
            // The first condition is that of the partial index, so that the planner may use it.
            sqlx::query(
                "SELECT position, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id,
                        recorded_at, command_id, causation_id, actor, sealed, entry, leaf
                 FROM events
                 WHERE event_type IN ('purge_requested', 'purged', 'purge_failed')
                   AND position > $1 AND event_type = ANY ($2)
                 ORDER BY position
                 LIMIT $3",
            )
        } else {
            sqlx::query(
                "SELECT position, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id,
                        recorded_at, command_id, causation_id, actor, sealed, entry, leaf
                 FROM events
                 WHERE position > $1 AND (cardinality($2::text[]) = 0 OR event_type = ANY ($2))
                 ORDER BY position
                 LIMIT $3",
            )
        };
        let rows = query
            .bind(signed(position))
            .bind(&names)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::database("read the log"))?;
        rows.iter().map(stored_event).collect()
    }

    async fn log_at(&self, positions: &[Position]) -> Result<Vec<StoredEvent>, StoreError> {
        let positions: Vec<i64> = positions.iter().map(|position| signed(*position)).collect();
        let rows = sqlx::query(
            "SELECT position, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id,
                    recorded_at, command_id, causation_id, actor, sealed, entry, leaf
             FROM events WHERE position = ANY ($1) ORDER BY position",
        )
        .bind(positions)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database("read events of the log"))?;
        rows.iter().map(stored_event).collect()
    }
}

/// The events of the partial index `events_purges`.
const PURGE_EVENTS: [&str; 3] = ["purge_requested", "purged", "purge_failed"];

/// The head row as it is read everywhere.
pub(in crate::store) fn head_from_row(row: &PgRow) -> Result<Head, StoreError> {
    let operation = "read the head";
    // Owned, because a row that came as plain text has to be decoded.
    let frontier: Vec<u8> = row.read(operation, "frontier")?;
    let (hashes, rest) = frontier.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(StoreError::inconsistent(
            operation,
            "the frontier is no list of hashes",
        ));
    }
    Ok(Head {
        position: non_negative(operation, row.read(operation, "position")?)?,
        frontier: hashes.to_vec(),
        root: hash(operation, &row.read::<Vec<u8>>(operation, "root")?)?,
        recorded_at: row.read(operation, "recorded_at")?,
    })
}

fn stored_event(row: &PgRow) -> Result<StoredEvent, StoreError> {
    let operation = "read an event";
    let Json(payload): Json<serde_json::Value> = row.read(operation, "payload")?;
    let Json(metadata): Json<HashMap<String, String>> = row.read(operation, "metadata")?;
    let aggregate_id: String = row.read(operation, "aggregate_id")?;
    let sequence = non_negative(operation, row.read(operation, "sequence")?)?;
    let serialized = SerializedEvent::new(
        aggregate_id.clone(),
        usize::try_from(sequence).unwrap_or(usize::MAX),
        AGGREGATE_TYPE.to_owned(),
        row.read(operation, "event_type")?,
        row.read(operation, "event_version")?,
        payload,
        serde_json::Value::Null,
    );
    Ok(StoredEvent {
        position: non_negative(operation, row.read(operation, "position")?)?,
        event_id: row.read(operation, "event_id")?,
        key: entity_key(operation, &aggregate_id)?,
        sequence,
        recorded_at: row.read(operation, "recorded_at")?,
        event: decode_event(serialized)?,
        metadata: EventMetadata::from_map(
            row.read(operation, "actor")?,
            row.read(operation, "causation_id")?,
            metadata,
        ),
        command_id: row.read(operation, "command_id")?,
        sealed: row.read(operation, "sealed")?,
        entry: row.read(operation, "entry")?,
        leaf: hash(operation, row.read(operation, "leaf")?)?,
    })
}
