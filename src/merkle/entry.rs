//! The canonical entry of an event: what the leaf hash is taken of.
//!
//! An entry is RFC 8785 JSON of strings and integers below 2^53. It names nobody: the stream and the actor stand there as
//! keyed pseudonyms, the payload and the sealed details as salted commitments. So it can be published, and it stays
//! verifiable after an entity's key is gone.
//!
//! | field | meaning |
//! |---|---|
//! | `v` | the entry format: 1 |
//! | `pos` | position in the log |
//! | `eid` | event id |
//! | `sid`, `rev` | pseudonym of the stream, and the entity's version after the event |
//! | `sp` | leaf hash of the stream's previous entry: a stream proves itself complete without the rest of the log |
//! | `et`, `ev` | event type and version |
//! | `at` | recording time, RFC 3339 UTC with microseconds |
//! | `act` | pseudonym of the actor |
//! | `cid` | command id |
//! | `p` | commitment to payload and context; its salt stays readable beside the event |
//! | `c` | commitment to the sealed details; its salt is sealed with them, so it is gone when they are |
//! | `kid` | id of the entity's data key, when something is sealed |

use super::Hash;
use super::sha256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// The only entry format so far.
pub const ENTRY_VERSION: u32 = 1;

/// Separates commitments to payloads from every other use of the hash.
const PAYLOAD_DOMAIN: &[u8] = b"archive-ledger/payload/v1\0";

/// Separates commitments to sealed details from every other use of the hash.
const DETAILS_DOMAIN: &[u8] = b"archive-ledger/details/v1\0";

/// A canonical entry. Serialized only by [`Entry::canonical`]; read by [`super::entry_view::EntryView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry<'a> {
    // In the order of their names, which is the canonical one.
    /// Pseudonym of the actor.
    #[serde(serialize_with = "hash")]
    pub act: Hash,
    /// Recording time ([`entry_time`]).
    pub at: &'a str,
    /// Commitment to the sealed details.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_hash")]
    pub c: Option<Hash>,
    /// Command id.
    pub cid: Uuid,
    /// Event id.
    pub eid: Uuid,
    /// Event type.
    pub et: &'a str,
    /// Event version.
    pub ev: &'a str,
    /// Id of the entity's data key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<Uuid>,
    /// Commitment to payload and context.
    #[serde(serialize_with = "hash")]
    pub p: Hash,
    /// Position in the log.
    pub pos: u64,
    /// The entity's version after the event.
    pub rev: u64,
    /// Pseudonym of the stream.
    #[serde(serialize_with = "hash")]
    pub sid: Hash,
    /// Leaf hash of the stream's previous entry.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_hash")]
    pub sp: Option<Hash>,
    /// [`ENTRY_VERSION`].
    pub v: u32,
}

/// A value that has no canonical JSON form.
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form")]
pub struct NotCanonical(#[from] serde_json::Error);

/// How long an entry is at the most, so that its bytes are written in one piece.
const ENTRY_CAPACITY: usize = 576;

/// The length of a hash in unpadded base64url.
const HASH_LENGTH: usize = 43;

/// A hash as [`entry_hash`] gives it, without a text of its own.
fn hash<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = [0; HASH_LENGTH];
    let length = URL_SAFE_NO_PAD.encode_slice(hash, &mut text);
    let length = length.map_err(serde::ser::Error::custom)?;
    let text = std::str::from_utf8(&text[..length]).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(text)
}

fn some_hash<S: Serializer>(some: &Option<Hash>, serializer: S) -> Result<S::Ok, S::Error> {
    match some {
        Some(one) => hash(one, serializer),
        None => serializer.serialize_none(),
    }
}

impl Entry<'_> {
    /// The entry's bytes: RFC 8785 JSON. Strings and integers below 2^53 are written there as everywhere, so that only the
    /// order of the names counts.
    ///
    /// # Errors
    /// [`NotCanonical`]; entries are made of strings and small integers, so it does not happen.
    pub fn canonical(&self) -> Result<Vec<u8>, NotCanonical> {
        let mut bytes = Vec::with_capacity(ENTRY_CAPACITY);
        serde_json::to_writer(&mut bytes, self)?;
        Ok(bytes)
    }
}

/// RFC 8785 JSON of any value.
///
/// # Errors
/// [`NotCanonical`] for values that JSON cannot hold, such as NaN.
pub fn canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, NotCanonical> {
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

/// A recording time as entries write it.
#[must_use]
pub fn entry_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A hash as entries write it.
#[must_use]
pub fn entry_hash(hash: &Hash) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

/// How long the facts and the context of nearly every event are, so that they are written in one piece.
const PAYLOAD_CAPACITY: usize = 1024;

/// What [`payload_commitment`] commits to.
#[derive(Serialize)]
pub struct Payload<'a> {
    // In the order of their names, which is the canonical one.
    /// Who acted.
    pub actor: &'a str,
    /// The event's context.
    pub metadata: &'a serde_json::Value,
    /// The event's facts.
    pub payload: &'a serde_json::Value,
}

/// The commitment to an event's facts and context.
///
/// # Errors
/// [`NotCanonical`] when the payload has no canonical form.
pub fn payload_commitment(salt: &[u8; 32], payload: &Payload<'_>) -> Result<Hash, NotCanonical> {
    let plain = is_canonical_as_it_stands(payload.payload) && is_canonical_as_it_stands(payload.metadata);
    let content = if plain {
        let mut content = Vec::with_capacity(PAYLOAD_CAPACITY);
        serde_json::to_writer(&mut content, payload)?;
        content
    } else {
        canonical_json(payload)?
    };
    Ok(commitment(PAYLOAD_DOMAIN, salt, &content))
}

/// Whether a value's JSON is its canonical one without further ado: names that are ASCII and in order, and no number but
/// integers that a double holds exactly. What events are made of is, and the general way costs four times as much.
fn is_canonical_as_it_stands(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number
            .as_i64()
            .is_some_and(|number| number.unsigned_abs() < 1 << 53),
        Value::Array(items) => items.iter().all(is_canonical_as_it_stands),
        Value::Object(fields) => {
            fields.keys().all(|name| name.is_ascii())
                && fields.keys().is_sorted()
                && fields.values().all(is_canonical_as_it_stands)
        }
    }
}

/// The commitment to sealed details: `details` is their JSON, byte for byte as it was sealed.
#[must_use]
pub fn details_commitment(salt: &[u8; 32], details: &[u8]) -> Hash {
    commitment(DETAILS_DOMAIN, salt, details)
}

fn commitment(domain: &[u8], salt: &[u8; 32], content: &[u8]) -> Hash {
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX).to_be_bytes();
    sha256(&[domain, salt, &length, content])
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn the_canonical_entry_is_pinned() {
        let entry = Entry {
            v: ENTRY_VERSION,
            pos: 7,
            eid: Uuid::from_u128(1),
            sid: [1; 32],
            rev: 2,
            sp: Some([2; 32]),
            et: "soft_deleted",
            ev: "1.0.0",
            at: &entry_time(Utc.timestamp_micros(1_700_000_000_000_001).unwrap()),
            act: [3; 32],
            cid: Uuid::from_u128(2),
            p: [4; 32],
            c: None,
            kid: None,
        };
        assert_eq!(
            String::from_utf8(entry.canonical().unwrap()).unwrap(),
            concat!(
                r#"{"act":"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM","at":"2023-11-14T22:13:20.000001Z","#,
                r#""cid":"00000000-0000-0000-0000-000000000002","eid":"00000000-0000-0000-0000-000000000001","#,
                r#""et":"soft_deleted","ev":"1.0.0","p":"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ","pos":7,"#,
                r#""rev":2,"sid":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","#,
                r#""sp":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI","v":1}"#
            )
        );
    }

    #[test]
    fn an_entry_is_written_as_the_canonical_form_of_any_value() {
        let odd = "\u{0}\u{1f}\u{7f}\"\\/\u{8}\t\n\u{c}\r é\u{2028}\u{1f600}";
        let mut entry = Entry {
            act: [0xff; 32],
            at: "",
            c: Some([0; 32]),
            cid: Uuid::from_u128(u128::MAX),
            eid: Uuid::nil(),
            et: odd,
            ev: odd,
            kid: Some(Uuid::from_u128(7)),
            p: [0x7f; 32],
            pos: (1 << 53) - 1,
            rev: 0,
            sid: [1; 32],
            sp: Some([0xee; 32]),
            v: u32::MAX,
        };
        let value = serde_json::to_value(&entry).unwrap();
        assert_eq!(value["act"], entry_hash(&entry.act));
        assert_eq!(value["sp"], entry_hash(&[0xee; 32]));
        assert_eq!(entry.canonical().unwrap(), canonical_json(&entry).unwrap());
        (entry.c, entry.kid, entry.sp) = (None, None, None);
        assert_eq!(entry.canonical().unwrap(), canonical_json(&entry).unwrap());
    }

    #[test]
    fn a_payload_is_committed_to_in_its_canonical_form_whatever_is_in_it() {
        for (value, plain) in [
            (serde_json::json!({}), true),
            (
                serde_json::json!({"b": [1, -7, {"y": null, "x": "é\u{1}"}], "a": true, "B": "/"}),
                true,
            ),
            (serde_json::json!({"n": (1_u64 << 53) - 1}), true),
            (serde_json::json!({"n": 1_u64 << 53}), false),
            (serde_json::json!({"n": u64::MAX}), false),
            (serde_json::json!({"n": 1.5}), false),
            (serde_json::json!({"n": 1.0}), false),
            // By code units of UTF-16 the first comes first, by bytes the second.
            (serde_json::json!({"\u{1f600}": 1, "\u{fb01}": 2}), false),
        ] {
            assert_eq!(is_canonical_as_it_stands(&value), plain, "{value}");
            let payload = Payload {
                actor: "a",
                metadata: &value,
                payload: &value,
            };
            let canonical = canonical_json(&payload).unwrap();
            let expected = commitment(PAYLOAD_DOMAIN, &[7; 32], &canonical);
            assert_eq!(
                payload_commitment(&[7; 32], &payload).unwrap(),
                expected,
                "{value}"
            );
        }
    }

    #[test]
    fn commitments_to_payload_and_details_never_meet() {
        let payload = Payload {
            payload: &serde_json::json!({}),
            metadata: &serde_json::json!({}),
            actor: "",
        };
        let bytes = canonical_json(&payload).unwrap();
        assert_ne!(
            payload_commitment(&[0; 32], &payload).unwrap(),
            details_commitment(&[0; 32], &bytes)
        );
    }
}
