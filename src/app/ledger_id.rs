//! Which ledger this is, to whatever outlives or surrounds its database: a storage root, a stream.

use super::backend::Store;
use super::start_error::{StartError, blame};
use crate::clock::SharedClock;
use crate::store::StoreError;
use uuid::Uuid;

/// Where the ledger's id is remembered.
const LEDGER_ID_META: &str = "ledger_id";

impl Store {
    /// The ledger's id, made when it is asked for first and the same for ever: by every instance, and after a restore or a fork.
    ///
    /// # Errors
    /// [`StartError::Store`].
    pub async fn ledger_id(&self, clock: &SharedClock) -> Result<Uuid, StartError> {
        let standing = match self.recall(LEDGER_ID_META).await {
            Ok(None) => self.remember(LEDGER_ID_META, &clock.new_id().to_string()).await,
            Ok(Some(id)) => Ok(id),
            Err(error) => Err(error),
        };
        standing
            .and_then(|id| parsed(&id))
            .map_err(|source| blame(self.option(), source))
    }

    /// Takes over the id of the ledger that this one follows on.
    ///
    /// # Errors
    /// [`StartError::Store`].
    pub(super) async fn adopt_ledger_id(&self, id: Uuid) -> Result<(), StartError> {
        let adopted = self.remember(LEDGER_ID_META, &id.to_string()).await;
        adopted.map(drop).map_err(|source| blame(self.option(), source))
    }

    /// The ledger's id, if it has one already; makes none.
    ///
    /// # Errors
    /// [`StartError::Store`].
    pub async fn known_ledger_id(&self) -> Result<Option<Uuid>, StartError> {
        let standing = self.recall(LEDGER_ID_META).await;
        standing
            .and_then(|id| id.map(|id| parsed(&id)).transpose())
            .map_err(|source| blame(self.option(), source))
    }

    /// The option that names the store.
    const fn option(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "--database-url",
            Self::Sqlite(_) => "--data-dir",
        }
    }
}

fn parsed(id: &str) -> Result<Uuid, StoreError> {
    id.parse()
        .map_err(|_| StoreError::inconsistent("recall the ledger's id", "it is no UUID"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::sqlite::SqliteStore;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_ledger_gets_its_id_once() {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&home.path().join("ledger.db"), 2)
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let (store, clock): (_, SharedClock) = (Store::Sqlite(store), Arc::new(SystemClock));
        assert_eq!(store.known_ledger_id().await.unwrap(), None);
        let id = store.ledger_id(&clock).await.unwrap();
        assert_eq!(store.ledger_id(&clock).await.unwrap(), id);
        assert_eq!(store.known_ledger_id().await.unwrap(), Some(id));
    }
}
