//! One attempt at one job: what the log orders is deleted, and the log is told.
//!
//! A crash between any two steps is safe. What is deleted is gone, and deleting it again finds nothing; counts that were
//! saved are added to; the outcome is a command that the log takes once per purge; and the job ends after the log has
//! recorded it. Counts are saved with each batch. What was deleted since the last save is missing from them after a crash, which
//! whoever takes the job over sees by the mark that it is under way: the counts are a lower bound then, and the event says so.

use super::StorageCleanup;
use super::blob::{BlobError, BlobErrorKind, Cleaned};
use super::memory::Left;
use super::progress::Progress;
use crate::ledger::{LedgerError, PurgeOrder};
use crate::store::StoreError;
use crate::store::claims::{Claimants, Whom};
use crate::store::cleanup_jobs::{CleanupJob, JobEnd, NextAttempt, Obligation, ObligationState};
use crate::store::writer::CommandError;
use crate::telemetry;
use archive_ledger_domain::{CleanupOutcome, State};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a batch under way is waited for when the service stops.
const GRACE: Duration = Duration::from_secs(3);

/// The pause after an attempt that something else than the storage cut off: it costs the purge nothing.
const POSTPONED: Duration = Duration::from_secs(5);

/// How many failed storage URIs an error text names.
const NAMED_FAILURES: usize = 3;

const NOT_ORDERED: &str = "the log orders no such purge";
/// What the jobs say of a purge that was forced.
pub(super) const GIVEN_UP: &str = "the purge was forced: what it still owed was given up";

const UNREADABLE: &str = "the storage URIs cannot be opened";
/// What a purge waits for that nobody can say yet whose else its storage is.
const CLAIMS_MISSING: &str = "it is not known yet what storage is claimed";

/// How long it is not asked again whose else a place is, while objects are being deleted there.
const ASKED_AGAIN: Duration = Duration::from_millis(250);

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

/// Why something is left.
struct Failure {
    text: String,
    retryable: bool,
    /// A storage root is away: that it is waited for costs the purge nothing.
    waits: bool,
}

/// Works on a claimed job until it has an outcome, is left for later, or the lease is lost.
pub(super) async fn attempt(cleanup: StorageCleanup, job: CleanupJob, stop: CancellationToken) {
    let mut attempt = Attempt {
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

struct Attempt {
    cleanup: StorageCleanup,
    job: CleanupJob,
    stop: CancellationToken,
    /// Something may be gone that is not counted.
    uncounted: bool,
}

impl Attempt {
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
                failures.push(Failure::unreadable());
                break;
            };
            if let Some(error) = self.clean(obligation, &uri).await? {
                failures.push(Failure {
                    text: format!("storage {} of {}: {error}", index + 1, self.job.obligations.len()),
                    retryable: error.retryable(),
                    waits: error.waits_for_root(),
                });
            }
        }
        self.settle(failures).await
    }

    /// What the log orders; a failure when it cannot be read for a reason that waiting does not change.
    async fn order(&self) -> Result<Result<PurgeOrder, Failure>, Cut> {
        let ledger = &self.cleanup.parts.ledger;
        match ledger.purge_order(&self.job.key, self.job.purge_id).await {
            Ok(PurgeOrder::Clean(storage)) if storage.len() != self.job.obligations.len() => {
                Ok(Err(Failure::unreadable()))
            }
            Ok(order) => Ok(Ok(order)),
            Err(LedgerError::Store(error)) if error.is_transient() => Err(Cut::Ledger(error.into())),
            Err(error) => {
                let key = &self.job.key;
                tracing::error!(entity.key = %key, error = %telemetry::chain(&error), "the storage of {key} cannot be read from the log");
                Ok(Err(Failure::unreadable()))
            }
        }
    }

    /// Deletes what one storage URI names, while the lease is held.
    async fn clean(&mut self, mut before: Obligation, uri: &str) -> Result<Option<Hindrance>, Cut> {
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
            return self.shared(before, others).await;
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
                return self.shared(after, others).await;
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
                self.cleanup.memory.keep(place, Left { begun, unsettled });
            }
        } else {
            after.at_least |= unsettled.falls_short();
        }
        self.keep(after).await?;
        Ok(error.map(Hindrance::Storage))
    }

    /// Ends an obligation whose place others claim.
    async fn shared(&mut self, mut after: Obligation, others: Claimants) -> Result<Option<Hindrance>, Cut> {
        let hindrance = Hindrance::Claimed(others);
        after.state = ObligationState::Failed;
        after.last_error = Some(hindrance.to_string());
        after.failed_at = None;
        self.keep(after).await?;
        Ok(Some(hindrance))
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

    /// Who else claims the place; `None` when nobody does.
    async fn others(&self, uri: &str) -> Result<Option<Claimants>, Cut> {
        let (ledger, storage) = (&self.cleanup.parts.ledger, [uri.to_owned()]);
        let others = ledger
            .claimants(&self.job.key, &storage, Whom::NotPurged, 0)
            .await
            .map_err(Cut::Ledger)?;
        match others {
            Claimants { complete: false, .. } => Err(Cut::ClaimsMissing),
            Claimants { count: 0, .. } => Ok(None),
            others => Ok(Some(others)),
        }
    }

    /// Returns when somebody else has claimed the place since its cleanup began: asked at each heartbeat, and after a batch.
    async fn claimed_meanwhile(
        &self,
        uri: &str,
        mut told: watch::Receiver<Cleaned>,
    ) -> Result<Claimants, Cut> {
        loop {
            tokio::time::sleep(ASKED_AGAIN).await;
            let _ = tokio::time::timeout(self.cleanup.options.heartbeat, told.changed()).await;
            match self.others(uri).await {
                Ok(Some(others)) => return Ok(others),
                // Where the database is away, the lease decides how long that may be.
                Ok(None) | Err(Cut::Ledger(_)) => {}
                Err(cut) => return Err(cut),
            }
        }
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

    /// Extends the lease and saves the counts, with each batch and at each heartbeat, until that fails for as long as the lease is
    /// good.
    async fn keep_lease(&self, before: &Obligation, mut told: watch::Receiver<Cleaned>) -> Cut {
        let options = &self.cleanup.options;
        let mut held_since = Instant::now();
        let mut heartbeat = tokio::time::interval(options.heartbeat);
        heartbeat.reset();
        loop {
            let beat = tokio::select! {
                _ = heartbeat.tick() => true,
                changed = told.changed() => changed.is_err(),
            };
            let now = advanced(before, *told.borrow_and_update());
            if beat {
                tracing::info!(
                    entity.key = %self.job.key, storage = now.ordinal, objects = now.objects, bytes = now.bytes,
                    "cleaning the storage of {}: {} objects are gone", self.job.key, now.objects,
                );
            }
            let asked = Instant::now();
            let left = options.lease.saturating_sub(held_since.elapsed());
            match tokio::time::timeout(left, self.record(&now)).await {
                Ok(Ok(())) => held_since = asked,
                Ok(Err(Cut::LeaseLost)) => return Cut::LeaseLost,
                Ok(Err(cut)) if held_since.elapsed() >= options.lease => return cut,
                // The lease is still good; the next batch or heartbeat tries again.
                Ok(Err(_)) => {}
                // Nobody answered in all that time: another worker may have taken over.
                Err(_) => return Cut::LeaseLost,
            }
        }
    }

    /// Returns when the service stops and the batch under way takes too long to end.
    async fn stopped(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }

    /// The attempt's outcome: recorded in the log first, then the job ends; or the job is left for later.
    async fn settle(&self, failures: Vec<Failure>) -> Result<(), Cut> {
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
            if failures.iter().all(|failure| failure.waits) {
                let pause = root_pause(self.cleanup.parts.blobs.roots().away_for());
                tracing::debug!(entity.key = %key, error, "the cleanup of {key} waits {pause:?} for its storage root");
                return self.leave(pause, self.job.attempts, Some(error)).await;
            }
            let attempts = self.job.attempts.saturating_add(1);
            if failures.iter().all(|failure| failure.retryable) && attempts < options.attempts {
                let pause = pause(options.first_pause, options.longest_pause, attempts);
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
                    tracing::info!(entity.key = %key, objects, bytes, "{key} is purged: {objects} objects are gone");
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
    async fn disown(&self) -> Result<(), Cut> {
        let key = &self.job.key;
        tracing::warn!(entity.key = %key, "a cleanup job of {key} was dropped: {NOT_ORDERED}");
        self.finish(JobEnd::Failed(Some(NOT_ORDERED.to_owned()))).await
    }

    async fn record(&self, obligation: &Obligation) -> Result<(), Cut> {
        let now = self.cleanup.parts.clock.now();
        let until = now + self.cleanup.options.lease;
        held(
            self.cleanup
                .parts
                .jobs
                .record_obligation(&self.job.lease, obligation, now, until)
                .await,
        )
    }

    async fn leave(&self, pause: Duration, attempts: u32, last_error: Option<String>) -> Result<(), Cut> {
        let next = NextAttempt {
            at: self.cleanup.parts.clock.now() + pause,
            attempts,
            last_error,
        };
        held(
            self.cleanup
                .parts
                .jobs
                .reschedule_cleanup_job(&self.job.lease, &next)
                .await,
        )
    }

    async fn finish(&self, end: JobEnd) -> Result<(), Cut> {
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

/// What keeps a place from being cleaned.
#[derive(Debug)]
enum Hindrance {
    /// The storage.
    Storage(BlobError),
    /// Others, who have something there too.
    Claimed(Claimants),
}

impl Hindrance {
    /// Whether time alone may help.
    const fn retryable(&self) -> bool {
        match self {
            Self::Storage(error) => error.retryable,
            Self::Claimed(_) => false,
        }
    }

    /// Whether a root is away, which time alone will not bring back: it is waited for, however long that takes.
    const fn waits_for_root(&self) -> bool {
        match self {
            Self::Storage(error) => error.kind.waits_for_root(),
            Self::Claimed(_) => false,
        }
    }
}

/// A short cause for the ledger and its callbacks, without any path, key, bucket or id.
impl std::fmt::Display for Hindrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Claimed(Claimants {
                count: 1,
                at_least: false,
                ..
            }) => f.write_str("1 other claims a place in, around or at it"),
            Self::Claimed(others) => {
                let least = if others.at_least { "at least " } else { "" };
                write!(
                    f,
                    "{least}{} others claim a place in, around or at it",
                    others.count
                )
            }
        }
    }
}

impl Failure {
    fn unreadable() -> Self {
        Self {
            text: UNREADABLE.to_owned(),
            retryable: true,
            waits: false,
        }
    }
}

fn held(written: Result<bool, StoreError>) -> Result<(), Cut> {
    match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(Cut::LeaseLost),
        Err(error) => Err(Cut::Jobs(error)),
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

/// The pause after `attempts` failed ones: `first`, doubled with each, `longest` at the most.
fn pause(first: Duration, longest: Duration, attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// The pause before a storage root is looked for again that has been away for so long: a short absence is over soon, and many
/// purges that wait for a long one must not keep the others from their turns.
fn root_pause(away: Duration) -> Duration {
    (away / 2).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

/// What stands in the way, for the log and the callback: the first few failures, none of which holds a path.
fn summary(failures: &[Failure]) -> String {
    let mut text = failures
        .iter()
        .take(NAMED_FAILURES)
        .map(|failure| failure.text.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    let more = failures.len().saturating_sub(NAMED_FAILURES);
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let seconds = |attempts| pause(Duration::from_secs(1), Duration::from_secs(300), attempts).as_secs();
        assert_eq!(
            [1, 2, 3, 9, 10, 32, 33, u32::MAX].map(seconds),
            [1, 2, 4, 256, 300, 300, 300, 300]
        );
    }

    #[test]
    fn a_long_list_of_failures_is_cut_short() {
        let failures: Vec<Failure> = (1..=5)
            .map(|number| Failure {
                text: format!("storage {number} of 5: permission denied"),
                retryable: false,
                waits: false,
            })
            .collect();
        assert_eq!(summary(&failures[..1]), "storage 1 of 5: permission denied");
        assert!(summary(&failures).ends_with("storage 3 of 5: permission denied; and 2 more"));
    }
}
