//! SQLite: what instances must have in common.

use super::{InstanceMark, InstanceMarkStore};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::sqlite::SqliteStore;
use crate::store::values::uuid;
use async_trait::async_trait;
use sqlx::Connection;
use sqlx::types::Json;
use std::time::Duration;
use uuid::Uuid;

/// The database's time, in microseconds.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    };
}

#[async_trait]
impl InstanceMarkStore for SqliteStore {
    async fn tell_marks(
        &self,
        instance: Uuid,
        own: &[InstanceMark],
        fresh: Duration,
    ) -> Result<Vec<(Uuid, InstanceMark)>, StoreError> {
        let operation = "tell what instances must have in common";
        let failed = StoreError::database;
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed(operation))?;
        let fresh = i64::try_from(fresh.as_micros()).unwrap_or(i64::MAX);
        sqlx::query(concat!(
            "DELETE FROM instance_marks WHERE instance_id = ?1 OR seen_at < ",
            now!(),
            " - ?2"
        ))
        .bind(instance.to_string())
        .bind(fresh)
        .execute(&mut *tx)
        .await
        .map_err(failed(operation))?;
        for mark in own {
            sqlx::query(concat!(
                "INSERT INTO instance_marks (instance_id, name, marks, seen_at) VALUES (?1, ?2, ?3, ",
                now!(),
                ")"
            ))
            .bind(instance.to_string())
            .bind(&mark.name)
            .bind(Json(&mark.marks))
            .execute(&mut *tx)
            .await
            .map_err(failed(operation))?;
        }
        let rows = sqlx::query(
            "SELECT instance_id, name, marks FROM instance_marks WHERE instance_id <> ?1 ORDER BY name, instance_id",
        )
        .bind(instance.to_string())
        .fetch_all(&mut *tx)
        .await
        .map_err(failed(operation))?;
        tx.commit().await.map_err(failed(operation))?;
        rows.iter()
            .map(|row| {
                let mark = InstanceMark {
                    name: row.read(operation, "name")?,
                    marks: row.read::<Json<Vec<String>>>(operation, "marks")?.0,
                };
                Ok((uuid(operation, row.read(operation, "instance_id")?)?, mark))
            })
            .collect()
    }

    async fn forget_marks(&self, instance: Uuid) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM instance_marks WHERE instance_id = ?1")
            .bind(instance.to_string())
            .execute(&mut *self.writing().await)
            .await
            .map_err(StoreError::database("forget what an instance had"))?;
        Ok(())
    }
}
