//! What the log orders the storage cleanup to do.

use super::{Ledger, LedgerError};
use crate::storage::uri::canonical_name;
use crate::store::{EntityStream, Hash, StoreError, StoredEvent, entity_of};
use archive_ledger_domain::{EntityKey, Event, EventName, State};
use uuid::Uuid;

/// What the log says of a purge's storage.
#[derive(Clone, PartialEq, Eq)]
pub enum PurgeOrder {
    /// It is to be cleaned: every storage URI of the registration, then of the deletion that stands, in their order.
    Clean(Vec<String>),
    /// It was cleaned.
    Done,
    /// What was left of it was given up for good: nothing more is deleted.
    Forced,
    /// The cleanup gave up, and nobody has asked again.
    Failed,
    /// The log has never ordered this purge, or ordered another one since.
    NotOrdered,
}

/// Storage URIs are personal data: only their number is shown.
impl std::fmt::Debug for PurgeOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clean(storage) => write!(f, "Clean({} storage URIs)", storage.len()),
            Self::Done => f.write_str("Done"),
            Self::Forced => f.write_str("Forced"),
            Self::Failed => f.write_str("Failed"),
            Self::NotOrdered => f.write_str("NotOrdered"),
        }
    }
}

impl Ledger {
    /// What the log orders for a purge, in one snapshot.
    ///
    /// # Errors
    /// [`LedgerError::Store`]: also when not every storage URI of the purge can be found, so that a purge is never taken for
    /// done because its URIs are lost. [`LedgerError::Keyring`] when one cannot be opened.
    pub async fn purge_order(&self, key: &EntityKey, purge_id: Uuid) -> Result<PurgeOrder, LedgerError> {
        let Some(stream) = self.reads.stream(key).await? else {
            return Ok(PurgeOrder::NotOrdered);
        };
        let entity = entity_of(&stream.events);
        if entity.purge_id() != Some(purge_id) {
            return Ok(PurgeOrder::NotOrdered);
        }
        match entity.state() {
            State::Purging => {}
            State::Purged if forced(&stream.events) => return Ok(PurgeOrder::Forced),
            State::Purged => return Ok(PurgeOrder::Done),
            State::PurgeFailed => return Ok(PurgeOrder::Failed),
            State::Unknown | State::Live | State::Archived => return Ok(PurgeOrder::NotOrdered),
        }
        self.ordered_storage(key, &stream).map(PurgeOrder::Clean)
    }

    /// The storage URIs that a purge under way or one that has failed orders to be cleaned, in their order; none when the
    /// entity is in no such state.
    ///
    /// # Errors
    /// As [`Ledger::purge_order`].
    pub async fn purge_storage(&self, key: &EntityKey) -> Result<Vec<String>, LedgerError> {
        let Some(stream) = self.reads.stream(key).await? else {
            return Ok(Vec::new());
        };
        let entity = entity_of(&stream.events);
        match entity.state() {
            State::Purging | State::PurgeFailed => self.ordered_storage(key, &stream),
            State::Unknown | State::Live | State::Archived | State::Purged => Ok(Vec::new()),
        }
    }

    /// A hash of what a storage URI names, which tells nothing without the keyring; none for what is no storage URI.
    #[must_use]
    pub fn storage_hash(&self, uri: &str) -> Option<Hash> {
        canonical_name(uri)
            .ok()
            .map(|name| self.keyring.keyed_hash(STORAGE_PURPOSE, &name))
    }

    fn ordered_storage(&self, key: &EntityKey, stream: &EntityStream) -> Result<Vec<String>, LedgerError> {
        let storage = standing_storage(
            &stream.events,
            self.open_whole(key, stream)?
                .into_iter()
                .map(|details| details.map_or_else(Vec::new, |details| details.storage))
                .collect(),
        );
        let ordered = stream.events.iter().rev().find_map(|event| match &event.event {
            Event::PurgeRequested(facts) => Some(facts.storage_count),
            Event::Registered(_)
            | Event::SoftDeleted(_)
            | Event::Restored(_)
            | Event::Purged(_)
            | Event::PurgeFailed(_)
            | Event::PurgeForced(_) => None,
        });
        if ordered.and_then(|count| usize::try_from(count).ok()) != Some(storage.len()) {
            return Err(StoreError::inconsistent(
                "open the storage of a purge",
                "the number of storage URIs is not what the log ordered",
            )
            .into());
        }
        Ok(storage)
    }
}

/// Keeps the hashes of storage apart from the keyring's other ones.
pub(crate) const STORAGE_PURPOSE: &str = "purged-storage";

fn forced(events: &[StoredEvent]) -> bool {
    events
        .iter()
        .any(|event| event.event.name() == EventName::PurgeForced)
}

/// The storage of the registration and of the deletion that stands, one entry per URI that they named.
pub(crate) fn standing_storage(events: &[StoredEvent], opened: Vec<Vec<String>>) -> Vec<String> {
    let (mut registered, mut deleted) = (Vec::new(), Vec::new());
    for (event, storage) in events.iter().zip(opened) {
        match &event.event {
            Event::Registered(_) => registered = storage,
            Event::SoftDeleted(_) => deleted = storage,
            Event::Restored(_) => deleted = Vec::new(),
            Event::PurgeRequested(_) | Event::Purged(_) | Event::PurgeFailed(_) | Event::PurgeForced(_) => {}
        }
    }
    registered.append(&mut deleted);
    registered
}
