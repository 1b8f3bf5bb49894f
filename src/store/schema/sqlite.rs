//! SQLite: the schema.

use super::{Applied, OLDEST, is_current, migrator};
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;

/// The migrations, compiled in.
pub(in crate::store) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

impl SqliteStore {
    /// Brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Migrate`]; [`StoreError::Unfit`] when this version must leave the file alone.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        if self.is_current().await? {
            return Ok(());
        }
        let mut connection = self.writing().await;
        migrator(&MIGRATIONS)
            .run(&mut *connection)
            .await
            .map_err(StoreError::Migrate)
    }

    /// Whether the schema is that of this version, or one of a newer version that this one works on. Nothing is changed, and a
    /// file that holds no ledger says no.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] when this version must leave the file alone.
    pub async fn is_current(&self) -> Result<bool, StoreError> {
        let operation = "read the schema's version";
        let migrated: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations')",
        )
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        if !migrated {
            return Ok(false);
        }
        let applied: Vec<Applied> =
            sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
                .fetch_all(&self.reads)
                .await
                .map_err(StoreError::database(operation))?;
        let oldest = if applied.is_empty() {
            None
        } else {
            self.recall(OLDEST).await?
        };
        is_current(&MIGRATIONS, &applied, oldest.as_deref())
    }
}
