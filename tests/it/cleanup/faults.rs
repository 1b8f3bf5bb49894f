//! A job store that stops its caller at a chosen step.

use archive_ledger::store::StoreError;
use archive_ledger::store::cleanup_jobs::{
    Claim, CleanupCounts, CleanupJob, CleanupJobStore, JobEnd, JobLease, NewCleanupJob, NextAttempt,
    Obligation, ObligationState, PurgeStatus,
};
use archive_ledger::store::damaged::Readable;
use archive_ledger_domain::{EntityKey, State};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use uuid::Uuid;

/// Which side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// Every write of a worker is a step, counted from 1.
pub struct Stepwise {
    inner: Arc<dyn CleanupJobStore>,
    step: usize,
    side: Side,
    taken: AtomicUsize,
    /// The outcome of a storage URI that was known and not written.
    unsaved: Mutex<Option<Obligation>>,
    /// The step is reached; the caller waits.
    pub reached: Notify,
    /// Lets the caller go on; one that is killed there never does.
    pub resume: Notify,
}

impl Stepwise {
    pub fn new(inner: Arc<dyn CleanupJobStore>, step: usize, side: Side) -> Arc<Self> {
        Arc::new(Self {
            inner,
            step,
            side,
            taken: AtomicUsize::new(0),
            unsaved: Mutex::default(),
            reached: Notify::new(),
            resume: Notify::new(),
        })
    }

    pub fn unsaved(&self) -> Option<Obligation> {
        self.unsaved.lock().unwrap().clone()
    }

    async fn pause(&self) {
        self.reached.notify_one();
        self.resume.notified().await;
    }

    async fn step<T>(&self, work: impl Future<Output = T> + Send) -> T {
        let step = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        if step == self.step && self.side == Side::Before {
            self.pause().await;
        }
        let outcome = work.await;
        if step == self.step && self.side == Side::After {
            self.pause().await;
        }
        outcome
    }
}

#[async_trait]
impl CleanupJobStore for Stepwise {
    async fn insert_cleanup_jobs(
        &self,
        jobs: &[NewCleanupJob],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        self.inner.insert_cleanup_jobs(jobs, now).await
    }

    async fn insert_owed_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        self.inner.insert_owed_cleanup_jobs(now).await
    }

    async fn claim_cleanup_jobs(&self, claim: &Claim) -> Result<Vec<CleanupJob>, StoreError> {
        let claimed = self.inner.claim_cleanup_jobs(claim).await?;
        if claimed.is_empty() {
            return Ok(claimed);
        }
        self.step(async { Ok(claimed) }).await
    }

    async fn seize_cleanup_job(
        &self,
        lease: &JobLease,
        until: DateTime<Utc>,
    ) -> Result<Option<Vec<Obligation>>, StoreError> {
        self.inner.seize_cleanup_job(lease, until).await
    }

    async fn record_obligation(
        &self,
        lease: &JobLease,
        obligation: &Obligation,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let next = self.taken.load(Ordering::SeqCst) + 1;
        if next == self.step && self.side == Side::Before && obligation.state == ObligationState::Done {
            *self.unsaved.lock().unwrap() = Some(obligation.clone());
        }
        self.step(self.inner.record_obligation(lease, obligation, now, until))
            .await
    }

    async fn reschedule_cleanup_job(&self, lease: &JobLease, next: &NextAttempt) -> Result<bool, StoreError> {
        self.step(self.inner.reschedule_cleanup_job(lease, next)).await
    }

    async fn finish_cleanup_job(
        &self,
        lease: &JobLease,
        end: &JobEnd,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.step(self.inner.finish_cleanup_job(lease, end, now)).await
    }

    async fn owed_purge_status(
        &self,
        state: Option<State>,
        after: u64,
        limit: u32,
    ) -> Result<Readable<PurgeStatus>, StoreError> {
        self.inner.owed_purge_status(state, after, limit).await
    }

    async fn purge_status(&self, purge_id: Uuid) -> Result<Option<PurgeStatus>, StoreError> {
        self.inner.purge_status(purge_id).await
    }

    async fn purged_entity(&self, purge_id: Uuid) -> Result<Option<EntityKey>, StoreError> {
        self.inner.purged_entity(purge_id).await
    }

    async fn hasten_cleanup_job(&self, event_id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.inner.hasten_cleanup_job(event_id, now).await
    }

    async fn count_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<CleanupCounts, StoreError> {
        self.inner.count_cleanup_jobs(now).await
    }
}
