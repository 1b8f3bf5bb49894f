//! SQLite: the delivery log of callbacks, and replay.

use crate::store::StoreError;
use crate::store::callbacks::{
    AttemptRow, CallbackLog, DeliveryCursor, DeliveryFilter, DeliveryFound, DeliveryPage, DeliveryRow,
    DeliveryState, ListStart, Replay, ReplayedPart,
};
use crate::store::cleanup_jobs::sqlite::BEGIN;
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, Readable, unless_refused};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{entity_key, micros, non_negative, time, uuid};
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Connection as _, Sqlite};
use std::time::Duration;
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
        let place = |row: &SqliteRow| -> Result<DeliveryCursor, StoreError> {
            Ok((
                time(operation, row.read(operation, "created_at")?)?,
                uuid(operation, row.read(operation, "delivery_id")?)?,
            ))
        };
        Ok(ReplayedPart {
            replayed,
            last: rows.iter().filter_map(|row| place(row).ok()).min(),
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

fn delivery_row(operation: &'static str, row: &SqliteRow) -> Result<DeliveryRow, StoreError> {
    Ok(DeliveryRow {
        delivery_id: uuid(operation, row.read(operation, "delivery_id")?)?,
        event_id: uuid(operation, row.read(operation, "event_id")?)?,
        position: non_negative(operation, row.read(operation, "position")?)?,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        receiver: row.read(operation, "receiver")?,
        host: row.read(operation, "host")?,
        url_sealed: row.read(operation, "url_sealed")?,
        dataset_id: row.read(operation, "dataset_id")?,
        error: row.read(operation, "error")?,
        state: row
            .read::<&str>(operation, "state")?
            .parse()
            .map_err(|_| StoreError::inconsistent(operation, "an unknown state"))?,
        gone: row.read(operation, "gone")?,
        attempts: count(operation, row.read(operation, "attempts")?)?,
        leased: row.read::<Option<&str>>(operation, "lease_token")?.is_some(),
        created_at: time(operation, row.read(operation, "created_at")?)?,
        first_due_at: time(operation, row.read(operation, "first_due_at")?)?,
        next_attempt_at: time(operation, row.read(operation, "next_attempt_at")?)?,
        last_status: status(operation, row.read(operation, "last_status")?)?,
        last_error: row.read(operation, "last_error")?,
        finished_at: optional_time(operation, row.read(operation, "finished_at")?)?,
    })
}

/// What can be read of a row that cannot be read whole.
pub(in crate::store::callbacks) fn damaged_delivery(operation: &'static str, row: &SqliteRow) -> DamagedRow {
    let id = row
        .read(operation, "delivery_id")
        .and_then(|id| uuid(operation, id));
    let key = row
        .read(operation, "aggregate_id")
        .and_then(|id| entity_key(operation, id));
    let position = row
        .read(operation, "position")
        .and_then(|position| non_negative(operation, position));
    DamagedRow {
        id: id.ok(),
        key: key.ok(),
        position: position.ok(),
        ..DamagedRow::default()
    }
}

fn attempt_row(operation: &'static str, row: &SqliteRow) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        attempt: count(operation, row.read(operation, "attempt")?)?,
        started_at: time(operation, row.read(operation, "started_at")?)?,
        outcome: row
            .read::<&str>(operation, "outcome")?
            .parse()
            .map_err(|_| StoreError::inconsistent(operation, "an unknown outcome"))?,
        duration: row
            .read::<Option<i64>>(operation, "duration_ms")?
            .map(|millis| non_negative(operation, millis).map(Duration::from_millis))
            .transpose()?,
        status: status(operation, row.read(operation, "status")?)?,
        error: row.read(operation, "error")?,
        body: row
            .read::<Option<Vec<u8>>>(operation, "body")?
            .unwrap_or_default(),
        body_truncated: row.read(operation, "body_truncated")?,
    })
}

/// A time that may be absent from its column.
pub(in crate::store::callbacks) fn optional_time(
    operation: &'static str,
    micros: Option<i64>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    micros.map(|micros| time(operation, micros)).transpose()
}

/// A number of attempts from its column.
pub(in crate::store::callbacks) fn count(operation: &'static str, number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_| StoreError::inconsistent(operation, "a number is out of range"))
}

fn status(operation: &'static str, code: Option<i64>) -> Result<Option<u16>, StoreError> {
    code.map(u16::try_from)
        .transpose()
        .map_err(|_| StoreError::inconsistent(operation, "a status is out of range"))
}
