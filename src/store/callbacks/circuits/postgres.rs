//! PostgreSQL: open circuits of callbacks.

use super::circuit;
use crate::store::StoreError;
use crate::store::callbacks::{CIRCUITS_MAX, Circuit, CircuitChange, CircuitStore};
use crate::store::damaged::readable;
use crate::store::postgres::PostgresStore;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

#[async_trait]
impl CircuitStore for PostgresStore {
    async fn circuits(&self) -> Result<Vec<Circuit>, StoreError> {
        let operation = "read the open circuits";
        let rows = sqlx::query(
            "SELECT key, since, open_until, opened FROM callback_circuits ORDER BY open_until DESC LIMIT $1",
        )
        .bind(i64::try_from(CIRCUITS_MAX).unwrap_or(i64::MAX))
        .fetch_all(&self.deliveries)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(readable(&rows, |row| circuit(operation, row)))
    }

    async fn circuits_of(&self, keys: &[String]) -> Result<Vec<Circuit>, StoreError> {
        let operation = "look up circuits";
        let rows =
            sqlx::query("SELECT key, since, open_until, opened FROM callback_circuits WHERE key = ANY ($1)")
                .bind(keys)
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::database(operation))?;
        Ok(readable(&rows, |row| circuit(operation, row)))
    }

    async fn change_circuits(&self, changes: &[CircuitChange]) -> Result<(), StoreError> {
        let operation = "change circuits";
        let failed = StoreError::database;
        let mut tx = self.deliveries.begin().await.map_err(failed(operation))?;
        for change in changes {
            let query = match change {
                CircuitChange::Opened(circuit) => sqlx::query(
                    "INSERT INTO callback_circuits (key, since, open_until, opened) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (key) DO UPDATE
                     SET open_until = excluded.open_until, opened = excluded.opened
                     WHERE excluded.open_until > callback_circuits.open_until",
                )
                .bind(&circuit.key)
                .bind(circuit.since)
                .bind(circuit.open_until)
                .bind(i32::try_from(circuit.opened).unwrap_or(i32::MAX)),
                CircuitChange::Closed(key) => {
                    sqlx::query("DELETE FROM callback_circuits WHERE key = $1").bind(key)
                }
            };
            query.execute(&mut *tx).await.map_err(failed(operation))?;
        }
        tx.commit().await.map_err(failed(operation))
    }

    async fn forget_circuits(&self, before: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query(
            // One that is open to the end of the calendar, or beyond, was opened by nobody.
            "DELETE FROM callback_circuits WHERE open_until < $1 OR open_until > '9999-12-31Z'",
        )
        .bind(before)
        .execute(&self.deliveries)
        .await
        .map_err(StoreError::database("forget circuits"))?;
        Ok(())
    }
}
