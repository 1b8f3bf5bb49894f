//! Paging parameters of the lists: `page` and `limit` as oCore has them (seed 000), and an opaque `cursor` beside them.
//!
//! Parameters that we do not know are ignored, because existing clients may send more than the seed shows.

use super::error::{ApiError, Key};
use crate::numbering::Numbering;
use crate::store::Position;
use archive_ledger_domain::{EntityKey, EntityType};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The page size when the client names none, or 0 (what oCore's generated examples send).
pub const DEFAULT_LIMIT: u32 = 20;

/// The greatest page size.
pub const MAX_LIMIT: u32 = 100;

/// The greatest page number: its rows are still countable in 64 bits.
const MAX_PAGE: i64 = i64::MAX / MAX_LIMIT as i64;

/// The longest cursor that is looked at, in characters.
const MAX_CURSOR: usize = 512;

/// Which part of a list a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery {
    /// How many items, 1 to [`MAX_LIMIT`].
    pub limit: u32,
    /// Where the page begins.
    pub start: Start,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// After this many items.
    Offset(i64),
    /// After the item that a cursor names.
    After(ListCursor),
}

/// The last item of a page: the next one continues behind it, in the order `deleted_at desc, id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCursor {
    /// The item.
    pub key: EntityKey,
    /// When it was deleted, to the microsecond.
    pub deleted_at: DateTime<Utc>,
}

impl PageQuery {
    /// Reads `page`, `limit` and `cursor` from a raw query string, for a list of `entity_type`.
    ///
    /// `page` counts from 1; 0 or none is the first. `limit` of 0 or none is [`DEFAULT_LIMIT`].
    ///
    /// # Errors
    /// [`ApiError::BadValueInteger`], [`ApiError::BadValueNotInRange`], [`ApiError::BadData`] for a parameter given
    /// twice, a cursor that we did not give out for this list, or a cursor together with a page, or
    /// [`ApiError::LedgerForked`] for one that was given out before a fork.
    pub fn parse(
        query: Option<&str>,
        entity_type: EntityType,
        cursors: &CursorCodec,
    ) -> Result<Self, ApiError> {
        let (mut page, mut limit, mut cursor) = (None, None, None);
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let (key, slot) = match &*name {
                "page" => ("page", &mut page),
                "limit" => ("limit", &mut limit),
                "cursor" => ("cursor", &mut cursor),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(ApiError::bad_data(key, "given more than once"));
            }
        }
        let limit = match integer("limit", limit, i64::from(MAX_LIMIT))? {
            0 => DEFAULT_LIMIT,
            // In range, as just checked.
            limit => u32::try_from(limit).unwrap_or(MAX_LIMIT),
        };
        let start = match (page, cursor) {
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_data("cursor", "cannot be combined with \"page\""));
            }
            (None, Some(cursor)) => Start::After(cursors.open(&cursor, entity_type)?),
            (page, None) => {
                let page = integer("page", page, MAX_PAGE)?.max(1);
                Start::Offset((page - 1) * i64::from(limit))
            }
        };
        Ok(Self { limit, start })
    }
}

/// Whether what the ledger `of` gave out, for whoever has seen everything up to `seen`, belongs to this ledger.
///
/// # Errors
/// [`ApiError::LedgerForked`] for one of an earlier ledger, [`ApiError::BadData`] for a number that this ledger never had.
pub(super) fn of_this_ledger(
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
pub(super) fn numbered(ledger: u64, position: Position) -> String {
    format!("{ledger}-{position}")
}

/// Number and position of such a text.
pub(super) fn read_numbered(text: &str) -> Option<(u64, Position)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.then(|| text.parse::<i64>().ok())??;
        // One text for each.
        (value.to_string() == text).then(|| value.unsigned_abs())
    };
    let (ledger, position) = text.split_once('-')?;
    Some((number(ledger)?, number(position)?))
}

/// A decimal number from 0 to `high`; 0 when absent.
pub(super) fn integer(key: &'static str, text: Option<Cow<'_, str>>, high: i64) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(0) };
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::BadValueInteger { key: key.into() });
    }
    // All digits: only a number too great for 64 bits fails to parse.
    match text.parse::<i64>() {
        Ok(value) if (0..=high).contains(&value) => Ok(value),
        Ok(_) | Err(_) => Err(ApiError::BadValueNotInRange {
            key: key.into(),
            low: 1,
            high,
        }),
    }
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

impl CursorCodec {
    /// A codec whose key is derived from `secret`, which may serve other purposes as well.
    #[must_use]
    pub fn new(secret: &[u8], numbering: Numbering) -> Self {
        Self::with_purpose(secret, b"archive-ledger/list-cursor/v1", numbering)
    }

    /// As [`Self::new`], for cursors of another kind: one kind never passes for the other.
    #[must_use]
    pub(super) fn with_purpose(secret: &[u8], purpose: &[u8], numbering: Numbering) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), purpose);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            numbering,
        }
    }

    /// Which ledger recorded which position.
    #[must_use]
    pub(super) const fn numbering(&self) -> &Numbering {
        &self.numbering
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
    pub(super) fn seal_json(&self, json: &[u8]) -> String {
        let mut sealed = hmac::sign(&self.key, json).as_ref().to_vec();
        sealed.extend_from_slice(json);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// What a cursor says, if this codec gave it out.
    pub(super) fn open_json(&self, text: &str) -> Option<Vec<u8>> {
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
                deleted_at: DateTime::from_timestamp_micros(payload.deleted_at)?,
            };
            Some((payload.ledger, cursor))
        };
        let (ledger, cursor) =
            read().ok_or_else(|| ApiError::bad_data("cursor", "not a cursor of this list"))?;
        of_this_ledger(&self.numbering, "cursor", ledger, None)?;
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use uuid::Uuid;

    fn codec() -> CursorCodec {
        CursorCodec::new(b"a secret of at least thirty-two bytes", Numbering::default())
    }

    fn cursor() -> ListCursor {
        ListCursor {
            key: EntityKey::new(EntityType::Backups, "497f6eca-6276-4993-bfeb-53cbbbba6f08").unwrap(),
            deleted_at: DateTime::from_timestamp_micros(1_750_762_637_248_123).unwrap(),
        }
    }

    fn parse(query: &str) -> Result<PageQuery, ApiError> {
        PageQuery::parse(Some(query), EntityType::Backups, &codec())
    }

    fn refused(query: &str, id: &str, key: &str) {
        let description = parse(query).unwrap_err().describe(Uuid::nil());
        assert_eq!(
            (description.id, &description.details.unwrap()["key"]),
            (id, &json!(key)),
            "{query}"
        );
    }

    #[test]
    fn nothing_or_zero_means_the_first_page_of_twenty() {
        let first = PageQuery {
            limit: 20,
            start: Start::Offset(0),
        };
        assert_eq!(
            PageQuery::parse(None, EntityType::Backups, &codec()).unwrap(),
            first
        );
        for query in [
            "",
            "page=0&limit=0",
            "page=1",
            "limit=20",
            "page=00&limit=020",
            "page=-0",
        ] {
            assert_eq!(parse(query).unwrap(), first, "{query}");
        }
    }

    #[test]
    fn a_page_begins_behind_those_before_it() {
        assert_eq!(
            parse("page=3&limit=100").unwrap(),
            PageQuery {
                limit: 100,
                start: Start::Offset(200)
            }
        );
        assert_eq!(
            parse("limit=%31&page=%32").unwrap(),
            PageQuery {
                limit: 1,
                start: Start::Offset(1)
            }
        );
        let PageQuery {
            start: Start::Offset(offset),
            ..
        } = parse(&format!("page={MAX_PAGE}&limit=100")).unwrap()
        else {
            panic!("a page has an offset");
        };
        assert_eq!(offset, (MAX_PAGE - 1) * 100);
    }

    #[test]
    fn unknown_parameters_are_ignored() {
        assert_eq!(
            parse("sort=name&page=2&Page=x&utm=1&utm=2").unwrap().start,
            Start::Offset(20)
        );
    }

    #[test]
    fn what_is_no_integer_or_out_of_range_is_refused_by_name() {
        for text in [
            "", "a", "1.5", "1e2", "+1", " 1", "0x1", "١", "--1", "-", "1,000", "%FF", "null",
        ] {
            refused(
                &format!("page={}", text.replace('+', "%2B")),
                "badValueInteger",
                "page",
            );
            refused(
                &format!("limit={}", text.replace('+', "%2B")),
                "badValueInteger",
                "limit",
            );
        }
        for text in [
            "-1",
            "101",
            "9223372036854775808",
            "99999999999999999999999999",
            "-99999999999999999999999",
        ] {
            refused(&format!("limit={text}"), "badValueNotInRange", "limit");
        }
        let beyond = (MAX_PAGE + 1).to_string();
        for text in ["-1", &beyond, "9223372036854775807", "99999999999999999999999999"] {
            refused(&format!("page={text}"), "badValueNotInRange", "page");
        }
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        refused("page=1&page=1", "badData", "page");
        refused("limit=1&limit=2", "badData", "limit");
        refused("cursor=a&cursor=a", "badData", "cursor");
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_given_out() {
        let sealed = codec().seal(&cursor());
        assert_eq!(
            parse(&format!("cursor={sealed}&limit=5")).unwrap(),
            PageQuery {
                limit: 5,
                start: Start::After(cursor())
            }
        );
        let archive = ListCursor {
            key: EntityKey::new(EntityType::Archives, &"a".repeat(128)).unwrap(),
            deleted_at: cursor().deleted_at,
        };
        let sealed = codec().seal(&archive);
        assert_eq!(codec().open(&sealed, EntityType::Archives).ok(), Some(archive));
    }

    #[test]
    fn a_cursor_and_a_page_exclude_each_other() {
        refused(
            &format!("cursor={}&page=1", codec().seal(&cursor())),
            "badData",
            "cursor",
        );
    }

    #[test]
    fn a_cursor_of_another_list_or_another_key_is_refused() {
        let sealed = codec().seal(&cursor());
        assert_eq!(codec().open(&sealed, EntityType::Users).ok(), None);
        assert_eq!(
            CursorCodec::new(b"another secret", Numbering::default())
                .open(&sealed, EntityType::Backups)
                .ok(),
            None
        );
    }

    #[test]
    fn a_cursor_with_any_bit_changed_is_refused() {
        let sealed = URL_SAFE_NO_PAD.decode(codec().seal(&cursor())).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                codec()
                    .open(&URL_SAFE_NO_PAD.encode(forged), EntityType::Backups)
                    .ok(),
                None
            );
        }
    }

    #[test]
    fn what_is_no_cursor_at_all_is_refused() {
        let sealed = codec().seal(&cursor());
        for text in [
            "",
            "x",
            "AAAA",
            &sealed[1..],
            &sealed[..sealed.len() - 1],
            &format!("{sealed}="),
            &"A".repeat(10_000),
        ] {
            refused(&format!("cursor={text}"), "badData", "cursor");
        }
        let unsigned =
            URL_SAFE_NO_PAD.encode(r#"{"v":2,"ledger":1,"type":"backups","deleted_at":0,"id":"x"}"#);
        refused(&format!("cursor={unsigned}"), "badData", "cursor");
    }

    #[test]
    fn a_signed_payload_of_another_version_or_shape_is_refused() {
        let sign = |json: &str| {
            let mut sealed = hmac::sign(&codec().key, json.as_bytes()).as_ref().to_vec();
            sealed.extend_from_slice(json.as_bytes());
            URL_SAFE_NO_PAD.encode(sealed)
        };
        let id = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
        let payload = |v: u8, extra: &str| {
            sign(&format!(
                r#"{{"v":{v},"ledger":1,"type":"backups","deleted_at":0,"id":"{id}"{extra}}}"#
            ))
        };
        assert!(codec().open(&payload(2, ""), EntityType::Backups).ok().is_some());
        assert_eq!(codec().open(&payload(1, ""), EntityType::Backups).ok(), None);
        assert_eq!(
            codec().open(&payload(2, r#","x":1"#), EntityType::Backups).ok(),
            None
        );
        let bad_id = sign(r#"{"v":2,"ledger":1,"type":"backups","deleted_at":0,"id":"x"}"#);
        assert_eq!(codec().open(&bad_id, EntityType::Backups).ok(), None);
        let far = sign(&format!(
            r#"{{"v":2,"ledger":1,"type":"backups","deleted_at":9223372036854775807,"id":"{id}"}}"#
        ));
        assert_eq!(codec().open(&far, EntityType::Backups).ok(), None);
    }

    #[test]
    fn a_cursor_of_an_earlier_ledger_is_gone_and_says_where_both_part() {
        let secret = b"a secret of at least thirty-two bytes";
        let sealed = codec().seal(&cursor());
        let forked = CursorCodec::new(secret, Numbering::new([(2, 7)]));
        let described = forked
            .open(&sealed, EntityType::Backups)
            .unwrap_err()
            .describe(Uuid::nil());
        assert_eq!((described.status.as_u16(), described.id), (410, "ledgerForked"));
        let details = json!({"key": "cursor", "of": 1, "ledger": 2, "position": 7});
        assert_eq!(described.details.unwrap(), details);
        let later = forked.seal(&cursor());
        assert!(forked.open(&later, EntityType::Backups).is_ok());
        // A copy that has never heard of the fork.
        let described = codec()
            .open(&later, EntityType::Backups)
            .unwrap_err()
            .describe(Uuid::nil());
        assert_eq!((described.status.as_u16(), described.id), (400, "badData"));
    }

    #[test]
    fn a_numbered_position_has_one_text() {
        assert_eq!(read_numbered(&numbered(2, 41)), Some((2, 41)));
        assert_eq!(read_numbered("1-0"), Some((1, 0)));
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "01-2",
            "1-02",
            "+1-2",
            "1-+2",
            "1 -2",
            "1--2",
            "x-1",
            "1-9223372036854775808",
        ] {
            assert_eq!(read_numbered(text), None, "{text}");
        }
    }
}
