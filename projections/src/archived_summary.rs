//! The archived summary: exact counters, one per entity type. Each counts exactly the rows of the archived list that are
//! there, so that it has no rule of its own.

use crate::archived_list::Effect;
use archive_ledger_domain::{ArchivedEntity, EntityType};
use cqrs_es::{EventEnvelope, View};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A counter as a view of the streams that it counts: those of one entity type. A view has nothing but its own past, so it
/// knows them by name; the store, which has the list beside it, keeps the number alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedCount {
    listed: BTreeSet<String>,
}

impl ArchivedCount {
    /// How many entities are archived.
    #[must_use]
    pub fn count(&self) -> usize {
        self.listed.len()
    }
}

impl View<ArchivedEntity> for ArchivedCount {
    fn update(&mut self, event: &EventEnvelope<ArchivedEntity>) {
        match Effect::of(&event.payload) {
            Effect::Puts(_) => _ = self.listed.insert(event.aggregate_id.clone()),
            Effect::Takes => _ = self.listed.remove(&event.aggregate_id),
            Effect::Leaves => {}
        }
    }
}

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

    /// Follows the list: whether the row was there before an event, and is after it.
    pub(crate) fn record(&mut self, entity_type: EntityType, (before, after): (bool, bool)) {
        *self.0.entry(entity_type).or_default() += i64::from(after) - i64::from(before);
    }
}
