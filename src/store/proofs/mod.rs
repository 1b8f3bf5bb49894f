//! What proofs are made of: leaves, entries, the hashes of full tiles, and the checkpoints that were signed.

mod postgres;
mod sqlite;

use super::values::{StoredRow, non_negative};
use super::{Hash, Position, StoreError, WrappedKey};
use crate::merkle::tree::TileHash;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::cell::Cell;
use uuid::Uuid;

/// A checkpoint as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The number of the origin: 1, and one more with each fork.
    pub ledger: u64,
    /// How many entries the tree has.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The signed note.
    pub note: String,
    /// When it was signed.
    pub created_at: DateTime<Utc>,
}

/// An entry, and the leaf hash that stands beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The canonical entry.
    pub entry: Vec<u8>,
    /// Its leaf hash, as it is stored.
    pub leaf: Hash,
}

/// A row of the log as it stands, nothing checked and nothing upcast.
#[derive(Debug, Clone)]
pub struct RawEvent {
    /// Its place in the log.
    pub position: Position,
    /// The stream.
    pub stream_id: String,
    /// The stream's kind.
    pub aggregate_type: String,
    /// The entity's version.
    pub sequence: u64,
    /// The event's name.
    pub event_type: String,
    /// The version of its shape.
    pub event_version: String,
    /// Its facts, as JSON text.
    pub payload: String,
    /// Its context, as JSON text.
    pub metadata: String,
    /// Its id.
    pub event_id: String,
    /// When it was recorded; `None` for a time that is none.
    pub recorded_at: Option<DateTime<Utc>>,
    /// The command.
    pub command_id: String,
    /// The request.
    pub correlation_id: Option<String>,
    /// The event that made the service issue the command.
    pub causation_id: Option<String>,
    /// Who acted.
    pub actor: String,
    /// The salt of the commitment to facts and context.
    pub salt: Vec<u8>,
    /// The sealed details.
    pub sealed: Option<Vec<u8>>,
    /// The canonical entry.
    pub entry: Vec<u8>,
    /// The leaf hash.
    pub leaf: Vec<u8>,
    /// The stream's wrapped data key.
    pub data_key: Option<WrappedKey>,
    /// Whether something of its readable part cannot be read. It is empty, or 0.
    pub damaged: bool,
}

/// What an entry's payload commitment is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Disclosure {
    /// The salt.
    pub salt: [u8; 32],
    /// The event's facts, as they were recorded.
    pub payload: serde_json::Value,
    /// Its context.
    pub metadata: serde_json::Value,
    /// Who acted.
    pub actor: String,
}

/// Reads what proofs are made of, and keeps what was signed.
#[async_trait]
pub trait ProofStore: Send + Sync {
    /// What the ledger remembers of itself under `name`.
    async fn recall(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Remembers a fact once and for all; returns what stands, which is not `value` when something stood before.
    async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// The leaf hashes after a position, in order, `limit` at the most and without a gap.
    async fn leaves(&self, after: Position, limit: u32) -> Result<Vec<Hash>, StoreError>;

    /// The entries after a position, in order, `limit` at the most and without a gap.
    async fn entries(&self, after: Position, limit: u32) -> Result<Vec<StoredEntry>, StoreError>;

    /// The hashes of full tiles at `level` (1 and above) from the hash `from` on, in order, `limit` at the most and without a
    /// gap.
    async fn tree_hashes(&self, level: u8, from: u64, limit: u32) -> Result<Vec<Hash>, StoreError>;

    /// The largest checkpoint of an origin.
    async fn last_checkpoint(&self, ledger: u64) -> Result<Option<StoredCheckpoint>, StoreError>;

    /// The checkpoints of an origin with more than `after` entries (`None`: from the smallest on), in order, `limit` at the
    /// most.
    async fn checkpoints(
        &self,
        ledger: u64,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredCheckpoint>, StoreError>;

    /// Stores a checkpoint and the hashes of the tiles that are full in its tree, in one transaction, and returns the
    /// checkpoint of this size that stands after the commit: `checkpoint`, or the one that was there before. Nothing is stored,
    /// and `None` returned, when the ledger remembers something under `unless`: what ended the checkpoint's origin.
    async fn add_checkpoint(
        &self,
        checkpoint: &StoredCheckpoint,
        full: &[TileHash],
        unless: &str,
    ) -> Result<Option<StoredCheckpoint>, StoreError>;

    /// The position of an event.
    async fn locate(&self, event_id: Uuid) -> Result<Option<Position>, StoreError>;

    /// The rows of the log after a position, in order, `limit` at the most, as they stand.
    async fn raw_events(&self, after: Position, limit: u32) -> Result<Vec<RawEvent>, StoreError>;

    /// The same rows, without what costs most to read: entry, leaf hash, sealed details and data key are left empty.
    async fn readable_events(&self, after: Position, limit: u32) -> Result<Vec<RawEvent>, StoreError>;

    /// What the payload commitments of a stream's entries are made of, in its order.
    async fn disclosures(&self, stream_id: &str) -> Result<Vec<Disclosure>, StoreError>;
}

/// A run of hashes that the database put together: one row costs a fraction of what as many rows as hashes cost.
pub(super) struct Run {
    /// The first one's number; absent when there are none.
    pub(super) first: Option<i64>,
    /// The last one's number.
    pub(super) last: Option<i64>,
    /// How many there are.
    pub(super) count: i64,
    /// All of them, one behind the other.
    pub(super) bytes: Vec<u8>,
    /// Whether each is as long as a hash.
    pub(super) whole: Option<bool>,
}

impl Run {
    /// The hashes, if they are what they should be: whole, and without a gap from `first` on. `None` leaves it to the reader of
    /// single rows to say what is wrong.
    pub(super) fn from(self, first: u64) -> Option<Vec<Hash>> {
        let (Some(lowest), Some(last)) = (self.first, self.last) else {
            return (self.count == 0).then(Vec::new);
        };
        let sound = u64::try_from(lowest) == Ok(first)
            && last.checked_sub(lowest) == self.count.checked_sub(1)
            && self.whole == Some(true);
        let (hashes, rest) = self.bytes.as_chunks::<32>();
        let complete = rest.is_empty() && i64::try_from(hashes.len()) == Ok(self.count);
        (sound && complete).then(|| hashes.to_vec())
    }
}

/// Checks that numbered rows follow each other from `first` on, and drops the numbers.
///
/// # Errors
/// [`StoreError::Inconsistent`] naming the first that is missing.
pub(super) fn without_gap<T>(
    operation: &'static str,
    first: u64,
    rows: impl IntoIterator<Item = Result<(u64, T), StoreError>>,
) -> Result<Vec<T>, StoreError> {
    let mut expected = first;
    rows.into_iter()
        .map(|row| {
            let (number, row) = row?;
            if number != expected {
                return Err(StoreError::inconsistent(
                    operation,
                    format!("{expected} is missing"),
                ));
            }
            expected += 1;
            Ok(row)
        })
        .collect()
}

/// The part of a row that needs no key. What does not decode reads as nothing, and the row says so.
fn readable(operation: &'static str, row: &impl StoredRow) -> Result<RawEvent, StoreError> {
    let damaged = Cell::new(false);
    let lost = || damaged.set(true);
    let text = |column| {
        row.text(operation, column).unwrap_or_else(|_| {
            lost();
            String::new()
        })
    };
    let optional_text = |column| {
        row.optional_text(operation, column).unwrap_or_else(|_| {
            lost();
            Some(String::new())
        })
    };
    let sequence = row.number(operation, "sequence");
    let sequence = sequence.and_then(|number| non_negative(operation, number));
    let recorded_at = row.time(operation, "recorded_at");
    let event = RawEvent {
        position: non_negative(operation, row.number(operation, "position")?)?,
        stream_id: text("aggregate_id"),
        aggregate_type: text("aggregate_type"),
        sequence: sequence.unwrap_or_else(|_| {
            lost();
            0
        }),
        event_type: text("event_type"),
        event_version: text("event_version"),
        payload: text("payload"),
        metadata: text("metadata"),
        event_id: text("event_id"),
        recorded_at: recorded_at.map_err(|_| lost()).ok(),
        command_id: text("command_id"),
        correlation_id: optional_text("correlation_id"),
        causation_id: optional_text("causation_id"),
        actor: text("actor"),
        salt: row.bytes(operation, "salt").unwrap_or_else(|_| {
            lost();
            Vec::new()
        }),
        sealed: None,
        entry: Vec::new(),
        leaf: Vec::new(),
        data_key: None,
        damaged: false,
    };
    Ok(RawEvent {
        damaged: damaged.get(),
        ..event
    })
}
