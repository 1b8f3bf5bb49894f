//! `/api/admin/callbacks`: the delivery log of callbacks, and replay.

mod concerned;
pub mod get;
pub mod list;
pub mod replay;
pub mod replay_matching;

use crate::http::answer::error::ApiError;
use crate::http::api::entity_type;
use crate::http::archived::{is_false, timestamp};
use crate::http::audit;
use crate::http::request::cursor::{CursorCodec, Walk, is_storable};
use crate::store::callbacks::{Circuit, DeliveryFilter, DeliveryRow, DeliveryState, ListStart};
use crate::store::damaged::DamagedRow;
use archive_ledger_domain::EntityKey;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest filter value, in characters: a host name and a port.
const FILTER_MAX: usize = 262;
/// What its cursors are given out for.
const CURSORS: &str = "callbacks";

/// The circuit of a delivery's receiver.
#[derive(Debug, Serialize, ToSchema)]
pub struct CircuitState {
    /// `closed`: attempts are made when they are due; `open`: none is made before `next_probe_at`, unless a delivery is replayed;
    /// `half_open`: the next delivery that is due probes whether the receiver answers.
    pub state: &'static str,
    /// Whom it stands for: the `url`, which failed again and again, or the `endpoint` (scheme, host and port of many URLs), which
    /// cannot be reached. Null when it is closed.
    pub scope: Option<&'static str>,
    /// When it was opened, RFC 3339; null when it is closed.
    pub since: Option<String>,
    /// From when on a delivery that is due probes it; null when it is closed.
    pub next_probe_at: Option<String>,
}

impl CircuitState {
    fn new(circuit: Option<Circuit>, now: DateTime<Utc>) -> Self {
        let Some(circuit) = circuit else {
            return Self {
                state: "closed",
                scope: None,
                since: None,
                next_probe_at: None,
            };
        };
        let open = circuit.open_until > now;
        Self {
            state: if open { "open" } else { "half_open" },
            scope: Some(if circuit.is_of_endpoint() {
                "endpoint"
            } else {
                "url"
            }),
            since: Some(timestamp(circuit.since)),
            next_probe_at: Some(timestamp(circuit.open_until)),
        }
    }
}

/// One delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    /// Its id, which the receiver sees as `webhook-id`.
    pub id: Uuid,
    /// `due` (now or later), `delivered`, `dead`: given up, until it is replayed, or `superseded`: a failure that was not
    /// told before the purge succeeded, and is not told any more.
    pub state: &'static str,
    /// Whether an attempt is under way.
    pub under_way: bool,
    /// Whether the receiver answered 410 Gone.
    pub gone: bool,
    /// The receiver, `host:port`.
    pub host: String,
    /// The entity's type.
    pub entity_type: &'static str,
    /// The entity's id.
    pub entity_id: String,
    /// The data set that the callback names.
    pub dataset_id: Option<String>,
    /// The error that the callback tells: null after a purge, the cause after one that failed.
    pub error: Option<String>,
    /// The event that it tells of.
    pub event_id: Uuid,
    /// That event's place in the log.
    pub position: u64,
    /// How many attempts were begun.
    pub attempt_count: u32,
    /// The last answer's status.
    pub last_status: Option<u16>,
    /// What went wrong last, as a short class.
    pub last_error: Option<String>,
    /// When it was created, RFC 3339.
    pub created_at: String,
    /// When it is attempted next; null when it is finished or under way.
    pub next_attempt_at: Option<String>,
    /// When it was delivered, given up or superseded.
    pub finished_at: Option<String>,
    /// The circuit of its receiver.
    pub circuit: CircuitState,
    /// Only where it is true: the delivery's row cannot be read. What could be read of it is there; all else is empty, null or 0, and
    /// ids are nil.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
}

impl Delivery {
    fn new(row: DeliveryRow, circuit: Option<Circuit>, now: DateTime<Utc>) -> Self {
        let under_way = row.leased && row.next_attempt_at > now;
        let waits = row.state == DeliveryState::Due && !under_way;
        Self {
            id: row.delivery_id,
            state: row.state.as_str(),
            under_way,
            gone: row.gone,
            host: row.host,
            entity_type: row.key.entity_type().as_str(),
            entity_id: row.key.id().to_owned(),
            dataset_id: row.dataset_id,
            error: row.error,
            event_id: row.event_id,
            position: row.position,
            attempt_count: row.attempts,
            last_status: row.last_status,
            last_error: row.last_error,
            created_at: timestamp(row.created_at),
            next_attempt_at: waits.then(|| timestamp(row.next_attempt_at)),
            finished_at: row.finished_at.map(timestamp),
            circuit: CircuitState::new(circuit, now),
            unreadable: false,
        }
    }

    fn damaged(row: &DamagedRow) -> Self {
        let key = row.key.as_ref();
        Self {
            id: row.id.unwrap_or_default(),
            state: "",
            under_way: false,
            gone: false,
            host: String::new(),
            entity_type: key.map_or("", |key| key.entity_type().as_str()),
            entity_id: key.map(|key| key.id().to_owned()).unwrap_or_default(),
            dataset_id: None,
            error: None,
            event_id: Uuid::nil(),
            position: row.position.unwrap_or_default(),
            attempt_count: 0,
            last_status: None,
            last_error: None,
            created_at: String::new(),
            next_attempt_at: None,
            finished_at: None,
            circuit: CircuitState::new(None, DateTime::UNIX_EPOCH),
            unreadable: true,
        }
    }
}

/// A filter as a client writes it.
#[derive(Debug, Default)]
struct FilterText {
    state: Option<String>,
    host: Option<String>,
    entity_type: Option<String>,
    entity_id: Option<String>,
    from: Option<String>,
    until: Option<String>,
}

impl FilterText {
    fn read(self, states: &[DeliveryState]) -> Result<DeliveryFilter, ApiError> {
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
    text.map(|text| audit::query::bound(key, &text)).transpose()
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
enum Place {
    /// Behind the delivery of this time and id.
    Behind(i64, Uuid),
    /// Behind it, and behind so many that follow.
    Skipping(Option<(i64, Uuid)>, u32),
}

fn write_cursor(cursors: &CursorCodec, filter: &DeliveryFilter, start: ListStart) -> String {
    let after = start.after.map(|(at, id)| (at.timestamp_micros(), id));
    let place = match (after, start.skipped) {
        (Some((micros, id)), 0) => Place::Behind(micros, id),
        (after, skipped) => Place::Skipping(after, skipped),
    };
    cursors.seal_place(&walk(filter), place)
}

fn read_cursor(
    cursors: &CursorCodec,
    filter: &DeliveryFilter,
    text: Option<&str>,
) -> Result<ListStart, ApiError> {
    let Some(text) = text else {
        return Ok(ListStart::default());
    };
    let (after, skipped) = match cursors.open_place(&walk(filter), text, |_| None)? {
        Place::Behind(micros, id) => (Some((micros, id)), 0),
        Place::Skipping(after, skipped) => (after, skipped),
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

#[cfg(test)]
mod tests;
