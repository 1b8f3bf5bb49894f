//! The domain of archive-ledger: one aggregate, its commands, events and refusals.
//!
//! Nothing here does I/O, reads a clock or draws a random number: time and ids arrive in the command. Personal data never
//! arrives at all: the application seals `name`, `metadata`, `reason` and `storage` and hands over only the facts that the
//! aggregate decides on.

mod archived_entity;
mod command;
mod event;
mod ids;
mod metadata;
mod rejection;
mod upcast;

pub use archived_entity::{ArchivedEntity, State};
pub use command::{CleanupOutcome, Command};
pub use event::{
    Event, EventName, ForcedObligation, PurgeFailed, PurgeForced, PurgeRequested, Purged, Registered,
    Restored, SoftDeleted, UnknownEvent,
};
pub use ids::{EntityKey, EntityType, InvalidId, Parent};
pub use metadata::EventMetadata;
pub use rejection::{Action, Rejection};
pub use upcast::upcasters;

/// The value of `aggregate_type` in every stored event.
pub const AGGREGATE_TYPE: &str = "archived_entity";
