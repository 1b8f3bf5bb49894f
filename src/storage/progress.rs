//! What goes to and fro between a purge and whoever has ordered it.

use super::unsettled::Unsettled;
use crate::storage::deletion::Cleaned;
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Follows one purge of one place: is told what is gone, asks it to stop, and keeps what it could not count from one attempt to
/// the next.
pub struct Progress<'a> {
    tell: &'a (dyn Fn(Cleaned) + Send + Sync),
    stop: CancellationToken,
    unsettled: Mutex<Unsettled>,
}

impl<'a> Progress<'a> {
    /// Is told, after each batch, what this attempt has deleted so far (the sum since its start, not the batch).
    #[must_use]
    pub fn new(tell: &'a (dyn Fn(Cleaned) + Send + Sync)) -> Self {
        Self {
            tell,
            stop: CancellationToken::new(),
            unsettled: Mutex::default(),
        }
    }

    /// Asks the purge to end between two batches once `stop` is cancelled.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Goes on from what an earlier attempt at the same place asked for without learning what became of it.
    #[must_use]
    pub fn after(self, unsettled: Unsettled) -> Self {
        Self {
            unsettled: Mutex::new(unsettled),
            ..self
        }
    }

    /// What this attempt asked for without learning what became of it; nothing is left here then.
    #[must_use]
    pub fn unsettled(&self) -> Unsettled {
        std::mem::take(&mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves `unsettled` to the next attempt.
    pub(super) fn leave(&self, unsettled: Unsettled) {
        *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner) = unsettled;
    }

    pub(super) fn tell(&self, so_far: Cleaned) {
        (self.tell)(so_far);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }
}
