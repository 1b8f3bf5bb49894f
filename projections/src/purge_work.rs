//! The purge work: purges that are requested and not done, with the storage they still owe.

use crate::Recorded;
use archive_ledger_domain::{ArchivedEntity, EntityKey, Event, PurgeRequested, State};
use chrono::{DateTime, Utc};
use cqrs_es::{EventEnvelope, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What an event does to its entity's row: the one rule, for the view and for the append.
enum Effect<'a> {
    /// It puts the row, or replaces that of a failed purge.
    Requests(&'a PurgeRequested),
    /// The row stays and says that the purge failed.
    Fails,
    /// It takes the row.
    Ends,
    /// It leaves it as it is.
    Leaves,
}

impl<'a> Effect<'a> {
    const fn of(event: &'a Event) -> Self {
        match event {
            Event::PurgeRequested(facts) => Self::Requests(facts),
            Event::PurgeFailed(_) => Self::Fails,
            Event::Purged(_) => Self::Ends,
            // `purged` takes the row in the same commit.
            Event::PurgeForced(_) => Self::Leaves,
            Event::Registered(_) | Event::SoftDeleted(_) | Event::Restored(_) => Self::Leaves,
        }
    }
}

/// What one entity's purge owes, as a view of its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndonePurge {
    /// The purge that is requested and not done.
    pub requested: Option<PurgeRequested>,
    /// Whether its cleanup gave up.
    pub failed: bool,
}

impl View<ArchivedEntity> for UndonePurge {
    fn update(&mut self, event: &EventEnvelope<ArchivedEntity>) {
        match Effect::of(&event.payload) {
            Effect::Requests(facts) => {
                *self = Self {
                    requested: Some(facts.clone()),
                    failed: false,
                };
            }
            Effect::Fails => self.failed = true,
            Effect::Ends => *self = Self::default(),
            Effect::Leaves => {}
        }
    }
}

/// A purge that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeWork {
    /// The entity.
    pub key: EntityKey,
    /// The purge.
    pub purge_id: Uuid,
    /// The position of its `purge_requested`.
    pub position: u64,
    /// The id of its `purge_requested`.
    pub event_id: Uuid,
    /// When it was requested.
    pub requested_at: DateTime<Utc>,
    /// How many storage URIs have to be cleaned.
    pub storage_count: u32,
    /// `Purging`, or `PurgeFailed` once the cleanup gave up.
    pub state: State,
}

/// What happens to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeWorkChange {
    /// A purge was requested: the row is inserted or replaces that of a failed one.
    Put(PurgeWork),
    /// The purge failed: the row stays and says so.
    Fail(EntityKey),
    /// The purge is done: the row goes, if there is one.
    Remove(EntityKey),
}

pub(crate) fn record(changes: &mut BTreeMap<String, PurgeWorkChange>, recorded: Recorded<'_>) {
    let change = match Effect::of(recorded.event) {
        Effect::Requests(facts) => PurgeWorkChange::Put(PurgeWork {
            key: recorded.key.clone(),
            purge_id: facts.purge_id,
            position: recorded.position,
            event_id: recorded.event_id,
            requested_at: recorded.recorded_at,
            storage_count: facts.storage_count,
            state: State::Purging,
        }),
        Effect::Fails => {
            if let Some(PurgeWorkChange::Put(work)) = changes.get_mut(&recorded.key.stream_id()) {
                work.state = State::PurgeFailed;
                return;
            }
            PurgeWorkChange::Fail(recorded.key.clone())
        }
        Effect::Ends => PurgeWorkChange::Remove(recorded.key.clone()),
        Effect::Leaves => return,
    };
    changes.insert(recorded.key.stream_id(), change);
}
