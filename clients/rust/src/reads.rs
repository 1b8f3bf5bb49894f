//! Reads of one thing.

use crate::{ARCHIVED, Client, Entity, EntityType, Error, History};
use std::collections::BTreeMap;

impl Client {
    /// How many entities of each type are archived.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn summary(&self) -> Result<BTreeMap<EntityType, u64>, Error> {
        self.get(ARCHIVED, &["summary"], &[]).await
    }

    /// One entity, whatever its state; refused with [`crate::ErrorId::NotFound`] once it is purged.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn entity(&self, entity_type: EntityType, id: &str) -> Result<Entity, Error> {
        self.get(ARCHIVED, &[entity_type.as_str(), id], &[]).await
    }

    /// Everything that happened to one entity, oldest first; a purged one keeps it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn history(&self, entity_type: EntityType, id: &str) -> Result<History, Error> {
        self.get(ARCHIVED, &[entity_type.as_str(), id, "history"], &[])
            .await
    }
}
