//! The rows of the log against their entries: what the service reads is what was signed.

use super::Finding;
use crate::keyring::{Keyring, KeyringError};
use crate::merkle::entry::{Payload, details_commitment, entry_time, payload_commitment};
use crate::merkle::entry_view::EntryView;
use crate::merkle::{Frontier, leaf_hash, sha256};
use crate::store::proofs::{ProofStore, RawEvent};
use crate::store::{Hash, Head, ReadStore, decode_payload};
use archive_ledger_domain::{AGGREGATE_TYPE, Event, EventName};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// How many rows are read at a time.
const PAGE: u32 = 1024;

/// Which hashes of pseudonyms stand for which names, where no keyring tells.
#[derive(Default)]
struct Pseudonyms {
    by_name: HashMap<String, Hash>,
    names: HashSet<Hash>,
}

impl Pseudonyms {
    /// Whether a name has the one pseudonym that it always had, and shares it with nobody.
    fn fits(&mut self, name: &str, pseudonym: Hash) -> bool {
        if let Some(known) = self.by_name.get(name) {
            return *known == pseudonym;
        }
        self.by_name.insert(name.to_owned(), pseudonym);
        self.names.insert(pseudonym)
    }
}

/// What stands for a stream while it is followed: half a hash of its id.
pub type StreamKey = u128;

/// What the log implies about an entity.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stream {
    /// Its key, and the position of the first entry that names it.
    pub kid: Option<(Uuid, u64)>,
    /// Where it was purged.
    pub purged: Option<u64>,
    /// The purge that is under way.
    pub under_way: Option<Uuid>,
    /// Where that purge was requested, if a callback waits for its outcome.
    pub waited_for: Option<u64>,
    /// Whether it was registered, which may have brought a callback along.
    pub registered: bool,
    /// Where the first sealed details stand that are gone.
    gone: Option<u64>,
    /// Where the first sealed details stand that are there.
    sealed: Option<u64>,
}

/// A purge that was requested.
#[derive(Debug, Clone, Copy)]
pub struct Purge {
    /// Where.
    pub position: u64,
    /// The purge.
    pub purge_id: Uuid,
    /// Of what.
    pub stream: StreamKey,
    /// How many storage URIs it has to clean.
    pub storage_count: u32,
}

/// What the log implies about what stands beside it.
#[derive(Debug, Default)]
pub struct Followed {
    /// The last position.
    pub position: u64,
    /// Every entity.
    pub streams: HashMap<StreamKey, Stream>,
    /// Every event's position, by its id.
    pub events: HashMap<Uuid, u64>,
    /// Purges that were requested, by the id of the event.
    pub requests: HashMap<Uuid, Purge>,
    /// How purges ended: position and entity, by the id of the event.
    pub outcomes: HashMap<Uuid, (u64, StreamKey)>,
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
}

fn stream_key(name: &str) -> StreamKey {
    let hash = sha256(&[name.as_bytes()]);
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(half)
}

/// The walk along the rows.
struct Rows<'a> {
    keyring: Option<&'a Keyring>,
    frontier: Frontier,
    streams: Pseudonyms,
    actors: Pseudonyms,
    followed: Followed,
}

/// Checks every row up to the head. Returns the head that the rows fit, and what the log implies about what stands beside it.
///
/// # Errors
/// [`Finding`]: the first row that does not fit its entry.
pub async fn check_rows(
    store: &dyn ProofStore,
    reads: &dyn ReadStore,
    keyring: Option<&Keyring>,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(Head, Followed), Finding> {
    let mut rows = Rows {
        keyring,
        frontier: Frontier::default(),
        streams: Pseudonyms::default(),
        actors: Pseudonyms::default(),
        followed: Followed::default(),
    };
    let head = reads.head().await?;
    rows.walk(store, head.position, progress).await?;
    if rows.frontier.root() != head.root || rows.frontier.roots() != head.frontier {
        return Err(Finding::tampered(
            "the head row does not have the root of the entries",
        ));
    }
    if rows.followed.recorded_at != head.recorded_at {
        return Err(Finding::tampered(
            "the head row does not have the recording time of the last entry",
        ));
    }
    rows.erasure()?;
    // A row behind the head was not put there by the writer.
    if !store.raw_events(head.position, 1).await?.is_empty() {
        return Err(Finding::at(head.position + 1, "a row stands behind the head"));
    }
    rows.followed.position = head.position;
    Ok((head, rows.followed))
}

impl Rows<'_> {
    /// Goes on to a position.
    async fn walk(
        &mut self,
        store: &dyn ProofStore,
        end: u64,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), Finding> {
        while self.frontier.size() < end {
            let expected = self.frontier.size() + 1;
            let limit = u32::try_from(end - self.frontier.size())
                .unwrap_or(PAGE)
                .min(PAGE);
            let page = store.raw_events(self.frontier.size(), limit).await?;
            if page.is_empty() {
                return Err(Finding::at(expected, "the row is missing"));
            }
            for (expected, row) in (expected..).zip(page) {
                if row.position != expected {
                    return Err(Finding::at(expected, "the row is missing"));
                }
                self.row(&row).map_err(|what| Finding::at(expected, what))?;
            }
            progress(self.frontier.size(), end);
        }
        Ok(())
    }

    /// What is sealed is there until its entity is purged, and not any longer.
    fn erasure(&self) -> Result<(), Finding> {
        let streams = self.followed.streams.values();
        let wrong = streams.filter_map(|stream| match (stream.purged, stream.sealed, stream.gone) {
            (Some(purged), Some(sealed), _) => Some((
                purged,
                format!("the entity is purged, and the details sealed at position {sealed} are still there"),
            )),
            (None, _, Some(gone)) => Some((
                gone,
                "the sealed details are gone, and the entity was not purged".to_owned(),
            )),
            (Some(_), None, _) | (None, _, None) => None,
        });
        match wrong.min_by_key(|(position, _)| *position) {
            Some((position, what)) => Err(Finding::at(position, what)),
            None => Ok(()),
        }
    }

    fn row(&mut self, row: &RawEvent) -> Result<(), String> {
        let leaf = leaf_hash(&row.entry);
        if row.leaf != leaf {
            return Err("the entry does not have the row's leaf hash".into());
        }
        self.frontier.push(leaf);
        let view = EntryView::parse(&row.entry).map_err(|error| error.to_string())?;
        let same = |what: &str, same: bool| if same { Ok(()) } else { Err(differs(what)) };
        same("position", view.pos == row.position)?;
        same("event id", view.eid == row.event_id)?;
        same("version", view.rev == row.sequence)?;
        same("event type", view.et == row.event_type)?;
        same("event version", view.ev == row.event_version)?;
        same(
            "recording time",
            row.recorded_at.is_some_and(|time| view.at == entry_time(time)),
        )?;
        same("command id", view.cid == row.command_id)?;
        same("stream's kind", row.aggregate_type == AGGREGATE_TYPE)?;
        self.followed.recorded_at = row.recorded_at;
        self.pseudonyms(row, &view)?;
        self.payload(row, &view)?;
        self.causation(row)?;
        self.details(row, &view)
    }

    fn pseudonyms(&mut self, row: &RawEvent, view: &EntryView<'_>) -> Result<(), String> {
        let (stream, actor) = match self.keyring {
            Some(keyring) => (
                keyring.stream_pseudonym(&row.stream_id) == view.sid,
                keyring.actor_pseudonym(&row.actor) == view.act,
            ),
            None => (
                self.streams.fits(&row.stream_id, view.sid),
                self.actors.fits(&row.actor, view.act),
            ),
        };
        match (stream, actor) {
            (true, true) => Ok(()),
            (false, _) => Err(differs("stream")),
            (true, false) => Err(differs("actor")),
        }
    }

    fn payload(&self, row: &RawEvent, view: &EntryView<'_>) -> Result<(), String> {
        let parse = |text: &str, what: &str| -> Result<Value, String> {
            serde_json::from_str(text).map_err(|_| format!("the row's {what} is no JSON"))
        };
        let payload = parse(&row.payload, "payload")?;
        let metadata = parse(&row.metadata, "context")?;
        let request = metadata.get("request_id").and_then(Value::as_str);
        if request != row.correlation_id.as_deref() {
            return Err(differs("request id"));
        }
        let salt = row.salt.as_slice().try_into().map_err(|_| differs("salt"))?;
        let content = Payload {
            payload: &payload,
            metadata: &metadata,
            actor: &row.actor,
        };
        let commitment = payload_commitment(&salt, &content).map_err(|error| error.to_string())?;
        if commitment == view.p {
            Ok(())
        } else {
            Err("the row's payload is not what the entry commits to".into())
        }
    }

    /// What an event follows from is an earlier event; nothing commits to which one.
    fn causation(&mut self, row: &RawEvent) -> Result<(), String> {
        if let Some(cause) = &row.causation_id {
            let cause = cause.parse::<Uuid>().map_err(|_| differs("causation id"))?;
            if !self.followed.events.contains_key(&cause) {
                return Err("the row follows from an event that is not in the log".into());
            }
        }
        let id = row.event_id.parse::<Uuid>().map_err(|_| differs("event id"))?;
        match self.followed.events.insert(id, row.position) {
            None => Ok(()),
            Some(_) => Err("the event id stands in the log twice".into()),
        }
    }

    fn details(&mut self, row: &RawEvent, view: &EntryView<'_>) -> Result<(), String> {
        let key = stream_key(&row.stream_id);
        let stream = self.followed.streams.entry(key).or_default();
        if let Some(kid) = view.kid {
            let kid = kid.parse().map_err(|_| differs("key id"))?;
            let first = stream.kid.filter(|(known, _)| *known == kid);
            stream.kid = Some(first.unwrap_or((kid, row.position)));
        }
        match (&view.c, &row.sealed) {
            (None, None) => {}
            (None, Some(_)) => {
                return Err("the row has sealed details that the entry does not commit to".into());
            }
            (Some(_), None) => {
                stream.gone.get_or_insert(row.position);
            }
            (Some(commitment), Some(sealed)) => {
                stream.sealed.get_or_insert(row.position);
                self.open(row, view, commitment, sealed)?;
            }
        }
        self.purge(row, key)
    }

    /// Follows the purges, of which more stands beside the log than of anything else.
    fn purge(&mut self, row: &RawEvent, key: StreamKey) -> Result<(), String> {
        if row.event_type == EventName::Registered.as_str() {
            self.followed.streams.entry(key).or_default().registered = true;
        }
        let of_a_purge = [
            EventName::PurgeRequested,
            EventName::PurgeFailed,
            EventName::Purged,
        ];
        if !of_a_purge.iter().any(|name| row.event_type == name.as_str()) {
            return Ok(());
        }
        let event = decode_payload(&row.event_type, &row.event_version, &row.payload)
            .map_err(|_| differs("payload"))?;
        let event_id = row.event_id.parse().map_err(|_| differs("event id"))?;
        let stream = self.followed.streams.entry(key).or_default();
        match event {
            Event::PurgeRequested(facts) => {
                stream.under_way = Some(facts.purge_id);
                stream.waited_for = facts.callback.then_some(row.position);
                let purge = Purge {
                    position: row.position,
                    purge_id: facts.purge_id,
                    stream: key,
                    storage_count: facts.storage_count,
                };
                self.followed.requests.insert(event_id, purge);
            }
            Event::PurgeFailed(_) => {
                (stream.under_way, stream.waited_for) = (None, None);
                self.followed.outcomes.insert(event_id, (row.position, key));
            }
            Event::Purged(_) => {
                (stream.under_way, stream.waited_for) = (None, None);
                stream.purged = Some(row.position);
                self.followed.outcomes.insert(event_id, (row.position, key));
            }
            Event::Registered(_) | Event::SoftDeleted(_) | Event::Restored(_) | Event::PurgeForced(_) => {}
        }
        Ok(())
    }

    fn open(
        &mut self,
        row: &RawEvent,
        view: &EntryView<'_>,
        commitment: &Hash,
        sealed: &[u8],
    ) -> Result<(), String> {
        let Some(keyring) = self.keyring else {
            return Ok(());
        };
        let wrapped = row
            .data_key
            .as_ref()
            .ok_or("the entity's key is gone, and its details are not")?;
        if view.kid != Some(wrapped.key_id.to_string().as_str()) {
            return Err("the entity's key is another one than the entry names".into());
        }
        let opened = keyring.unwrap(&row.stream_id, wrapped).and_then(|key| {
            let event_id = row.event_id.parse().unwrap_or_default();
            key.disclose_details(&row.stream_id, event_id, sealed)
        });
        let (salt, content) = match opened {
            Ok(opened) => opened,
            // Whether it is what the entry commits to, only that key can tell.
            Err(KeyringError::UnknownKek(kek_id)) => {
                *self.followed.unopened.entry(kek_id).or_default() += 1;
                return Ok(());
            }
            Err(error) => return Err(format!("the sealed details cannot be opened: {error}")),
        };
        if details_commitment(&salt, &content) == *commitment {
            Ok(())
        } else {
            Err("the sealed details are not what the entry commits to".into())
        }
    }
}

fn differs(what: &str) -> String {
    format!("the row's {what} is not what the entry says")
}
