//! Takes jobs that are due, a few at a time, and sees to it that the log's orders have jobs.

use super::StorageCleanup;
use super::attempt::attempt;
use crate::clock::later;
use crate::store::StoreError;
use crate::store::cleanup_jobs::{Claim, OWED_AT_ONCE};
use crate::telemetry;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How long a service that stops waits for the database to forget its storage roots.
const WITHDRAWN: Duration = Duration::from_secs(2);

/// The worker of one instance. Any number of instances may run one: a job's lease keeps all but one away from it.
pub struct CleanupWorker {
    cleanup: StorageCleanup,
    /// Whether the last look at the jobs failed: only the first of several failures is logged.
    failing: bool,
}

impl CleanupWorker {
    pub(super) const fn new(cleanup: StorageCleanup) -> Self {
        Self {
            cleanup,
            failing: false,
        }
    }

    /// Runs until `stop` is cancelled; jobs that are under way then end between two batches and give their leases back.
    ///
    /// Dropping the future ends everything at once. Whatever it was at is done again when the leases have run out.
    pub async fn run(mut self, stop: CancellationToken) {
        let options = self.cleanup.options;
        let mut running = JoinSet::new();
        let (mut poll, mut redrive, mut gauges) =
            (every(options.poll), every(options.redrive), every(options.gauges));
        let mut announce = every(options.announce);
        announce.tick().await;
        self.announce().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.cleanup.wake.notified() => {}
                Some(ended) = running.join_next() => note_panic(ended),
                _ = redrive.tick() => self.redrive().await,
                _ = gauges.tick() => {
                    self.refresh().await;
                    continue;
                }
                _ = announce.tick() => {
                    self.announce().await;
                    continue;
                }
                _ = poll.tick() => {}
            }
            let free = options.concurrency.max(1).saturating_sub(running.len());
            self.claim(free, &mut running, &stop).await;
        }
        while let Some(ended) = running.join_next().await {
            note_panic(ended);
        }
        // Nobody need wait for what it has until it is not believed any more. Where the database is away, that is how it ends.
        let withdrawn = self
            .cleanup
            .parts
            .holders
            .withdraw_storage_roots(self.cleanup.instance);
        if let Ok(withdrawn) = tokio::time::timeout(WITHDRAWN, withdrawn).await {
            self.settled("withdraw its storage roots", withdrawn);
        }
    }

    async fn claim(&mut self, free: usize, running: &mut JoinSet<()>, stop: &CancellationToken) {
        if free == 0 {
            return;
        }
        let now = self.cleanup.parts.clock.now();
        let claim = Claim {
            token: self.cleanup.parts.clock.new_id(),
            now,
            until: later(now, self.cleanup.options.lease),
            limit: u32::try_from(free).unwrap_or(u32::MAX),
            instance: self.cleanup.instance,
        };
        let claimed = self.cleanup.parts.jobs.claim_cleanup_jobs(&claim).await;
        for job in self.settled("take a cleanup job", claimed).unwrap_or_default() {
            running.spawn(attempt(self.cleanup.clone(), job, stop.clone()));
        }
    }

    /// Gives every purge that the log owes a job.
    async fn redrive(&mut self) {
        loop {
            let now = self.cleanup.parts.clock.now();
            let inserted = self.cleanup.parts.jobs.insert_owed_cleanup_jobs(now).await;
            let Some(inserted) = self.settled("search the log for owed purges", inserted) else {
                return;
            };
            if inserted > 0 {
                tracing::info!(
                    jobs = inserted,
                    "{inserted} purges had no cleanup job and were taken up from the log"
                );
            }
            if inserted < u64::from(OWED_AT_ONCE) {
                return;
            }
        }
    }

    /// Tells the other instances which storage roots this one has.
    async fn announce(&mut self) {
        let parts = &self.cleanup.parts;
        let roots = parts.blobs.roots().names();
        if roots.is_empty() {
            return;
        }
        let (instance, now) = (self.cleanup.instance, parts.clock.now());
        let stale = now - self.cleanup.options.holders_kept();
        let told = parts
            .holders
            .hold_storage_roots(instance, &roots, now, stale)
            .await;
        self.settled("say which storage roots it has", told);
    }

    async fn refresh(&mut self) {
        let now = self.cleanup.parts.clock.now();
        let counts = self.cleanup.parts.jobs.count_cleanup_jobs(now).await;
        let Some(counts) = self.settled("count the cleanup jobs", counts) else {
            return;
        };
        for (state, count) in [
            ("due", counts.due),
            ("running", counts.running),
            ("failed", counts.failed),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            metrics::gauge!(telemetry::CLEANUP_JOBS, "state" => state).set(count as f64);
        }
    }

    fn settled<T>(&mut self, doing: &'static str, outcome: Result<T, StoreError>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.failing = false;
                Some(value)
            }
            Err(error) => {
                if !self.failing {
                    tracing::warn!(error = %telemetry::chain(&error), "the storage cleanup cannot {doing}, trying again");
                }
                self.failing = true;
                None
            }
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// A job that panicked keeps its lease until that runs out, and is tried again then.
fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a cleanup job panicked; it is tried again when its lease has run out");
    }
}
