//! Whose else an entity's storage is.

use super::{Ledger, LedgerError};
use crate::store::claims::{Claimants, Whom};
use archive_ledger_domain::EntityKey;

impl Ledger {
    /// Who else than `key` names storage in, around or at any of these URIs; `first` of them are named.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn claimants(
        &self,
        key: &EntityKey,
        storage: &[String],
        whom: Whom,
        first: u32,
    ) -> Result<Claimants, LedgerError> {
        // What is not spelled as a storage URI names nothing, and nothing is ever deleted there.
        let places: Vec<_> = storage
            .iter()
            .filter_map(|uri| self.keyring.place(uri).ok())
            .collect();
        Ok(self.claims.claimants(&places, key, whom, first).await?)
    }
}
