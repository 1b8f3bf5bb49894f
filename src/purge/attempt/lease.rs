//! A job's lease: held by each write, and lost with the first that comes too late.

use super::{CleanupAttempt, Cut, advanced};
use crate::clock::later;
use crate::storage::deletion::Cleaned;
use crate::store::StoreError;
use crate::store::cleanup_jobs::Obligation;
use std::time::Instant;
use tokio::sync::watch;

impl CleanupAttempt {
    /// Extends the lease and saves the counts, with each batch and at each heartbeat, until that fails for as long as the lease is
    /// good.
    pub(super) async fn keep_lease(&self, before: &Obligation, mut told: watch::Receiver<Cleaned>) -> Cut {
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

    /// Writes how far an obligation has come, and extends the lease.
    pub(super) async fn record(&self, obligation: &Obligation) -> Result<(), Cut> {
        let now = self.cleanup.parts.clock.now();
        let until = later(now, self.cleanup.options.lease);
        held(
            self.cleanup
                .parts
                .jobs
                .record_obligation(&self.job.lease, obligation, now, until)
                .await,
        )
    }
}

pub(super) fn held(written: Result<bool, StoreError>) -> Result<(), Cut> {
    match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(Cut::LeaseLost),
        Err(error) => Err(Cut::Jobs(error)),
    }
}
