//! What an attempt comes to: recorded in the log, or left for later.

use super::hindrance::{Remedy, Unfinished, summary};
use super::lease::held;
use super::{CleanupAttempt, Cut};
use crate::clock::later;
use crate::ledger::LedgerError;
use crate::ledger::writer::CommandError;
use crate::storage::deletion::Cleaned;
use crate::store::cleanup_jobs::{JobEnd, NextAttempt};
use archive_ledger_domain::{CleanupOutcome, State};
use std::time::Duration;
use uuid::Uuid;

const NOT_ORDERED: &str = "the log orders no such purge";

/// The longest pause of an instance that leaves a job to others.
const LONGEST_LEFT: Duration = Duration::from_secs(60);

impl CleanupAttempt {
    /// The attempt's outcome: recorded in the log first, then the job ends; or the job is left for later.
    pub(super) async fn settle(&self, failures: Vec<Unfinished>) -> Result<(), Cut> {
        let options = &self.cleanup.options;
        let total = self.job.obligations.iter().fold(Cleaned::default(), |sum, one| {
            sum.plus(Cleaned {
                objects: one.objects,
                bytes: one.bytes,
            })
        });
        let Cleaned { objects, bytes } = total;
        let at_least = self.job.obligations.iter().any(|one| one.at_least);
        let key = &self.job.key;
        let outcome = if failures.is_empty() {
            CleanupOutcome::Done {
                objects,
                bytes,
                at_least,
            }
        } else {
            let error = summary(&failures);
            if let Some(pause) = self.left_for(&failures) {
                tracing::debug!(entity.key = %key, error, "the cleanup of {key} is left to other instances for {pause:?}");
                let instance = Some(self.cleanup.instance);
                return self
                    .reschedule(pause, self.job.attempts, Some(error), instance)
                    .await;
            }
            let attempts = self.job.attempts.saturating_add(1);
            let hopeless = failures.iter().any(|failure| failure.remedy == Remedy::None);
            if !hopeless && attempts < options.attempts {
                let pause = options.pause(attempts);
                tracing::warn!(entity.key = %key, attempts, error, "the cleanup of {key} is tried again in {pause:?}: {error}");
                return self.leave(pause, attempts, Some(error)).await;
            }
            self.cleanup.memory.forget(self.job.lease.event_id);
            CleanupOutcome::Failed {
                objects,
                bytes,
                at_least: at_least || self.uncounted,
                error,
            }
        };
        let error = match &outcome {
            CleanupOutcome::Done { .. } => None,
            CleanupOutcome::Failed { error, .. } => Some(error.clone()),
        };
        let ledger = &self.cleanup.parts.ledger;
        let causation = self.job.lease.event_id;
        match ledger
            .record_cleanup(key.clone(), self.job.purge_id, outcome, causation)
            .await
        {
            Ok(receipt) => match receipt.state {
                State::Purged => {
                    let least = if at_least { "at least " } else { "" };
                    tracing::info!(entity.key = %key, objects, bytes, at_least, "{key} is purged: {least}{objects} objects are gone");
                    self.finish(JobEnd::Done).await
                }
                State::PurgeFailed => {
                    tracing::error!(entity.key = %key, objects, bytes, error, "the purge of {key} has failed");
                    self.finish(JobEnd::Failed(error)).await
                }
                State::Unknown | State::Live | State::Archived | State::Purging => self.disown().await,
            },
            Err(LedgerError::Command(CommandError::Rejected(_))) => self.disown().await,
            Err(error) => Err(Cut::Ledger(error)),
        }
    }

    /// Ends a job that the log does not know of, or not any more.
    pub(super) async fn disown(&self) -> Result<(), Cut> {
        let key = &self.job.key;
        tracing::warn!(entity.key = %key, "a cleanup job of {key} was dropped: {NOT_ORDERED}");
        self.finish(JobEnd::Failed(Some(NOT_ORDERED.to_owned()))).await
    }

    pub(super) async fn leave(
        &self,
        pause: Duration,
        attempts: u32,
        last_error: Option<String>,
    ) -> Result<(), Cut> {
        self.reschedule(pause, attempts, last_error, None).await
    }

    /// For how long this instance leaves the job to those that have the storage roots; `None` when something else stands in the way.
    fn left_for(&self, failures: &[Unfinished]) -> Option<Duration> {
        let mut shortest = Duration::MAX;
        for failure in failures {
            let pause = match failure.remedy {
                Remedy::None | Remedy::Time => return None,
                Remedy::Root => root_pause(self.cleanup.parts.blobs.roots().away_for()),
                Remedy::Others { given_up_in } => {
                    let pause = self.cleanup.options.pause(self.job.begun).min(LONGEST_LEFT);
                    given_up_in.map_or(pause, |end| pause.min(end))
                }
            };
            shortest = shortest.min(pause);
        }
        (!failures.is_empty()).then_some(shortest)
    }

    async fn reschedule(
        &self,
        pause: Duration,
        attempts: u32,
        last_error: Option<String>,
        left_by: Option<Uuid>,
    ) -> Result<(), Cut> {
        let next = NextAttempt {
            at: later(self.cleanup.parts.clock.now(), pause),
            attempts,
            last_error,
            left_by,
        };
        held(
            self.cleanup
                .parts
                .jobs
                .reschedule_cleanup_job(&self.job.lease, &next)
                .await,
        )
    }

    pub(super) async fn finish(&self, end: JobEnd) -> Result<(), Cut> {
        let now = self.cleanup.parts.clock.now();
        held(
            self.cleanup
                .parts
                .jobs
                .finish_cleanup_job(&self.job.lease, &end, now)
                .await,
        )
    }
}

/// The pause before a storage root is looked for again that has been away for so long: a short absence is over soon, and many
/// purges that wait for a long one must not keep the others from their turns.
fn root_pause(away: Duration) -> Duration {
    (away / 2).clamp(Duration::from_secs(1), Duration::from_secs(60))
}
