//! Whose else an entity's storage is.

use super::{Ledger, LedgerError};
use crate::storage::uri::{Spelled, spell};
use crate::store::StoreError;
use crate::store::claims::{Claimants, Whom};
use archive_ledger_domain::EntityKey;

impl Ledger {
    /// Who else than `key` names storage in, around or at any of these URIs, by whatever path its root was used at; `first` of
    /// them are named.
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
        let is_local = |uri: &String| matches!(spell(uri), Ok(Spelled::Local(_)));
        let known = if self.roots.any_local() && storage.iter().any(is_local) {
            let known = self.storage_roots.storage_roots().await?;
            // What a root was called is not known then, nor who claims storage by that name.
            known.by_any_name(self.roots.ids()).ok_or_else(|| {
                StoreError::inconsistent(
                    "ask whose storage it is",
                    "the row of a storage root cannot be read",
                )
            })?
        } else {
            Vec::new()
        };
        // What is not spelled as a storage URI names nothing, and nothing is ever deleted there.
        let mut places = Vec::new();
        for uri in storage {
            places.extend(self.keyring.place(uri));
            let others = self.roots.other_names(uri, &known);
            places.extend(others.iter().filter_map(|uri| self.keyring.place(uri).ok()));
        }
        Ok(self.claims.claimants(&places, key, whom, first).await?)
    }
}
