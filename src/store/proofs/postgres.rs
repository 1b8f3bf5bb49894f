//! PostgreSQL: what proofs are made of.

use super::{Disclosure, ProofStore, RawEvent, Run, StoredCheckpoint, StoredEntry, readable, without_gap};
use crate::merkle::tree::TileHash;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::values::{hash, non_negative, signed};
use crate::store::{Hash, Position, StoreError, WrappedKey};
use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

#[async_trait]
impl ProofStore for PostgresStore {
    async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        Self::recall(self, name).await
    }

    async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError> {
        Self::remember(self, name, value).await
    }

    async fn leaves(&self, after: Position, limit: u32) -> Result<Vec<Hash>, StoreError> {
        let operation = "read the leaves";
        let row = sqlx::query(
            "SELECT min(position) AS first, max(position) AS last, count(*) AS count,
                    bool_and(octet_length(leaf) = 32) AS whole,
                    coalesce(string_agg(leaf, ''::bytea ORDER BY position), ''::bytea) AS bytes
             FROM (SELECT position, leaf FROM events WHERE position > $1 ORDER BY position LIMIT $2) run",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        if let Some(leaves) = run(operation, &row)?.from(after + 1) {
            return Ok(leaves);
        }
        let rows =
            sqlx::query("SELECT position, leaf FROM events WHERE position > $1 ORDER BY position LIMIT $2")
                .bind(signed(after))
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::database(operation))?;
        let rows = rows.iter().map(|row| {
            let position = non_negative(operation, row.read(operation, "position")?)?;
            Ok((position, hash(operation, row.read(operation, "leaf")?)?))
        });
        without_gap(operation, after + 1, rows)
    }

    async fn entries(&self, after: Position, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
        let operation = "read the entries";
        let rows = sqlx::query(
            "SELECT position, entry, leaf FROM events WHERE position > $1 ORDER BY position LIMIT $2",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        let rows = rows.iter().map(|row| {
            let entry = StoredEntry {
                entry: row.read(operation, "entry")?,
                leaf: hash(operation, row.read(operation, "leaf")?)?,
            };
            Ok((non_negative(operation, row.read(operation, "position")?)?, entry))
        });
        without_gap(operation, after + 1, rows)
    }

    async fn tree_hashes(&self, level: u8, from: u64, limit: u32) -> Result<Vec<Hash>, StoreError> {
        let operation = "read the tiles' hashes";
        let row = sqlx::query(
            "SELECT min(place) AS first, max(place) AS last, count(*) AS count,
                    bool_and(octet_length(hash) = 32) AS whole,
                    coalesce(string_agg(hash, ''::bytea ORDER BY place), ''::bytea) AS bytes
             FROM (SELECT place, hash FROM tree_hashes WHERE level = $1 AND place >= $2 ORDER BY place LIMIT $3) run",
        )
        .bind(i16::from(level))
        .bind(signed(from))
        .bind(i64::from(limit))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        if let Some(hashes) = run(operation, &row)?.from(from) {
            return Ok(hashes);
        }
        let rows = sqlx::query(
            "SELECT place, hash FROM tree_hashes WHERE level = $1 AND place >= $2 ORDER BY place LIMIT $3",
        )
        .bind(i16::from(level))
        .bind(signed(from))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        let rows = rows.iter().map(|row| {
            let place = non_negative(operation, row.read(operation, "place")?)?;
            Ok((place, hash(operation, row.read(operation, "hash")?)?))
        });
        without_gap(operation, from, rows)
    }

    async fn last_checkpoint(&self, ledger: u64) -> Result<Option<StoredCheckpoint>, StoreError> {
        let row = sqlx::query(
            "SELECT ledger, size, root, note, created_at FROM checkpoints
             WHERE ledger = $1 ORDER BY size DESC LIMIT 1",
        )
        .bind(signed(ledger))
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::database("read the last checkpoint"))?;
        row.as_ref().map(checkpoint).transpose()
    }

    async fn checkpoints(
        &self,
        ledger: u64,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredCheckpoint>, StoreError> {
        let rows = sqlx::query(
            "SELECT ledger, size, root, note, created_at FROM checkpoints
             WHERE ledger = $1 AND size > $2 ORDER BY size LIMIT $3",
        )
        .bind(signed(ledger))
        .bind(after.map_or(-1, signed))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database("read the checkpoints"))?;
        rows.iter().map(checkpoint).collect()
    }

    async fn add_checkpoint(
        &self,
        new: &StoredCheckpoint,
        full: &[TileHash],
        unless: &str,
    ) -> Result<Option<StoredCheckpoint>, StoreError> {
        let operation = "store a checkpoint";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        let added = sqlx::query(
            "INSERT INTO checkpoints (ledger, size, root, note, created_at)
             SELECT $1, $2, $3, $4, $5
             WHERE NOT EXISTS (SELECT 1 FROM ledger_meta WHERE name = $6)
             ON CONFLICT (ledger, size) DO NOTHING",
        )
        .bind(signed(new.ledger))
        .bind(signed(new.size))
        .bind(&new.root[..])
        .bind(&new.note)
        .bind(new.created_at)
        .bind(unless)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        if added.rows_affected() == 0 {
            let refused: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM ledger_meta WHERE name = $1)")
                    .bind(unless)
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(StoreError::database(operation))?;
            if refused {
                return Ok(None);
            }
        }
        if !full.is_empty() {
            let levels: Vec<i16> = full.iter().map(|tile| i16::from(tile.level)).collect();
            let places: Vec<i64> = full.iter().map(|tile| signed(tile.index)).collect();
            let hashes: Vec<&[u8]> = full.iter().map(|tile| tile.hash.as_slice()).collect();
            sqlx::query(
                "INSERT INTO tree_hashes (level, place, hash)
                 SELECT * FROM UNNEST ($1::smallint[], $2::bigint[], $3::bytea[])
                 ON CONFLICT (level, place) DO NOTHING",
            )
            .bind(levels)
            .bind(places)
            .bind(hashes)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        let row = sqlx::query(
            "SELECT ledger, size, root, note, created_at FROM checkpoints WHERE ledger = $1 AND size = $2",
        )
        .bind(signed(new.ledger))
        .bind(signed(new.size))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database("read a checkpoint back"))?;
        checkpoint(&row).map(Some)
    }

    async fn locate(&self, event_id: Uuid) -> Result<Option<Position>, StoreError> {
        let operation = "locate an event";
        let position: Option<i64> = sqlx::query_scalar("SELECT position FROM events WHERE event_id = $1")
            .bind(event_id)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        position
            .map(|position| non_negative(operation, position))
            .transpose()
    }

    async fn raw_events(&self, after: Position, limit: u32) -> Result<Vec<RawEvent>, StoreError> {
        let operation = "read the rows";
        let rows = sqlx::query(
            "SELECT e.position, e.aggregate_id, e.aggregate_type, e.sequence, e.event_type,
                    e.event_version, e.payload::text AS payload, e.metadata::text AS metadata,
                    e.event_id::text AS event_id, e.recorded_at,
                    e.command_id::text AS command_id, e.correlation_id,
                    e.causation_id::text AS causation_id, e.actor, e.salt, e.sealed, e.entry,
                    e.leaf, k.key_id::text AS key_id, k.kek_id, k.wrapped
             FROM events e
             LEFT JOIN entities k ON k.aggregate_id = e.aggregate_id
             WHERE e.position > $1 ORDER BY e.position LIMIT $2",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                Ok(RawEvent {
                    sealed: row.read(operation, "sealed")?,
                    entry: row.read(operation, "entry")?,
                    leaf: row.read(operation, "leaf")?,
                    data_key: data_key(row),
                    ..readable(operation, row)?
                })
            })
            .collect()
    }

    async fn readable_events(&self, after: Position, limit: u32) -> Result<Vec<RawEvent>, StoreError> {
        let operation = "read the readable parts of the rows";
        let rows = sqlx::query(
            "SELECT position, aggregate_id, aggregate_type, sequence, event_type, event_version,
                    payload::text AS payload, metadata::text AS metadata, event_id::text AS event_id,
                    recorded_at, command_id::text AS command_id, correlation_id,
                    causation_id::text AS causation_id, actor, salt
             FROM events WHERE position > $1 ORDER BY position LIMIT $2",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter().map(|row| readable(operation, row)).collect()
    }

    async fn disclosures(&self, stream_id: &str) -> Result<Vec<Disclosure>, StoreError> {
        let operation = "read what a stream discloses";
        let rows = sqlx::query(
            "SELECT salt, payload, metadata, actor FROM entity_events
             WHERE aggregate_id = $1 ORDER BY sequence",
        )
        .bind(stream_id)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                Ok(Disclosure {
                    salt: hash(operation, row.read(operation, "salt")?)?,
                    payload: row.read::<Json<_>>(operation, "payload")?.0,
                    metadata: row.read::<Json<_>>(operation, "metadata")?.0,
                    actor: row.read(operation, "actor")?,
                })
            })
            .collect()
    }
}

/// A text that may have been made none: what does not decode reads as empty, and the caller finds that it does not fit.
fn text(row: &PgRow, column: &str) -> String {
    row.try_get(column).unwrap_or_default()
}

/// The stream's key; one that was made unreadable does not open anything.
fn data_key(row: &PgRow) -> Option<WrappedKey> {
    let key_id: String = row.try_get("key_id").ok()?;
    Some(WrappedKey {
        key_id: key_id.parse().unwrap_or_default(),
        kek_id: row.try_get("kek_id").unwrap_or_default(),
        wrapped: row.try_get("wrapped").unwrap_or_default(),
    })
}

fn run(operation: &'static str, row: &PgRow) -> Result<Run, StoreError> {
    Ok(Run {
        first: row.read(operation, "first")?,
        last: row.read(operation, "last")?,
        count: row.read(operation, "count")?,
        bytes: row.read(operation, "bytes")?,
        whole: row.read(operation, "whole")?,
    })
}

fn checkpoint(row: &PgRow) -> Result<StoredCheckpoint, StoreError> {
    let operation = "read a checkpoint";
    Ok(StoredCheckpoint {
        ledger: non_negative(operation, row.read(operation, "ledger")?)?,
        size: non_negative(operation, row.read(operation, "size")?)?,
        root: hash(operation, row.read(operation, "root")?)?,
        note: text(row, "note"),
        created_at: row.read(operation, "created_at")?,
    })
}
