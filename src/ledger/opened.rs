//! What is sealed beside events, opened as far as it can be.

use super::{Ledger, LedgerError};
use crate::keyring::{DataKey, Details, KeyringError};
use crate::merkle::entry_view::EntryView;
use crate::store::{ArchivedRow, EntityStream, StoredEvent};
use archive_ledger_domain::{EntityKey, EventName};

/// What is sealed beside one event.
#[derive(Debug)]
pub(super) enum Opened {
    /// Nothing is, or it was erased with the entity.
    Nothing,
    /// It was opened.
    Details(Details),
    /// It cannot be opened: its key or its bytes are gone or were changed.
    Unreadable(KeyringError),
}

impl Opened {
    /// What was opened.
    pub(super) const fn details(&self) -> Option<&Details> {
        match self {
            Self::Details(details) => Some(details),
            Self::Nothing | Self::Unreadable(_) => None,
        }
    }

    pub(super) const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

/// The error of a key, for one more event that it should have opened.
fn again(error: &KeyringError) -> KeyringError {
    match error {
        KeyringError::UnknownKek(id) => KeyringError::UnknownKek(id.clone()),
        KeyringError::Lost => KeyringError::Lost,
        KeyringError::Malformed(_)
        | KeyringError::Forged
        | KeyringError::Random
        | KeyringError::Seal
        | KeyringError::Details(_) => KeyringError::Forged,
    }
}

/// Whether something was sealed with the event, whatever became of it: the entry remembers.
pub(super) fn was_sealed(event: &StoredEvent) -> bool {
    EntryView::parse(&event.entry).is_ok_and(|entry| entry.c.is_some())
}

impl Ledger {
    /// Opens what is sealed beside each event of a stream, in order. What cannot be opened is reported and said so.
    pub(super) fn open_all(&self, key: &EntityKey, stream: &EntityStream) -> Vec<Opened> {
        let stream_id = key.stream_id();
        let purged = stream
            .events
            .iter()
            .any(|event| event.event.name() == EventName::Purged);
        let data_key = match &stream.data_key {
            Some(wrapped) => self.keyring.unwrap(&stream_id, wrapped),
            None => Err(KeyringError::Lost),
        };
        let mut reported = false;
        let mut open = |event: &StoredEvent| {
            let opened = match (&event.sealed, &data_key) {
                (Some(sealed), Ok(data_key)) => data_key
                    .open_details(&stream_id, event.event_id, sealed)
                    .map(|(details, _)| details),
                (None, _) if purged || !was_sealed(event) => return Opened::Nothing,
                (None, Ok(_)) => Err(KeyringError::Lost),
                (Some(_) | None, Err(error)) => Err(again(error)),
            };
            opened.map_or_else(
                |error| {
                    if !std::mem::replace(&mut reported, true) {
                        self.keyring.report_unreadable(&stream_id, &error);
                    }
                    Opened::Unreadable(error)
                },
                Opened::Details,
            )
        };
        stream.events.iter().map(&mut open).collect()
    }

    /// The same, where nothing may be missing.
    ///
    /// # Errors
    /// [`LedgerError::Keyring`].
    pub(super) fn open_whole(
        &self,
        key: &EntityKey,
        stream: &EntityStream,
    ) -> Result<Vec<Option<Details>>, LedgerError> {
        let opened = self.open_all(key, stream).into_iter();
        let whole = opened.map(|opened| match opened {
            Opened::Nothing => Ok(None),
            Opened::Details(details) => Ok(Some(details)),
            Opened::Unreadable(error) => Err(error.into()),
        });
        whole.collect()
    }

    /// Opens what is sealed of a row of the archived list; `None` when it cannot be opened, which is reported.
    pub(super) fn open_row(&self, row: &ArchivedRow) -> Option<Details> {
        let stream_id = row.key.stream_id();
        let opened = match (&row.data_key, &row.sealed) {
            (Some(wrapped), Some(sealed)) => {
                let key: Result<DataKey, KeyringError> = self.keyring.unwrap(&stream_id, wrapped);
                key.and_then(|key| key.open_details(&stream_id, row.event_id, sealed))
            }
            (None, _) | (_, None) => Err(KeyringError::Lost),
        };
        match opened {
            Ok((details, _)) => Some(details),
            Err(error) => {
                self.keyring.report_unreadable(&stream_id, &error);
                None
            }
        }
    }
}
