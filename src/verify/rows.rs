//! The rows of the log against their entries: what the service reads is what was signed.

use super::Finding;
use crate::keyring::Keyring;
use crate::merkle::entry::{Payload, details_commitment, entry_time, payload_commitment};
use crate::merkle::entry_view::EntryView;
use crate::merkle::{Frontier, leaf_hash};
use crate::store::proofs::{ProofStore, RawEvent};
use crate::store::{Hash, Head, ReadStore};
use archive_ledger_domain::{AGGREGATE_TYPE, EventName};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// How many rows are read at a time.
const PAGE: u32 = 1024;

/// How often the walk follows a head that moves.
const ROUNDS: u32 = 8;

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

/// The walk along the rows.
struct Rows<'a> {
    keyring: Option<&'a Keyring>,
    frontier: Frontier,
    streams: Pseudonyms,
    actors: Pseudonyms,
    events: HashSet<Uuid>,
    /// Streams with sealed details that are gone, and where; a purge explains it.
    gone: BTreeMap<String, u64>,
    /// Streams with sealed details, and where the first are.
    sealed: HashMap<String, u64>,
    /// Positions of sealed details whose entity was purged.
    outlived: Vec<u64>,
}

/// Checks every row up to the head. Returns the head that the rows fit.
///
/// # Errors
/// [`Finding`]: the first row that does not fit its entry.
pub async fn check_rows(
    store: &dyn ProofStore,
    reads: &dyn ReadStore,
    keyring: Option<&Keyring>,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Head, Finding> {
    let mut rows = Rows {
        keyring,
        frontier: Frontier::default(),
        streams: Pseudonyms::default(),
        actors: Pseudonyms::default(),
        events: HashSet::new(),
        gone: BTreeMap::new(),
        sealed: HashMap::new(),
        outlived: Vec::new(),
    };
    let mut head = reads.head().await?;
    for _ in 0..ROUNDS {
        rows.walk(store, head.position, progress).await?;
        if rows.frontier.root() != head.root || rows.frontier.roots() != head.frontier {
            return Err(Finding::tampered(
                "the head row does not have the root of the entries",
            ));
        }
        // Details that are gone may have been purged while the rows were read: the purge stands further on then.
        let now = reads.head().await?;
        if rows.gone.is_empty() || now.position == head.position {
            break;
        }
        head = now;
    }
    if let Some((_, position)) = rows.gone.iter().min_by_key(|(_, position)| **position) {
        return Err(Finding::at(
            *position,
            "the sealed details are gone, and the entity was not purged",
        ));
    }
    for position in rows.outlived {
        let row = store.raw_events(position - 1, 1).await?.into_iter().next();
        if row.is_some_and(|row| row.sealed.is_some()) {
            return Err(Finding::at(
                position,
                "the sealed details are still there, and the entity was purged",
            ));
        }
    }
    // A row behind the head that stays there was not put there by the writer.
    let behind = store.raw_events(head.position, 1).await?;
    if !behind.is_empty() && reads.head().await?.position == head.position {
        return Err(Finding::at(head.position + 1, "a row stands behind the head"));
    }
    Ok(head)
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
            if !self.events.contains(&cause) {
                return Err("the row follows from an event that is not in the log".into());
            }
        }
        let id = row.event_id.parse::<Uuid>().map_err(|_| differs("event id"))?;
        if self.events.insert(id) {
            Ok(())
        } else {
            Err("the event id stands in the log twice".into())
        }
    }

    fn details(&mut self, row: &RawEvent, view: &EntryView<'_>) -> Result<(), String> {
        match (&view.c, &row.sealed) {
            (None, None) => {}
            (None, Some(_)) => {
                return Err("the row has sealed details that the entry does not commit to".into());
            }
            (Some(_), None) => {
                self.gone.entry(row.stream_id.clone()).or_insert(row.position);
            }
            (Some(commitment), Some(sealed)) => {
                self.sealed.entry(row.stream_id.clone()).or_insert(row.position);
                self.open(row, view, commitment, sealed)?;
            }
        }
        if row.event_type == EventName::Purged.as_str() {
            self.gone.remove(&row.stream_id);
            if let Some(position) = self.sealed.get(&row.stream_id) {
                return Err(format!(
                    "the entity is purged, and the details sealed at position {position} are still there"
                ));
            }
        }
        Ok(())
    }

    fn open(
        &self,
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
        let (salt, content) =
            opened.map_err(|error| format!("the sealed details cannot be opened: {error}"))?;
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
