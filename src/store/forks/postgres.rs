//! PostgreSQL: forks.

use super::{Fact, ForkStore, Losses, LostPurge};
use crate::store::StoreError;
use crate::store::audit::blocks::BLOCK;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::server::session::Session;
use crate::store::values::{entity_key, non_negative, signed};
use async_trait::async_trait;

/// What names a position behind $1.
const BEHIND: [&str; 7] = [
    "UPDATE cursors SET position = $1::bigint WHERE position > $1::bigint",
    // The row is written in any case: whoever appends without a lock finds that it is not as it was left.
    "UPDATE ledger_head SET claims_position = least(claims_position, $1::bigint) WHERE id = 1",
    "DELETE FROM storage_claims WHERE position > $1::bigint",
    "DELETE FROM tree_hashes WHERE place >= $1::bigint >> (8 * level)",
    "DELETE FROM audit_blocks WHERE block >= $1::bigint / 32",
    "UPDATE audit_indexed SET blocks = $1::bigint / 32 WHERE blocks > $1::bigint / 32",
    "UPDATE audit_attempts SET position = $1::bigint WHERE position > $1::bigint",
];

const _: () = assert!(BLOCK == 32, "the audit's blocks are cut by it");

/// What names an event that the log does not hold.
const OF_LOST_EVENTS: [&str; 4] = [
    "DELETE FROM purge_work
     WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.event_id = purge_work.event_id)",
    // With what they owe.
    "DELETE FROM cleanup_jobs
     WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.event_id = cleanup_jobs.event_id)",
    "DELETE FROM callback_attempts WHERE delivery_id IN
         (SELECT d.delivery_id FROM callback_deliveries d
          WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.event_id = d.event_id))",
    "DELETE FROM callback_deliveries
     WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.event_id = callback_deliveries.event_id)",
];

#[async_trait]
impl ForkStore for PostgresStore {
    async fn open_origin(&self, facts: &[Fact<'_>], losses: &Losses) -> Result<bool, StoreError> {
        let operation = "open an origin";
        let failed = StoreError::database;
        let mut tx = self.pool.begin().await.map_err(failed(operation))?;
        let position: i64 = sqlx::query_scalar("SELECT position FROM ledger_head WHERE id = 1 FOR UPDATE")
            .fetch_one(&mut *tx)
            .await
            .map_err(failed(operation))?;
        if position != signed(losses.size) {
            return Err(StoreError::HeadMoved);
        }
        for (name, value) in facts {
            sqlx::query(
                "INSERT INTO ledger_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            )
            .bind(name)
            .bind(value)
            .execute(&mut *tx)
            .await
            .map_err(failed(operation))?;
            let standing: String = sqlx::query_scalar("SELECT value FROM ledger_meta WHERE name = $1")
                .bind(name)
                .fetch_one(&mut *tx)
                .await
                .map_err(failed(operation))?;
            if standing != *value {
                return Ok(false);
            }
        }
        for statement in BEHIND {
            sqlx::query(statement)
                .bind(signed(losses.size))
                .execute(&mut *tx)
                .await
                .map_err(failed(operation))?;
        }
        for statement in OF_LOST_EVENTS {
            sqlx::query(statement)
                .execute(&mut *tx)
                .await
                .map_err(failed(operation))?;
        }
        keep(&mut tx, losses).await?;
        tx.commit().await.map_err(failed(operation))?;
        Ok(true)
    }

    async fn losses(&self, ledger: u64) -> Result<Option<Losses>, StoreError> {
        let operation = "read what a fork has lost";
        let row =
            sqlx::query("SELECT size, reached, seen, stream, told_at FROM fork_losses WHERE ledger = $1")
                .bind(signed(ledger))
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::database(operation))?;
        let Some(row) = row else { return Ok(None) };
        let purges = sqlx::query(
            "SELECT event_id, position, recorded_by, aggregate_id, purge_id, event, recorded_at
             FROM lost_purges WHERE ledger = $1 ORDER BY recorded_by, position",
        )
        .bind(signed(ledger))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        let purges = purges.iter().map(|row| {
            let event: &str = row.read(operation, "event")?;
            Ok(LostPurge {
                event: event
                    .parse()
                    .map_err(|_| StoreError::inconsistent(operation, "an event has no name"))?,
                event_id: row.read(operation, "event_id")?,
                position: non_negative(operation, row.read(operation, "position")?)?,
                recorded_by: non_negative(operation, row.read(operation, "recorded_by")?)?,
                key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
                purge_id: row.read(operation, "purge_id")?,
                recorded_at: row.read(operation, "recorded_at")?,
            })
        });
        let stream: &str = row.read(operation, "stream")?;
        Ok(Some(Losses {
            ledger,
            size: non_negative(operation, row.read(operation, "size")?)?,
            reached: non_negative(operation, row.read(operation, "reached")?)?,
            seen: non_negative(operation, row.read(operation, "seen")?)?,
            stream: stream
                .parse()
                .map_err(|_| StoreError::inconsistent(operation, "a stream was asked in no known way"))?,
            purges: purges.collect::<Result<_, StoreError>>()?,
            told_at: row.read(operation, "told_at")?,
        }))
    }

    async fn keep_losses(&self, losses: &Losses) -> Result<(), StoreError> {
        let operation = "keep what a fork has lost";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        keep(&mut tx, losses).await?;
        tx.commit().await.map_err(StoreError::database(operation))
    }
}

async fn keep(connection: &mut Session, losses: &Losses) -> Result<(), StoreError> {
    let operation = "keep what a fork has lost";
    sqlx::query(
        "INSERT INTO fork_losses (ledger, size, reached, seen, stream, told_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (ledger) DO UPDATE
         SET size = excluded.size, reached = excluded.reached, seen = excluded.seen, stream = excluded.stream,
             told_at = excluded.told_at",
    )
    .bind(signed(losses.ledger))
    .bind(signed(losses.size))
    .bind(signed(losses.reached))
    .bind(signed(losses.seen))
    .bind(losses.stream.as_str())
    .bind(losses.told_at)
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database(operation))?;
    sqlx::query("DELETE FROM lost_purges WHERE ledger = $1")
        .bind(signed(losses.ledger))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database(operation))?;
    for purge in &losses.purges {
        sqlx::query(
            "INSERT INTO lost_purges
                 (ledger, event_id, position, recorded_by, aggregate_id, purge_id, event, recorded_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(signed(losses.ledger))
        .bind(purge.event_id)
        .bind(signed(purge.position))
        .bind(signed(purge.recorded_by))
        .bind(purge.key.stream_id())
        .bind(purge.purge_id)
        .bind(purge.event.as_str())
        .bind(purge.recorded_at)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database(operation))?;
    }
    Ok(())
}
