//! What an append transaction finds. A row that cannot be read is somebody's: of its stream, or of its idempotency key.

use crate::store::{Hash, Head, StoreError, WrappedKey};
use crate::telemetry;
use chrono::{DateTime, Utc};
use cqrs_es::persist::SerializedEvent;
use std::collections::BTreeMap;

/// What an append transaction finds of one stream.
#[derive(Debug, Clone, Default)]
pub struct StreamSnapshot {
    /// The events that were asked for, in order.
    pub events: Vec<SerializedEvent>,
    /// The leaf hash of the last one.
    pub last_leaf: Option<Hash>,
    /// The entity's data key.
    pub key: Option<WrappedKey>,
    /// Whether the entity's key was destroyed: nothing may mint one again.
    pub fenced: bool,
    /// Why it cannot be read, when it cannot: whoever decides on it is told, and nobody else of the batch is concerned.
    pub unreadable: Option<String>,
}

impl StreamSnapshot {
    /// Notes that something of the stream cannot be read; the first reason stands.
    pub(super) fn cannot_be_read(&mut self, error: &StoreError) {
        self.unreadable.get_or_insert_with(|| telemetry::chain(error));
    }
}

/// The stored answer to a command that carried an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The key, bound to the actor: a keyed hash.
    pub key: Hash,
    /// A keyed hash of the request.
    pub request: Hash,
    /// The answer, as JSON without personal data.
    pub answer: serde_json::Value,
    /// When it was stored.
    pub recorded_at: DateTime<Utc>,
}

/// Everything that one append transaction finds.
#[derive(Debug, Clone)]
pub struct BatchSnapshot {
    /// The head before the batch.
    pub head: Head,
    /// The streams that were asked for, by stream id, from the version asked for; those without anything are absent.
    pub streams: BTreeMap<String, StreamSnapshot>,
    /// The stored answers to the idempotency keys that were asked for.
    pub answers: FoundAnswers,
}

/// Stored answers that were asked for.
#[derive(Debug, Clone, Default)]
pub struct FoundAnswers {
    /// Those that can be read.
    pub records: Vec<IdempotencyRecord>,
    /// The idempotency keys of those that cannot, and why.
    pub unreadable: BTreeMap<Hash, String>,
}

impl FoundAnswers {
    pub(super) fn add(&mut self, key: Hash, record: Result<IdempotencyRecord, StoreError>) {
        match record {
            Ok(record) => self.records.push(record),
            Err(error) => {
                self.unreadable.insert(key, telemetry::chain(&error));
            }
        }
    }
}
