//! The history: what each event says for itself, without anything sealed.

use archive_ledger_domain::{ArchivedEntity, Event, EventName, State};
use cqrs_es::{EventEnvelope, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One entity's history, as a view of its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// What its events say, oldest first.
    pub events: Vec<(EventName, HistoryFacts)>,
}

impl View<ArchivedEntity> for History {
    fn update(&mut self, event: &EventEnvelope<ArchivedEntity>) {
        self.events.push((event.payload.name(), facts(&event.payload)));
    }
}

/// What an event tells without being opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryFacts {
    /// The state that the event leaves the entity in.
    pub state: State,
    /// Its facts: ids, times and counts.
    pub facts: Value,
}

/// The readable facts of an event.
#[must_use]
pub fn facts(event: &Event) -> HistoryFacts {
    let (state, facts) = match event {
        Event::Registered(facts) => (
            State::Live,
            json!({
                "dataset_id": facts.dataset_id,
                "space_id": facts.space_id,
                "storage_count": facts.storage_count,
                "callback": facts.callback,
            }),
        ),
        Event::SoftDeleted(facts) => (
            State::Archived,
            json!({
                "deletion_id": facts.deletion_id,
                "deleted_at": facts.deleted_at,
                "parent": facts.parent,
                "storage_count": facts.storage_count,
            }),
        ),
        Event::Restored(facts) => (State::Live, json!({ "deletion_id": facts.deletion_id })),
        Event::PurgeRequested(facts) => (
            State::Purging,
            json!({
                "purge_id": facts.purge_id,
                "deletion_id": facts.deletion_id,
                "storage_count": facts.storage_count,
                "callback": facts.callback,
            }),
        ),
        Event::Purged(facts) if facts.forced => (
            State::Purged,
            counted(
                json!({
                    "purge_id": facts.purge_id,
                    "objects": facts.objects,
                    "bytes": facts.bytes,
                    "forced": true,
                    "skipped": facts.skipped,
                }),
                facts.at_least,
            ),
        ),
        Event::Purged(facts) => (
            State::Purged,
            counted(
                json!({ "purge_id": facts.purge_id, "objects": facts.objects, "bytes": facts.bytes }),
                facts.at_least,
            ),
        ),
        // The reason is sealed; who may read it has it opened beside the facts.
        Event::PurgeForced(facts) => (
            State::Purging,
            json!({ "purge_id": facts.purge_id, "obligations": facts.obligations }),
        ),
        Event::PurgeFailed(facts) => (
            State::PurgeFailed,
            counted(
                json!({
                    "purge_id": facts.purge_id,
                    "objects": facts.objects,
                    "bytes": facts.bytes,
                    "error": facts.error,
                }),
                facts.at_least,
            ),
        ),
    };
    HistoryFacts { state, facts }
}

/// Says of counts that they are a lower bound, where they are.
fn counted(mut facts: Value, at_least: bool) -> Value {
    if at_least {
        facts["at_least"] = Value::Bool(true);
    }
    facts
}
