//! PostgreSQL: the delivery log of callbacks, and replay.

use super::{attempt_row, damaged_delivery, delivery_row, place};
use crate::store::StoreError;
use crate::store::callbacks::{
    CallbackLog, DeliveryCursor, DeliveryFilter, DeliveryFound, DeliveryPage, DeliveryState, ListStart,
    Replay, ReplayedPart,
};
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, Readable};
use crate::store::postgres::PostgresStore;
use crate::store::values::non_negative;
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

/// The columns of [`DeliveryRow`]. The filters below are planned for their values at every call (`persistent(false)`), as
/// the best index depends on which of them are given: see [`filtered`].
macro_rules! list_sql {
    ($select:literal, $tail:literal) => {
        concat!(
            $select,
            " FROM callback_deliveries
              WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR host = $2)
                AND ($3::text IS NULL OR aggregate_id = $3)
                AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5) ",
            $tail
        )
    };
}

#[async_trait]
impl CallbackLog for PostgresStore {
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        start: ListStart,
        limit: u32,
    ) -> Result<DeliveryPage, StoreError> {
        let operation = "list callback deliveries";
        let sql = list_sql!(
            "SELECT *",
            "AND ($6::timestamptz IS NULL OR (created_at, delivery_id) < ($6, $7::uuid))
             ORDER BY created_at DESC, delivery_id DESC LIMIT $8 OFFSET $9"
        );
        let rows = filtered(sql, filter)
            .bind(start.after.map(|(created_at, _)| created_at))
            .bind(start.after.map(|(_, delivery_id)| delivery_id))
            .bind(i64::from(limit) + 1)
            .bind(i64::from(start.skipped))
            .fetch_all(&self.pool)
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
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        non_negative(operation, row.read(operation, "found")?)
    }

    async fn delivery(&self, delivery_id: Uuid) -> Result<Option<DeliveryFound>, StoreError> {
        let operation = "read a callback delivery";
        let row = sqlx::query("SELECT * FROM callback_deliveries WHERE delivery_id = $1")
            .bind(delivery_id)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        let Some(row) = row else { return Ok(None) };
        let attempts = sqlx::query(
            "SELECT attempt, started_at, outcome, duration_ms, status, error, body, body_truncated
             FROM callback_attempts WHERE delivery_id = $1 ORDER BY attempt",
        )
        .bind(delivery_id)
        .fetch_all(&self.pool)
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
        let replayed = sqlx::query(
            "UPDATE callback_deliveries
             SET state = 'due', retry = true, gone = false, attempts_before = attempts, first_due_at = $2,
                 next_attempt_at = $2, lease_token = NULL, finished_at = NULL, probe = true
             WHERE delivery_id = $1 AND (lease_token IS NULL OR next_attempt_at <= $2)",
        )
        .bind(delivery_id)
        .bind(now)
        .execute(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        if replayed.rows_affected() > 0 {
            return Ok(Replay::Due);
        }
        let known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM callback_deliveries WHERE delivery_id = $1)")
                .bind(delivery_id)
                .fetch_one(&self.pool)
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
            "WITH picked AS (",
            list_sql!(
                "SELECT delivery_id, receiver",
                "AND state <> 'due' AND ($6::timestamptz IS NULL OR (created_at, delivery_id) < ($6, $7::uuid))
                 ORDER BY created_at DESC, delivery_id DESC LIMIT $8 FOR UPDATE"
            ),
            "),
             probes AS (SELECT DISTINCT ON (receiver) delivery_id FROM picked ORDER BY receiver, delivery_id)
             UPDATE callback_deliveries d
             SET state = 'due', retry = true, gone = false, attempts_before = attempts, first_due_at = $9,
                 next_attempt_at = $9, lease_token = NULL, finished_at = NULL,
                 probe = d.delivery_id IN (SELECT delivery_id FROM probes)
             FROM picked WHERE d.delivery_id = picked.delivery_id
             RETURNING d.created_at, d.delivery_id"
        );
        let rows = filtered(sql, filter)
            .bind(after.map(|(created_at, _)| created_at))
            .bind(after.map(|(_, delivery_id)| delivery_id))
            .bind(i64::from(limit))
            .bind(now)
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        // One whose place cannot be read is due like the others, and nothing goes on behind it.
        Ok(ReplayedPart {
            replayed: u64::try_from(rows.len()).unwrap_or(u64::MAX),
            last: rows.iter().filter_map(|row| place(operation, row).ok()).min(),
        })
    }
}

/// A query that begins with the five parameters of a filter.
fn filtered<'q>(sql: &'q str, filter: &'q DeliveryFilter) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql)
        .persistent(false)
        .bind(filter.state.map(DeliveryState::as_str))
        .bind(&filter.host)
        .bind(filter.key.as_ref().map(EntityKey::stream_id))
        .bind(filter.from)
        .bind(filter.until)
}
