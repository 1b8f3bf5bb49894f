//! The way to the writer: a queue of bounded length in which nobody waits for ever.

use super::error::CommandError;
use super::health::WriterHealth;
use super::prepared::Prepared;
use super::proposal::{Answer, Proposal, Receipt};
use crate::clock::SharedClock;
use crate::keyring::Keyring;
use crate::memory_budget::{self, Taken};
use crate::store::{Position, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A command's answer is there after this long, whatever the database does: whoever waits longer has gone.
const DEADLINE: Duration = Duration::from_secs(8);

/// A command that waits for the writer.
pub(super) struct Queued {
    command: Prepared,
    caller: Caller,
    /// Set by whoever comes first: the writer that takes it, or the caller who has waited too long and takes it back.
    taken: Arc<AtomicBool>,
}

impl Queued {
    /// The command and whom to answer; `None` where it was taken back.
    pub(super) fn take(self) -> Option<(Prepared, Caller)> {
        (!self.taken.swap(true, Ordering::AcqRel)).then_some((self.command, self.caller))
    }
}

/// Whoever waits for a command's answer.
pub(super) struct Caller {
    reply: oneshot::Sender<Answer>,
    /// What its request holds of the memory: the caller may go away, the command stays.
    _memory: Option<Arc<Taken>>,
}

impl Caller {
    /// Tells the answer; one that went away does not need it.
    pub(super) fn tell(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// The way to the writer; cheap to clone.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    pub(super) queue: mpsc::Sender<Queued>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: SharedClock,
    pub(super) committed: watch::Receiver<Position>,
    pub(super) purges: watch::Receiver<Position>,
    pub(super) health: Arc<WriterHealth>,
}

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queued").finish_non_exhaustive()
    }
}

impl WriterHandle {
    /// Hands a command over and waits until it is recorded or refused, eight seconds at the most: one that the writer has not
    /// taken by then is never recorded, of one that it has taken the outcome is not known.
    ///
    /// Dropping the future does not take the command back.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn submit(&self, proposal: Proposal) -> Result<Receipt, CommandError> {
        // The place comes first: a command that nobody has time for costs nothing.
        let place = self.queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => CommandError::Overloaded,
            mpsc::error::TrySendError::Closed(()) => CommandError::Stopping,
        })?;
        let command = Prepared::new(&self.keyring, &self.clock, proposal)
            .map_err(|error| CommandError::Store(Arc::new(error)))?;
        let (reply, answer) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        place.send(Queued {
            command,
            caller: Caller {
                reply,
                _memory: memory_budget::held(),
            },
            taken: Arc::clone(&taken),
        });
        if let Ok(answer) = tokio::time::timeout(DEADLINE, answer).await {
            return answer.unwrap_or(Err(CommandError::Stopping));
        }
        let late = Arc::new(StoreError::TimedOut {
            operation: "wait for the writer",
            limit: DEADLINE,
        });
        Err(if taken.swap(true, Ordering::AcqRel) {
            CommandError::OutcomeUnknown(late)
        } else {
            CommandError::Unavailable(late)
        })
    }

    /// The last position that this process committed; it wakes readers of the log.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.committed.clone()
    }

    /// The last position of a purge's event that this process committed; it wakes those who read nothing else of the log.
    #[must_use]
    pub fn purges(&self) -> watch::Receiver<Position> {
        self.purges.clone()
    }

    /// Whether the writer can record.
    #[must_use]
    pub const fn health(&self) -> &Arc<WriterHealth> {
        &self.health
    }
}
