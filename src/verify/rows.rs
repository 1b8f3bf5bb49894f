//! The rows of the log against their entries: what the service reads is what was signed.

use super::Finding;
use super::followed::{Followed, stream_key};
use super::payloads::Disclosures;
use crate::keyring::{Keyring, KeyringError};
use crate::merkle::entry::{Payload, details_commitment, entry_time, payload_commitment};
use crate::merkle::entry_view::EntryView;
use crate::merkle::{Frontier, leaf_hash};
use crate::store::proofs::{ProofStore, RawEvent};
use crate::store::{Hash, Head, ReadStore};
use archive_ledger_domain::AGGREGATE_TYPE;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
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

/// The walk along the rows.
struct Rows<'a> {
    keyring: Option<&'a Keyring>,
    disclosures: &'a Disclosures,
    frontier: Frontier,
    streams: Pseudonyms,
    actors: Pseudonyms,
    followed: Followed,
}

/// Checks every row up to the head, and what is disclosed of events against their rows. Returns the head that the rows fit, and what
/// the log implies about what stands beside it.
///
/// # Errors
/// [`Finding`]: the first row that does not fit its entry.
pub async fn check_rows(
    store: &dyn ProofStore,
    reads: &dyn ReadStore,
    keyring: Option<&Keyring>,
    disclosures: &Disclosures,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(Head, Followed), Finding> {
    let mut rows = Rows {
        keyring,
        disclosures,
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
        self.event_id(row)?;
        self.details(row, &view)?;
        self.followed.follow(row, stream_key(&row.stream_id))?;
        self.disclosures.compare_row(row)
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

    fn event_id(&mut self, row: &RawEvent) -> Result<(), String> {
        let id = row.event_id.parse::<Uuid>().map_err(|_| differs("event id"))?;
        match self.followed.events.insert(id, row.position) {
            None => Ok(()),
            Some(_) => Err("the event id stands in the log twice".into()),
        }
    }

    fn details(&mut self, row: &RawEvent, view: &EntryView<'_>) -> Result<(), String> {
        let key = stream_key(&row.stream_id);
        let stream = self.followed.streams.entry(key).or_default();
        if stream.first == 0 {
            stream.first = row.position;
        }
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
