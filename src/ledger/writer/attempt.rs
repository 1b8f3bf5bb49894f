//! An attempt to record a batch, and what is known of one that failed.

use super::CommandError;
use super::known::KnownStream;
use super::proposal::Answer;
use crate::store::witness::Mark;
use crate::store::{Position, StoreError};
use std::sync::Arc;

/// A failed attempt; `attempted` is there when it is unknown whether it was committed.
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) attempted: Option<Attempted>,
}

impl Failure {
    pub(super) const fn before_commit(error: StoreError) -> Self {
        Self {
            error,
            attempted: None,
        }
    }

    /// What those are told who waited for it in vain.
    pub(super) fn given_up(self) -> CommandError {
        let error = Arc::new(self.error);
        match self.attempted {
            Some(_) => CommandError::OutcomeUnknown(error),
            None => CommandError::Unavailable(error),
        }
    }
}

/// A batch whose commit was sent.
pub(super) struct Attempted {
    pub(super) answers: Vec<Answer>,
    pub(super) first: Option<(Position, uuid::Uuid)>,
    /// The last event, if there is one.
    pub(super) mark: Option<Mark>,
    pub(super) position: Position,
    /// Where the last event of a purge stands, if there is one.
    pub(super) purge: Option<Position>,
    pub(super) long: Vec<(String, KnownStream)>,
}
