//! PostgreSQL: what instances must have in common.

use super::{InstanceMark, InstanceMarkStore};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use async_trait::async_trait;
use std::time::Duration;
use uuid::Uuid;

#[async_trait]
impl InstanceMarkStore for PostgresStore {
    async fn tell_marks(
        &self,
        instance: Uuid,
        own: &[InstanceMark],
        fresh: Duration,
    ) -> Result<Vec<(Uuid, InstanceMark)>, StoreError> {
        let operation = "tell what instances must have in common";
        let failed = StoreError::database;
        let mut tx = self.pool.begin().await.map_err(failed(operation))?;
        // Rows that somebody else removes at this moment are passed by: two that tell at once must not wait for each other.
        sqlx::query(
            "DELETE FROM instance_marks WHERE (instance_id, name) IN
                 (SELECT instance_id, name FROM instance_marks
                  WHERE instance_id = $1 OR seen_at < now() - make_interval(secs => $2)
                  FOR UPDATE SKIP LOCKED)",
        )
        .bind(instance)
        .bind(fresh.as_secs_f64())
        .execute(&mut *tx)
        .await
        .map_err(failed(operation))?;
        for mark in own {
            let marks = serde_json::to_string(&mark.marks)
                .map_err(|error| StoreError::inconsistent(operation, error.to_string()))?;
            sqlx::query(
                "INSERT INTO instance_marks (instance_id, name, marks, seen_at) VALUES ($1, $2, $3, now())
                 ON CONFLICT (instance_id, name) DO UPDATE SET marks = excluded.marks, seen_at = excluded.seen_at",
            )
            .bind(instance)
            .bind(&mark.name)
            .bind(marks)
            .execute(&mut *tx)
            .await
            .map_err(failed(operation))?;
        }
        let rows = sqlx::query(
            "SELECT instance_id, name, marks FROM instance_marks
             WHERE instance_id <> $1 AND seen_at >= now() - make_interval(secs => $2)
             ORDER BY name, instance_id",
        )
        .bind(instance)
        .bind(fresh.as_secs_f64())
        .fetch_all(&mut *tx)
        .await
        .map_err(failed(operation))?;
        tx.commit().await.map_err(failed(operation))?;
        rows.iter()
            .map(|row| {
                let marks: &str = row.read(operation, "marks")?;
                let mark = InstanceMark {
                    name: row.read(operation, "name")?,
                    marks: serde_json::from_str(marks)
                        .map_err(|error| StoreError::inconsistent(operation, error.to_string()))?,
                };
                Ok((row.read(operation, "instance_id")?, mark))
            })
            .collect()
    }

    async fn forget_marks(&self, instance: Uuid) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM instance_marks WHERE instance_id = $1")
            .bind(instance)
            .execute(&self.pool)
            .await
            .map_err(StoreError::database("forget what an instance had"))?;
        Ok(())
    }
}
