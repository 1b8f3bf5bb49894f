//! What the writer remembers of long streams, so that an entity with many events costs what one with few does.
//!
//! Only what events say is remembered, by version: later events are always loaded, whoever wrote them, so a memory can be
//! old and is never wrong. Keys are not remembered.

use crate::store::{Hash, StoreError, decode_event};
use archive_ledger_domain::ArchivedEntity;
use cqrs_es::Aggregate as _;
use cqrs_es::persist::SerializedEvent;
use std::collections::HashMap;

/// Streams of fewer events are not worth remembering: most entities have two or three.
const LONG: u64 = 16;

/// How many streams are remembered; beyond it, all are forgotten and learned again.
const LIMIT: usize = 1_024;

/// A stream up to a version.
#[derive(Debug, Clone, Default)]
pub struct KnownStream {
    /// The entity as its events leave it.
    pub entity: ArchivedEntity,
    /// The version that they leave it at.
    pub version: u64,
    /// The leaf hash of the last one.
    pub last_leaf: Option<Hash>,
}

impl KnownStream {
    /// Goes on with what follows.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] when an event is missing or is none; the stream is of no use then.
    pub fn replay(&mut self, events: Vec<SerializedEvent>) -> Result<(), StoreError> {
        for event in events {
            self.version += 1;
            if u64::try_from(event.sequence).ok() != Some(self.version) {
                return Err(StoreError::inconsistent("load the batch", "a stream has a gap"));
            }
            self.entity.apply(decode_event(event)?);
        }
        Ok(())
    }
}

/// The long streams that were committed to lately.
#[derive(Debug, Default)]
pub struct LongStreams(HashMap<String, KnownStream>);

impl LongStreams {
    /// Whether a stream is worth remembering.
    pub const fn wants(stream: &KnownStream) -> bool {
        stream.version >= LONG
    }

    /// What is known of a stream.
    pub fn get(&self, stream_id: &str) -> Option<&KnownStream> {
        self.0.get(stream_id)
    }

    /// Remembers streams as a commit left them.
    pub fn learn(&mut self, streams: Vec<(String, KnownStream)>) {
        if self.0.len() + streams.len() > LIMIT {
            self.0.clear();
        }
        self.0.extend(streams);
    }
}
