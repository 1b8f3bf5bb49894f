//! What stands beside the log and follows from it, as it stands: read by who verifies, and by nobody else.

use super::StoreError;
use async_trait::async_trait;

/// A table beside the log. The columns are given as texts, in this order; the first one is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideTable {
    /// Entities' keys: stream, key id, id of the wrapping key.
    Keys,
    /// The erasure fence: stream, position.
    Erasures,
    /// Cleanup jobs: event id, position, stream, purge id, state, number of obligations.
    Jobs,
    /// Callback deliveries: delivery id, event id, position, stream.
    Deliveries,
    /// Readers of the log: name, position.
    Cursors,
    /// Stored tile hashes: level, how many.
    Tiles,
    /// Checkpoints: number of the origin, how many.
    Origins,
    /// Callback targets: target id, stream, hash of the URL and the sealed URL (both in hex), 1 if it came with the registration.
    Targets,
    /// Remembered answers: key in hex, bytes of the request's hash, answer.
    Answers,
    /// Attempts, in the order of their numbers: sequence, position, outcome, action, entity type, entity id, count.
    Attempts,
    /// The head of the attempts: 1, the last sequence.
    AttemptsHead,
}

/// A row: its columns as texts, whatever they are.
pub type SideRow = Vec<Option<String>>;

/// Reads tables beside the log.
#[async_trait]
pub trait SideStore: Send + Sync {
    /// The rows whose key is greater than `after` (byte by byte), in the order of their keys, `limit` at the most.
    async fn side_rows(&self, table: SideTable, after: &str, limit: u32) -> Result<Vec<SideRow>, StoreError>;
}
