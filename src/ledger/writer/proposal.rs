//! What is handed to the writer, and what it answers.

use super::CommandError;
use super::condition::VersionCondition;
use crate::keyring::Details;
use crate::store::{Hash, Position};
use archive_ledger_domain::{Command, EntityKey, Event, EventMetadata, State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a command came to.
pub type Answer = Result<Receipt, CommandError>;

/// A command on its way to the log, with everything that the writer needs to record it.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The entity.
    pub key: EntityKey,
    /// What is to be recorded.
    pub decision: Decision,
    /// What is sealed beside the first event.
    pub details: Details,
    /// Who and what stands behind it.
    pub metadata: EventMetadata,
    /// The command's id.
    pub command_id: Uuid,
    /// Which version the entity must have.
    pub expected_version: Option<VersionCondition>,
    /// Makes the command safe to send again.
    pub idempotency: Option<Idempotency>,
    /// A callback that waits for the purge that the command asks for.
    pub target: Option<NewTarget>,
}

/// What is to be recorded.
#[derive(Debug, Clone)]
pub enum Decision {
    /// What the aggregate makes of a command.
    Command(Command),
    /// Events that were decided elsewhere, against `expected_version`.
    Events(Vec<Event>),
}

/// An idempotency key: both hashes are keyed by the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, bound to the actor.
    pub key: Hash,
    /// The request.
    pub request: Hash,
}

/// A callback target that is written if the command is accepted.
#[derive(Debug, Clone)]
pub struct NewTarget {
    /// A keyed hash of the URL.
    pub url_hash: Hash,
    /// The URL, sealed under the service's own key.
    pub url_sealed: Vec<u8>,
    /// Its host and port.
    pub host: String,
    /// The URL as limits and circuits count it, behind its endpoint.
    pub receiver: String,
    /// Whether it comes with the registration.
    pub registered: bool,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The position of the last event; absent when the command changed nothing.
    pub position: Option<Position>,
    /// The id of the first event; absent when the command changed nothing.
    pub event_id: Option<Uuid>,
    /// The entity's version now.
    pub version: u64,
    /// The entity's state now.
    pub state: State,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// The deletion that stands, or stood until it was purged.
    pub deletion_id: Option<Uuid>,
    /// When the platform deleted the entity.
    pub deleted_at: Option<DateTime<Utc>>,
    /// The latest purge.
    pub purge_id: Option<Uuid>,
}
