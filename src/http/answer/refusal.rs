//! What a refused or failed command is called on the outside.

use super::error::ApiError;
use crate::ledger::LedgerError;
use crate::ledger::writer::CommandError;
use crate::proofs::ProofError;
use crate::store::StoreError;
use archive_ledger_domain::{Action, Rejection, State};
use std::time::Duration;

/// When a client should try again after the store was away or too busy.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A read that failed.
impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            // Nothing is wrong with the request: the same one passes when the storage is back.
            error @ LedgerError::Storage { reason, .. } if reason.is_transient() => Self::TemporaryFailure {
                retry_after: RETRY_AFTER,
                cause: Some(error.into()),
            },
            LedgerError::Storage { index, reason } => {
                Self::bad_data(format!("storage[{index}]"), reason.to_string())
            }
            LedgerError::Callback(reason) => Self::bad_data("deletedCallback", reason.to_string()),
            LedgerError::DeletedInFuture => Self::bad_data("deleted_at", "must not lie in the future"),
            LedgerError::Command(error) => command(error),
            LedgerError::Store(error) => store(error),
            error @ (LedgerError::Keyring(_) | LedgerError::Load(_)) => Self::internal(error),
        }
    }
}

/// A proof that cannot be given.
impl From<ProofError> for ApiError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Store(error) => store(error),
            error => Self::internal(error),
        }
    }
}

/// A command that failed: `action` decides what a purged entity and a wrong state are called.
pub fn refused(action: Action, error: LedgerError) -> ApiError {
    match error {
        LedgerError::Command(CommandError::Rejected(rejection)) => rejected(action, &rejection),
        other => other.into(),
    }
}

fn rejected(action: Action, rejection: &Rejection) -> ApiError {
    match rejection {
        Rejection::Unknown => ApiError::NotFound,
        // To ask for it is to find nothing; to use its id again is a conflict.
        Rejection::Purged => match action {
            Action::Register | Action::SoftDelete => ApiError::EntityPurged,
            Action::Restore | Action::Purge | Action::RecordCleanup | Action::ForcePurge => {
                ApiError::NotFound
            }
        },
        Rejection::WrongState { action, state } => wrong_state(*action, *state),
        // Another purge has taken its place since it was looked up.
        Rejection::StalePurge if action == Action::ForcePurge => ApiError::NotFound,
        Rejection::StalePurge => ApiError::internal("a cleanup report reached the outside"),
        // Everything is clean: it ends by itself.
        Rejection::NothingOwed => ApiError::PurgeInProgress,
    }
}

fn wrong_state(action: Action, state: State) -> ApiError {
    match (action, state) {
        (Action::Register, _)
        | (Action::SoftDelete, State::Unknown | State::Live | State::Archived | State::Purged)
        // Restoring what is live: AIP-164.
        | (Action::Restore, State::Unknown | State::Live | State::Archived | State::Purged) => ApiError::AlreadyExists,
        (Action::SoftDelete | Action::Restore | Action::Purge | Action::ForcePurge, State::Purging | State::PurgeFailed) => {
            ApiError::PurgeInProgress
        }
        (
            Action::Purge | Action::ForcePurge,
            State::Unknown | State::Live | State::Archived | State::Purged,
        ) => {
            ApiError::EntityNotArchived { state: state.as_str().into() }
        }
        (Action::RecordCleanup, _) => ApiError::internal("a cleanup report reached the outside"),
    }
}

fn command(error: CommandError) -> ApiError {
    match error {
        CommandError::Rejected(rejection) => rejected(Action::Purge, &rejection),
        CommandError::VersionMismatch { .. } => ApiError::PreconditionFailed,
        CommandError::IdempotencyKeyReused => ApiError::IdempotencyKeyReused,
        CommandError::InFlight => ApiError::OperationInProgress,
        CommandError::Overloaded | CommandError::Stopping => ApiError::TemporaryFailure {
            retry_after: RETRY_AFTER,
            cause: Some(error.into()),
        },
        CommandError::Unavailable(_) | CommandError::OutcomeUnknown(_) | CommandError::ClockMoved(_) => {
            ApiError::TemporaryFailure {
                retry_after: RETRY_AFTER,
                cause: Some(error.into()),
            }
        }
        CommandError::Keyring(cause) if cause.is_of_one_entity() => ApiError::EntityUnreadable,
        CommandError::Store(_) | CommandError::Keyring(_) => ApiError::internal(error),
    }
}

fn store(error: StoreError) -> ApiError {
    if error.is_transient() {
        ApiError::TemporaryFailure {
            retry_after: RETRY_AFTER,
            cause: Some(error.into()),
        }
    } else {
        ApiError::internal(error)
    }
}
