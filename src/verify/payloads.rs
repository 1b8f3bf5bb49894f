//! Disclosed payloads: what their owner gives away of single events, checked against what the entries commit to.

use super::Finding;
use crate::merkle::entry::{NotCanonical, Payload, details_commitment, payload_commitment};
use crate::merkle::entry_view::EntryView;
use crate::store::Hash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::BufRead;

/// A line of a payload file (`--payloads`, NDJSON).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<crate::proofs::evidence::DisclosedDetails>,
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
pub struct Disclosures(BTreeMap<u64, (Hash, Option<Hash>)>);

impl Disclosures {
    /// Reads a payload file.
    ///
    /// # Errors
    /// `PayloadsError`, naming the line.
    pub fn read(file: impl BufRead) -> Result<Self, PayloadsError> {
        let mut disclosed = BTreeMap::new();
        for (line, text) in (1..).zip(file.lines()) {
            let text = text.map_err(|source| PayloadsError::Read { line, source })?;
            if text.is_empty() {
                continue;
            }
            let refuse = |reason: String| PayloadsError::Line { line, reason };
            let parsed: PayloadLine = serde_json::from_str(&text)
                .map_err(|error| refuse(format!("not as it must be at column {}", error.column())))?;
            let commitments = commitments(&parsed).map_err(refuse)?;
            if disclosed.insert(parsed.position, commitments).is_some() {
                return Err(refuse(format!("position {} stands there twice", parsed.position)));
            }
        }
        Ok(Self(disclosed))
    }

    /// How many payloads are disclosed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares an entry with what is disclosed of its event.
    pub(super) fn compare(&self, position: u64, view: &EntryView<'_>) -> Result<(), String> {
        let Some((payload, details)) = self.0.get(&position) else {
            return Ok(());
        };
        if *payload != view.p {
            return Err("the disclosed payload is not what the entry commits to".into());
        }
        if details.is_some() && *details != view.c {
            return Err("the disclosed details are not what the entry commits to".into());
        }
        Ok(())
    }

    /// Whether the log has all that is disclosed.
    pub(super) fn all_within(&self, size: u64) -> Result<(), Finding> {
        match self.0.last_key_value() {
            Some((position, _)) if *position > size => Err(Finding::at(
                *position,
                format!("a payload is disclosed, and the signed log ends at {size}"),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

fn commitments(line: &PayloadLine) -> Result<(Hash, Option<Hash>), String> {
    let payload = disclosed_payload(&line.salt, &line.payload, &line.metadata, &line.actor)?;
    let details = line.details.as_ref().map(disclosed_details).transpose()?;
    Ok((payload, details))
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
pub(super) fn disclosed_details(details: &crate::proofs::evidence::DisclosedDetails) -> Result<Hash, String> {
    let salt = decode_salt(&details.salt)?;
    Ok(details_commitment(&salt, details.content.as_bytes()))
}

fn decode_salt(salt: &str) -> Result<[u8; 32], String> {
    let bytes = STANDARD.decode(salt).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "the salt is not base64 of 32 bytes".to_owned())
}
