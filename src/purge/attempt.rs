//! One attempt at one job: what the log orders is deleted, and the log is told.
//!
//! A crash between any two steps is safe. What is deleted is gone, and deleting it again finds nothing; counts that were
//! saved are added to; the outcome is a command that the log takes once per purge; and the job ends after the log has
//! recorded it. Counts are saved with each batch. What was deleted since the last save is missing from them after a crash, which
//! whoever takes the job over sees by the mark that it is under way: the counts are a lower bound then, and the event says so.

mod elsewhere;
mod hindrance;
mod lease;
mod outcome;
mod shared;

use super::StorageCleanup;
use super::memory::Uncounted;
use crate::ledger::{LedgerError, PurgeOrder};
use crate::storage::deletion::{BlobErrorKind, Cleaned};
use crate::storage::progress::Progress;
use crate::store::StoreError;
use crate::store::cleanup_jobs::{CleanupJob, JobEnd, Obligation, ObligationState};
use crate::telemetry;
use hindrance::{Hindrance, Unfinished};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a batch under way is waited for when the service stops.
const GRACE: Duration = Duration::from_secs(3);

/// The pause after an attempt that something else than the storage cut off: it costs the purge nothing.
const POSTPONED: Duration = Duration::from_secs(5);

/// What the jobs say of a purge that was forced.
pub(super) const GIVEN_UP: &str = "the purge was forced: what it still owed was given up";

/// What a purge waits for that nobody can say yet whose else its storage is.
const CLAIMS_MISSING: &str = "it is not known yet what storage is claimed";

/// What ends an attempt before the purge has an outcome.
enum Cut {
    /// Somebody else has the job, or may have it.
    LeaseLost,
    /// The service stops.
    Stopping,
    /// The jobs cannot be written.
    Jobs(StoreError),
    /// The log cannot be read or written.
    Ledger(LedgerError),
    /// It cannot be told whose else the storage is.
    ClaimsMissing,
}

/// Works on a claimed job until it has an outcome, is left for later, or the lease is lost.
pub(super) async fn attempt(cleanup: StorageCleanup, job: CleanupJob, stop: CancellationToken) {
    let mut attempt = CleanupAttempt {
        cleanup,
        job,
        stop,
        uncounted: false,
    };
    let Err(cut) = attempt.run().await else { return };
    let key = &attempt.job.key;
    let mut reason = None;
    let pause = match cut {
        Cut::LeaseLost => {
            tracing::warn!(entity.key = %key, "the cleanup of {key} was left to another worker");
            return;
        }
        Cut::Stopping => Duration::ZERO,
        Cut::ClaimsMissing => {
            reason = Some(CLAIMS_MISSING.to_owned());
            POSTPONED
        }
        Cut::Jobs(error) => {
            tracing::warn!(entity.key = %key, error = %telemetry::chain(&error), "the cleanup of {key} was cut off");
            POSTPONED
        }
        Cut::Ledger(error) => {
            tracing::warn!(entity.key = %key, error = %telemetry::chain(&error), "the cleanup of {key} was cut off");
            POSTPONED
        }
    };
    // Where this fails too, the lease runs out.
    let _ = attempt.leave(pause, attempt.job.attempts, reason).await;
}

struct CleanupAttempt {
    cleanup: StorageCleanup,
    job: CleanupJob,
    stop: CancellationToken,
    /// Something may be gone that is not counted.
    uncounted: bool,
}

impl CleanupAttempt {
    async fn run(&mut self) -> Result<(), Cut> {
        let mut failures = Vec::new();
        for index in 0..self.job.obligations.len() {
            let Some(obligation) = self.job.obligations.get(index).cloned() else {
                break;
            };
            match obligation.state {
                ObligationState::Done => continue,
                ObligationState::Owed | ObligationState::Failed => {}
            }
            if self.stop.is_cancelled() {
                return Err(Cut::Stopping);
            }
            // Nothing is deleted that the log does not order: it is asked again right before each deletion.
            let uri = match self.order().await? {
                Ok(PurgeOrder::Clean(storage)) => storage.into_iter().nth(index),
                Ok(PurgeOrder::Done) => return self.finish(JobEnd::Done).await,
                Ok(PurgeOrder::Forced) => {
                    return self.finish(JobEnd::Failed(Some(GIVEN_UP.to_owned()))).await;
                }
                Ok(PurgeOrder::Failed) => return self.finish(JobEnd::Failed(None)).await,
                Ok(PurgeOrder::NotOrdered) => return self.disown().await,
                Err(failure) => {
                    failures.push(failure);
                    break;
                }
            };
            let Some(uri) = uri else {
                failures.push(Unfinished::unreadable());
                break;
            };
            if let Some(error) = self.clean(obligation, &uri).await? {
                failures.push(Unfinished {
                    text: format!("storage {} of {}: {error}", index + 1, self.job.obligations.len()),
                    remedy: error.remedy(),
                });
            }
        }
        self.settle(failures).await
    }

    /// What the log orders; a failure when it cannot be read for a reason that waiting does not change.
    async fn order(&self) -> Result<Result<PurgeOrder, Unfinished>, Cut> {
        let ledger = &self.cleanup.parts.ledger;
        match ledger.purge_order(&self.job.key, self.job.purge_id).await {
            Ok(PurgeOrder::Clean(storage)) if storage.len() != self.job.obligations.len() => {
                Ok(Err(Unfinished::unreadable()))
            }
            Ok(order) => Ok(Ok(order)),
            Err(LedgerError::Store(error)) if error.is_transient() => Err(Cut::Ledger(error.into())),
            Err(error) => {
                let key = &self.job.key;
                tracing::error!(entity.key = %key, error = %telemetry::chain(&error), "the storage of {key} cannot be read from the log");
                Ok(Err(Unfinished::unreadable()))
            }
        }
    }

    /// Deletes what one storage URI names, while the lease is held.
    async fn clean(&mut self, mut before: Obligation, uri: &str) -> Result<Option<Hindrance>, Cut> {
        if let Some(hindrance) = self.elsewhere(&before, uri).await? {
            return Ok(Some(hindrance));
        }
        before.nobody_since = None;
        // What somebody else claims is not touched.
        let others = self.others(uri).await?;
        let place = (self.job.lease.event_id, before.ordinal);
        let left = self.cleanup.memory.take(place, self.job.begun);
        // What remains here can still be recognized when the URI is gone with its key.
        before.storage_hash = self.cleanup.parts.ledger.storage_hash(uri);
        // Whoever was at it before has died, and what it asked for last was not counted.
        before.at_least |= before.under_way && left.is_none();
        if let Some(others) = others {
            before.under_way = false;
            self.uncounted |= left.is_some_and(|left| left.falls_short());
            return self.shared(before, uri, others).await;
        }
        before.under_way = true;
        // Proves the lease before the first deletion, and extends it.
        self.record(&before).await?;
        let (tell, told) = watch::channel(Cleaned::default());
        let tell = |so_far: Cleaned| {
            tell.send_if_modified(|known| {
                let news = *known != so_far;
                count(*known, so_far);
                *known = so_far;
                news
            });
        };
        let progress = Progress::new(&tell)
            .until(self.stop.clone())
            .after(left.unwrap_or_default());
        let outcome = tokio::select! {
            biased;
            outcome = self.cleanup.parts.blobs.purge_watched(uri, &progress) => Ok(outcome),
            others = self.claimed_meanwhile(uri, told.clone()) => Err(others),
            cut = self.keep_lease(&before, told.clone()) => Err(Err(cut)),
            () = self.stopped() => Err(Err(Cut::Stopping)),
        };
        let mut after = before.clone();
        let error = match outcome {
            Ok(Ok(cleaned)) => {
                tell(cleaned);
                after.state = ObligationState::Done;
                after.last_error = None;
                after.failed_at = None;
                None
            }
            Ok(Err(error)) => {
                tell(error.done);
                Some(error)
            }
            Err(Ok(others)) => {
                // What was asked for last is not counted.
                after = advanced(&after, *told.borrow());
                after.at_least = true;
                after.under_way = false;
                return self.shared(after, uri, others).await;
            }
            Err(Err(Cut::Stopping)) => {
                // What was asked for last is not counted: it stays under way.
                let counted = advanced(&before, *told.borrow());
                self.record(&counted).await?;
                return Err(Cut::Stopping);
            }
            Err(Err(cut)) => return Err(cut),
        };
        after = advanced(&after, *told.borrow());
        let unsettled = progress.unsettled();
        after.under_way = error.is_some() && !unsettled.is_empty();
        if let Some(error) = &error {
            if matches!(error.kind, BlobErrorKind::Interrupted) && self.stop.is_cancelled() {
                self.record(&after).await?;
                return Err(Cut::Stopping);
            }
            after.state = if error.retryable {
                ObligationState::Owed
            } else {
                ObligationState::Failed
            };
            after.last_error = Some(error.to_string());
            after.failed_at = self.seal(after.ordinal, error.at.as_deref().unwrap_or(uri)).await;
            self.uncounted |= unsettled.falls_short();
            if after.under_way {
                let begun = self.job.begun;
                self.cleanup.memory.keep(place, Uncounted { begun, unsettled });
            }
        } else {
            after.at_least |= unsettled.falls_short();
        }
        self.keep(after).await?;
        Ok(error.map(Hindrance::Storage))
    }

    /// Records what an obligation has come to in this attempt.
    async fn keep(&mut self, after: Obligation) -> Result<(), Cut> {
        self.record(&after).await?;
        if let Some(slot) = self
            .job
            .obligations
            .iter_mut()
            .find(|slot| slot.ordinal == after.ordinal)
        {
            *slot = after;
        }
        Ok(())
    }

    /// Where it failed, as the job may keep it. Without it the failure is told all the same.
    async fn seal(&self, ordinal: u32, place: &str) -> Option<Vec<u8>> {
        let key = &self.job.key;
        let ledger = &self.cleanup.parts.ledger;
        match ledger.seal_place(key, self.job.purge_id, ordinal, place).await {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::warn!(entity.key = %key, error = %telemetry::chain(&error), "where the purge of {key} failed was not noted");
                None
            }
        }
    }

    /// Returns when the service stops and the batch under way takes too long to end.
    async fn stopped(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }
}

/// An obligation with what this attempt has deleted added to what those before it had.
fn advanced(before: &Obligation, cleaned: Cleaned) -> Obligation {
    Obligation {
        objects: before.objects.saturating_add(cleaned.objects),
        bytes: before.bytes.saturating_add(cleaned.bytes),
        ..before.clone()
    }
}

fn count(before: Cleaned, now: Cleaned) {
    metrics::counter!(telemetry::CLEANUP_OBJECTS_TOTAL).increment(now.objects.saturating_sub(before.objects));
    metrics::counter!(telemetry::CLEANUP_BYTES_TOTAL).increment(now.bytes.saturating_sub(before.bytes));
}
