//! Where a purge failed: personal data, sealed under the entity's key until the purge destroys it.

use super::{Ledger, LedgerError};
use crate::keyring::DataKey;
use crate::store::cleanup_jobs::{Obligation, PurgeStatus};
use archive_ledger_domain::EntityKey;
use uuid::Uuid;

impl Ledger {
    /// Seals the name of an object or folder that storage number `ordinal` of a purge failed at; `None` when the entity has no key
    /// any more.
    ///
    /// # Errors
    /// [`LedgerError::Store`], [`LedgerError::Keyring`].
    pub async fn seal_place(
        &self,
        key: &EntityKey,
        purge_id: Uuid,
        ordinal: u32,
        place: &str,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some(data_key) = self.data_key(key).await? else {
            return Ok(None);
        };
        let context = context(key, purge_id, ordinal);
        Ok(Some(data_key.seal_note(&context, place.as_bytes())?))
    }

    /// Where the last attempt at a purge failed, by the number of the storage URI. What cannot be opened is left out: it is told
    /// beside what has to be told anyway.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn failed_places(&self, purge: &PurgeStatus) -> Result<Vec<(u32, String)>, LedgerError> {
        let failed: Vec<(&Obligation, &Vec<u8>)> = purge
            .job
            .iter()
            .flat_map(|job| &job.obligations)
            .filter_map(|one| one.failed_at.as_ref().map(|sealed| (one, sealed)))
            .collect();
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let data_key = match self.data_key(&purge.key).await {
            Ok(Some(data_key)) => data_key,
            Ok(None) => return Ok(Vec::new()),
            Err(error) => {
                // Of one entity, which is no reason to keep the others from being shown.
                let concerns_it = matches!(&error, LedgerError::Keyring(_))
                    || matches!(&error, LedgerError::Store(error) if error.is_of_one_row());
                if !concerns_it {
                    return Err(error);
                }
                let key = &purge.key;
                tracing::warn!(entity.key = %key, error = %crate::telemetry::chain(&error), "where the purge of {key} failed cannot be opened");
                return Ok(Vec::new());
            }
        };
        Ok(failed
            .into_iter()
            .filter_map(|(one, sealed)| {
                let context = context(&purge.key, purge.purge_id, one.ordinal);
                let place = data_key.open_note(&context, sealed).ok()?;
                Some((one.ordinal, String::from_utf8_lossy(&place).into_owned()))
            })
            .collect())
    }

    async fn data_key(&self, key: &EntityKey) -> Result<Option<DataKey>, LedgerError> {
        let Some(stream) = self.reads.stream(key).await? else {
            return Ok(None);
        };
        Ok(stream
            .data_key
            .as_ref()
            .map(|wrapped| self.keyring.unwrap(&key.stream_id(), wrapped))
            .transpose()?)
    }
}

/// Binds a place to its purge.
fn context(key: &EntityKey, purge_id: Uuid, ordinal: u32) -> String {
    format!("failed-at\0{}\0{purge_id}\0{ordinal}", key.stream_id())
}
