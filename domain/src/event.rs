//! What has happened: the wire format of the log.
//!
//! An event's payload holds facts only. Names, metadata, reasons and storage URIs are sealed beside it by the application;
//! ids and counts are what remains readable after a purge. A golden file in `tests/golden` pins every event's shape.

use crate::Parent;
use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// An event of an [`ArchivedEntity`](crate::ArchivedEntity).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A live entity was taken up.
    Registered(Registered),
    /// The entity was deleted, reversibly.
    SoftDeleted(SoftDeleted),
    /// The deletion was undone.
    Restored(Restored),
    /// The point of no return: the entity is to be removed for good.
    PurgeRequested(PurgeRequested),
    /// The entity is gone: its objects, its key and its projection rows.
    Purged(Purged),
    /// The storage cleanup gave up.
    PurgeFailed(PurgeFailed),
    /// Somebody gave up what a purge still owed; [`Event::Purged`] follows in the same commit.
    PurgeForced(PurgeForced),
}

/// A live entity was taken up. Sealed beside it: its description and storage URIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The data set that an archive preserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset_id: Option<String>,
    /// The space that an archive belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_id: Option<String>,
    /// How many storage URIs are sealed beside the event.
    pub storage_count: u32,
    /// Whether a callback was registered for the day of the purge.
    pub callback: bool,
}

/// The entity was deleted, reversibly. Sealed beside it: its name, metadata, reason and storage URIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftDeleted {
    /// The id of this deletion; a restore undoes exactly it.
    pub deletion_id: Uuid,
    /// When the platform deleted the entity.
    pub deleted_at: DateTime<Utc>,
    /// What the entity belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// How many storage URIs are sealed beside the event.
    pub storage_count: u32,
}

/// The deletion was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The deletion that was undone.
    pub deletion_id: Uuid,
}

/// The entity is to be removed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRequested {
    /// The id of this purge.
    pub purge_id: Uuid,
    /// The deletion that the purge makes final; absent when an archive is purged while live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_id: Option<Uuid>,
    /// How many storage URIs have to be cleaned.
    pub storage_count: u32,
    /// Whether a callback waits for the outcome.
    pub callback: bool,
}

/// The entity is gone: its key and its rows, and its objects unless `forced` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The purge that ended.
    pub purge_id: Uuid,
    /// Objects that were deleted from storage.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// Whether the purge was ended by [`Event::PurgeForced`]: objects may be left.
    #[serde(default, skip_serializing_if = "is_false")]
    pub forced: bool,
    /// How many storage URIs were given up then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u32,
    /// Whether the counts are a lower bound: a cleanup was cut off before it had counted what it deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_least: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands fields over by reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands fields over by reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The storage cleanup gave up; the purge can be asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeFailed {
    /// The purge that failed.
    pub purge_id: Uuid,
    /// Objects that were deleted before it did.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// The cause, without any path or key.
    pub error: String,
    /// Whether the counts are a lower bound, as in [`Purged`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_least: bool,
}

/// Somebody gave up what a purge still owed: from here on the service deletes nothing more for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeForced {
    /// The purge.
    pub purge_id: Uuid,
    /// What it owed, one by one.
    pub obligations: Vec<ForcedObligation>,
    /// Why, sealed under the service's own key (base64): the entity's key is destroyed by the event that follows, and a
    /// skip that nobody can explain any more would be worth little.
    pub reason_sealed: String,
}

/// What one storage URI of a purge had come to when the rest was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedObligation {
    /// Which of the storage URIs, from 1, in the order in which the log names them.
    pub ordinal: u32,
    /// Whether it was given up: objects may be left. Otherwise it was seen empty.
    pub skipped: bool,
    /// Objects that are known to be deleted.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// Whether the counts are a lower bound, as in [`Purged`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_least: bool,
}

impl Event {
    /// The event's name.
    #[must_use]
    pub const fn name(&self) -> EventName {
        match self {
            Self::Registered(_) => EventName::Registered,
            Self::SoftDeleted(_) => EventName::SoftDeleted,
            Self::Restored(_) => EventName::Restored,
            Self::PurgeRequested(_) => EventName::PurgeRequested,
            Self::Purged(_) => EventName::Purged,
            Self::PurgeFailed(_) => EventName::PurgeFailed,
            Self::PurgeForced(_) => EventName::PurgeForced,
        }
    }

    /// The version of the event's shape; it changes only together with an upcaster.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        match self {
            Self::Registered(_)
            | Self::SoftDeleted(_)
            | Self::Restored(_)
            | Self::PurgeRequested(_)
            | Self::Purged(_)
            | Self::PurgeFailed(_)
            | Self::PurgeForced(_) => "1.0.0",
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().as_str().to_owned()
    }

    fn event_version(&self) -> String {
        self.version().to_owned()
    }
}

/// The names of events, as they stand in the log, on the bus and in subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventName {
    /// [`Event::Registered`].
    Registered,
    /// [`Event::SoftDeleted`].
    SoftDeleted,
    /// [`Event::Restored`].
    Restored,
    /// [`Event::PurgeRequested`].
    PurgeRequested,
    /// [`Event::Purged`].
    Purged,
    /// [`Event::PurgeFailed`].
    PurgeFailed,
    /// [`Event::PurgeForced`].
    PurgeForced,
}

/// A name that no event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown event name")]
pub struct UnknownEvent;

impl EventName {
    /// Every name.
    pub const ALL: [Self; 7] = [
        Self::Registered,
        Self::SoftDeleted,
        Self::Restored,
        Self::PurgeRequested,
        Self::Purged,
        Self::PurgeFailed,
        Self::PurgeForced,
    ];

    /// The name as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::SoftDeleted => "soft_deleted",
            Self::Restored => "restored",
            Self::PurgeRequested => "purge_requested",
            Self::Purged => "purged",
            Self::PurgeFailed => "purge_failed",
            Self::PurgeForced => "purge_forced",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventName {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or(UnknownEvent)
    }
}
