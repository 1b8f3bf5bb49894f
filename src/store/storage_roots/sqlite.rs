//! SQLite: what the storage roots are recognized by.

use super::{HELD, LOAD, StorageRootStore, held, known_roots};
use crate::storage::roots::known::{KnownRoot, KnownRoots};
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::store::values::micros;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Connection as _;
use sqlx::types::Json;
use uuid::Uuid;

#[async_trait]
impl StorageRootStore for SqliteStore {
    async fn storage_roots(&self) -> Result<KnownRoots, StoreError> {
        let rows = sqlx::query("SELECT uri, root_id, device, inode, born FROM storage_roots ORDER BY uri")
            .fetch_all(&self.reads)
            .await
            .map_err(StoreError::database(LOAD))?;
        Ok(known_roots(&rows))
    }

    async fn remember_storage_root(&self, root: &KnownRoot, now: DateTime<Utc>) -> Result<(), StoreError> {
        let mut connection = self.writing().await;
        sqlx::query(
            "INSERT INTO storage_roots (uri, root_id, device, inode, born, first_used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (uri) DO UPDATE SET root_id = excluded.root_id, device = NULL, inode = NULL, born = NULL
             WHERE storage_roots.device IS NOT NULL AND excluded.device IS NULL",
        )
        .bind(&root.uri)
        .bind(root.root_id.to_string())
        .bind(root.numbers.map(|numbers| numbers.device.cast_signed()))
        .bind(root.numbers.map(|numbers| numbers.inode.cast_signed()))
        .bind(root.numbers.and_then(|numbers| numbers.born))
        .bind(micros(now))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("remember a storage root"))?;
        Ok(())
    }

    async fn hold_storage_roots(
        &self,
        instance: Uuid,
        roots: &[String],
        now: DateTime<Utc>,
        stale: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let operation = "say which storage roots this instance has";
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(StoreError::database(operation))?;
        sqlx::query("DELETE FROM storage_root_holders WHERE seen_at < ?1")
            .bind(micros(stale))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        sqlx::query(
            "INSERT INTO storage_root_holders (instance, root, seen_at)
             SELECT ?1, value, ?3 FROM json_each(?2) WHERE true
             ON CONFLICT (instance, root) DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(instance.to_string())
        .bind(Json(roots))
        .bind(micros(now))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        tx.commit().await.map_err(StoreError::database(operation))
    }

    async fn withdraw_storage_roots(&self, instance: Uuid) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM storage_root_holders WHERE instance = ?1")
            .bind(instance.to_string())
            .execute(&mut *self.writing().await)
            .await
            .map_err(StoreError::database(
                "withdraw the storage roots of this instance",
            ))?;
        Ok(())
    }

    async fn held_storage_roots(
        &self,
        except: Uuid,
        since: DateTime<Utc>,
    ) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT DISTINCT root FROM storage_root_holders WHERE instance <> ?1 AND seen_at >= ?2",
        )
        .bind(except.to_string())
        .bind(micros(since))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(HELD))?;
        Ok(held(&rows))
    }
}
