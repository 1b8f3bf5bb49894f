//! What entities that are not purged name as their storage, and whether it is there.

use super::claims::Claimed;
use super::{Comparison, Finding, PAGE, ReconcileError};
use crate::ledger::LedgerError;
use crate::store::claims::PlaceKey;
use crate::store::reconcile::BadRow;
use crate::store::reconcile::scratch::Left;
use crate::telemetry;
use archive_ledger_domain::{EntityKey, State};

impl Comparison<'_> {
    /// Notes what entities that are not purged claim, and looks whether it is there.
    pub(super) async fn entities(&mut self) -> Result<(), ReconcileError> {
        let mut after = String::new();
        loop {
            let page = self.pages.sealed_streams(&after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(last);
            for stream_id in &page {
                let Ok(key) = EntityKey::from_stream_id(stream_id) else {
                    let error = "no entity has such an id: it was changed in the database".to_owned();
                    self.tell(&unreadable(None, Some(stream_id.clone()), error))?;
                    continue;
                };
                if let Err(error) = self.entity(&key).await {
                    self.tell_unreadable(&key, error)?;
                }
            }
        }
    }

    /// Tells of an entity that cannot be read, and goes on with the others; what fails for all of them ends the comparison.
    fn tell_unreadable(&mut self, key: &EntityKey, error: ReconcileError) -> Result<(), ReconcileError> {
        let theirs = match &error {
            ReconcileError::Store(source) | ReconcileError::Ledger(LedgerError::Store(source)) => {
                source.is_of_one_row()
            }
            ReconcileError::Ledger(_) => true,
            ReconcileError::Start(_) | ReconcileError::Claims(_) | ReconcileError::Write(_) => false,
        };
        if !theirs {
            return Err(error);
        }
        self.summary.entities += 1;
        let (entity_type, id) = (key.entity_type().as_str(), key.id().to_owned());
        self.tell(&unreadable(Some(entity_type), Some(id), telemetry::chain(&error)))
    }

    /// Tells of a row that cannot be read, and whose entity is not looked at by itself.
    pub(super) fn tell_bad_row(&mut self, row: BadRow) -> Result<(), ReconcileError> {
        let BadRow { stream_id, error } = row;
        if !error.is_of_one_row() {
            return Err(error.into());
        }
        let key = stream_id
            .as_deref()
            .and_then(|stream_id| EntityKey::from_stream_id(stream_id).ok());
        let (entity_type, id) = match key {
            Some(key) => (Some(key.entity_type().as_str()), Some(key.id().to_owned())),
            None => (None, stream_id),
        };
        self.tell(&unreadable(entity_type, id, telemetry::chain(&error)))
    }

    async fn entity(&mut self, key: &EntityKey) -> Result<(), ReconcileError> {
        let Some(claimed) = self.claims.of(key).await? else {
            return Ok(());
        };
        self.summary.entities += 1;
        self.note(key, &claimed).await?;
        // What is being purged is being deleted.
        match claimed.state {
            State::Live | State::Archived => {}
            State::Unknown | State::Purging | State::PurgeFailed | State::Purged => return Ok(()),
        }
        for (index, uri) in claimed.standing.iter().enumerate() {
            let finding = match self.blobs.exists(uri).await {
                Ok(true) => continue,
                Ok(false) => Finding::Missing {
                    entity_type: key.entity_type().as_str(),
                    id: key.id().to_owned(),
                    state: claimed.state.as_str(),
                    storage: index + 1,
                    uri: uri.clone(),
                },
                Err(kind) => Finding::Unchecked {
                    entity_type: Some(key.entity_type().as_str()),
                    id: Some(key.id().to_owned()),
                    uri: Some(uri.clone()),
                    error: kind.to_string(),
                },
            };
            // A purge may have come between the two looks.
            let still = self.claims.of(key).await?;
            if still.is_some_and(|now| now.state == claimed.state) {
                self.tell(&finding)?;
            }
        }
        Ok(())
    }

    /// Notes what an entity claims. One that was restored and lives has what it was deleted with.
    async fn note(&mut self, key: &EntityKey, claimed: &Claimed) -> Result<(), ReconcileError> {
        let place = |uri: &String| self.keyring.place(uri).ok();
        let mut owned: Vec<PlaceKey> = claimed.standing.iter().filter_map(place).collect();
        for (storage, restored) in &claimed.undone {
            let undone = storage.iter().filter_map(place);
            match claimed.state {
                State::Live => owned.extend(undone),
                State::Unknown | State::Archived | State::Purging | State::PurgeFailed | State::Purged => {
                    let left = Left {
                        key: key.clone(),
                        restored: *restored,
                    };
                    let undone: Vec<_> = undone.map(|place| (place, left.clone())).collect();
                    self.scratch.left(&undone).await?;
                }
            }
        }
        self.scratch.owned(&owned).await?;
        Ok(())
    }
}

/// What is told of an entity whose storage nobody can tell.
fn unreadable(entity_type: Option<&'static str>, id: Option<String>, error: String) -> Finding {
    Finding::Unchecked {
        entity_type,
        id,
        uri: None,
        error,
    }
}
