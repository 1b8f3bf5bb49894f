//! What the log implies about what stands beside it, gathered along the way.

use crate::merkle::sha256;
use crate::store::decode_payload;
use crate::store::proofs::RawEvent;
use archive_ledger_domain::{Event, EventName, ForcedObligation, PurgeFailed, Purged};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// What stands for a stream while it is followed: half a hash of its id.
pub type StreamKey = u128;

/// What the log implies about an entity.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stream {
    /// Where its first event stands; 0 while none has come.
    pub(super) first: u64,
    /// Its key, and the position of the first entry that names it.
    pub kid: Option<(Uuid, u64)>,
    /// Where it was purged.
    pub purged: Option<u64>,
    /// Where the first sealed details stand that are gone.
    pub(super) gone: Option<u64>,
    /// Where the first sealed details stand that are there.
    pub(super) sealed: Option<u64>,
}

/// What the log implies about an entity's callbacks. Times are microseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    /// Where and when it was registered with a callback.
    pub registered: Option<(u64, u64)>,
    /// The data set that it was registered with.
    pub dataset: Option<Box<str>>,
    /// When it was first asked to be purged.
    pub asked: Option<u64>,
    /// Where a purge was requested, last, that a callback waits for.
    pub waited_for: Option<u64>,
}

/// How a purge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything is gone.
    Done,
    /// The cleanup gave up.
    Failed,
    /// What it still owed was given up.
    Forced,
}

/// What the log says of a purge's end.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// How.
    pub end: End,
    /// Objects that were deleted.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// Whether the counts are a lower bound.
    pub at_least: bool,
}

/// A purge that was requested.
#[derive(Debug, Clone)]
pub struct Purge {
    /// Where.
    pub position: u64,
    /// The purge.
    pub purge_id: Uuid,
    /// Of what.
    pub stream: StreamKey,
    /// How many storage URIs it has to clean.
    pub storage_count: u32,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
    /// What each of its storage URIs had come to when it was forced.
    pub given_up: Vec<ForcedObligation>,
}

/// What callbacks have to tell.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Where it was recorded.
    pub position: u64,
    /// When, in microseconds since 1970.
    pub at: u64,
    /// Of what.
    pub stream: StreamKey,
    /// Why the purge failed.
    pub error: Option<String>,
    /// How it ended.
    pub end: End,
}

/// What the log implies about what stands beside it.
#[derive(Debug, Default)]
pub struct Followed {
    /// The last position.
    pub position: u64,
    /// Every entity.
    pub streams: HashMap<StreamKey, Stream>,
    /// Those that callbacks may wait for.
    pub waiting: HashMap<StreamKey, Waiting>,
    /// Every event's position, by its id.
    pub events: HashMap<Uuid, u64>,
    /// Purges that were requested, by the id of the event.
    pub requests: HashMap<Uuid, Purge>,
    /// The last of them of each entity.
    pub last_requests: HashMap<StreamKey, Uuid>,
    /// How purges ended, by the id of the event.
    pub outcomes: HashMap<Uuid, Outcome>,
    /// Wrapping keys that the keyring does not have, and how many sealed details were not opened for that.
    pub unopened: BTreeMap<String, u64>,
    /// When the last event was recorded.
    pub recorded_at: Option<DateTime<Utc>>,
}

impl Followed {
    /// An entity by the id of its stream.
    #[must_use]
    pub fn stream(&self, name: &str) -> (StreamKey, Option<&Stream>) {
        let key = stream_key(name);
        (key, self.streams.get(&key))
    }

    /// Whether this is the id of the stream.
    #[must_use]
    pub fn is(&self, name: &str, key: StreamKey) -> bool {
        stream_key(name) == key
    }

    /// Whether a stream was purged.
    #[must_use]
    pub fn is_purged(&self, key: StreamKey) -> bool {
        self.streams
            .get(&key)
            .is_some_and(|stream| stream.purged.is_some())
    }

    /// Follows an event, and checks what it says it follows from: the service itself tells of nothing but how a cleanup ended, which
    /// follows from the request.
    pub(super) fn follow(&mut self, row: &RawEvent, key: StreamKey) -> Result<(), String> {
        let Ok(name) = row.event_type.parse::<EventName>() else {
            return Ok(());
        };
        let cause = match name {
            EventName::SoftDeleted | EventName::Restored => None,
            EventName::Registered
            | EventName::PurgeRequested
            | EventName::Purged
            | EventName::PurgeFailed
            | EventName::PurgeForced => self.take_in(row, key)?,
        };
        let said = row.causation_id.as_deref().map(str::parse::<Uuid>).transpose();
        if said == Ok(cause) {
            Ok(())
        } else {
            Err("the row's causation id is not what the log says".into())
        }
    }

    /// Takes an event in, and returns what it follows from.
    fn take_in(&mut self, row: &RawEvent, key: StreamKey) -> Result<Option<Uuid>, String> {
        let no_event = |_| "the row's payload is not what the entry says".to_owned();
        let event = decode_payload(&row.event_type, &row.event_version, &row.payload).map_err(no_event)?;
        let event_id = row.event_id.parse().unwrap_or_default();
        let at = row
            .recorded_at
            .and_then(|at| u64::try_from(at.timestamp_micros()).ok());
        let (position, at) = (row.position, at.unwrap_or(0));
        let outcome = |end, error| Outcome {
            position,
            at,
            stream: key,
            error,
            end,
        };
        Ok(match event {
            Event::Registered(facts) => {
                if facts.callback || facts.dataset_id.is_some() {
                    let waiting = self.waiting.entry(key).or_default();
                    waiting.registered = facts.callback.then_some((position, at));
                    waiting.dataset = facts.dataset_id.map(Into::into);
                }
                None
            }
            Event::PurgeRequested(facts) => {
                let waiting = self.waiting.entry(key).or_default();
                waiting.asked.get_or_insert(at);
                if facts.callback {
                    waiting.waited_for = Some(position);
                }
                let purge = Purge {
                    position,
                    purge_id: facts.purge_id,
                    stream: key,
                    storage_count: facts.storage_count,
                    ended: None,
                    given_up: Vec::new(),
                };
                self.requests.insert(event_id, purge);
                self.last_requests.insert(key, event_id);
                None
            }
            Event::PurgeForced(facts) => {
                let last = self.last_requests.get(&key);
                if let Some(purge) = last.and_then(|last| self.requests.get_mut(last)) {
                    purge.given_up = facts.obligations;
                }
                None
            }
            Event::PurgeFailed(PurgeFailed {
                objects,
                bytes,
                at_least,
                error,
                ..
            }) => {
                self.outcomes.insert(event_id, outcome(End::Failed, Some(error)));
                self.end(
                    key,
                    Ended {
                        end: End::Failed,
                        objects,
                        bytes,
                        at_least,
                    },
                )
            }
            Event::Purged(Purged {
                objects,
                bytes,
                at_least,
                forced,
                ..
            }) => {
                let end = if forced { End::Forced } else { End::Done };
                self.streams.entry(key).or_default().purged = Some(position);
                self.outcomes.insert(event_id, outcome(end, None));
                self.end(
                    key,
                    Ended {
                        end,
                        objects,
                        bytes,
                        at_least,
                    },
                )
            }
            Event::SoftDeleted(_) | Event::Restored(_) => None,
        })
    }

    /// Notes how the last purge of an entity ended; returns the request if its cleanup told so.
    fn end(&mut self, key: StreamKey, ended: Ended) -> Option<Uuid> {
        let request = *self.last_requests.get(&key)?;
        let purge = self.requests.get_mut(&request)?;
        purge.ended = Some(ended);
        (purge.storage_count > 0 && ended.end != End::Forced).then_some(request)
    }
}

pub(super) fn stream_key(name: &str) -> StreamKey {
    let hash = sha256(&[name.as_bytes()]);
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(half)
}
