//! Disclosed payloads: what their owner gives away of single events, checked against what the entries commit to.

use super::Finding;
use crate::merkle::entry::{NotCanonical, Payload, details_commitment, payload_commitment};
use crate::merkle::entry_view::EntryView;
use crate::proofs::evidence::DisclosedDetails;
use crate::store::Hash;
use crate::store::proofs::RawEvent;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest line of a payload file, in bytes. It holds an event's details in JSON within JSON, which may be several times as
/// long as the request that brought them.
const LINE_MAX: u64 = 64 << 20;

/// A line of a payload file (`--payloads`, NDJSON).
#[derive(Debug, Serialize)]
pub struct PayloadLine {
    /// The event's position.
    pub position: u64,
    /// The salt of the commitment to facts and context, base64.
    pub salt: String,
    /// The event's facts.
    pub payload: Value,
    /// Its context.
    pub metadata: Value,
    /// Who acted.
    pub actor: String,
    /// Personal details, when they are disclosed too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<DisclosedDetails>,
}

/// The same as it is read. A line of an NDJSON export says more, which is compared with the entry too; to which entity an
/// event belongs and what caused it stands in no entry in a readable form, and is compared with the row, where there is one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLine {
    position: u64,
    salt: String,
    payload: Value,
    metadata: Value,
    actor: String,
    #[serde(default)]
    details: Option<DisclosedDetails>,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    event_version: Option<String>,
    #[serde(default)]
    version: Option<u64>,
    #[serde(default)]
    recorded_at: Option<String>,
    #[serde(default)]
    command_id: Option<String>,
    #[serde(default)]
    erased: Option<bool>,
    #[serde(default)]
    unreadable: Option<bool>,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    ip: Option<String>,
    #[serde(default)]
    entity_type: Option<Box<str>>,
    #[serde(default)]
    entity_id: Option<Box<str>>,
    #[serde(default)]
    causation_id: Option<Box<str>>,
}

/// What a line leads to.
#[derive(Debug)]
struct Disclosed {
    payload: Hash,
    details: Option<Hash>,
    /// What else it says.
    said: Option<Said>,
    /// What it says that no entry says.
    unsigned: Option<Unsigned>,
}

/// What an export says of an event that only its row says too.
#[derive(Debug)]
struct Unsigned {
    entity_type: Option<Box<str>>,
    entity_id: Option<Box<str>>,
    causation_id: Option<Box<str>>,
    /// Whether it is a whole line of an export, which leaves nothing out.
    whole: bool,
}

/// What an export says of an event that its entry says too.
#[derive(Debug)]
struct Said {
    event_id: Box<str>,
    event: Box<str>,
    event_version: Box<str>,
    version: u64,
    recorded_at: Box<str>,
    command_id: Box<str>,
    sealed: Option<bool>,
}

/// Why a payload file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PayloadsError {
    /// It cannot be read.
    #[error("line {line} cannot be read: {source}")]
    Read {
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no disclosure.
    #[error("line {line} is no disclosed payload: {reason}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// Why, without quoting it.
        reason: String,
    },
}

/// The commitments of disclosed payloads, by position.
#[derive(Debug, Default)]
pub struct Disclosures {
    by_position: BTreeMap<u64, Disclosed>,
    /// How many were compared with their entries.
    compared: AtomicUsize,
}

impl Disclosures {
    /// Reads a payload file.
    ///
    /// # Errors
    /// `PayloadsError`, naming the line.
    pub fn read(mut file: impl BufRead) -> Result<Self, PayloadsError> {
        let mut disclosed = BTreeMap::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = (&mut file).take(LINE_MAX + 1).read_until(b'\n', &mut text);
            if read.map_err(|source| PayloadsError::Read { line, source })? == 0 {
                break;
            }
            let refuse = |reason: String| PayloadsError::Line { line, reason };
            let text = text.strip_suffix(b"\n").unwrap_or(&text);
            if text.len() as u64 > LINE_MAX {
                return Err(refuse(format!("it is longer than {LINE_MAX} bytes")));
            }
            if text.is_empty() {
                continue;
            }
            let parsed: ReadLine = serde_json::from_slice(text)
                .map_err(|error| refuse(format!("not as it must be at column {}", error.column())))?;
            let position = parsed.position;
            if position == 0 {
                return Err(refuse("positions begin at 1".into()));
            }
            let found = disclose(parsed).map_err(refuse)?;
            if disclosed.insert(position, found).is_some() {
                return Err(refuse(format!("position {position} stands there twice")));
            }
        }
        Ok(Self {
            by_position: disclosed,
            compared: AtomicUsize::new(0),
        })
    }

    /// How many payloads were compared with their entries and are what these commit to.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.compared.load(Ordering::Relaxed)
    }

    /// Forgets what was compared, to compare once more.
    pub fn begin_again(&self) {
        self.compared.store(0, Ordering::Relaxed);
    }

    /// Compares an entry with what is disclosed of its event.
    pub(super) fn compare(&self, position: u64, view: &EntryView<'_>) -> Result<(), String> {
        let Some(disclosed) = self.by_position.get(&position) else {
            return Ok(());
        };
        if disclosed.payload != view.p {
            return Err("the disclosed payload is not what the entry commits to".into());
        }
        if disclosed.details.is_some() && disclosed.details != view.c {
            return Err("the disclosed details are not what the entry commits to".into());
        }
        let Some(said) = &disclosed.said else {
            self.compared.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let fits = [
            ("event_id", *said.event_id == *view.eid),
            ("event", *said.event == *view.et),
            ("event_version", *said.event_version == *view.ev),
            ("version", said.version == view.rev),
            ("recorded_at", *said.recorded_at == *view.at),
            ("command_id", *said.command_id == *view.cid),
            (
                "erased",
                said.sealed.is_none_or(|sealed| sealed == view.c.is_some()),
            ),
        ];
        match fits.into_iter().find(|(_, fits)| !fits) {
            Some((field, _)) => Err(format!("the exported {field} is not what the entry says")),
            None => {
                self.compared.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Compares a row with what is disclosed of its event.
    pub(super) fn compare_row(&self, row: &RawEvent) -> Result<(), String> {
        let disclosed = self.by_position.get(&row.position);
        let Some(said) = disclosed.and_then(|disclosed| disclosed.unsigned.as_ref()) else {
            return Ok(());
        };
        let (entity_type, entity_id) = row.stream_id.split_once(':').unwrap_or(("", &row.stream_id));
        let is = |said: &Option<Box<str>>, stored: &str| said.as_deref().is_none_or(|said| said == stored);
        let unsaid = !said.whole && said.causation_id.is_none();
        let fits = [
            ("entity_type", is(&said.entity_type, entity_type)),
            ("entity_id", is(&said.entity_id, entity_id)),
            (
                "causation_id",
                unsaid || said.causation_id.as_deref() == row.causation_id.as_deref(),
            ),
        ];
        match fits.into_iter().find(|(_, fits)| !fits) {
            Some((field, _)) => Err(format!("the exported {field} is not what the row says")),
            None => Ok(()),
        }
    }

    /// Whether the log has all that is disclosed.
    pub(super) fn all_within(&self, size: u64) -> Result<(), Finding> {
        match self.by_position.last_key_value() {
            Some((position, _)) if *position > size => Err(Finding::at(
                *position,
                format!("a payload is disclosed, and the signed log ends at {size}"),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

fn disclose(line: ReadLine) -> Result<Disclosed, String> {
    for (name, said) in [("request_id", &line.request_id), ("ip", &line.ip)] {
        if said.is_some() && line.metadata.get(name).and_then(Value::as_str) != said.as_deref() {
            return Err(format!("its {name} is not that of its metadata"));
        }
    }
    let payload = disclosed_payload(&line.salt, &line.payload, &line.metadata, &line.actor)?;
    let details = line.details.as_ref().map(disclosed_details).transpose()?;
    let marks = [line.erased, line.unreadable];
    if marks.iter().filter(|mark| **mark == Some(true)).count() + usize::from(details.is_some()) > 1 {
        return Err("its details are there, erased and unreadable in contradiction".into());
    }
    let said = match (
        line.event_id,
        line.event,
        line.event_version,
        line.version,
        line.recorded_at,
        line.command_id,
    ) {
        (None, None, None, None, None, None) => None,
        (
            Some(event_id),
            Some(event),
            Some(event_version),
            Some(version),
            Some(recorded_at),
            Some(command_id),
        ) => Some(Said {
            event_id: event_id.into(),
            event: event.into(),
            event_version: event_version.into(),
            version,
            recorded_at: recorded_at.into(),
            command_id: command_id.into(),
            // With details, the export says of every event whether something was sealed with it.
            sealed: line
                .erased
                .map(|erased| erased || line.unreadable == Some(true) || line.details.is_some()),
        }),
        _ => return Err("an export's line has all of its fields".into()),
    };
    let unsigned = Unsigned {
        entity_type: line.entity_type,
        entity_id: line.entity_id,
        causation_id: line.causation_id,
        whole: said.is_some(),
    };
    let any = unsigned.whole
        || unsigned.entity_type.is_some()
        || unsigned.entity_id.is_some()
        || unsigned.causation_id.is_some();
    Ok(Disclosed {
        payload,
        details,
        said,
        unsigned: any.then_some(unsigned),
    })
}

/// The commitment that a disclosed payload leads to.
pub(super) fn disclosed_payload(
    salt: &str,
    payload: &Value,
    metadata: &Value,
    actor: &str,
) -> Result<Hash, String> {
    let content = Payload {
        payload,
        metadata,
        actor,
    };
    payload_commitment(&decode_salt(salt)?, &content).map_err(|error: NotCanonical| error.to_string())
}

/// The commitment that disclosed details lead to.
pub(super) fn disclosed_details(details: &DisclosedDetails) -> Result<Hash, String> {
    let salt = decode_salt(&details.salt)?;
    Ok(details_commitment(&salt, details.content.as_bytes()))
}

fn decode_salt(salt: &str) -> Result<[u8; 32], String> {
    let bytes = STANDARD.decode(salt).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "the salt is not base64 of 32 bytes".to_owned())
}
