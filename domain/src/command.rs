//! What can be asked of an entity.

use crate::{EntityType, ForcedObligation, Parent};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A command to one [`ArchivedEntity`](crate::ArchivedEntity).
///
/// Ids and times are made by the caller, so that handling a command twice gives the same events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Takes up an entity that is alive, with the storage that it occupies.
    Register {
        /// The data set that an archive preserves.
        dataset_id: Option<String>,
        /// The space that an archive belongs to.
        space_id: Option<String>,
        /// How many storage URIs were sealed with the command.
        storage_count: u32,
        /// Whether a callback was registered for the day of the purge.
        callback: bool,
    },
    /// Records that the platform deleted the entity, reversibly.
    SoftDelete {
        /// The id of this deletion.
        deletion_id: Uuid,
        /// When the platform deleted it.
        deleted_at: DateTime<Utc>,
        /// What the entity belonged to.
        parent: Option<Parent>,
        /// How many storage URIs were sealed with the command.
        storage_count: u32,
    },
    /// Undoes the current deletion.
    Restore,
    /// Asks for the entity to be removed for good: the point of no return.
    RequestPurge {
        /// The id of this purge.
        purge_id: Uuid,
        /// The entity's type: archives may be purged without having been soft-deleted.
        entity_type: EntityType,
        /// Whether the request names a callback that waits for the outcome.
        callback: bool,
        /// Accept the request, without an event, when a purge is already under way (Onedata's `deleting` is deletable).
        join: bool,
    },
    /// Reports how the storage cleanup of a purge ended.
    RecordCleanup {
        /// The purge whose cleanup ended.
        purge_id: Uuid,
        /// How it ended.
        outcome: CleanupOutcome,
    },
    /// Gives up what a purge still owes, and ends it.
    ForcePurge {
        /// The purge.
        purge_id: Uuid,
        /// What each of its storage URIs has come to.
        obligations: Vec<ForcedObligation>,
        /// Why, sealed under the service's own key.
        reason_sealed: String,
    },
}

/// How a storage cleanup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanupOutcome {
    /// Every object is gone: the storage was listed again and found empty.
    Done {
        /// Objects that were deleted.
        objects: u64,
        /// Their size, in bytes.
        bytes: u64,
        /// Whether the counts are a lower bound.
        at_least: bool,
    },
    /// The cleanup gave up.
    Failed {
        /// Objects that were deleted before it did.
        objects: u64,
        /// Their size, in bytes.
        bytes: u64,
        /// Whether the counts are a lower bound.
        at_least: bool,
        /// The cause, without any path or key.
        error: String,
    },
}
