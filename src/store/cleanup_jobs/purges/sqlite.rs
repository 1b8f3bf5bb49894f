//! SQLite: the rows of the purges that are owed, each read by itself.

use super::{jobs_of, readable};
use crate::store::StoreError;
use crate::store::cleanup_jobs::PurgeStatus;
use crate::store::cleanup_jobs::obligations::Owed;
use crate::store::cleanup_jobs::obligations::sqlite::{owed, owed_by};
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

/// The same of one purge, with what is known of obligations that cannot be read.
pub(in crate::store::cleanup_jobs) async fn one_purge(
    connection: &mut SqliteConnection,
    operation: &'static str,
    rows: &[SqliteRow],
) -> Result<Option<PurgeStatus>, StoreError> {
    let mut owed = Owed::new();
    for job in jobs_of(operation, rows) {
        owed.insert(job, Some(owed_by(connection, operation, job).await?));
    }
    readable(operation, rows, owed).only(operation)
}
