//! The archived list and its summary, as they stand after every command that was acknowledged.

#[cfg(feature = "contract")]
pub mod contract;
pub(super) mod postgres;
mod sqlite;

use super::damaged::DamagedRow;
use super::{StoreError, WrappedKey};
use archive_ledger_domain::{EntityKey, EntityType};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A row of the archived list, sealed.
#[derive(Debug, Clone)]
pub struct ArchivedRow {
    /// The entity.
    pub key: EntityKey,
    /// When it was deleted.
    pub deleted_at: DateTime<Utc>,
    /// The event that holds the sealed details.
    pub event_id: Uuid,
    /// The sealed details.
    pub sealed: Option<Vec<u8>>,
    /// The entity's data key.
    pub data_key: Option<WrappedKey>,
}

/// Which page of the archived list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListPage {
    /// What follows this many rows.
    Offset(u64),
    /// What follows a row: its `deleted_at` and id.
    After(DateTime<Utc>, String),
    /// What follows so many rows behind that: they cannot be read, so that nothing says where they stand.
    Behind(DateTime<Utc>, String, u64),
}

impl ListPage {
    /// How many rows are passed over behind the one that is named.
    const fn behind(&self) -> u64 {
        match self {
            Self::Offset(_) | Self::After(..) => 0,
            Self::Behind(_, _, skipped) => *skipped,
        }
    }
}

/// A page of the archived list.
#[derive(Debug, Clone)]
pub struct ArchivedPage {
    /// The rows, `deleted_at` descending, then id ascending.
    pub rows: Vec<ArchivedRow>,
    /// Those that cannot be read.
    pub damaged: Vec<DamagedRow>,
    /// How many entities of the type are archived, in the same snapshot.
    pub total: u64,
    /// Whether rows follow.
    pub more: bool,
}

/// Reads the archived list, each page in a snapshot of its own.
#[async_trait]
pub trait ArchivedStore: Send + Sync {
    /// How many entities of each type are archived. Types without any are absent.
    async fn summary(&self) -> Result<BTreeMap<EntityType, u64>, StoreError>;

    /// A page of the archived list; `limit` rows at the most.
    async fn list(
        &self,
        entity_type: EntityType,
        page: &ListPage,
        limit: u32,
    ) -> Result<ArchivedPage, StoreError>;
}
