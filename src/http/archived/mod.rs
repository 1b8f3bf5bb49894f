//! oCore's *Archived* admin API (seed 000), and what it needs beside it.

pub mod diff;
pub mod get;
pub mod history;
pub mod list;
pub mod purge;
pub mod purge_progress;
pub mod restore;
pub mod shared_storage;
pub mod soft_delete;
pub mod summary;

use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::http::auth::rights::Right;
use crate::http::request::query::asks_for;
use crate::store::damaged::DamagedRow;
use archive_ledger_domain::{EntityKey, EntityType};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What the reader of an entity must be allowed: where a parameter of this name asks for its past, to read the audit.
fn right_to_read(query: Option<&str>, of_the_past: &str) -> Right {
    if asks_for(query, of_the_past) {
        Right::AuditRead
    } else {
        Right::ArchivedRead
    }
}

/// An item of the archived list: exactly the fields of seed 000, and one more on what cannot be opened.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArchivedItem {
    /// When the entity was deleted, RFC 3339; null only where `unreadable` is true.
    #[schema(format = DateTime, required = true)]
    pub deleted_at: Option<String>,
    /// The entity's id.
    pub id: String,
    /// The entity's metadata, as it was given.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// The entity's name; null only where `unreadable` is true.
    #[schema(required = true)]
    pub name: Option<String>,
    /// The entity's type.
    #[serde(rename = "type")]
    #[schema(value_type = names::EntityType)]
    pub entity_type: &'static str,
    /// Only where it is true: name and metadata cannot be opened, because their key is gone or they were damaged. Where the row itself
    /// was damaged, its time is null as well, and its id may be empty.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
}

impl ArchivedItem {
    /// The item of an entity.
    #[must_use]
    pub fn new(
        key: &EntityKey,
        deleted_at: DateTime<Utc>,
        name: Option<String>,
        metadata: Map<String, Value>,
    ) -> Self {
        let deleted_at = timestamp(deleted_at);
        Self {
            unreadable: name.is_none() || deleted_at.is_none(),
            deleted_at,
            id: key.id().to_owned(),
            metadata,
            name,
            entity_type: key.entity_type().as_str(),
        }
    }
}

impl ArchivedItem {
    /// The item of a row that cannot be read.
    #[must_use]
    pub fn damaged(entity_type: EntityType, row: &DamagedRow) -> Self {
        Self {
            deleted_at: None,
            id: row
                .key
                .as_ref()
                .map(|key| key.id().to_owned())
                .unwrap_or_default(),
            metadata: Map::new(),
            name: None,
            entity_type: entity_type.as_str(),
            unreadable: true,
        }
    }
}
