//! SQLite: open circuits of callbacks.

use super::circuit;
use crate::store::StoreError;
use crate::store::callbacks::{CIRCUITS_MAX, Circuit, CircuitChange, CircuitStore};
use crate::store::damaged::{readable, unless_refused};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{LAST_MICROS, micros};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{Connection, SqliteConnection};

#[async_trait]
impl CircuitStore for SqliteStore {
    async fn circuits(&self) -> Result<Vec<Circuit>, StoreError> {
        let operation = "read the open circuits";
        let rows = sqlx::query(
            "SELECT key, since, open_until, opened FROM callback_circuits ORDER BY open_until DESC LIMIT ?1",
        )
        .bind(i64::try_from(CIRCUITS_MAX).unwrap_or(i64::MAX))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(readable(&rows, |row| circuit(operation, row)))
    }

    async fn circuits_of(&self, keys: &[String]) -> Result<Vec<Circuit>, StoreError> {
        let operation = "look up circuits";
        let rows = sqlx::query(
            "SELECT key, since, open_until, opened FROM callback_circuits
             WHERE key IN (SELECT value FROM json_each(?1))",
        )
        .bind(Json(keys))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(readable(&rows, |row| circuit(operation, row)))
    }

    async fn change_circuits(&self, changes: &[CircuitChange]) -> Result<(), StoreError> {
        let operation = "change circuits";
        let failed = StoreError::database;
        let mut connection = self.writing().await;
        let mut tx = connection.begin().await.map_err(failed(operation))?;
        for change in changes {
            match change {
                CircuitChange::Opened(circuit) => {
                    let opened = open(&mut tx, operation, circuit).await;
                    if unless_refused(opened)?.is_none() {
                        // What stands there can be changed in nothing, and is no more than a hint.
                        close(&mut tx, operation, &circuit.key).await?;
                        open(&mut tx, operation, circuit).await?;
                    }
                }
                CircuitChange::Closed(key) => close(&mut tx, operation, key).await?,
            }
        }
        tx.commit().await.map_err(failed(operation))
    }

    async fn forget_circuits(&self, before: DateTime<Utc>) -> Result<(), StoreError> {
        let mut connection = self.writing().await;
        sqlx::query(
            // One that is open to the end of the calendar, or to no time at all, was opened by nobody.
            "DELETE FROM callback_circuits WHERE open_until < ?1 OR open_until > ?2",
        )
        .bind(micros(before))
        .bind(LAST_MICROS)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("forget circuits"))?;
        Ok(())
    }
}

async fn open(
    connection: &mut SqliteConnection,
    operation: &'static str,
    circuit: &Circuit,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO callback_circuits (key, since, open_until, opened) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (key) DO UPDATE
         SET open_until = excluded.open_until, opened = excluded.opened
         WHERE excluded.open_until > callback_circuits.open_until",
    )
    .bind(&circuit.key)
    .bind(micros(circuit.since))
    .bind(micros(circuit.open_until))
    .bind(circuit.opened)
    .execute(connection)
    .await
    .map(drop)
    .map_err(StoreError::database(operation))
}

async fn close(
    connection: &mut SqliteConnection,
    operation: &'static str,
    key: &str,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM callback_circuits WHERE key = ?1")
        .bind(key)
        .execute(connection)
        .await
        .map(drop)
        .map_err(StoreError::database(operation))
}
