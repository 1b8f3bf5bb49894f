//! What a batch writes, column by column, as `UNNEST` takes it.

use crate::store::append::entities::NewEntity;
use crate::store::values::signed;
use crate::store::{BatchWrite, NewEvent, WrappedKey};
use archive_ledger_projections::ArchivedListChange;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

/// A column of the new entities' keys.
pub(super) fn keys<'a, T>(entities: &[NewEntity<'a>], column: fn(&'a WrappedKey) -> T) -> Vec<Option<T>> {
    entities.iter().map(|entity| entity.key.map(column)).collect()
}

/// What comes into the archived list, column by column.
#[derive(Default)]
pub(super) struct ListColumns<'a> {
    pub(super) put_type: Vec<&'a str>,
    pub(super) put_id: Vec<&'a str>,
    pub(super) put_deleted_at: Vec<DateTime<Utc>>,
    pub(super) put_position: Vec<i64>,
    pub(super) put_deletion_id: Vec<Uuid>,
}

impl<'a> From<&'a BatchWrite> for ListColumns<'a> {
    fn from(write: &'a BatchWrite) -> Self {
        let mut columns = Self::default();
        for change in write.changes.archived.values() {
            if let ArchivedListChange::Put(entry) = change {
                columns.put_type.push(entry.key.entity_type().as_str());
                columns.put_id.push(entry.key.id());
                columns.put_deleted_at.push(entry.deleted_at);
                columns.put_position.push(signed(entry.position));
                columns.put_deletion_id.push(entry.deletion_id);
            }
        }
        columns
    }
}

/// The events, column by column, as `UNNEST` takes them.
#[derive(Default)]
pub(super) struct EventColumns<'a> {
    pub(super) position: Vec<i64>,
    pub(super) aggregate_id: Vec<&'a str>,
    pub(super) sequence: Vec<i64>,
    pub(super) event_type: Vec<&'a str>,
    pub(super) event_version: Vec<&'a str>,
    pub(super) payload: Vec<Json<&'a serde_json::Value>>,
    pub(super) metadata: Vec<Json<&'a serde_json::Value>>,
    pub(super) event_id: Vec<Uuid>,
    pub(super) command_id: Vec<Uuid>,
    pub(super) correlation_id: Vec<Option<&'a str>>,
    pub(super) causation_id: Vec<Option<Uuid>>,
    pub(super) actor: Vec<&'a str>,
    pub(super) salt: Vec<&'a [u8]>,
    pub(super) sealed: Vec<Option<&'a [u8]>>,
    pub(super) entry: Vec<&'a [u8]>,
    pub(super) leaf: Vec<&'a [u8]>,
}

impl<'a> From<&'a [NewEvent]> for EventColumns<'a> {
    fn from(events: &'a [NewEvent]) -> Self {
        let mut columns = Self::default();
        for event in events {
            let stored = &event.stored;
            columns.position.push(signed(stored.position));
            columns.aggregate_id.push(&event.serialized.aggregate_id);
            columns.sequence.push(signed(stored.sequence));
            columns.event_type.push(&event.serialized.event_type);
            columns.event_version.push(&event.serialized.event_version);
            columns.payload.push(Json(&event.serialized.payload));
            columns.metadata.push(Json(&event.serialized.metadata));
            columns.event_id.push(stored.event_id);
            columns.command_id.push(stored.command_id);
            columns.correlation_id.push(stored.metadata.request_id.as_deref());
            columns.causation_id.push(stored.metadata.causation_id);
            columns.actor.push(&stored.metadata.actor);
            columns.salt.push(&event.salt);
            columns.sealed.push(stored.sealed.as_deref());
            columns.entry.push(&stored.entry);
            columns.leaf.push(&stored.leaf);
        }
        columns
    }
}
