//! A batch as the thread that writes it takes it over: rows of its own, of values as the columns hold them.

use crate::store::Position;
use crate::store::append::entities::EntityWrites;
use crate::store::append::{BatchWrite, CallbackTarget, NewEvent};
use crate::store::claims::Claim;
use crate::store::values::{micros, signed};
use crate::store::{Hash, Head, WrappedKey};
use archive_ledger_domain::EntityType;
use archive_ledger_projections::{ArchivedListChange, PurgeWorkChange};
use uuid::Uuid;

/// All that a batch writes.
pub(super) struct Rows {
    pub(super) head: Head,
    pub(super) events: Vec<EventRow>,
    pub(super) entities: Vec<EntityRow>,
    /// Keys of entities that have a row already.
    pub(super) keys: Vec<(String, WrappedKey)>,
    pub(super) claims: Vec<Claim>,
    pub(super) erased: Vec<(String, Position)>,
    pub(super) released: Vec<String>,
    /// Where rows come into the list and leave it.
    pub(super) placed: Vec<PlacedRow>,
    pub(super) listed: Vec<ListedRow>,
    /// By how much counters change.
    pub(super) summary: Vec<(EntityType, i64)>,
    pub(super) purge_work: Vec<(String, PurgeWorkChange)>,
    pub(super) targets: Vec<CallbackTarget>,
    pub(super) answers: Vec<AnswerRow>,
}

/// An event.
pub(super) struct EventRow {
    pub(super) position: i64,
    pub(super) stream_id: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
    pub(super) metadata: String,
    pub(super) event_id: Uuid,
    pub(super) recorded_at: i64,
    pub(super) command_id: Uuid,
    pub(super) request_id: Option<String>,
    pub(super) causation_id: Option<Uuid>,
    pub(super) actor: String,
    pub(super) salt: [u8; 32],
    pub(super) sealed: Option<Vec<u8>>,
    pub(super) entry: Vec<u8>,
    pub(super) leaf: Hash,
}

/// An entity that is new.
pub(super) struct EntityRow {
    pub(super) stream_id: String,
    pub(super) first_position: i64,
    pub(super) key: Option<WrappedKey>,
    pub(super) erased_at: Option<i64>,
}

/// A place in the list.
pub(super) struct PlacedRow {
    pub(super) entity_type: EntityType,
    pub(super) deleted_at: i64,
    pub(super) id: String,
    /// 1 where a row comes, -1 where it leaves.
    pub(super) delta: i64,
}

/// A row of the list.
pub(super) struct ListedRow {
    pub(super) entity_type: EntityType,
    pub(super) deleted_at: i64,
    pub(super) id: String,
    pub(super) position: i64,
    pub(super) deletion_id: Uuid,
}

/// An answer to remember.
pub(super) struct AnswerRow {
    pub(super) key: Hash,
    pub(super) request: Hash,
    pub(super) answer: String,
    pub(super) recorded_at: i64,
}

impl From<&NewEvent> for EventRow {
    fn from(event: &NewEvent) -> Self {
        let (stored, serialized) = (&event.stored, &event.serialized);
        Self {
            position: signed(stored.position),
            stream_id: serialized.aggregate_id.clone(),
            sequence: signed(stored.sequence),
            event_type: serialized.event_type.clone(),
            event_version: serialized.event_version.clone(),
            payload: serialized.payload.to_string(),
            metadata: serialized.metadata.to_string(),
            event_id: stored.event_id,
            recorded_at: micros(stored.recorded_at),
            command_id: stored.command_id,
            request_id: stored.metadata.request_id.clone(),
            causation_id: stored.metadata.causation_id,
            actor: stored.metadata.actor.clone(),
            salt: event.salt,
            sealed: stored.sealed.clone(),
            entry: stored.entry.clone(),
            leaf: stored.leaf,
        }
    }
}

impl From<&BatchWrite> for Rows {
    fn from(write: &BatchWrite) -> Self {
        let EntityWrites { new, keys, erased } = EntityWrites::from(write);
        let entities = new.into_iter().map(|entity| EntityRow {
            stream_id: entity.stream_id.to_owned(),
            first_position: signed(entity.first_position),
            key: entity.key.cloned(),
            erased_at: entity.erased_at.map(signed),
        });
        let placed = write.changes.placed().map(|placed| PlacedRow {
            entity_type: placed.key.entity_type(),
            deleted_at: micros(placed.deleted_at),
            id: placed.key.id().to_owned(),
            delta: placed.delta,
        });
        let listed = write.changes.archived.values().filter_map(|change| match change {
            ArchivedListChange::Put(entry) => Some(ListedRow {
                entity_type: entry.key.entity_type(),
                deleted_at: micros(entry.deleted_at),
                id: entry.key.id().to_owned(),
                position: signed(entry.position),
                deletion_id: entry.deletion_id,
            }),
            ArchivedListChange::Remove(_) => None,
        });
        let answers = write.answers.iter().map(|answer| AnswerRow {
            key: answer.key,
            request: answer.request,
            answer: answer.answer.to_string(),
            recorded_at: micros(answer.recorded_at),
        });
        Self {
            head: write.head.clone(),
            events: write.events.iter().map(EventRow::from).collect(),
            entities: entities.collect(),
            keys: keys
                .into_iter()
                .map(|(id, key)| (id.to_owned(), key.clone()))
                .collect(),
            claims: write.claims.clone(),
            erased: erased
                .into_iter()
                .map(|(id, position)| (id.to_owned(), position))
                .collect(),
            released: write.released.clone(),
            placed: placed.collect(),
            listed: listed.collect(),
            summary: write.changes.summary.iter().collect(),
            purge_work: write
                .changes
                .purge_work
                .iter()
                .map(|(id, change)| (id.clone(), change.clone()))
                .collect(),
            targets: write.targets.clone(),
            answers: answers.collect(),
        }
    }
}
