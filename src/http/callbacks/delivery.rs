//! A delivery, as answers show it.

use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::store::callbacks::{Circuit, DeliveryRow, DeliveryState};
use crate::store::damaged::DamagedRow;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The circuit of a delivery's receiver.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiverCircuit {
    /// `closed`: attempts are made when they are due; `open`: none is made before `next_probe_at`, unless a delivery is replayed;
    /// `half_open`: the next delivery that is due probes whether the receiver answers.
    #[schema(value_type = names::CircuitState)]
    pub state: &'static str,
    /// Whom it stands for: the `url`, which failed again and again, or the `endpoint` (scheme, host and port of many URLs), which
    /// cannot be reached. Null when it is closed.
    #[schema(value_type = Option<names::CircuitScope>, required = true)]
    pub scope: Option<&'static str>,
    /// When it was opened, RFC 3339; null when it is closed.
    #[schema(format = DateTime, required = true)]
    pub since: Option<String>,
    /// From when on a delivery that is due probes it; null when it is closed.
    #[schema(format = DateTime, required = true)]
    pub next_probe_at: Option<String>,
}

impl ReceiverCircuit {
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
            since: timestamp(circuit.since),
            next_probe_at: timestamp(circuit.open_until),
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
    #[schema(value_type = Option<names::DeliveryState>, required = true)]
    pub state: Option<&'static str>,
    /// Whether an attempt is under way.
    pub under_way: bool,
    /// Whether the receiver answered 410 Gone.
    pub gone: bool,
    /// The receiver, `host:port`.
    pub host: String,
    /// The entity's type.
    #[schema(value_type = Option<names::EntityType>, required = true)]
    pub entity_type: Option<&'static str>,
    /// The entity's id.
    pub entity_id: String,
    /// The data set that the callback names.
    #[schema(required = true)]
    pub dataset_id: Option<String>,
    /// The error that the callback tells: null after a purge, the cause after one that failed.
    #[schema(required = true)]
    pub error: Option<String>,
    /// The event that it tells of.
    pub event_id: Uuid,
    /// That event's place in the log.
    pub position: u64,
    /// How many attempts were begun.
    pub attempt_count: u32,
    /// The last answer's status.
    #[schema(required = true)]
    pub last_status: Option<u16>,
    /// What went wrong last, as a short class.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// When it was created, RFC 3339.
    #[schema(format = DateTime, required = true)]
    pub created_at: Option<String>,
    /// When it is attempted next; null when it is finished or under way.
    #[schema(format = DateTime, required = true)]
    pub next_attempt_at: Option<String>,
    /// When it was delivered, given up or superseded.
    #[schema(format = DateTime, required = true)]
    pub finished_at: Option<String>,
    /// The circuit of its receiver.
    pub circuit: ReceiverCircuit,
    /// Only where it is true: the delivery's row cannot be read. What could be read of it is there; all else is null or 0, texts are
    /// empty and ids are nil.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
}

impl Delivery {
    /// The delivery of a row.
    pub(super) fn new(row: DeliveryRow, circuit: Option<Circuit>, now: DateTime<Utc>) -> Self {
        let under_way = row.leased && row.next_attempt_at > now;
        let created_at = timestamp(row.created_at);
        let waits = row.state == DeliveryState::Due && !under_way;
        Self {
            id: row.delivery_id,
            state: Some(row.state.as_str()),
            under_way,
            gone: row.gone,
            host: row.host,
            entity_type: Some(row.key.entity_type().as_str()),
            entity_id: row.key.id().to_owned(),
            dataset_id: row.dataset_id,
            error: row.error,
            event_id: row.event_id,
            position: row.position,
            attempt_count: row.attempts,
            last_status: row.last_status,
            last_error: row.last_error,
            unreadable: created_at.is_none(),
            created_at,
            next_attempt_at: Some(row.next_attempt_at).filter(|_| waits).and_then(timestamp),
            finished_at: row.finished_at.and_then(timestamp),
            circuit: ReceiverCircuit::new(circuit, now),
        }
    }

    /// The delivery of a row that cannot be read.
    pub(super) fn damaged(row: &DamagedRow) -> Self {
        let key = row.key.as_ref();
        Self {
            id: row.id.unwrap_or_default(),
            state: None,
            under_way: false,
            gone: false,
            host: String::new(),
            entity_type: key.map(|key| key.entity_type().as_str()),
            entity_id: key.map(|key| key.id().to_owned()).unwrap_or_default(),
            dataset_id: None,
            error: None,
            event_id: Uuid::nil(),
            position: row.position.unwrap_or_default(),
            attempt_count: 0,
            last_status: None,
            last_error: None,
            created_at: None,
            next_attempt_at: None,
            finished_at: None,
            circuit: ReceiverCircuit::new(None, DateTime::UNIX_EPOCH),
            unreadable: true,
        }
    }
}
