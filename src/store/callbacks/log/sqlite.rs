//! SQLite: the delivery log of callbacks, and replay.

use super::{attempt_row, damaged_delivery, delivery_row, place};
use crate::store::StoreError;
use crate::store::callbacks::{
    CallbackLog, DeliveryCursor, DeliveryFilter, DeliveryFound, DeliveryPage, DeliveryState, ListStart,
    Replay, ReplayedPart,
};
use crate::store::cleanup_jobs::sqlite::BEGIN;
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, Readable, unless_refused};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{micros, non_negative};
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Connection as _, Sqlite};
use uuid::Uuid;

/// Deliveries that match the five parameters of a filter: see [`filtered`].
macro_rules! list_sql {
    ($select:literal, $tail:literal) => {
        concat!(
            $select,
            " FROM callback_deliveries
              WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR host = ?2) AND (?3 IS NULL OR aggregate_id = ?3)
                AND (?4 IS NULL OR created_at >= ?4) AND (?5 IS NULL OR created_at < ?5) ",
            $tail
        )
    };
}

#[async_trait]
impl CallbackLog for SqliteStore {
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        start: ListStart,
        limit: u32,
    ) -> Result<DeliveryPage, StoreError> {
        let operation = "list callback deliveries";
        let sql = list_sql!(
            "SELECT *",
            "AND (?6 IS NULL OR (created_at, delivery_id) < (?6, ?7))
             ORDER BY created_at DESC, delivery_id DESC LIMIT ?8 OFFSET ?9"
        );
        let rows = filtered(sql, filter)
            .bind(start.after.map(|(created_at, _)| micros(created_at)))
            .bind(start.after.map(|(_, delivery_id)| delivery_id.to_string()))
            .bind(i64::from(limit) + 1)
            .bind(i64::from(start.skipped))
            .fetch_all(&self.reads)
            .await
            .map_err(StoreError::database(operation))?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(DeliveryPage {
            more: rows.len() > limit,
            rows: Readable::of(
                rows.get(..limit).unwrap_or(&rows),
                |row| delivery_row(operation, row),
                |row| damaged_delivery(operation, row),
            ),
        })
    }

    async fn count_deliveries(&self, filter: &DeliveryFilter) -> Result<u64, StoreError> {
        let operation = "count callback deliveries";
        let row = filtered(list_sql!("SELECT count(*) AS found", ""), filter)
            .fetch_one(&self.reads)
            .await
            .map_err(StoreError::database(operation))?;
        non_negative(operation, row.read(operation, "found")?)
    }

    async fn delivery(&self, delivery_id: Uuid) -> Result<Option<DeliveryFound>, StoreError> {
        let operation = "read a callback delivery";
        let row = sqlx::query("SELECT * FROM callback_deliveries WHERE delivery_id = ?1")
            .bind(delivery_id.to_string())
            .fetch_optional(&self.reads)
            .await
            .map_err(StoreError::database(operation))?;
        let Some(row) = row else { return Ok(None) };
        let attempts = sqlx::query(
            "SELECT attempt, started_at, outcome, duration_ms, status, error, body, body_truncated
             FROM callback_attempts WHERE delivery_id = ?1 ORDER BY attempt",
        )
        .bind(delivery_id.to_string())
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(Some(DeliveryFound {
            row: Readable::one(delivery_row(operation, &row), || {
                damaged_delivery(operation, &row)
            }),
            attempts: Readable::of(
                &attempts,
                |row| attempt_row(operation, row),
                |_| DamagedRow::default(),
            ),
        }))
    }

    async fn replay(&self, delivery_id: Uuid, now: DateTime<Utc>) -> Result<Replay, StoreError> {
        let operation = "replay a callback delivery";
        let mut connection = self.writing().await;
        let replayed = sqlx::query(
            "UPDATE callback_deliveries
             SET state = 'due', retry = 1, gone = 0, attempts_before = attempts, first_due_at = ?2,
                 next_attempt_at = ?2, lease_token = NULL, finished_at = NULL, probe = 1
             WHERE delivery_id = ?1 AND (lease_token IS NULL OR next_attempt_at <= ?2)",
        )
        .bind(delivery_id.to_string())
        .bind(micros(now))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database(operation))?;
        if replayed.rows_affected() > 0 {
            return Ok(Replay::Due);
        }
        let known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM callback_deliveries WHERE delivery_id = ?1)")
                .bind(delivery_id.to_string())
                .fetch_one(&mut *connection)
                .await
                .map_err(StoreError::database(operation))?;
        Ok(if known { Replay::UnderWay } else { Replay::Unknown })
    }

    async fn replay_matching(
        &self,
        filter: &DeliveryFilter,
        after: Option<DeliveryCursor>,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<ReplayedPart, StoreError> {
        let operation = "replay callback deliveries";
        let sql = concat!(
            "WITH picked AS MATERIALIZED (",
            list_sql!(
                "SELECT rowid AS place, created_at, delivery_id, receiver",
                "AND state <> 'due' AND (?6 IS NULL OR (created_at, delivery_id) < (?6, ?7))
                 ORDER BY created_at DESC, delivery_id DESC LIMIT ?8"
            ),
            ")
             SELECT place, created_at, delivery_id,
                    delivery_id = min(delivery_id) OVER (PARTITION BY receiver) AS is_one FROM picked"
        );
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let rows = filtered(sql, filter)
            .bind(after.map(|(created_at, _)| micros(created_at)))
            .bind(after.map(|(_, delivery_id)| delivery_id.to_string()))
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        let mut replayed = 0;
        for row in &rows {
            let done = sqlx::query(
                "UPDATE callback_deliveries
                 SET state = 'due', retry = 1, gone = 0, attempts_before = attempts, first_due_at = ?2,
                     next_attempt_at = ?2, lease_token = NULL, finished_at = NULL, probe = ?3
                 WHERE rowid = ?1",
            )
            .bind(row.read::<i64>(operation, "place")?)
            .bind(micros(now))
            .bind(row.read::<bool>(operation, "is_one")?)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation));
            replayed += unless_refused(done)?.map_or(0, |done| done.rows_affected());
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        // One whose place cannot be read is due like the others, and nothing goes on behind it.
        Ok(ReplayedPart {
            replayed,
            last: rows.iter().filter_map(|row| place(operation, row).ok()).min(),
        })
    }
}

/// A query that begins with the five parameters of a filter.
fn filtered<'q>(sql: &'q str, filter: &'q DeliveryFilter) -> Query<'q, Sqlite, SqliteArguments<'q>> {
    sqlx::query(sql)
        .bind(filter.state.map(DeliveryState::as_str))
        .bind(&filter.host)
        .bind(filter.key.as_ref().map(EntityKey::stream_id))
        .bind(filter.from.map(micros))
        .bind(filter.until.map(micros))
}
