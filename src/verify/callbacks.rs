//! Callbacks: who waits for which purge, and what is owed to them.
//!
//! The log says which registrations and purges brought a callback along, for which data set, and what it has to tell; the keyring opens
//! where it goes. Once a purge is over and its callbacks have arrived, all of them are removed together.

use super::Finding;
use super::followed::{End, Followed, Outcome, StreamKey, Waiting};
use super::table::{Row, each};
use crate::callbacks::target::{CallbackUrl, callback_context};
use crate::keyring::Keyring;
use crate::store::side::{SideStore, SideTable};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Who waits for a purge.
#[derive(Default)]
pub(super) struct Targets {
    /// When each was asked for, by entity.
    times: HashMap<StreamKey, Vec<u64>>,
    ids: HashMap<Uuid, StreamKey>,
}

/// Where a callback goes, as a row says it.
struct Way<'a> {
    stream: &'a str,
    sealed: &'a str,
    host: &'a str,
    receiver: Option<&'a str>,
}

impl Way<'_> {
    /// The URL, opened, and its hash.
    fn open(&self, keyring: &Keyring) -> Result<(String, [u8; 32]), &'static str> {
        let sealed = hex::decode(self.sealed).map_err(|_| "is not sealed")?;
        let url = keyring
            .open_for_service(&callback_context(self.stream), &sealed)
            .map_err(|_| "cannot be opened: it is another entity's, or was changed")?;
        let hash = keyring.keyed_hash("callback-url", &url);
        Ok((String::from_utf8_lossy(&url).into_owned(), hash))
    }

    /// Whether host and receiver are those of the URL. Of earlier versions' spellings there are some.
    fn fits(&self, url: &str, hash: &[u8; 32], target: &str) -> bool {
        let Ok(url) = url.parse::<CallbackUrl>() else {
            // Accepted by the rules of its day.
            return true;
        };
        let (host, receiver) = (url.authority(), url.receiver(hash));
        let digits = hex::encode(&hash[..8]);
        let known = |told: &str| {
            let older = told
                .strip_prefix(self.host)
                .and_then(|rest| rest.strip_prefix('#'));
            told == receiver || told == "-" || older.is_some_and(|rest| rest == digits || rest == target)
        };
        self.host.replace(".:", ":") == host && self.receiver.is_none_or(known)
    }
}

/// A target is of a callback that the log knows, leads where its hash says, and is there as long as somebody waits.
pub(super) async fn targets(
    store: &dyn SideStore,
    followed: &Followed,
    keyring: Option<&Keyring>,
) -> Result<Targets, Finding> {
    let mut targets = Targets::default();
    each(store, SideTable::Targets, "callback_targets", |row| {
        let name = row.text(1)?;
        let told = |what: &str| Finding::tampered(format!("a callback of {name} in callback_targets {what}"));
        let (key, stream) = followed.stream(name);
        stream.ok_or_else(|| told("is of an entity that the log does not have"))?;
        let nothing = Waiting::default();
        let waiting = followed.waiting.get(&key).unwrap_or(&nothing);
        let at = row.number(7)?;
        let with_registration = waiting.registered.is_some_and(|(_, registered)| registered == at);
        let with_purge = waiting
            .asked
            .is_some_and(|asked| with_registration || asked <= at);
        if !match row.number(4)? {
            0 => with_purge,
            _ => with_registration,
        } {
            return Err(told(
                "came with a registration or a purge that the log does not have",
            ));
        }
        if row.optional(6) != waiting.dataset.as_deref() {
            return Err(told("names another data set than the registration"));
        }
        targets.times.entry(key).or_default().push(at);
        targets.ids.insert(row.id(0)?, key);
        let Some(keyring) = keyring else { return Ok(()) };
        let way = Way {
            stream: name,
            sealed: row.text(3)?,
            host: row.text(5)?,
            receiver: row.optional(8),
        };
        let (url, hash) = way.open(keyring).map_err(told)?;
        if hex::encode(hash) == row.text(2)? && way.fits(&url, &hash, row.text(0)?) {
            Ok(())
        } else {
            Err(told("leads elsewhere than it says"))
        }
    })
    .await?;
    lost_targets(followed, &targets)?;
    Ok(targets)
}

/// Nobody who waits is removed before the purge is over.
fn lost_targets(followed: &Followed, targets: &Targets) -> Result<(), Finding> {
    let there = |key: &StreamKey| targets.times.get(key).map_or(&[][..], Vec::as_slice);
    let open = followed
        .waiting
        .iter()
        .filter(|(key, _)| !followed.is_purged(**key));
    let lost = open.filter_map(|(key, waiting)| {
        let registered = waiting.registered.filter(|(_, at)| !there(key).contains(at));
        let asked = waiting.waited_for.filter(|_| there(key).is_empty());
        registered.map(|(position, _)| position).or(asked)
    });
    match lost.min() {
        Some(at) => Err(Finding::at(
            at,
            "a callback waits for the entity's purge, and callback_targets does not have it",
        )),
        None => Ok(()),
    }
}

/// A delivery tells one who waited what the log says; and where somebody waited, there is one for every outcome that was `reached`.
pub(super) async fn deliveries(
    store: &dyn SideStore,
    followed: &Followed,
    keyring: Option<&Keyring>,
    targets: &Targets,
    reached: u64,
) -> Result<(), Finding> {
    let mut told_of = HashSet::new();
    each(store, SideTable::Deliveries, "callback_deliveries", |row| {
        let (event_id, position) = (row.id(1)?, row.number(2)?);
        let wrong = |what: &str| {
            Finding::tampered(format!(
                "a row of callback_deliveries tells of an outcome of a purge at position {position} {what}"
            ))
        };
        let outcome = followed.outcomes.get(&event_id).filter(|outcome| {
            outcome.position == position && row.text(3).is_ok_and(|name| followed.is(name, outcome.stream))
        });
        let outcome = outcome.ok_or_else(|| wrong("that the log does not have"))?;
        if !says(row, outcome)? {
            return Err(wrong("otherwise than the log"));
        }
        if targets.ids.get(&row.id(4)?) != Some(&outcome.stream) {
            return Err(wrong("to one who did not ask for it"));
        }
        let dataset = followed.waiting.get(&outcome.stream);
        if row.optional(6) != dataset.and_then(|waiting| waiting.dataset.as_deref()) {
            return Err(wrong("for another data set than the registration"));
        }
        told_of.insert(event_id);
        let Some(keyring) = keyring else { return Ok(()) };
        let way = Way {
            stream: row.text(3)?,
            sealed: row.text(8)?,
            host: row.text(9)?,
            receiver: row.optional(10),
        };
        let (url, hash) = way
            .open(keyring)
            .map_err(|what| wrong(&format!("to a URL that {what}")))?;
        if way.fits(&url, &hash, row.text(4)?) {
            Ok(())
        } else {
            Err(wrong("to another host than that of its URL"))
        }
    })
    .await?;
    let waited = |outcome: &Outcome| {
        let times = targets.times.get(&outcome.stream);
        let over = outcome.end != End::Failed;
        times.is_some_and(|times| times.iter().any(|at| over || *at <= outcome.at))
    };
    let lost = followed.outcomes.iter().filter(|(event_id, outcome)| {
        outcome.position <= reached && waited(outcome) && !told_of.contains(*event_id)
    });
    match lost.map(|(_, outcome)| outcome.position).min() {
        Some(at) => Err(Finding::at(
            at,
            "a callback has to tell how the purge ended, and callback_deliveries has none",
        )),
        None => Ok(()),
    }
}

/// Whether a delivery says what the outcome is.
fn says(row: &Row<'_>, outcome: &Outcome) -> Result<bool, Finding> {
    let error = match outcome.end {
        End::Done => row.optional(5).is_none(),
        End::Failed => row.optional(5) == outcome.error.as_deref(),
        End::Forced => row.optional(5).is_some(),
    };
    let last = u64::from(outcome.end != End::Failed);
    Ok(error && row.number(7)? == last)
}
