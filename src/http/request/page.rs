//! Paging parameters of the lists: `page` and `limit` as oCore has them (seed 000), and an opaque `cursor` beside them.
//!
//! Parameters that we do not know are ignored, because existing clients may send more than the seed shows.

use super::cursor::{CursorCodec, ListCursor, MAX_CURSOR, Walk};
use super::describe::{in_query, text_like, whole_number};
use super::query::integer;
use crate::http::answer::error::ApiError;
use archive_ledger_domain::EntityType;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

/// How many items a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    /// Where the client names no number, or 0 (what oCore's generated examples send).
    pub usual: u32,
    /// At the most.
    pub max: u32,
}

/// Of lists.
pub const LISTS: PageSize = PageSize { usual: 20, max: 100 };

/// Of the audit.
pub const AUDIT: PageSize = PageSize {
    usual: 100,
    max: 1_000,
};

/// The greatest page number: its rows are still countable in 64 bits.
const MAX_PAGE: i64 = i64::MAX / LISTS.max as i64;

impl PageSize {
    /// Reads `limit`.
    ///
    /// # Errors
    /// [`ApiError::BadValueInteger`], [`ApiError::BadValueNotInRange`].
    pub fn read(self, limit: Option<Cow<'_, str>>) -> Result<u32, ApiError> {
        Ok(match integer("limit", limit, i64::from(self.max))? {
            0 => self.usual,
            // In range, as just checked.
            limit => u32::try_from(limit).unwrap_or(self.max),
        })
    }

    fn parameter(self) -> Parameter {
        let Self { usual, max } = self;
        in_query(
            "limit",
            format!("Page size 1 to {max}; {usual} when absent or 0"),
            whole_number(0, i64::from(max)),
        )
    }
}

/// `limit` of a list.
#[derive(Debug, Clone, Copy)]
pub struct ListLimit;

impl IntoParams for ListLimit {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![LISTS.parameter()]
    }
}

/// `limit` of the audit.
#[derive(Debug, Clone, Copy)]
pub struct AuditLimit;

impl IntoParams for AuditLimit {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![AUDIT.parameter()]
    }
}

/// `page` of the archived list.
#[derive(Debug, Clone, Copy)]
pub struct PageNumber;

impl IntoParams for PageNumber {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = whole_number(0, MAX_PAGE);
        vec![in_query("page", "Page number from 1; 0 means the first", number)]
    }
}

/// `cursor`, where a walk goes on.
pub(in crate::http) fn cursor_parameter(of: &str) -> Parameter {
    let pattern = format!("^[A-Za-z0-9_-]{{1,{MAX_CURSOR}}}$");
    in_query("cursor", of, text_like(&pattern))
}

/// Which part of a list a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageQuery {
    /// How many items, 1 to 100 ([`LISTS`]).
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
    /// Behind items that cannot be read.
    Behind(Behind),
}

/// Where a page begins whose predecessor ended with items that cannot be read: nothing says where these stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// The time in microseconds since 1970 and the id of the item before them; the list's beginning when there is none.
    pub after: Option<(i64, String)>,
    /// How many there are.
    pub skipped: u64,
}

/// The walk through the list of a type.
pub(in crate::http) fn walk(entity_type: EntityType) -> Walk {
    Walk::new("archived", entity_type)
}

impl PageQuery {
    /// Reads `page`, `limit` and `cursor` from a raw query string, for a list of `entity_type`.
    ///
    /// `page` counts from 1; 0 or none is the first. `limit` of 0 or none is the usual one ([`LISTS`]).
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
        let limit = LISTS.read(limit)?;
        let start = match (page, cursor) {
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_data("cursor", "cannot be combined with \"page\""));
            }
            (None, Some(cursor)) => match cursors.open(&cursor, entity_type) {
                Err(error @ ApiError::BadData { .. }) => cursors
                    .open_place(&walk(entity_type), &cursor, |_| None)
                    .map(Start::Behind)
                    .map_err(|behind| match behind {
                        forked @ ApiError::LedgerForked { .. } => forked,
                        _ => error,
                    })?,
                after => Start::After(after?),
            },
            (page, None) => {
                let page = integer("page", page, MAX_PAGE)?.max(1);
                Start::Offset((page - 1) * i64::from(limit))
            }
        };
        Ok(Self { limit, start })
    }
}

#[cfg(test)]
mod tests;
