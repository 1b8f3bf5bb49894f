//! PostgreSQL: clocks that moved under a running instance.

use super::{Accepted, ClockMoveStore};
use crate::clock::ClockMoved;
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[async_trait]
impl ClockMoveStore for PostgresStore {
    async fn notice_move(&self, id: Uuid, moved: &ClockMoved) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO clock_moves (id, expected_at, shown_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(moved.expected)
        .bind(moved.shown)
        .execute(&self.pool)
        .await
        .map_err(StoreError::database("tell that the clock has moved"))?;
        Ok(())
    }

    async fn accepted_move(&self, id: Uuid) -> Result<Option<Accepted>, StoreError> {
        let operation = "ask whether the clock was accepted";
        let row = sqlx::query(
            "SELECT accepted_by, reason FROM clock_moves WHERE id = $1 AND accepted_at IS NOT NULL",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        row.map(|row| {
            Ok(Accepted {
                by: row.read(operation, "accepted_by")?,
                reason: row.read(operation, "reason")?,
            })
        })
        .transpose()
    }

    async fn end_move(&self, id: Uuid, at: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query("UPDATE clock_moves SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL")
            .bind(id)
            .bind(at)
            .execute(&self.pool)
            .await
            .map_err(StoreError::database("tell that the clock is right again"))?;
        Ok(())
    }

    async fn accept_moves(&self, by: &Accepted, at: DateTime<Utc>) -> Result<Vec<ClockMoved>, StoreError> {
        let operation = "accept the clock";
        let rows = sqlx::query(
            "UPDATE clock_moves SET accepted_at = $1, accepted_by = $2, reason = $3
             WHERE accepted_at IS NULL AND ended_at IS NULL
             RETURNING expected_at, shown_at",
        )
        .bind(at)
        .bind(&by.by)
        .bind(&by.reason)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                Ok(ClockMoved::of_the_machine(
                    row.read(operation, "expected_at")?,
                    row.read(operation, "shown_at")?,
                ))
            })
            .collect()
    }

    async fn time(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let operation = "ask for the database's time";
        let row = sqlx::query("SELECT clock_timestamp() AS now")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        row.read(operation, "now")
    }
}
