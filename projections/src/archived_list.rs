//! The archived list: what can be restored or purged, newest deletion first.

use crate::Recorded;
use archive_ledger_domain::{EntityKey, Event};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use uuid::Uuid;

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

/// A purge takes the row at once: from its request on nothing can be restored, so nothing is listed as if it could.
pub(crate) fn record(changes: &mut BTreeMap<String, ArchivedListChange>, recorded: Recorded<'_>) {
    let change = match recorded.event {
        Event::SoftDeleted(facts) => ArchivedListChange::Put(ArchivedEntry {
            key: recorded.key.clone(),
            deleted_at: facts.deleted_at,
            position: recorded.position,
            deletion_id: facts.deletion_id,
        }),
        Event::Restored(_) | Event::PurgeRequested(_) => ArchivedListChange::Remove(recorded.key.clone()),
        Event::Registered(_) | Event::Purged(_) | Event::PurgeFailed(_) | Event::PurgeForced(_) => return,
    };
    changes.insert(recorded.key.stream_id(), change);
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
