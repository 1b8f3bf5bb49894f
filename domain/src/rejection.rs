//! Why a command was refused.

use crate::State;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What was asked for, as refusals name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// [`Command::Register`](crate::Command::Register).
    Register,
    /// [`Command::SoftDelete`](crate::Command::SoftDelete).
    SoftDelete,
    /// [`Command::Restore`](crate::Command::Restore).
    Restore,
    /// [`Command::RequestPurge`](crate::Command::RequestPurge).
    Purge,
    /// [`Command::RecordCleanup`](crate::Command::RecordCleanup).
    RecordCleanup,
    /// [`Command::ForcePurge`](crate::Command::ForcePurge).
    ForcePurge,
}

impl Action {
    /// The action's name in metrics and audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::SoftDelete => "soft_delete",
            Self::Restore => "restore",
            Self::Purge => "purge",
            Self::RecordCleanup => "record_cleanup",
            Self::ForcePurge => "force_purge",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: the command was understood, and the entity's state forbids it. Nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "rejection", rename_all = "snake_case")]
pub enum Rejection {
    /// The ledger has never heard of the entity.
    #[error("the entity does not exist")]
    Unknown,
    /// The entity was purged; its id is never used again.
    #[error("the entity was purged")]
    Purged,
    /// The entity is in a state that does not allow the action.
    #[error("{action} is not allowed while the entity is {state}")]
    WrongState {
        /// What was asked for.
        action: Action,
        /// The state that forbids it.
        state: State,
    },
    /// The purge that is reported on, or forced, is not the current one.
    #[error("the report belongs to another purge")]
    StalePurge,
    /// Every storage URI of the purge was seen empty: there is nothing to give up, and the purge ends by itself.
    #[error("the purge owes nothing that could be given up")]
    NothingOwed,
}
