//! What stands beside the log and follows from it, as it stands: read by who verifies, and by nobody else.

mod damage;
mod postgres;
mod sqlite;

use super::StoreError;
use async_trait::async_trait;

/// A table beside the log. The columns are given as texts, in this order (times in microseconds since 1970); the first one is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideTable {
    /// Entities: stream, position of the first event, key id, id of the wrapping key, position of the purge that destroyed the key.
    Entities,
    /// Cleanup jobs: event id, position, stream, purge id, state, objects, bytes, obligations. These are separated by `;`, and of each
    /// `ordinal state objects bytes at_least under_way storage_hash`, the last one in hex or `-`.
    Jobs,
    /// Callback deliveries: delivery id, event id, position, stream, target id, error, data set, 1 if it is the last word, the sealed
    /// URL in hex, host, receiver.
    Deliveries,
    /// Readers of the log: name, position.
    Cursors,
    /// Stored tile hashes: level, how many.
    Tiles,
    /// Checkpoints: number of the origin, how many.
    Origins,
    /// Callback targets: target id, stream, hash of the URL and the sealed URL (both in hex), 1 if it came with the registration, host,
    /// data set, when it was asked for, receiver.
    Targets,
    /// Remembered answers: key in hex, bytes of the request's hash, answer, when it was recorded.
    Answers,
    /// Attempts, in the order of their numbers: sequence, position, outcome, action, entity type, entity id, count.
    Attempts,
    /// The head of the attempts: 1, the last sequence.
    AttemptsHead,
    /// The head of the log: 1, position, up to where the claims on storage are complete.
    Head,
    /// Claims on storage: position of the event, how many, the first and the last ordinal.
    Claims,
    /// What the ledger is: name, value.
    Meta,
    /// What forks have lost: number of the origin, how many events it went on from.
    Losses,
}

/// A row: its columns as texts, whatever they are.
pub type SideRow = Vec<Option<String>>;

/// Reads tables beside the log.
#[async_trait]
pub trait SideStore: Send + Sync {
    /// The rows whose key is greater than `after` (byte by byte), in the order of their keys, `limit` at the most.
    async fn side_rows(&self, table: SideTable, after: &str, limit: u32) -> Result<Vec<SideRow>, StoreError>;

    /// What the database itself finds wrong with what it holds, whatever the log says: a value that its column does not allow, a time
    /// outside of the years 1 to 9999, damaged pages and indexes. The first that is found, in words; every row is read.
    async fn damage(&self) -> Result<Option<String>, StoreError>;
}
