//! Who acts on the log, and how far its readers have come.

mod postgres;
mod sqlite;

use super::{Position, StoreError};
use async_trait::async_trait;
use std::time::Duration;
use uuid::Uuid;

/// Named leases with a fencing epoch, and named cursors over the log.
#[async_trait]
pub trait CoordinationStore: Send + Sync {
    /// Takes or renews the lease `name` for `owner` for `ttl` from now on, by the clock of the database that all who ask share (of
    /// SQLite, the machine's). Returns the epoch, which grows with every change of owner, or `None` while another owner holds it.
    ///
    /// A lease that ends further from now than it is long was taken by a clock that was wrong: it is over.
    async fn acquire_lease(&self, name: &str, owner: Uuid, ttl: Duration) -> Result<Option<u64>, StoreError>;

    /// Gives the lease back at once, if `owner` holds it.
    async fn release_lease(&self, name: &str, owner: Uuid) -> Result<(), StoreError>;

    /// How far the named reader has come; 0 for a new one.
    async fn cursor(&self, name: &str) -> Result<Position, StoreError>;

    /// Moves the named reader forward; a cursor never goes back, so a late writer changes nothing.
    async fn advance_cursor(&self, name: &str, position: Position) -> Result<(), StoreError>;
}
