//! Which deliveries a request means, and where it goes on among them.

use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::request::cursor::{CursorCodec, Walk, is_storable};
use crate::http::request::describe::{self, in_query, word};
use crate::http::request::fields::Text;
use crate::http::request::page::cursor_parameter;
use crate::http::request::path::{entity_type, id_schema};
use crate::http::request::query::bound;
use crate::store::callbacks::{DeliveryFilter, DeliveryState, ListStart};
use archive_ledger_domain::EntityKey;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::Object;
use uuid::Uuid;

/// The longest filter value, in characters: a host name and a port.
pub(super) const FILTER_MAX: usize = 262;
/// What its cursors are given out for.
const CURSORS: &str = "callbacks";

/// What no control character is, one to so many.
fn filter_text() -> Object {
    Text::new(1, FILTER_MAX).schema("A text")
}

/// The receiver, as the API's description shows it.
pub(super) fn host_schema() -> Object {
    Text::new(1, FILTER_MAX).optional_schema("The receiver, `host:port`")
}

/// A filter in a query.
pub(super) struct FilterParameters;

impl IntoParams for FilterParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let by_type = "The entity's type, together with `entity_id`";
        let by_id = "The entity's id, together with `entity_type`";
        vec![
            in_query("state", "Only these", word::<names::DeliveryState>()),
            in_query("host", "The receiver, `host:port`", filter_text()),
            in_query("entity_type", by_type, word::<names::EntityType>()),
            in_query("entity_id", by_id, id_schema()),
            in_query(
                "from",
                "Created at this time or later, RFC 3339",
                describe::time(),
            ),
            in_query("until", "Created before this time, RFC 3339", describe::time()),
        ]
    }
}

/// `cursor` of the deliveries.
pub(super) struct DeliveriesCursor;

impl IntoParams for DeliveriesCursor {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![cursor_parameter(
            "`next_cursor` of the page before, with the same filters",
        )]
    }
}

/// A filter as a client writes it.
#[derive(Debug, Default)]
pub(super) struct FilterText {
    pub(super) state: Option<String>,
    pub(super) host: Option<String>,
    pub(super) entity_type: Option<String>,
    pub(super) entity_id: Option<String>,
    pub(super) from: Option<String>,
    pub(super) until: Option<String>,
}

impl FilterText {
    /// The filter that it stands for; `states` are those that may be named.
    pub(super) fn read(self, states: &[DeliveryState]) -> Result<DeliveryFilter, ApiError> {
        let state = match self.state {
            None => None,
            Some(text) => Some(
                text.parse()
                    .ok()
                    .filter(|state| states.contains(state))
                    .ok_or_else(|| ApiError::BadValueNotAllowed {
                        key: "state".into(),
                        allowed: states.iter().map(|state| state.as_str()).collect(),
                    })?,
            ),
        };
        let key = match (self.entity_type, self.entity_id) {
            (None, None) => None,
            (Some(entity_type), Some(id)) => {
                let key = EntityKey::new(self::entity_type(&entity_type)?, &id);
                Some(key.map_err(|_| ApiError::BadValueIdentifier {
                    key: "entity_id".into(),
                })?)
            }
            (None, Some(_)) => {
                return Err(ApiError::MissingRequiredValue {
                    key: "entity_type".into(),
                });
            }
            (Some(_), None) => {
                return Err(ApiError::MissingRequiredValue {
                    key: "entity_id".into(),
                });
            }
        };
        Ok(DeliveryFilter {
            state,
            host: self.host,
            key,
            from: time("from", self.from)?,
            until: time("until", self.until)?,
        })
    }
}

fn time(key: &'static str, text: Option<String>) -> Result<Option<DateTime<Utc>>, ApiError> {
    text.map(|text| bound(key, &text)).transpose()
}

/// What a cursor goes on with. A bulk replay goes through the same rows in the same order as a list with its filter.
fn walk(filter: &DeliveryFilter) -> Walk {
    let micros = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp_micros());
    let DeliveryFilter {
        state,
        host,
        key,
        from,
        until,
    } = filter;
    let (state, key) = (
        state.map(|state| state.as_str()),
        key.as_ref().map(EntityKey::stream_id),
    );
    Walk::new(CURSORS, (state, host, key, micros(*from), micros(*until)))
}

/// Where a cursor goes on.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Next {
    /// Behind the delivery of this time and id.
    Behind(i64, Uuid),
    /// Behind it, and behind so many that follow.
    Skipping(Option<(i64, Uuid)>, u32),
}

pub(super) fn write_cursor(cursors: &CursorCodec, filter: &DeliveryFilter, start: ListStart) -> String {
    let after = start.after.map(|(at, id)| (at.timestamp_micros(), id));
    let place = match (after, start.skipped) {
        (Some((micros, id)), 0) => Next::Behind(micros, id),
        (after, skipped) => Next::Skipping(after, skipped),
    };
    cursors.seal_place(&walk(filter), place)
}

pub(super) fn read_cursor(
    cursors: &CursorCodec,
    filter: &DeliveryFilter,
    text: Option<&str>,
) -> Result<ListStart, ApiError> {
    let Some(text) = text else {
        return Ok(ListStart::default());
    };
    let (after, skipped) = match cursors.open_place(&walk(filter), text, |_| None)? {
        Next::Behind(micros, id) => (Some((micros, id)), 0),
        Next::Skipping(after, skipped) => (after, skipped),
    };
    let after = after.map(|(micros, id)| {
        let at = DateTime::from_timestamp_micros(micros).filter(|time| is_storable(*time));
        at.map(|at| (at, id))
            .ok_or_else(|| ApiError::bad_data("cursor", "not a cursor of this list"))
    });
    Ok(ListStart {
        after: after.transpose()?,
        skipped,
    })
}
