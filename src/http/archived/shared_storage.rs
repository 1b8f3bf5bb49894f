//! Whose else an entity's storage is, as answers tell it.

use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::api::Api;
use crate::ledger::LedgerError;
use crate::store::claims::{Claimants, Whom};
use archive_ledger_domain::EntityKey;
use serde::Serialize;
use utoipa::ToSchema;

/// How many others an answer names.
pub const NAMED_OTHERS: usize = 20;

/// Somebody else who names storage in, around or at the same place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StorageSharer)]
pub struct Sharer {
    /// Its type.
    #[serde(rename = "type")]
    #[schema(value_type = names::EntityType)]
    pub entity_type: &'static str,
    /// Its id.
    pub id: String,
}

impl From<&EntityKey> for Sharer {
    fn from(key: &EntityKey) -> Self {
        Self {
            entity_type: key.entity_type().as_str(),
            id: key.id().to_owned(),
        }
    }
}

/// What is told of an entity's storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// Others name it too: `true`.
    Yes,
    /// Nobody else names it: the field is absent.
    No,
    /// It cannot be said yet: `null`.
    Unknown,
}

impl Shared {
    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }
}

impl Serialize for Shared {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Yes => serializer.serialize_bool(true),
            Self::No => serializer.serialize_bool(false),
            Self::Unknown => serializer.serialize_none(),
        }
    }
}

/// Whose else an entity's storage is.
#[derive(Debug)]
pub struct Sharing {
    /// Whether others name it too.
    pub shared: Shared,
    /// The first of them.
    pub others: Vec<EntityKey>,
}

/// Who else names what an entity stores, as long as they are not purged; at most `first` of them.
///
/// # Errors
/// [`ApiError`]: 503.
pub async fn sharing(
    api: &Api,
    key: &EntityKey,
    storage: &[String],
    first: usize,
) -> Result<Sharing, ApiError> {
    if storage.is_empty() {
        return Ok(Sharing {
            shared: Shared::No,
            others: Vec::new(),
        });
    }
    let first = u32::try_from(first).unwrap_or(u32::MAX);
    let found = api.ledger.claimants(key, storage, Whom::All, first).await?;
    let shared = match &found {
        Claimants { count: 1.., .. } => Shared::Yes,
        Claimants { complete: true, .. } => Shared::No,
        Claimants { complete: false, .. } => Shared::Unknown,
    };
    Ok(Sharing {
        shared,
        others: found.first,
    })
}

/// Who stands in the way of a purge: others who name what it has to clean, and are not being purged themselves.
///
/// # Errors
/// [`ApiError`]: 503.
pub async fn in_the_way(api: &Api, key: &EntityKey) -> Result<Vec<Sharer>, ApiError> {
    let storage = match api.ledger.purge_storage(key).await {
        Ok(storage) => storage,
        Err(LedgerError::Store(error)) if error.is_transient() => return Err(LedgerError::from(error).into()),
        // One purge whose URIs cannot be opened does not keep the others from being shown.
        Err(_) => return Ok(Vec::new()),
    };
    let first = u32::try_from(NAMED_OTHERS).unwrap_or(u32::MAX);
    let found = api.ledger.claimants(key, &storage, Whom::NotPurged, first).await;
    match found {
        Ok(found) => Ok(found.first.iter().map(Sharer::from).collect()),
        // One of them cannot be named, which is no reason to keep the purges from being shown.
        Err(LedgerError::Store(error)) if error.is_of_one_row() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
