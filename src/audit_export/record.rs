//! What an export says of an event.

use super::filter::{entity_of, matches};
use super::{ExportError, Openers};
use crate::keyring::KeyringError;
use crate::merkle::entry::entry_time;
use crate::merkle::entry_view::EntryView;
use crate::store::audit::AuditFilter;
use crate::store::proofs::RawEvent;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// An event, as it is exported.
#[derive(Debug)]
pub struct Record {
    row: RawEvent,
    recorded_at: String,
    micros: i64,
    ip: Option<String>,
    details: Details,
}

/// What was sealed with it.
#[derive(Debug)]
enum Details {
    /// Nothing, or nobody asked.
    None,
    /// It is gone for good.
    Erased,
    /// It cannot be opened.
    Unreadable,
    /// What the entry's `c` commits to: salt and content.
    Opened(String, String),
}

/// A column of an export; in NDJSON a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The place in the log.
    Position,
    /// The event's id.
    EventId,
    /// Its name.
    Event,
    /// The version of its shape.
    EventVersion,
    /// The entity's type.
    EntityType,
    /// The entity's id.
    EntityId,
    /// The entity's version after it.
    Version,
    /// When it was recorded.
    RecordedAt,
    /// Who acted.
    Actor,
    /// By which request.
    RequestId,
    /// From where.
    Ip,
    /// The command; events of one command share it.
    CommandId,
    /// The event that made the service issue the command.
    CausationId,
    /// The facts.
    Payload,
    /// The context.
    Metadata,
    /// The salt of the commitment to facts and context.
    Salt,
    /// What was sealed.
    Details,
    /// The salt of the commitment to what was sealed.
    DetailsSalt,
    /// Whether it is gone for good.
    Erased,
    /// Whether it cannot be opened.
    Unreadable,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Number,
    /// A time with microseconds.
    Time,
    /// A text.
    Text,
    /// A JSON object.
    Json,
    /// A truth.
    Flag,
}

/// A value.
#[derive(Debug)]
pub enum Cell<'a> {
    /// None.
    Null,
    /// An integer.
    Number(u64),
    /// A time: as text, and in microseconds since 1970.
    Time(&'a str, i64),
    /// A text.
    Text(Cow<'a, str>),
    /// JSON, as it is stored.
    Json(&'a str),
    /// A truth.
    Flag(bool),
}

impl Column {
    /// The columns of every export, in order.
    pub const PLAIN: [Self; 16] = [
        Self::Position,
        Self::EventId,
        Self::Event,
        Self::EventVersion,
        Self::EntityType,
        Self::EntityId,
        Self::Version,
        Self::RecordedAt,
        Self::Actor,
        Self::RequestId,
        Self::Ip,
        Self::CommandId,
        Self::CausationId,
        Self::Payload,
        Self::Metadata,
        Self::Salt,
    ];

    /// Those that follow when details are asked for.
    pub const DETAILS: [Self; 4] = [Self::Details, Self::DetailsSalt, Self::Erased, Self::Unreadable];

    /// The columns of an export.
    #[must_use]
    pub fn of(details: bool) -> Vec<Self> {
        let more: &[Self] = if details { &Self::DETAILS } else { &[] };
        Self::PLAIN.iter().chain(more).copied().collect()
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::EventId => "event_id",
            Self::Event => "event",
            Self::EventVersion => "event_version",
            Self::EntityType => "entity_type",
            Self::EntityId => "entity_id",
            Self::Version => "version",
            Self::RecordedAt => "recorded_at",
            Self::Actor => "actor",
            Self::RequestId => "request_id",
            Self::Ip => "ip",
            Self::CommandId => "command_id",
            Self::CausationId => "causation_id",
            Self::Payload => "payload",
            Self::Metadata => "metadata",
            Self::Salt => "salt",
            Self::Details => "details",
            Self::DetailsSalt => "details_salt",
            Self::Erased => "erased",
            Self::Unreadable => "unreadable",
        }
    }

    /// What it holds.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Position | Self::Version => Kind::Number,
            Self::RecordedAt => Kind::Time,
            Self::Payload | Self::Metadata | Self::Details => Kind::Json,
            Self::Erased | Self::Unreadable => Kind::Flag,
            Self::EventId
            | Self::Event
            | Self::EventVersion
            | Self::EntityType
            | Self::EntityId
            | Self::Actor
            | Self::RequestId
            | Self::Ip
            | Self::CommandId
            | Self::CausationId
            | Self::Salt
            | Self::DetailsSalt => Kind::Text,
        }
    }

    /// Whether it may be empty.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::RequestId | Self::Ip | Self::CausationId | Self::Details | Self::DetailsSalt
        )
    }
}

impl Record {
    /// The record of a row; `None` when the filter does not ask for it.
    pub(super) fn of(
        row: RawEvent,
        filter: &AuditFilter,
        openers: Option<&Openers>,
    ) -> Result<Option<Self>, ExportError> {
        let position = row.position;
        let changed = || ExportError::Row(position);
        let (Some(time), false) = (row.recorded_at, row.damaged || row.salt.len() != 32) else {
            return Err(changed());
        };
        serde_json::from_str::<IgnoredAny>(&row.payload).map_err(|_| changed())?;
        let context: Context<'_> = serde_json::from_str(&row.metadata).map_err(|_| changed())?;
        let ip = context.ip.map(Cow::into_owned);
        if !matches(filter, &row, ip.as_deref()) {
            return Ok(None);
        }
        // A line of NDJSON ends where it ends.
        if [&row.payload, &row.metadata]
            .into_iter()
            .any(|json| json.contains('\n'))
        {
            return Err(changed());
        }
        let details = match openers {
            None => Details::None,
            Some(openers) => details(&row, openers)?,
        };
        Ok(Some(Self {
            recorded_at: entry_time(time),
            micros: time.timestamp_micros(),
            ip,
            details,
            row,
        }))
    }

    /// Its position.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.row.position
    }

    /// About how much memory it takes.
    pub(super) fn weight(&self) -> usize {
        let details = match &self.details {
            Details::None | Details::Erased | Details::Unreadable => 0,
            Details::Opened(_, content) => content.len(),
        };
        512 + self.row.payload.len() + self.row.metadata.len() + self.row.actor.len() + details
    }

    /// What a column holds of it.
    #[must_use]
    pub fn cell(&self, column: Column) -> Cell<'_> {
        let row = &self.row;
        let borrowed = |text| Cell::Text(Cow::Borrowed(text));
        match column {
            Column::Position => Cell::Number(row.position),
            Column::EventId => borrowed(&row.event_id),
            Column::Event => borrowed(&row.event_type),
            Column::EventVersion => borrowed(&row.event_version),
            Column::EntityType => borrowed(entity_of(row).0),
            Column::EntityId => borrowed(entity_of(row).1),
            Column::Version => Cell::Number(row.sequence),
            Column::RecordedAt => Cell::Time(&self.recorded_at, self.micros),
            Column::Actor => borrowed(&row.actor),
            Column::RequestId => row.correlation_id.as_deref().map_or(Cell::Null, borrowed),
            Column::Ip => self.ip.as_deref().map_or(Cell::Null, borrowed),
            Column::CommandId => borrowed(&row.command_id),
            Column::CausationId => row.causation_id.as_deref().map_or(Cell::Null, borrowed),
            Column::Payload => Cell::Json(&row.payload),
            Column::Metadata => Cell::Json(&row.metadata),
            Column::Salt => Cell::Text(Cow::Owned(STANDARD.encode(&row.salt))),
            Column::Details => match &self.details {
                Details::None | Details::Erased | Details::Unreadable => Cell::Null,
                Details::Opened(_, content) => Cell::Json(content),
            },
            Column::DetailsSalt => match &self.details {
                Details::None | Details::Erased | Details::Unreadable => Cell::Null,
                Details::Opened(salt, _) => borrowed(salt),
            },
            Column::Erased => Cell::Flag(matches!(self.details, Details::Erased)),
            Column::Unreadable => Cell::Flag(matches!(self.details, Details::Unreadable)),
        }
    }
}

/// What is read of an event's context.
#[derive(Deserialize)]
struct Context<'a> {
    #[serde(borrow, default)]
    ip: Option<Cow<'a, str>>,
}

/// One event's details that cannot be opened are no reason to keep everybody else's back.
fn details(row: &RawEvent, openers: &Openers) -> Result<Details, ExportError> {
    let changed = || ExportError::Row(row.position);
    let view = EntryView::parse(&row.entry).map_err(|_| changed())?;
    if view.c.is_none() {
        return Ok(Details::None);
    }
    let event_id = row.event_id.parse().map_err(|_| changed())?;
    let opened = match (&row.sealed, &row.data_key) {
        (Some(sealed), Some(wrapped)) => openers
            .keyring
            .unwrap(&row.stream_id, wrapped)
            .and_then(|key| key.disclose_details(&row.stream_id, event_id, sealed)),
        // A purge takes both.
        (None, None) => return Ok(Details::Erased),
        (Some(_), None) | (None, Some(_)) => Err(KeyringError::Lost),
    };
    let opened = opened.and_then(|(salt, content)| {
        let content = String::from_utf8(content.to_vec()).map_err(|_| KeyringError::Forged)?;
        Ok(Details::Opened(STANDARD.encode(salt), content))
    });
    Ok(opened.unwrap_or_else(|error| {
        openers.keyring.report_unreadable(&row.stream_id, &error);
        Details::Unreadable
    }))
}
