//! SQLite: what the file itself tells of damage.
//!
//! `PRAGMA integrity_check` compares every value with the type of its column and with the column's checks, and indexes with their tables.
//! It does so by the tables' definitions, which stand in the file as well: so these are compared first, with what the migrations make.

use crate::store::StoreError;
use crate::store::schema::sqlite::MIGRATIONS;
use crate::store::sqlite::SqliteStore;
use sqlx::{Connection, Executor, SqliteConnection};
use std::collections::HashMap;

/// The tables and views as they are defined. The migrator's own is not one of the ledger's.
const DEFINITIONS: &str = "
    SELECT type || ' ' || name, sql FROM sqlite_master
    WHERE type IN ('table', 'view') AND name <> '_sqlx_migrations' ORDER BY name";

impl SqliteStore {
    /// What is wrong with what the file holds, whatever the log says.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(in crate::store) async fn find_damage(&self) -> Result<Option<String>, StoreError> {
        let failed = || StoreError::database("look for damage");
        if let Some(defined) = self.redefined().await? {
            return Ok(Some(format!(
                "the {defined} is not defined as the migrations do it"
            )));
        }
        // On a connection that may write: to one that may not, SQLite gives tables without their checks.
        let told: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_all(&mut *self.writing().await)
            .await
            .map_err(failed())?;
        Ok(told.into_iter().find(|told| told != "ok"))
    }

    /// A table or view that the file defines in another way than this version makes it. How a newer version has expanded it, this one cannot know.
    async fn redefined(&self) -> Result<Option<String>, StoreError> {
        let failed = || StoreError::database("compare the schema");
        let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
        let expanded: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM _sqlx_migrations WHERE version > ?1)")
                .bind(newest)
                .fetch_one(&self.reads)
                .await
                .map_err(failed())?;
        if expanded {
            return Ok(None);
        }
        let mut made = SqliteConnection::connect("sqlite::memory:")
            .await
            .map_err(failed())?;
        for migration in MIGRATIONS.iter() {
            made.execute(&*migration.sql).await.map_err(failed())?;
        }
        let expected: Vec<(String, String)> = sqlx::query_as(DEFINITIONS)
            .fetch_all(&mut made)
            .await
            .map_err(failed())?;
        let found: Vec<(String, Option<String>)> = sqlx::query_as(DEFINITIONS)
            .fetch_all(&self.reads)
            .await
            .map_err(failed())?;
        let found: HashMap<_, _> = found.into_iter().collect();
        let differs = |(name, sql): &(String, String)| found.get(name).and_then(Option::as_ref) != Some(sql);
        Ok(expected.into_iter().find(differs).map(|(name, _)| name))
    }
}
