//! Reads: rows and events with their sealed parts opened.

use super::opened::{Opened, was_sealed};
use super::{Ledger, LedgerError};
use crate::keyring::Details;
use crate::store::damaged::DamagedRow;
use crate::store::{ListPage, StoredEvent, entity_of};
use archive_ledger_domain::{EntityKey, EntityType, Event, EventName, Parent, State};
use archive_ledger_projections::facts;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use uuid::Uuid;

/// An item of the archived list.
#[derive(Debug, Clone)]
pub struct ArchivedItem {
    /// The entity.
    pub key: EntityKey,
    /// When it was deleted.
    pub deleted_at: DateTime<Utc>,
    /// Its name; absent when it cannot be opened.
    pub name: Option<String>,
    /// Its metadata; empty when they cannot be opened.
    pub metadata: Map<String, Value>,
    /// Whether name and metadata cannot be opened.
    pub unreadable: bool,
}

/// A page of the archived list.
#[derive(Debug, Clone)]
pub struct ArchivedList {
    /// The items, newest deletion first.
    pub items: Vec<ArchivedItem>,
    /// Rows that cannot be read.
    pub damaged: Vec<DamagedRow>,
    /// How many there are of the type.
    pub total: u64,
    /// Whether items follow.
    pub more: bool,
}

/// One entity, whatever its state.
#[derive(Debug, Clone)]
pub struct EntityView {
    /// The entity.
    pub key: EntityKey,
    /// Its state.
    pub state: State,
    /// Its version: the number of its events.
    pub version: u64,
    /// The deletion that stands.
    pub deletion_id: Option<Uuid>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Who recorded the deletion.
    pub deleted_by: Option<String>,
    /// What it belonged to.
    pub parent: Option<Parent>,
    /// The latest purge.
    pub purge_id: Option<Uuid>,
    /// The data set that an archive preserves.
    pub dataset_id: Option<String>,
    /// The space that an archive belongs to.
    pub space_id: Option<String>,
    /// When the ledger first recorded it.
    pub created_at: DateTime<Utc>,
    /// When the ledger last recorded something of it.
    pub updated_at: DateTime<Utc>,
    /// What is sealed: those of the deletion that stands, over those of the registration.
    pub details: Details,
    /// Whether some of it cannot be opened.
    pub unreadable: bool,
}

/// One event of a history.
#[derive(Debug, Clone)]
pub struct HistoryItem {
    /// The event as it is stored.
    pub stored: StoredEvent,
    /// The state that it left the entity in.
    pub state: State,
    /// Its readable facts.
    pub facts: Value,
    /// What was sealed with it, if it can still be opened.
    pub details: Option<Details>,
    /// Whether something was sealed with it and is gone for good.
    pub erased: bool,
    /// Whether something is sealed with it that cannot be opened.
    pub unreadable: bool,
}

impl Ledger {
    /// How many entities of each type are archived; every type is there.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn summary(&self) -> Result<BTreeMap<EntityType, u64>, LedgerError> {
        let counted = self.reads.summary().await?;
        Ok(EntityType::ALL
            .into_iter()
            .map(|entity_type| (entity_type, counted.get(&entity_type).copied().unwrap_or(0)))
            .collect())
    }

    /// A page of the archived list. An entity whose details cannot be opened stands on it and says so.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn list(
        &self,
        entity_type: EntityType,
        page: &ListPage,
        limit: u32,
    ) -> Result<ArchivedList, LedgerError> {
        let page = self.reads.list(entity_type, page, limit).await?;
        let mut items = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            let opened = self.open_row(&row);
            let unreadable = opened.is_none();
            let details = opened.unwrap_or_default();
            items.push(ArchivedItem {
                key: row.key,
                deleted_at: row.deleted_at,
                name: (!unreadable).then(|| details.name.unwrap_or_default()),
                metadata: details.metadata.unwrap_or_default(),
                unreadable,
            });
        }
        Ok(ArchivedList {
            items,
            damaged: page.damaged,
            total: page.total,
            more: page.more,
        })
    }

    /// One entity; `None` when it never existed or was purged.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn entity(&self, key: &EntityKey) -> Result<Option<EntityView>, LedgerError> {
        let Some(stream) = self.reads.stream(key).await? else {
            return Ok(None);
        };
        let opened = self.open_all(key, &stream);
        let view = view(key, &stream.events, &opened);
        Ok(view.filter(|view| view.state != State::Purged))
    }

    /// An entity's whole history, oldest first; `None` when the ledger has never heard of it.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn history(&self, key: &EntityKey) -> Result<Option<Vec<HistoryItem>>, LedgerError> {
        let Some(stream) = self.reads.stream(key).await? else {
            return Ok(None);
        };
        let opened = self.open_all(key, &stream);
        let purged = stream
            .events
            .iter()
            .any(|event| event.event.name() == EventName::Purged);
        let mut items = Vec::with_capacity(stream.events.len());
        for (stored, opened) in stream.events.into_iter().zip(opened) {
            let opened = match &stored.event {
                Event::PurgeForced(forced) => self.open_reason(key, forced),
                Event::Registered(_)
                | Event::SoftDeleted(_)
                | Event::Restored(_)
                | Event::PurgeRequested(_)
                | Event::Purged(_)
                | Event::PurgeFailed(_) => opened,
            };
            let readable = facts(&stored.event);
            let (details, unreadable) = match opened {
                Opened::Nothing => (None, false),
                Opened::Details(details) => (Some(details), false),
                Opened::Unreadable(_) => (None, true),
            };
            items.push(HistoryItem {
                state: readable.state,
                facts: readable.facts,
                erased: purged && details.is_none() && !unreadable && was_sealed(&stored),
                unreadable,
                details,
                stored,
            });
        }
        Ok(Some(items))
    }
}

/// What events made of an entity; `None` without any. `opened` is what is sealed beside each of them.
pub(super) fn view(key: &EntityKey, events: &[StoredEvent], opened: &[Opened]) -> Option<EntityView> {
    let (first, last) = (events.first()?, events.last()?);
    let entity = entity_of(events);
    let deleted_by = events
        .iter()
        .rev()
        .find(|event| event.event.name() == EventName::SoftDeleted && entity.deletion().is_some())
        .map(|event| event.metadata.actor.clone());
    let standing = standing_details(events, opened);
    Some(EntityView {
        key: key.clone(),
        state: entity.state(),
        version: last.sequence,
        deletion_id: entity.deletion().map(|deletion| deletion.deletion_id),
        deleted_at: entity.deletion().map(|deletion| deletion.deleted_at),
        deleted_by,
        parent: entity.deletion().and_then(|deletion| deletion.parent.clone()),
        purge_id: entity.purge_id(),
        dataset_id: entity.dataset_id().map(ToOwned::to_owned),
        space_id: entity.space_id().map(ToOwned::to_owned),
        created_at: first.recorded_at,
        updated_at: last.recorded_at,
        details: standing.details,
        unreadable: standing.unreadable,
    })
}

/// The details that stand.
struct Standing {
    details: Details,
    unreadable: bool,
}

/// The details of the deletion that stands, over those of the registration; the storage of both.
fn standing_details(events: &[StoredEvent], opened: &[Opened]) -> Standing {
    let (mut registered, mut deleted) = (&Opened::Nothing, &Opened::Nothing);
    for (event, opened) in events.iter().zip(opened) {
        match &event.event {
            Event::Registered(_) => registered = opened,
            Event::SoftDeleted(_) => deleted = opened,
            Event::Restored(_) => deleted = &Opened::Nothing,
            Event::PurgeRequested(_) | Event::Purged(_) | Event::PurgeFailed(_) | Event::PurgeForced(_) => {}
        }
    }
    let unreadable = registered.is_unreadable() || deleted.is_unreadable();
    let registered = registered.details().cloned().unwrap_or_default();
    let deleted = deleted.details().cloned().unwrap_or_default();
    let mut storage = registered.storage;
    for uri in deleted.storage {
        if !storage.contains(&uri) {
            storage.push(uri);
        }
    }
    Standing {
        details: Details {
            name: deleted.name,
            metadata: deleted.metadata,
            reason: deleted.reason,
            description: registered.description,
            storage,
        },
        unreadable,
    }
}
