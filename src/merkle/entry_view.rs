//! Reads canonical entries, and nothing but canonical ones, quickly: who verifies a log reads millions of them.
//!
//! The fields stand in the order that RFC 8785 demands, without any space. So reading is comparing with what must be there,
//! and an entry that is read is the one way to write what it says.

use super::Hash;
use super::entry::ENTRY_VERSION;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The length of a hash in unpadded base64url.
const HASH_LENGTH: usize = 43;

/// The length of a hyphenated UUID.
const ID_LENGTH: usize = 36;

/// The length of a time with microseconds.
const TIME_LENGTH: usize = 27;

/// What an entry says; `Entry` in `entry.rs` tells what the fields mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView<'a> {
    /// Pseudonym of the actor.
    pub act: Hash,
    /// Recording time.
    pub at: &'a str,
    /// Commitment to the sealed details.
    pub c: Option<Hash>,
    /// Command id.
    pub cid: &'a str,
    /// Event id.
    pub eid: &'a str,
    /// Event type.
    pub et: &'a str,
    /// Event version.
    pub ev: &'a str,
    /// Id of the entity's data key.
    pub kid: Option<&'a str>,
    /// Commitment to payload and context.
    pub p: Hash,
    /// Position.
    pub pos: u64,
    /// The entity's version.
    pub rev: u64,
    /// Pseudonym of the stream.
    pub sid: Hash,
    /// Leaf hash of the stream's previous entry.
    pub sp: Option<Hash>,
}

/// Why bytes are no canonical entry: the field that is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entry is malformed at {0:?}")]
pub struct MalformedEntry(&'static str);

impl<'a> EntryView<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`MalformedEntry`] for everything that is not exactly what the ledger writes.
    pub fn parse(entry: &'a [u8]) -> Result<Self, MalformedEntry> {
        let mut reader = Reader { rest: entry };
        let view = Self {
            act: reader.hash("act", "{\"act\":\"")?,
            at: reader.fixed("at", "\"at\":\"", TIME_LENGTH, is_time)?,
            c: reader.optional_hash("c", "\"c\":\"")?,
            cid: reader.fixed("cid", "\"cid\":\"", ID_LENGTH, is_id)?,
            eid: reader.fixed("eid", "\"eid\":\"", ID_LENGTH, is_id)?,
            et: reader.word("et", "\"et\":\"")?,
            ev: reader.word("ev", "\"ev\":\"")?,
            kid: if reader.has("\"kid\":\"") {
                Some(reader.fixed("kid", "\"kid\":\"", ID_LENGTH, is_id)?)
            } else {
                None
            },
            p: reader.hash("p", "\"p\":\"")?,
            pos: reader.number("pos", "\"pos\":")?,
            rev: reader.number("rev", "\"rev\":")?,
            sid: reader.hash("sid", "\"sid\":\"")?,
            sp: reader.optional_hash("sp", "\"sp\":\"")?,
        };
        let version = format!("\"v\":{ENTRY_VERSION}}}");
        if reader.rest == version.as_bytes() {
            Ok(view)
        } else {
            Err(MalformedEntry("v"))
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn has(&self, text: &str) -> bool {
        self.rest.starts_with(text.as_bytes())
    }

    fn skip(&mut self, field: &'static str, text: &str) -> Result<(), MalformedEntry> {
        self.rest = self
            .rest
            .strip_prefix(text.as_bytes())
            .ok_or(MalformedEntry(field))?;
        Ok(())
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a str, MalformedEntry> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(MalformedEntry(field))?;
        self.rest = rest;
        std::str::from_utf8(taken).map_err(|_| MalformedEntry(field))
    }

    fn fixed(
        &mut self,
        field: &'static str,
        name: &str,
        length: usize,
        fits: fn(usize, u8) -> bool,
    ) -> Result<&'a str, MalformedEntry> {
        self.skip(field, name)?;
        let text = self.take(field, length)?;
        if !text.bytes().enumerate().all(|(index, byte)| fits(index, byte)) {
            return Err(MalformedEntry(field));
        }
        self.skip(field, "\",")?;
        Ok(text)
    }

    fn hash(&mut self, field: &'static str, name: &str) -> Result<Hash, MalformedEntry> {
        self.skip(field, name)?;
        let text = self.take(field, HASH_LENGTH)?;
        let mut hash = [0; 32];
        // Exactly 32 bytes, or the last character would have bits that stand for nothing.
        match URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut hash) {
            Ok(32) => {}
            Ok(_) | Err(_) => return Err(MalformedEntry(field)),
        }
        self.skip(field, "\",")?;
        Ok(hash)
    }

    fn optional_hash(&mut self, field: &'static str, name: &str) -> Result<Option<Hash>, MalformedEntry> {
        if self.has(name) {
            self.hash(field, name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A short text that JSON escapes nothing in.
    fn word(&mut self, field: &'static str, name: &str) -> Result<&'a str, MalformedEntry> {
        self.skip(field, name)?;
        let end = self
            .rest
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'-' | b'.'));
        let word = self.take(field, end.ok_or(MalformedEntry(field))?)?;
        self.skip(field, "\",")?;
        Ok(word)
    }

    fn number(&mut self, field: &'static str, name: &str) -> Result<u64, MalformedEntry> {
        self.skip(field, name)?;
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit());
        let digits = self.take(field, end.ok_or(MalformedEntry(field))?)?;
        if digits.starts_with('0') {
            return Err(MalformedEntry(field));
        }
        self.skip(field, ",")?;
        digits.parse().map_err(|_| MalformedEntry(field))
    }
}

fn is_id(index: usize, byte: u8) -> bool {
    if matches!(index, 8 | 13 | 18 | 23) {
        byte == b'-'
    } else {
        matches!(byte, b'0'..=b'9' | b'a'..=b'f')
    }
}

/// `2023-11-14T22:13:20.000001Z`.
fn is_time(index: usize, byte: u8) -> bool {
    match index {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        19 => byte == b'.',
        26 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Entry, canonical_json, entry_time};
    use super::*;
    use chrono::DateTime;
    use uuid::Uuid;

    fn entry(full: bool) -> Entry<'static> {
        Entry {
            v: ENTRY_VERSION,
            pos: 7,
            eid: Uuid::from_u128(1),
            sid: [1; 32],
            rev: 20,
            sp: full.then_some([2; 32]),
            et: "soft_deleted",
            ev: "1.0.0",
            at: "1970-01-01T00:00:00.000000Z",
            act: [3; 32],
            cid: Uuid::from_u128(2),
            p: [4; 32],
            c: full.then_some([5; 32]),
            kid: full.then(|| Uuid::from_u128(3)),
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        for full in [false, true] {
            let written = entry(full).canonical().unwrap();
            let view = EntryView::parse(&written).unwrap();
            assert_eq!(
                (view.pos, view.rev, view.et, view.ev),
                (7, 20, "soft_deleted", "1.0.0")
            );
            assert_eq!((view.sid, view.act, view.p), ([1; 32], [3; 32], [4; 32]));
            assert_eq!(view.sp, full.then_some([2; 32]));
            assert_eq!(view.c, full.then_some([5; 32]));
            assert_eq!(view.kid.is_some(), full);
            assert_eq!(view.at, entry_time(DateTime::UNIX_EPOCH));
            assert_eq!(view.eid, Uuid::from_u128(1).to_string());
        }
    }

    #[test]
    fn what_is_read_is_the_only_way_to_write_it() {
        for full in [false, true] {
            let written = entry(full).canonical().unwrap();
            for index in 0..written.len() {
                for bit in 0..8 {
                    let mut changed = written.clone();
                    changed[index] ^= 1 << bit;
                    if EntryView::parse(&changed).is_ok() {
                        let again: serde_json::Value = serde_json::from_slice(&changed).unwrap();
                        assert_eq!(canonical_json(&again).unwrap(), changed);
                    }
                }
                assert!(EntryView::parse(&written[..index]).is_err());
            }
            assert!(EntryView::parse(&[&written[..], b" "].concat()).is_err());
        }
    }
}
