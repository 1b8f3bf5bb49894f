//! The archived list: what can be restored or purged, newest deletion first.

use crate::Recorded;
use archive_ledger_domain::{ArchivedEntity, EntityKey, Event, SoftDeleted};
use chrono::{DateTime, Utc};
use cqrs_es::{EventEnvelope, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use uuid::Uuid;

/// What an event does to its entity's row: the one rule, for the view and for the append.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect<'a> {
    /// It puts the row, or replaces it.
    Puts(&'a SoftDeleted),
    /// It takes the row, if there is one.
    Takes,
    /// It leaves it as it is.
    Leaves,
}

impl<'a> Effect<'a> {
    /// A purge takes the row at once: from its request on nothing can be restored, so nothing is listed as if it could.
    pub(crate) const fn of(event: &'a Event) -> Self {
        match event {
            Event::SoftDeleted(facts) => Self::Puts(facts),
            Event::Restored(_) | Event::PurgeRequested(_) => Self::Takes,
            Event::Registered(_) | Event::Purged(_) | Event::PurgeFailed(_) | Event::PurgeForced(_) => {
                Self::Leaves
            }
        }
    }
}

/// One entity's place in the archived list, as a view of its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedListing {
    /// The deletion that stands; absent while the entity is not listed.
    pub deletion: Option<SoftDeleted>,
}

impl View<ArchivedEntity> for ArchivedListing {
    fn update(&mut self, event: &EventEnvelope<ArchivedEntity>) {
        match Effect::of(&event.payload) {
            Effect::Puts(facts) => self.deletion = Some(facts.clone()),
            Effect::Takes => self.deletion = None,
            Effect::Leaves => {}
        }
    }
}

/// A row of the archived list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedEntry {
    /// The entity.
    pub key: EntityKey,
    /// When it was deleted.
    pub deleted_at: DateTime<Utc>,
    /// The position of the event that holds the sealed details.
    pub position: u64,
    /// The deletion.
    pub deletion_id: Uuid,
}

/// What happens to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchivedListChange {
    /// It is inserted, or replaces the row of a deletion that the same batch undid.
    Put(ArchivedEntry),
    /// It is removed, if there is one.
    Remove(EntityKey),
}

/// Adds an event; returns whether the row was there before it, and whether it is there after it. `stood`: whether it was
/// there before the batch.
pub(crate) fn record(
    changes: &mut BTreeMap<String, ArchivedListChange>,
    stood: bool,
    recorded: Recorded<'_>,
) -> (bool, bool) {
    let change = match Effect::of(recorded.event) {
        Effect::Puts(facts) => ArchivedListChange::Put(ArchivedEntry {
            key: recorded.key.clone(),
            deleted_at: facts.deleted_at,
            position: recorded.position,
            deletion_id: facts.deletion_id,
        }),
        Effect::Takes => ArchivedListChange::Remove(recorded.key.clone()),
        Effect::Leaves => return (stood, stood),
    };
    let is_there = |change: &ArchivedListChange| matches!(change, ArchivedListChange::Put(_));
    let after = is_there(&change);
    match changes.entry(recorded.key.stream_id()) {
        Entry::Vacant(place) => {
            place.insert(change);
            (stood, after)
        }
        Entry::Occupied(mut place) => (is_there(&place.insert(change)), after),
    }
}

/// One row that comes into the order of the list, or leaves it: what page counts follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The entity.
    pub key: &'a EntityKey,
    /// When it was deleted: with its id, its place in the list.
    pub deleted_at: DateTime<Utc>,
    /// 1 where it comes, -1 where it leaves.
    pub delta: i64,
}

/// What a row's change does to the list's order. `stood`: since when the row that stood before the batch was deleted.
pub(crate) fn placed(
    change: &ArchivedListChange,
    stood: Option<DateTime<Utc>>,
) -> impl Iterator<Item = Placed<'_>> {
    let (key, comes) = match change {
        ArchivedListChange::Put(entry) => (&entry.key, Some(entry.deleted_at)),
        ArchivedListChange::Remove(key) => (key, None),
    };
    // A row that is replaced at its place neither comes nor leaves.
    let moves = comes != stood;
    let place = move |deleted_at: Option<DateTime<Utc>>, delta| {
        deleted_at.filter(|_| moves).map(|deleted_at| Placed {
            key,
            deleted_at,
            delta,
        })
    };
    place(stood, -1).into_iter().chain(place(comes, 1))
}
