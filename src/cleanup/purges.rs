//! What an operator sees of the purges that are owed, and can do about them.

use crate::clock::SharedClock;
use crate::ledger::{CommandContext, Ledger, LedgerError, Purge};
use crate::store::cleanup_jobs::{CleanupJobStore, PurgeStatus};
use crate::store::writer::Receipt;
use crate::store::{Position, StoreError};
use archive_ledger_domain::State;
use std::sync::Arc;
use tokio::sync::Notify;
use uuid::Uuid;

/// Which purges are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeFilter {
    /// Those under way.
    Purging,
    /// Those that have failed and were not asked for again.
    Failed,
    /// Both.
    All,
}

impl PurgeFilter {
    const fn state(self) -> Option<State> {
        match self {
            Self::Purging => Some(State::Purging),
            Self::Failed => Some(State::PurgeFailed),
            Self::All => None,
        }
    }
}

/// What a retry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    /// The purge had failed and was asked for again, under a new id: the receipt's `purge_id`.
    RequestedAgain(Receipt),
    /// The purge was waiting and is tried now.
    Hastened,
    /// The purge is under way.
    UnderWay,
}

/// Why a purge was not retried.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// There is no such purge, it is done, or another has taken its place.
    #[error("no purge of this id is owed")]
    NotOwed,
    /// The jobs cannot be read or written.
    #[error("the cleanup's jobs cannot be reached")]
    Jobs(#[from] StoreError),
    /// The purge could not be asked for again.
    #[error("the purge could not be requested again")]
    Ledger(#[source] LedgerError),
}

/// The purges that the log still owes.
#[derive(Clone)]
pub struct Purges {
    ledger: Arc<Ledger>,
    jobs: Arc<dyn CleanupJobStore>,
    clock: SharedClock,
    wake: Arc<Notify>,
}

impl std::fmt::Debug for Purges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purges").finish_non_exhaustive()
    }
}

impl Purges {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        jobs: Arc<dyn CleanupJobStore>,
        clock: SharedClock,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            ledger,
            jobs,
            clock,
            wake,
        }
    }

    /// Purges that are owed, oldest request first, with what each still owes: those after a position, which is the
    /// `position` of the last one of the page before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        filter: PurgeFilter,
        after: Position,
        limit: u32,
    ) -> Result<Vec<PurgeStatus>, StoreError> {
        self.jobs.owed_purge_status(filter.state(), after, limit).await
    }

    /// One purge that is owed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, purge_id: Uuid) -> Result<Option<PurgeStatus>, StoreError> {
        self.jobs.purge_status(purge_id).await
    }

    /// Tries a purge again at once: asks for a failed one again, ends the pause of one that waits. Telling it twice does it
    /// once.
    ///
    /// # Errors
    /// [`RetryError`].
    pub async fn retry(&self, purge_id: Uuid, context: CommandContext) -> Result<Retried, RetryError> {
        let purge = self.find(purge_id).await?.ok_or(RetryError::NotOwed)?;
        match purge.state {
            State::PurgeFailed => {
                let again = Purge {
                    callback: None,
                    // Another operator may have been faster.
                    join: true,
                };
                self.ledger
                    .purge(purge.key, again, context)
                    .await
                    .map(Retried::RequestedAgain)
                    .map_err(RetryError::Ledger)
            }
            State::Purging => {
                let now = self.clock.now();
                let hastened = if purge.job.is_none() {
                    self.jobs.insert_owed_cleanup_jobs(now).await? > 0
                } else {
                    self.jobs.hasten_cleanup_job(purge.event_id, now).await?
                };
                if !hastened {
                    return Ok(Retried::UnderWay);
                }
                self.wake.notify_one();
                Ok(Retried::Hastened)
            }
            State::Unknown | State::Live | State::Archived | State::Purged => Err(RetryError::NotOwed),
        }
    }
}
