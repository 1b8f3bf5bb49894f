//! Projections: pure folds of recorded events into read models.
//!
//! Each is a `View` of `cqrs-es` over its streams, and the same rule by sets: [`Changes`] is what a batch of events does to the
//! rows of all entities. The store applies it in the append transaction, so that a client never sees a list or a count
//! behind its own command. What is sealed stays sealed: rows point at the event that holds the sealed details.

mod archived_list;
mod archived_summary;
mod history;
mod purge_work;

pub use archived_list::{ArchivedEntry, ArchivedListChange, ArchivedListing, Placed};
pub use archived_summary::{ArchivedCount, SummaryChanges};
pub use history::{History, HistoryFacts, facts};
pub use purge_work::{PurgeWork, PurgeWorkChange, UndonePurge};

use archive_ledger_domain::{ArchivedEntity, EntityKey, Event, State};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use std::collections::BTreeMap;
use uuid::Uuid;

/// An event as projections see it.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Its place in the log.
    pub position: u64,
    /// Its id.
    pub event_id: Uuid,
    /// The entity.
    pub key: &'a EntityKey,
    /// The entity's version after it.
    pub sequence: u64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// What happened.
    pub event: &'a Event,
}

/// What a batch of events changes in the read models, folded: one change per row at the most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows of the archived list, by stream id.
    pub archived: BTreeMap<String, ArchivedListChange>,
    /// When the rows that stood in the archived list before the batch were deleted, of those that change; by stream id.
    stood: BTreeMap<String, DateTime<Utc>>,
    /// Differences of the counters.
    pub summary: SummaryChanges,
    /// Rows of the purge work, by stream id.
    pub purge_work: BTreeMap<String, PurgeWorkChange>,
    /// Whether a row of the purge work stood before the batch, of those that a request puts; by stream id.
    owed: BTreeMap<String, bool>,
}

impl Changes {
    /// Adds one event; `before` is the entity as it was before it, or before the command that it comes from.
    ///
    /// Events must arrive in the order of their positions.
    pub fn record(&mut self, before: &ArchivedEntity, recorded: Recorded<'_>) {
        let listed = before.state() == State::Archived;
        if listed
            && let Some(deletion) = before.deletion()
            && !self.archived.contains_key(&recorded.key.stream_id())
        {
            self.stood.insert(recorded.key.stream_id(), deletion.deleted_at);
        }
        if let Event::PurgeRequested(_) = recorded.event {
            let stream_id = recorded.key.stream_id();
            // What the batch itself has done to the row says nothing of what stood before it.
            if !self.purge_work.contains_key(&stream_id) {
                self.owed.insert(stream_id, before.state() == State::PurgeFailed);
            }
        }
        self.record_listed(listed, recorded);
        if let Event::Purged(_) = recorded.event {
            let stream_id = recorded.key.stream_id();
            // What comes and goes within the batch is not written at all.
            if self.owed.get(&stream_id) == Some(&false) {
                self.purge_work.remove(&stream_id);
            }
        }
    }

    /// Which rows come into the archived list's order, and which leave it. Only [`Changes::record`] knows what stood before.
    pub fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        self.archived
            .iter()
            .flat_map(|(stream_id, change)| archived_list::placed(change, self.stood.get(stream_id).copied()))
    }

    /// Adds one event of a replay that keeps no entities: all that a projection asks of the past is whether the archived
    /// list held the entity. `listed` says so of the list as it was before the batch; what the batch itself did to it is
    /// known here.
    ///
    /// Events must arrive in the order of their positions.
    pub fn record_listed(&mut self, listed: bool, recorded: Recorded<'_>) {
        let row = archived_list::record(&mut self.archived, listed, recorded);
        self.summary.record(recorded.key.entity_type(), row);
        purge_work::record(&mut self.purge_work, recorded);
    }

    /// Adds one event and moves `entity` past it: what a replay does.
    pub fn replay(&mut self, entity: &mut ArchivedEntity, recorded: Recorded<'_>) {
        self.record(entity, recorded);
        entity.apply(recorded.event.clone());
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.archived.is_empty() && self.summary.is_empty() && self.purge_work.is_empty()
    }
}
