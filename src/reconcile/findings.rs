//! What a comparison finds, and what it comes to.

use serde::Serialize;
use uuid::Uuid;

/// Something that is not as the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// An entity that is not purged names a storage URI at which there is nothing.
    Missing {
        /// The entity's type.
        #[serde(rename = "type")]
        entity_type: &'static str,
        /// The entity's id.
        id: String,
        /// `live` or `archived`.
        state: &'static str,
        /// Which of its storage URIs, from 1.
        storage: usize,
        /// The URI.
        uri: String,
    },
    /// Objects that a purge ordered to be deleted and that are there.
    Leftover {
        /// The purged entity's type.
        #[serde(rename = "type")]
        entity_type: &'static str,
        /// The purged entity's id.
        id: String,
        /// The purge.
        purge_id: Uuid,
        /// Which of its storage URIs, from 1.
        storage: u32,
        /// Whether the purge was forced and gave this URI up.
        given_up: bool,
        /// Where they are.
        uri: String,
        /// How many there are.
        objects: u64,
        /// Their size, in bytes.
        bytes: u64,
        /// Whether they were deleted now.
        fixed: bool,
        /// Why they were not, although that was asked for.
        error: Option<String>,
    },
    /// Objects that no purge has deleted or will: only a deletion named their place which was undone since. They may belong to
    /// somebody whom the ledger does not know, so that a person has to look.
    LeftByRestore {
        /// The entity's type.
        #[serde(rename = "type")]
        entity_type: &'static str,
        /// The entity's id.
        id: String,
        /// Where they are.
        uri: String,
        /// How many there are.
        objects: u64,
        /// Their size, in bytes.
        bytes: u64,
    },
    /// Objects right in a folder that no entity names, and no purge as far as is known.
    Unclaimed {
        /// The folder.
        uri: String,
        /// How many there are.
        objects: u64,
        /// Their size, in bytes.
        bytes: u64,
    },
    /// Something that could not be looked at.
    Unchecked {
        /// The entity's type, where it is about one.
        #[serde(rename = "type")]
        entity_type: Option<&'static str>,
        /// The entity's id, where it is about one.
        id: Option<String>,
        /// Where.
        uri: Option<String>,
        /// Why.
        error: String,
    },
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Entities that are not purged and have something sealed.
    pub entities: u64,
    /// Storage URIs of purges that are over, whose hashes were kept.
    pub purged: u64,
    /// Objects that were met.
    pub objects: u64,
    /// [`Finding::Missing`].
    pub missing: u64,
    /// [`Finding::Leftover`] that are left.
    pub leftover: u64,
    /// [`Finding::Leftover`] that were deleted.
    pub fixed: u64,
    /// [`Finding::LeftByRestore`].
    pub left_by_restore: u64,
    /// Objects that nobody names.
    pub unclaimed: u64,
    /// [`Finding::Unchecked`], and leftovers that could not be deleted.
    pub failed: u64,
}
