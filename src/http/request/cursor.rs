//! Where a list goes on: cursors that nobody can make up, and positions with their ledger's number.

use crate::http::answer::error::{ApiError, Key};
use crate::merkle::sha256;
use crate::numbering::Numbering;
use crate::store::Position;
use archive_ledger_domain::{EntityKey, EntityType};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest cursor that is looked at, in characters.
pub(in crate::http) const MAX_CURSOR: usize = 512;

/// Whether a time may be looked for in a database: one of the years 1 to 9999, which both backends hold and nothing that is
/// recorded lies beyond.
#[must_use]
pub(in crate::http) fn is_storable(time: DateTime<Utc>) -> bool {
    (1..=9_999).contains(&time.year())
}

/// The last item of a page: the next one continues behind it, in the order `deleted_at desc, id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCursor {
    /// The item.
    pub key: EntityKey,
    /// When it was deleted, to the microsecond.
    pub deleted_at: DateTime<Utc>,
}

/// Whether what the ledger `of` gave out, for whoever has seen everything up to `seen`, belongs to this ledger.
///
/// # Errors
/// [`ApiError::LedgerForked`] for one of an earlier ledger, [`ApiError::BadData`] for a number that this ledger never had.
pub(in crate::http) fn of_this_ledger(
    numbering: &Numbering,
    key: impl Into<Key>,
    of: u64,
    seen: Option<Position>,
) -> Result<(), ApiError> {
    let (key, ledger) = (key.into(), numbering.current());
    if of == ledger {
        return Ok(());
    }
    match numbering.shared_with(of) {
        Some(shared) => Err(ApiError::LedgerForked {
            key,
            of,
            ledger,
            position: seen.map_or(shared, |seen| seen.min(shared)),
        }),
        None => Err(ApiError::bad_data(key, "not of this ledger")),
    }
}

/// A position, and the number of the ledger that it is of, as texts outside name it: `<number>-<position>`.
pub(in crate::http) fn numbered(ledger: u64, position: Position) -> String {
    format!("{ledger}-{position}")
}

/// Number and position of such a text.
pub(in crate::http) fn read_numbered(text: &str) -> Option<(u64, Position)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.then(|| text.parse::<i64>().ok())??;
        // One text for each.
        (value.to_string() == text).then(|| value.unsigned_abs())
    };
    let (ledger, position) = text.split_once('-')?;
    Some((number(ledger)?, number(position)?))
}

/// Gives out cursors and recognizes those it gave out.
///
/// A cursor is authenticated, so that no client can point the database at a position that no list ever ended with.
/// Instances that serve the same clients must hold the same secret.
#[derive(Debug)]
pub struct CursorCodec {
    key: hmac::Key,
    numbering: Numbering,
}

/// What a cursor says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    v: u8,
    /// The ledger's number.
    ledger: u64,
    #[serde(rename = "type")]
    entity_type: EntityType,
    deleted_at: i64,
    id: String,
}

const CURSOR_VERSION: u8 = 2;

/// What a cursor of any other list goes on with: the list, and everything that chooses its rows and their order. A cursor of one walk
/// says nothing of a place in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    list: &'static str,
    /// Stands for what was chosen.
    chosen: String,
}

impl Walk {
    /// A walk through the list of this name, with these filters in this order: whatever the page's size does not decide.
    #[must_use]
    pub fn new(list: &'static str, chosen: impl Serialize) -> Self {
        // Numbers and strings only, which always serialize.
        let chosen = serde_json::to_vec(&chosen).unwrap_or_default();
        Self {
            list,
            chosen: hex::encode(&sha256(&[&chosen])[..16]),
        }
    }
}

/// A place in a list that is not of entities.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedPlace<T> {
    v: u8,
    /// The ledger's number.
    ledger: u64,
    /// Which list.
    list: String,
    /// What of it, in which order.
    chosen: String,
    at: T,
}

const PLACE_VERSION: u8 = 2;

impl CursorCodec {
    /// A codec whose key is derived from `secret`, which may serve other purposes as well.
    #[must_use]
    pub fn new(secret: &[u8], numbering: Numbering) -> Self {
        Self::with_purpose(secret, b"archive-ledger/list-cursor/v1", numbering)
    }

    /// As [`Self::new`], for cursors of another kind: one kind never passes for the other.
    #[must_use]
    pub(in crate::http) fn with_purpose(secret: &[u8], purpose: &[u8], numbering: Numbering) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), purpose);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            numbering,
        }
    }

    /// The text of a cursor: base64url of an HMAC-SHA256 tag and the JSON that it covers.
    #[must_use]
    pub fn seal(&self, cursor: &ListCursor) -> String {
        let payload = Payload {
            v: CURSOR_VERSION,
            ledger: self.numbering.current(),
            entity_type: cursor.key.entity_type(),
            deleted_at: cursor.deleted_at.timestamp_micros(),
            id: cursor.key.id().to_owned(),
        };
        // Strings and integers only, which always serialize.
        self.seal_json(&serde_json::to_vec(&payload).unwrap_or_default())
    }

    /// The text of a cursor that says `json`.
    pub(in crate::http) fn seal_json(&self, json: &[u8]) -> String {
        let mut sealed = hmac::sign(&self.key, json).as_ref().to_vec();
        sealed.extend_from_slice(json);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// What a cursor says, if this codec gave it out.
    pub(in crate::http) fn open_json(&self, text: &str) -> Option<Vec<u8>> {
        if text.len() > MAX_CURSOR {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (tag, json) = sealed.split_at_checked(hmac::HMAC_SHA256.digest_algorithm().output_len())?;
        hmac::verify(&self.key, json, tag).ok()?;
        Some(json.to_vec())
    }

    /// The cursor that `text` stands for, if this codec gave it out for a list of `entity_type`.
    ///
    /// # Errors
    /// [`ApiError::BadData`] when it did not, [`ApiError::LedgerForked`] when it did before a fork.
    pub fn open(&self, text: &str, entity_type: EntityType) -> Result<ListCursor, ApiError> {
        let read = || {
            let payload: Payload = serde_json::from_slice(&self.open_json(text)?).ok()?;
            if payload.v != CURSOR_VERSION || payload.entity_type != entity_type {
                return None;
            }
            let cursor = ListCursor {
                key: EntityKey::new(entity_type, &payload.id).ok()?,
                deleted_at: DateTime::from_timestamp_micros(payload.deleted_at)
                    .filter(|time| is_storable(*time))?,
            };
            Some((payload.ledger, cursor))
        };
        let (ledger, cursor) =
            read().ok_or_else(|| ApiError::bad_data("cursor", "not a cursor of this list"))?;
        of_this_ledger(&self.numbering, "cursor", ledger, None)?;
        Ok(cursor)
    }

    /// The text of a cursor for the place `at` on this walk.
    #[must_use]
    pub fn seal_place(&self, walk: &Walk, at: impl Serialize) -> String {
        let place = SealedPlace {
            v: PLACE_VERSION,
            ledger: self.numbering.current(),
            list: walk.list.to_owned(),
            chosen: walk.chosen.clone(),
            at,
        };
        // Numbers and strings only, which always serialize.
        self.seal_json(&serde_json::to_vec(&place).unwrap_or_default())
    }

    /// The place that `text` stands for, if this codec gave it out for this walk, and `seen` of it: the position up to which its
    /// holder has seen everything, where there is one.
    ///
    /// # Errors
    /// [`ApiError::BadData`] when it did not, [`ApiError::LedgerForked`] when it did before a fork.
    pub(in crate::http) fn open_place<T: DeserializeOwned>(
        &self,
        walk: &Walk,
        text: &str,
        seen: impl FnOnce(&T) -> Option<Position>,
    ) -> Result<T, ApiError> {
        let read = || {
            let place: SealedPlace<T> = serde_json::from_slice(&self.open_json(text)?).ok()?;
            (place.v == PLACE_VERSION && place.list == walk.list).then_some(place)
        };
        let place = read().ok_or_else(|| ApiError::bad_data("cursor", "not a cursor of this list"))?;
        if place.chosen != walk.chosen {
            return Err(ApiError::bad_data(
                "cursor",
                "given out with other filters or another order",
            ));
        }
        of_this_ledger(&self.numbering, "cursor", place.ledger, seen(&place.at))?;
        Ok(place.at)
    }
}

#[cfg(test)]
mod tests;
