//! What an entity that is not purged names as its storage.

use crate::keyring::Keyring;
use crate::ledger::{LedgerError, standing_storage};
use crate::store::{Position, ReadStore, StoredEvent, entity_of};
use archive_ledger_domain::{EntityKey, Event, State};
use std::sync::Arc;

/// An entity's storage.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) state: State,
    /// What a purge would clean.
    pub(super) standing: Vec<String>,
    /// What deletions named that were undone, each with the position of the restore: no purge of it would clean that.
    pub(super) undone: Vec<(Vec<String>, Position)>,
}

/// Opens what is sealed.
pub(super) struct Claims<'a> {
    reads: Arc<dyn ReadStore>,
    keyring: &'a Keyring,
}

impl<'a> Claims<'a> {
    pub(super) const fn new(reads: Arc<dyn ReadStore>, keyring: &'a Keyring) -> Self {
        Self { reads, keyring }
    }

    /// What the entity names; `None` when it was purged, or never had anything sealed.
    pub(super) async fn of(&self, key: &EntityKey) -> Result<Option<Claimed>, LedgerError> {
        let Some(stream) = self.reads.stream(key).await? else {
            return Ok(None);
        };
        let entity = entity_of(&stream.events);
        let (State::Live | State::Archived | State::Purging | State::PurgeFailed, Some(wrapped)) =
            (entity.state(), &stream.data_key)
        else {
            return Ok(None);
        };
        let stream_id = key.stream_id();
        let data_key = self.keyring.unwrap(&stream_id, wrapped)?;
        let opened = stream
            .events
            .iter()
            .map(|event| match &event.sealed {
                Some(sealed) => data_key
                    .open_details(&stream_id, event.event_id, sealed)
                    .map(|(details, _)| details.storage),
                None => Ok(Vec::new()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Claimed {
            state: entity.state(),
            undone: undone(&stream.events, &opened),
            standing: standing_storage(&stream.events, opened),
        }))
    }
}

/// What deletions named that were undone, and where in the log that was.
fn undone(events: &[StoredEvent], opened: &[Vec<String>]) -> Vec<(Vec<String>, Position)> {
    let mut undone = Vec::new();
    let mut deleted: Option<&Vec<String>> = None;
    for (event, storage) in events.iter().zip(opened) {
        match &event.event {
            Event::SoftDeleted(_) => deleted = Some(storage),
            Event::Restored(_) => {
                undone.extend(deleted.take().map(|storage| (storage.clone(), event.position)));
            }
            Event::Registered(_)
            | Event::PurgeRequested(_)
            | Event::Purged(_)
            | Event::PurgeFailed(_)
            | Event::PurgeForced(_) => {}
        }
    }
    undone
}
