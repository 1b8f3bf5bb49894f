//! What is sent and what comes back. Fields that a later service adds are ignored.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use uuid::Uuid;

/// A type of entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say what they are")]
pub enum EntityType {
    Backups,
    Environments,
    Instances,
    Projects,
    Organizations,
    Servers,
    Domains,
    Users,
    Archives,
}

impl EntityType {
    /// Every type.
    pub const ALL: [Self; 9] = [
        Self::Backups,
        Self::Environments,
        Self::Instances,
        Self::Projects,
        Self::Organizations,
        Self::Servers,
        Self::Domains,
        Self::Users,
        Self::Archives,
    ];

    /// Its name in paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backups => "backups",
            Self::Environments => "environments",
            Self::Instances => "instances",
            Self::Projects => "projects",
            Self::Organizations => "organizations",
            Self::Servers => "servers",
            Self::Domains => "domains",
            Self::Users => "users",
            Self::Archives => "archives",
        }
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The ledger has not heard of it yet.
    Unknown,
    /// Not deleted.
    Live,
    /// Deleted, reversibly.
    Archived,
    /// Its storage is being cleaned.
    Purging,
    /// The cleanup gave up; the purge can be asked for again.
    PurgeFailed,
    /// Gone for good.
    Purged,
}

/// What is recorded of a deletion.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SoftDelete {
    /// The entity's id: a UUID, except for archives.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its metadata.
    pub metadata: Map<String, Value>,
    /// Why it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it belonged to: an id, or `type/id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Where its objects are: URIs below a storage root.
    pub storage: Vec<String>,
    /// When it was deleted; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<DateTime<Utc>>,
}

/// An entity in the archived list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Archived {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// When it was deleted; absent only where `unreadable` is true.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Its name; absent only where `unreadable` is true.
    pub name: Option<String>,
    /// Its metadata.
    pub metadata: Map<String, Value>,
    /// Whether something of it cannot be read.
    #[serde(default)]
    pub unreadable: bool,
}

/// One entity.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Entity {
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Where it stands.
    pub state: State,
    /// Its version, for [`crate::Command::if_match`].
    pub version: u64,
    /// Its name, as of the deletion that stands.
    pub name: Option<String>,
    /// Its metadata, as of the deletion that stands.
    pub metadata: Option<Map<String, Value>>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Who recorded that.
    pub deleted_by: Option<String>,
    /// Why it was deleted.
    pub reason: Option<String>,
    /// Where its objects are.
    pub storage: Vec<String>,
}

/// Everything that happened to one entity.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct History {
    /// The events, oldest first.
    pub items: Vec<HistoryEvent>,
}

/// One event of an entity.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HistoryEvent {
    /// Its place in the log.
    pub position: u64,
    /// Its id.
    pub event_id: Uuid,
    /// Its name, such as `soft_deleted`.
    pub event: String,
    /// The entity's version after it.
    pub version: u64,
    /// The entity's state after it.
    pub state: State,
    /// When it was recorded; absent only where `unreadable` is true.
    pub recorded_at: Option<DateTime<Utc>>,
    /// Who acted.
    pub actor: String,
    /// Why, in a code that outlives a purge.
    pub reason_code: Option<String>,
    /// Whether what was sealed with it is gone for good.
    pub erased: bool,
    /// Whether something of it cannot be read.
    #[serde(default)]
    pub unreadable: bool,
}

/// What was done, for people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// What was done.
    pub message: String,
}

/// A callback on its way, or at its end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delivery {
    /// Its id, which the receiver sees as `webhook-id`.
    pub id: Uuid,
    /// `due`, `delivered`, `dead` or `superseded`; absent only where `unreadable` is true.
    pub state: Option<String>,
    /// The receiver, `host:port`.
    pub host: String,
    /// The entity's id.
    pub entity_id: String,
    /// How many attempts were begun.
    pub attempt_count: u32,
    /// The last answer's status.
    pub last_status: Option<u16>,
    /// Whether its row cannot be read.
    #[serde(default)]
    pub unreadable: bool,
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditLine {
    /// The place in the log.
    pub position: u64,
    /// `allowed`, `denied` or `failed`; absent only where `unreadable` is true.
    pub outcome: Option<String>,
    /// What was done or attempted; absent only where `unreadable` is true.
    pub action: Option<String>,
    /// When it was recorded; absent only where `unreadable` is true.
    pub recorded_at: Option<DateTime<Utc>>,
    /// Who acted.
    pub actor: Option<String>,
    /// The entity's type.
    pub entity_type: Option<EntityType>,
    /// The entity's id.
    pub entity_id: Option<String>,
    /// Whether it cannot be read.
    #[serde(default)]
    pub unreadable: bool,
}
