//! SQLite: the rows of the purges that are owed, each read by itself.

use super::{jobs_of, readable};
use crate::store::StoreError;
use crate::store::cleanup_jobs::PurgeStatus;
use crate::store::cleanup_jobs::obligations::sqlite::owed;
use crate::store::damaged::Readable;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

pub(in crate::store::cleanup_jobs) async fn purges(
    connection: &mut SqliteConnection,
    operation: &'static str,
    rows: &[SqliteRow],
) -> Result<Readable<PurgeStatus>, StoreError> {
    let owed = owed(connection, operation, &jobs_of(operation, rows)).await?;
    Ok(readable(operation, rows, owed))
}
