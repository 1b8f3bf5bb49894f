//! Why a command was not recorded.

use crate::clock::ClockMoved;
use crate::keyring::KeyringError;
use crate::store::StoreError;
use archive_ledger_domain::Rejection;
use std::sync::Arc;

/// Why a command was not recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// The entity's state forbids it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The entity has another version than the caller expects.
    #[error("the entity has version {actual}")]
    VersionMismatch {
        /// The version that it has.
        actual: u64,
    },
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// A request with the same idempotency key is under way.
    #[error("a request with the same idempotency key is under way")]
    InFlight,
    /// Too many commands are waiting; none of this one was recorded.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The store could not take the command; it was not recorded.
    #[error("the store is unavailable")]
    Unavailable(#[source] Arc<StoreError>),
    /// The connection was lost during the commit and could not be had again: the command may have been recorded.
    #[error("the store was lost during the commit")]
    OutcomeUnknown(#[source] Arc<StoreError>),
    /// The store refused the command for a reason that trying again does not change; it was not recorded.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// The entity's data key could not be used; the command was not recorded.
    #[error("the entity's key could not be used")]
    Keyring(#[source] Arc<KeyringError>),
    /// The service is stopping; the command was not recorded.
    #[error("the service is stopping")]
    Stopping,
    /// The machine's clock has moved: until it is back or accepted, nothing is dated by it.
    #[error("{0}")]
    ClockMoved(ClockMoved),
}
