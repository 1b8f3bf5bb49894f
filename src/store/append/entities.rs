//! What a batch makes of entities' rows.

use super::BatchWrite;
use crate::store::{Position, WrappedKey};
use std::collections::HashMap;

/// An entity whose first event is among those of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct NewEntity<'a> {
    /// Its stream's id.
    pub(in crate::store) stream_id: &'a str,
    /// Where its first event stands.
    pub(in crate::store) first_position: Position,
    /// The data key that was minted for it.
    pub(in crate::store) key: Option<&'a WrappedKey>,
    /// Where its purge stands, which the batch has recorded as well: it is fenced from the first, and no key is there to destroy.
    pub(in crate::store) erased_at: Option<Position>,
}

/// A batch's entities and keys.
#[derive(Debug, Default)]
pub(in crate::store) struct EntityWrites<'a> {
    /// Entities that get a row, in the order of their positions.
    pub(in crate::store) new: Vec<NewEntity<'a>>,
    /// Data keys of entities that have a row already: what they were registered with had nothing to seal.
    pub(in crate::store) keys: Vec<(&'a str, &'a WrappedKey)>,
    /// Entities that have a row already, whose key is destroyed and fenced: stream id, and where the purge stands.
    pub(in crate::store) erased: Vec<(&'a str, Position)>,
}

impl<'a> From<&'a BatchWrite> for EntityWrites<'a> {
    fn from(write: &'a BatchWrite) -> Self {
        let mut keys: HashMap<&str, &WrappedKey> =
            write.keys.iter().map(|(id, key)| (id.as_str(), key)).collect();
        let erased = write.erased.iter().map(|(id, position)| (id.as_str(), *position));
        let mut erased: HashMap<&str, Position> = erased.collect();
        let first = write.events.iter().filter(|event| event.stored.sequence == 1);
        let new = first
            .map(|event| {
                let stream_id = event.serialized.aggregate_id.as_str();
                NewEntity {
                    stream_id,
                    first_position: event.stored.position,
                    key: keys.remove(stream_id),
                    erased_at: erased.remove(stream_id),
                }
            })
            .collect();
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable_by_key(|(stream_id, _)| *stream_id);
        let mut erased: Vec<_> = erased.into_iter().collect();
        erased.sort_unstable_by_key(|(stream_id, _)| *stream_id);
        Self { new, keys, erased }
    }
}
