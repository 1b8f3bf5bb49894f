//! What an operator sees of the purges that are owed, and can do about them.

use super::attempt::GIVEN_UP;
use crate::clock::{SharedClock, later};
use crate::ledger::writer::Receipt;
use crate::ledger::{CommandContext, ForcePurge, Ledger, LedgerError, Purge};
use crate::store::cleanup_jobs::{
    CleanupJobStore, JobEnd, JobLease, NewCleanupJob, NextAttempt, Obligation, ObligationState, PurgeStatus,
};
use crate::store::damaged::Readable;
use crate::store::{Position, StoreError};
use crate::telemetry;
use archive_ledger_domain::{EntityKey, ForcedObligation, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// How long a purge that is being forced stays out of the workers' reach: far longer than a commit takes.
const SEIZED: Duration = Duration::from_secs(60);

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

/// Why a purge was not retried or forced.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// There is no such purge, it is done, or another has taken its place.
    #[error("no purge of this id is owed")]
    NotOwed,
    /// The jobs cannot be read or written.
    #[error("the cleanup's jobs cannot be reached")]
    Jobs(#[from] StoreError),
    /// The ledger did not take the command.
    #[error("the ledger did not take the command")]
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
    ) -> Result<Readable<PurgeStatus>, StoreError> {
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

    /// Gives up what a purge still owes and ends it. Whoever works on it loses the job before the ledger is told, and finds the
    /// purge over when it looks again: a deletion that is under way in that moment may go on for one heartbeat and is not
    /// counted.
    ///
    /// # Errors
    /// [`RetryError`]. After [`LedgerError`]s the purge is as it was, and is worked on again.
    pub async fn force(
        &self,
        purge_id: Uuid,
        reason: String,
        context: CommandContext,
    ) -> Result<(EntityKey, Receipt), RetryError> {
        let Some(purge) = self.find(purge_id).await? else {
            return self.forced_before(purge_id, reason, context).await;
        };
        let key = purge.key.clone();
        let (lease, obligations) = self.seize(&purge).await?;
        let request = ForcePurge {
            purge_id,
            reason,
            obligations: obligations.iter().map(forced).collect(),
        };
        match self.ledger.force_purge(key.clone(), request, context).await {
            Ok(receipt) => {
                let end = JobEnd::Failed(Some(GIVEN_UP.to_owned()));
                let ended = self.jobs.finish_cleanup_job(&lease, &end, self.clock.now()).await;
                if let Err(error) = ended {
                    // The purge is over; a worker finds that out when the lease has run out, and ends the job.
                    tracing::warn!(entity.key = %key, error = %telemetry::chain(&error), "the job of a forced purge of {key} was not ended");
                }
                tracing::warn!(entity.key = %key, purge.id = %purge_id, "the purge of {key} was forced: what it still owed was given up");
                Ok((key, receipt))
            }
            Err(error) => {
                self.give_back(&purge, &lease).await;
                Err(RetryError::Ledger(error))
            }
        }
    }

    /// A purge that owes nothing (any more): only a request that is told again has an answer.
    async fn forced_before(
        &self,
        purge_id: Uuid,
        reason: String,
        context: CommandContext,
    ) -> Result<(EntityKey, Receipt), RetryError> {
        if context.idempotency_key.is_none() {
            return Err(RetryError::NotOwed);
        }
        let Some(key) = self.jobs.purged_entity(purge_id).await? else {
            return Err(RetryError::NotOwed);
        };
        let request = ForcePurge {
            purge_id,
            reason,
            obligations: Vec::new(),
        };
        let answer = self.ledger.force_purge(key.clone(), request, context).await;
        answer.map(|receipt| (key, receipt)).map_err(RetryError::Ledger)
    }

    /// Takes the purge's job, made for the purpose if it has none, and notes what its storage URIs name while they can still
    /// be opened.
    async fn seize(&self, purge: &PurgeStatus) -> Result<(JobLease, Vec<Obligation>), RetryError> {
        let now = self.clock.now();
        if purge.job.is_none() {
            let job = NewCleanupJob {
                event_id: purge.event_id,
                position: purge.position,
                key: purge.key.clone(),
                purge_id: purge.purge_id,
                storage_count: purge.storage_count,
            };
            self.jobs.insert_cleanup_jobs(&[job], now).await?;
        }
        let lease = JobLease {
            event_id: purge.event_id,
            token: self.clock.new_id(),
        };
        let until = later(now, SEIZED);
        let seized = self.jobs.seize_cleanup_job(&lease, until).await?;
        let obligations = seized.ok_or(RetryError::NotOwed)?;
        let storage = match self.ledger.purge_storage(&purge.key).await {
            Ok(storage) => storage,
            // URIs that cannot be opened are one of the reasons to force a purge.
            Err(error) => {
                tracing::warn!(entity.key = %purge.key, error = %telemetry::chain(&error), "the storage URIs of {} cannot be opened: what remains there will not be recognized", purge.key);
                Vec::new()
            }
        };
        let mut storage = storage.iter();
        for obligation in &obligations {
            // Written in any case: what cannot be read is replaced by what is known.
            let known = Obligation {
                storage_hash: storage
                    .next()
                    .and_then(|uri| self.ledger.storage_hash(uri))
                    .or(obligation.storage_hash),
                ..obligation.clone()
            };
            match self.jobs.record_obligation(&lease, &known, now, until).await {
                Ok(_) => {}
                // It is given up all the same.
                Err(error) if error.is_refused_by_table() => {
                    tracing::error!(entity.key = %purge.key, error = %telemetry::chain(&error), "what a purge of {} owes cannot be written down", purge.key);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((lease, obligations))
    }

    /// Lets the workers have the job again, at once.
    async fn give_back(&self, purge: &PurgeStatus, lease: &JobLease) {
        let next = NextAttempt {
            at: self.clock.now(),
            attempts: purge.job.as_ref().map_or(0, |job| job.attempts),
            last_error: None,
            left_by: None,
        };
        match self.jobs.reschedule_cleanup_job(lease, &next).await {
            Ok(_) => self.wake.notify_one(),
            // The lease runs out by itself.
            Err(error) => {
                tracing::warn!(entity.key = %purge.key, error = %telemetry::chain(&error), "the job of {} was not given back", purge.key);
            }
        }
    }
}

fn forced(obligation: &Obligation) -> ForcedObligation {
    ForcedObligation {
        ordinal: obligation.ordinal,
        skipped: match obligation.state {
            ObligationState::Done => false,
            ObligationState::Owed | ObligationState::Failed => true,
        },
        objects: obligation.objects,
        bytes: obligation.bytes,
        // What a worker is at right now is not counted.
        at_least: obligation.at_least || obligation.under_way,
    }
}
