//! Events on the bus: CloudEvents 1.0, JSON, structured mode.
//!
//! | attribute | value |
//! |---|---|
//! | `id` | the event's id in the log (UUID version 7); also the `Nats-Msg-Id` |
//! | `type` | `archive.<event>.v<major version of the event's shape>`, e.g. `archive.purge_requested.v1` |
//! | `source` | `/archive-ledger/<service id>/<number>`: the ledger that recorded it ([`Source`]) |
//! | `subject` | the entity: `<entity type>/<entity id>` |
//! | `time` | when the event was recorded, UTC, microseconds |
//! | `sequence` | extension: the position in the log, as a decimal string |
//! | `data` | [`Data`] |
//!
//! The NATS subject is another thing ([`super::subjects`]).
//!
//! `data` names the entity and counts; it carries nothing that is sealed and no text that a person wrote, so that no broker
//! keeps what was erased. Fields may be added to it; a change of their meaning changes the `type`.

pub mod examples;

use crate::numbering::Numbering;
use crate::store::{Position, StoredEvent};
use archive_ledger_domain::{EntityKey, EntityType, Event, EventName, InvalidId, State};
use chrono::{DateTime, SecondsFormat, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// The media type of a message's body, and its `Content-Type` header: the sign of structured mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// What every `type` begins with.
const TYPE_ROOT: &str = "archive";

const SPEC_VERSION: &str = "1.0";

/// The attribute `source` of a service's events: `/archive-ledger/<service id>/<number>`, the id percent-encoded.
///
/// The number is that of the ledger that recorded the event ([`Numbering`]), so that `source` and `id` name the same event for
/// ever, and two events at one position, one of them lost before a fork, are told apart.
#[derive(Debug, Clone)]
pub struct Source {
    service: Arc<str>,
    numbering: Numbering,
}

impl Source {
    /// The source of a service's events.
    #[must_use]
    pub fn new(service_id: &str, numbering: Numbering) -> Self {
        /// What RFC 3986 leaves unreserved stands as it is.
        const ESCAPED: AsciiSet = NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'.')
            .remove(b'_')
            .remove(b'~');
        let service = format!("/archive-ledger/{}", utf8_percent_encode(service_id, &ESCAPED));
        Self {
            service: service.into(),
            numbering,
        }
    }

    /// Which ledger recorded which position.
    #[must_use]
    pub const fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// The source of what is recorded now.
    #[must_use]
    pub fn current(&self) -> String {
        self.with(self.numbering.current())
    }

    /// The source of the event at a position.
    #[must_use]
    pub fn of(&self, position: Position) -> String {
        self.with(self.numbering.of(position))
    }

    /// The source that the event at a position had before sources carried a number, if it is as old as that may be.
    #[must_use]
    pub fn former(&self, position: Position) -> Option<&str> {
        (self.numbering.of(position) == 1).then_some(&self.service)
    }

    /// The number of the ledger that a source of this service names; `None` for that of another service.
    #[must_use]
    pub fn number_in(&self, source: &str) -> Option<u64> {
        match source.strip_prefix(&*self.service)? {
            "" => Some(1),
            number => number.strip_prefix('/')?.parse().ok(),
        }
    }

    fn with(&self, number: u64) -> String {
        format!("{}/{number}", self.service)
    }
}

/// An event as it stands on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloudEvent {
    /// The version of the specification: `1.0`.
    pub specversion: String,
    /// The event's id.
    pub id: Uuid,
    /// What happened, and the version of its shape.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The service that it happened in, and the number of the ledger that recorded it: together with `id` it names the event.
    pub source: String,
    /// The entity: `<entity type>/<entity id>`.
    pub subject: String,
    /// When it was recorded.
    #[schema(format = DateTime)]
    pub time: String,
    /// The media type of `data`: `application/json`.
    pub datacontenttype: String,
    /// The position in the log, as a decimal string.
    pub sequence: String,
    /// What happened, in the ledger's own words.
    pub data: Data,
}

/// The content of an event on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventData)]
pub struct Data {
    /// The position in the log: gap-free, in commit order, from 1.
    #[schema(value_type = u64, minimum = 1)]
    pub position: Position,
    /// The entity's type.
    #[schema(value_type = String)]
    pub entity_type: EntityType,
    /// The entity's id.
    pub entity_id: String,
    /// The event's name.
    #[schema(value_type = String)]
    pub event: EventName,
    /// The entity's version after the event, from 1, without gaps.
    pub version: u64,
    /// The entity's state after the event.
    #[schema(value_type = String)]
    pub state: State,
    /// The deletion that the event is about, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deletion_id: Option<Uuid>,
    /// When the platform deleted the entity (`soft_deleted` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deleted_at: Option<DateTime<Utc>>,
    /// The purge that the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub purge_id: Option<Uuid>,
    /// How many storage URIs the entity has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub storage_count: Option<u32>,
    /// Objects that were deleted from storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub objects: Option<u64>,
    /// Their size, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bytes: Option<u64>,
    /// True when a purge was forced to its end: objects may be left (`purged`; absent otherwise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub forced: Option<bool>,
    /// How many storage URIs were given up (`purge_forced`, and the `purged` behind it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub skipped: Option<u32>,
    /// True when `objects` and `bytes` are a lower bound: a cleanup was cut off before it had counted what it deleted (absent
    /// otherwise).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub at_least: Option<bool>,
}

/// Why a message is no event of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is not JSON, or not of this shape.
    #[error("the message is no CloudEvent of this ledger")]
    Json(#[source] serde_json::Error),
    /// The attribute `specversion` is not `1.0`.
    #[error("the message is a CloudEvent of another version")]
    SpecVersion,
    /// The attribute `type` does not fit the data's event.
    #[error("the message has an unknown type")]
    UnknownType,
    /// The data names no entity.
    #[error("the message names no entity")]
    Entity(#[source] InvalidId),
    /// The attribute `sequence` and the data's position differ.
    #[error("the message contradicts itself about its position")]
    Sequence,
}

impl CloudEvent {
    /// An event of the log as it stands on the bus; `source` as [`Source::of`] makes it.
    #[must_use]
    pub fn new(stored: &StoredEvent, source: &str) -> Self {
        let name = stored.event.name();
        Self {
            specversion: SPEC_VERSION.to_owned(),
            id: stored.event_id,
            event_type: type_of(name, stored.event.version()),
            source: source.to_owned(),
            subject: stored.key.to_string(),
            time: stored.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json".to_owned(),
            sequence: stored.position.to_string(),
            data: Data::new(stored),
        }
    }

    /// The message's body.
    ///
    /// # Errors
    /// None that this type can cause; they are those of `serde_json`.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads a message's body. What it says is a claim: it is acted upon only after the log has confirmed it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let event: Self = serde_json::from_slice(body).map_err(DecodeError::Json)?;
        if event.specversion != SPEC_VERSION {
            return Err(DecodeError::SpecVersion);
        }
        if !event.event_type.starts_with(&type_prefix(event.data.event)) {
            return Err(DecodeError::UnknownType);
        }
        EntityKey::new(event.data.entity_type, &event.data.entity_id).map_err(DecodeError::Entity)?;
        if event.sequence != event.data.position.to_string() {
            return Err(DecodeError::Sequence);
        }
        Ok(event)
    }
}

impl Data {
    fn new(stored: &StoredEvent) -> Self {
        let mut data = Self {
            position: stored.position,
            entity_type: stored.key.entity_type(),
            entity_id: stored.key.id().to_owned(),
            event: stored.event.name(),
            version: stored.sequence,
            state: state_after(&stored.event),
            deletion_id: None,
            deleted_at: None,
            purge_id: None,
            storage_count: None,
            objects: None,
            bytes: None,
            forced: None,
            skipped: None,
            at_least: None,
        };
        match &stored.event {
            Event::Registered(facts) => data.storage_count = Some(facts.storage_count),
            Event::SoftDeleted(facts) => {
                data.deletion_id = Some(facts.deletion_id);
                data.deleted_at = Some(facts.deleted_at);
                data.storage_count = Some(facts.storage_count);
            }
            Event::Restored(facts) => data.deletion_id = Some(facts.deletion_id),
            Event::PurgeRequested(facts) => {
                data.purge_id = Some(facts.purge_id);
                data.deletion_id = facts.deletion_id;
                data.storage_count = Some(facts.storage_count);
            }
            Event::Purged(facts) => {
                data.purge_id = Some(facts.purge_id);
                data.objects = Some(facts.objects);
                data.bytes = Some(facts.bytes);
                data.at_least = facts.at_least.then_some(true);
                if facts.forced {
                    data.forced = Some(true);
                    data.skipped = Some(facts.skipped);
                }
            }
            Event::PurgeForced(facts) => {
                let owed = &facts.obligations;
                let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                data.purge_id = Some(facts.purge_id);
                data.storage_count = Some(count(owed.len()));
                data.skipped = Some(count(owed.iter().filter(|one| one.skipped).count()));
                data.objects = Some(owed.iter().map(|one| one.objects).fold(0, u64::saturating_add));
                data.bytes = Some(owed.iter().map(|one| one.bytes).fold(0, u64::saturating_add));
                data.at_least = owed.iter().any(|one| one.at_least).then_some(true);
            }
            Event::PurgeFailed(facts) => {
                data.purge_id = Some(facts.purge_id);
                data.objects = Some(facts.objects);
                data.bytes = Some(facts.bytes);
                data.at_least = facts.at_least.then_some(true);
            }
        }
        data
    }
}

fn type_prefix(name: EventName) -> String {
    format!("{TYPE_ROOT}.{name}.v")
}

fn type_of(name: EventName, version: &str) -> String {
    let major = version.split('.').next().unwrap_or(version);
    format!("{}{major}", type_prefix(name))
}

const fn state_after(event: &Event) -> State {
    match event {
        Event::Registered(_) | Event::Restored(_) => State::Live,
        Event::SoftDeleted(_) => State::Archived,
        Event::PurgeRequested(_) | Event::PurgeForced(_) => State::Purging,
        Event::Purged(_) => State::Purged,
        Event::PurgeFailed(_) => State::PurgeFailed,
    }
}

#[cfg(test)]
mod tests;
