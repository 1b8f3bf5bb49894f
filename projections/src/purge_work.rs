//! The purge work: purges that are requested and not done, with the storage they still owe.

use crate::Recorded;
use archive_ledger_domain::{EntityKey, Event, State};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use uuid::Uuid;

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
    let change = match recorded.event {
        Event::PurgeRequested(facts) => PurgeWorkChange::Put(PurgeWork {
            key: recorded.key.clone(),
            purge_id: facts.purge_id,
            position: recorded.position,
            event_id: recorded.event_id,
            requested_at: recorded.recorded_at,
            storage_count: facts.storage_count,
            state: State::Purging,
        }),
        Event::PurgeFailed(_) => {
            if let Some(PurgeWorkChange::Put(work)) = changes.get_mut(&recorded.key.stream_id()) {
                work.state = State::PurgeFailed;
                return;
            }
            PurgeWorkChange::Fail(recorded.key.clone())
        }
        Event::Purged(_) => PurgeWorkChange::Remove(recorded.key.clone()),
        // `purged` takes the row in the same commit.
        Event::PurgeForced(_) => return,
        Event::Registered(_) | Event::SoftDeleted(_) | Event::Restored(_) => return,
    };
    changes.insert(recorded.key.stream_id(), change);
}
