//! SQLite: what proofs are made of.

use super::{Disclosure, ProofStore, RawEvent, Run, StoredCheckpoint, StoredEntry, readable, without_gap};
use crate::merkle::tree::TileHash;
use crate::store::columns::Columns as _;
use crate::store::sqlite::SqliteStore;
use crate::store::values::{hash, micros, non_negative, signed, time};
use crate::store::{Hash, Position, StoreError, WrappedKey};
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use sqlx::{Connection, Row};
use uuid::Uuid;

#[async_trait]
impl ProofStore for SqliteStore {
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
                    min(length(leaf) = 32) AS whole, group_concat(hex(leaf), '' ORDER BY position) AS bytes
             FROM (SELECT position, leaf FROM events WHERE position > ?1 ORDER BY position LIMIT ?2)",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        if let Some(leaves) = run(operation, &row)?.from(after + 1) {
            return Ok(leaves);
        }
        let rows =
            sqlx::query("SELECT position, leaf FROM events WHERE position > ?1 ORDER BY position LIMIT ?2")
                .bind(signed(after))
                .bind(i64::from(limit))
                .fetch_all(&self.reads)
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
            "SELECT position, entry, leaf FROM events WHERE position > ?1 ORDER BY position LIMIT ?2",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
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
                    min(length(hash) = 32) AS whole, group_concat(hex(hash), '' ORDER BY place) AS bytes
             FROM (SELECT place, hash FROM tree_hashes WHERE level = ?1 AND place >= ?2 ORDER BY place LIMIT ?3)",
        )
        .bind(i64::from(level))
        .bind(signed(from))
        .bind(i64::from(limit))
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        if let Some(hashes) = run(operation, &row)?.from(from) {
            return Ok(hashes);
        }
        let rows = sqlx::query(
            "SELECT place, hash FROM tree_hashes WHERE level = ?1 AND place >= ?2 ORDER BY place LIMIT ?3",
        )
        .bind(i64::from(level))
        .bind(signed(from))
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
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
             WHERE ledger = ?1 ORDER BY size DESC LIMIT 1",
        )
        .bind(signed(ledger))
        .fetch_optional(&self.reads)
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
             WHERE ledger = ?1 AND size > ?2 ORDER BY size LIMIT ?3",
        )
        .bind(signed(ledger))
        .bind(after.map_or(-1, signed))
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
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
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let added = sqlx::query(
            "INSERT INTO checkpoints (ledger, size, root, note, created_at)
             SELECT ?1, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM ledger_meta WHERE name = ?6)
             ON CONFLICT (ledger, size) DO NOTHING",
        )
        .bind(signed(new.ledger))
        .bind(signed(new.size))
        .bind(&new.root[..])
        .bind(&new.note)
        .bind(micros(new.created_at))
        .bind(unless)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        if added.rows_affected() == 0 {
            let refused: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM ledger_meta WHERE name = ?1)")
                    .bind(unless)
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(StoreError::database(operation))?;
            if refused {
                return Ok(None);
            }
        }
        for tile in full {
            sqlx::query(
                "INSERT INTO tree_hashes (level, place, hash) VALUES (?1, ?2, ?3)
                 ON CONFLICT (level, place) DO NOTHING",
            )
            .bind(i64::from(tile.level))
            .bind(signed(tile.index))
            .bind(&tile.hash[..])
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        drop(connection);
        let row = sqlx::query(
            "SELECT ledger, size, root, note, created_at FROM checkpoints WHERE ledger = ?1 AND size = ?2",
        )
        .bind(signed(new.ledger))
        .bind(signed(new.size))
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database("read a checkpoint back"))?;
        checkpoint(&row).map(Some)
    }

    async fn locate(&self, event_id: Uuid) -> Result<Option<Position>, StoreError> {
        let operation = "locate an event";
        let position: Option<i64> = sqlx::query_scalar("SELECT position FROM events WHERE event_id = ?1")
            .bind(event_id.to_string())
            .fetch_optional(&self.reads)
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
                    e.event_version, e.payload, e.metadata, e.event_id, e.recorded_at,
                    e.command_id, e.correlation_id, e.causation_id, e.actor, e.salt, e.sealed,
                    e.entry, e.leaf, k.key_id, k.kek_id, k.wrapped
             FROM events e
             LEFT JOIN entities k ON k.aggregate_id = e.aggregate_id
             WHERE e.position > ?1 ORDER BY e.position LIMIT ?2",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                Ok(RawEvent {
                    sealed: row.try_get("sealed").unwrap_or_else(|_| Some(Vec::new())),
                    entry: row.try_get("entry").unwrap_or_default(),
                    leaf: row.try_get("leaf").unwrap_or_default(),
                    data_key: data_key(row),
                    ..readable(operation, row)?
                })
            })
            .collect()
    }

    async fn readable_events(&self, after: Position, limit: u32) -> Result<Vec<RawEvent>, StoreError> {
        let operation = "read the readable parts of the rows";
        let rows = sqlx::query(
            "SELECT position, aggregate_id, aggregate_type, sequence, event_type, event_version, payload, metadata,
                    event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt
             FROM events WHERE position > ?1 ORDER BY position LIMIT ?2",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter().map(|row| readable(operation, row)).collect()
    }

    async fn disclosures(&self, stream_id: &str) -> Result<Vec<Disclosure>, StoreError> {
        let operation = "read what a stream discloses";
        let rows = sqlx::query(
            "SELECT salt, payload, metadata, actor FROM entity_events
             WHERE aggregate_id = ?1 ORDER BY sequence",
        )
        .bind(stream_id)
        .fetch_all(&self.reads)
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
fn text(row: &SqliteRow, column: &str) -> String {
    row.try_get(column).unwrap_or_default()
}

/// The stream's key; one that was made unreadable does not open anything.
fn data_key(row: &SqliteRow) -> Option<WrappedKey> {
    // The driver reads NULL as an empty text where a text is asked for.
    let key_id: String = row.try_get::<Option<String>, _>("key_id").ok()??;
    Some(WrappedKey {
        key_id: key_id.parse().unwrap_or_default(),
        kek_id: row.try_get("kek_id").unwrap_or_default(),
        wrapped: row.try_get("wrapped").unwrap_or_default(),
    })
}

/// What cannot be read is left to the reader of single rows.
fn run(operation: &'static str, row: &SqliteRow) -> Result<Run, StoreError> {
    let text: Option<String> = row.try_get("bytes").unwrap_or_default();
    Ok(Run {
        first: row.try_get("first").unwrap_or_default(),
        last: row.try_get("last").unwrap_or_default(),
        count: row.read(operation, "count")?,
        bytes: hex::decode(text.unwrap_or_default()).unwrap_or_default(),
        whole: row.try_get("whole").unwrap_or_default(),
    })
}

fn checkpoint(row: &SqliteRow) -> Result<StoredCheckpoint, StoreError> {
    let operation = "read a checkpoint";
    Ok(StoredCheckpoint {
        ledger: non_negative(operation, row.read(operation, "ledger")?)?,
        size: non_negative(operation, row.read(operation, "size")?)?,
        root: hash(operation, row.try_get("root").unwrap_or_default())?,
        note: text(row, "note"),
        created_at: time(operation, row.try_get("created_at").unwrap_or(i64::MIN))?,
    })
}
