//! The archived summary: exact counters, one per entity type.

use crate::Recorded;
use archive_ledger_domain::{EntityType, Event};
use std::collections::BTreeMap;

/// By how much each counter changes; types that do not change are absent or zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SummaryChanges(BTreeMap<EntityType, i64>);

impl SummaryChanges {
    /// The counters that change, and by how much.
    pub fn iter(&self) -> impl Iterator<Item = (EntityType, i64)> + '_ {
        self.0
            .iter()
            .filter(|(_, delta)| **delta != 0)
            .map(|(entity_type, delta)| (*entity_type, *delta))
    }

    /// Whether no counter changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// The counter follows the archived list: it counts exactly the rows that are there. `listed`: whether the entity's row
/// was there before the event.
pub(crate) fn record(changes: &mut SummaryChanges, listed: bool, recorded: Recorded<'_>) {
    let delta = match recorded.event {
        Event::SoftDeleted(_) => i64::from(!listed),
        Event::Restored(_) | Event::PurgeRequested(_) => -i64::from(listed),
        Event::Registered(_) | Event::Purged(_) | Event::PurgeFailed(_) | Event::PurgeForced(_) => 0,
    };
    *changes.0.entry(recorded.key.entity_type()).or_default() += delta;
}
