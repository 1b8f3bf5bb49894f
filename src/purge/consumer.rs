//! From the bus to jobs: every purge that has storage to clean, once.

use crate::bus::{BusEvent, Handler, HandlerError};
use crate::clock::SharedClock;
use crate::store::StoreError;
use crate::store::cleanup_jobs::{CleanupJobStore, NewCleanupJob};
use archive_ledger_domain::{Event, EventName};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::Notify;

/// Records a job for every purge request. The event's id makes it idempotent, in the transaction that records the job.
pub struct CleanupConsumer {
    jobs: Arc<dyn CleanupJobStore>,
    clock: SharedClock,
    wake: Arc<Notify>,
}

impl CleanupConsumer {
    pub(super) fn new(jobs: Arc<dyn CleanupJobStore>, clock: SharedClock, wake: Arc<Notify>) -> Self {
        Self { jobs, clock, wake }
    }
}

#[async_trait]
impl Handler for CleanupConsumer {
    fn name(&self) -> &'static str {
        "storage-cleanup"
    }

    fn events(&self) -> &'static [EventName] {
        &[EventName::PurgeRequested]
    }

    async fn handle(&self, event: &BusEvent) -> Result<(), HandlerError> {
        self.handle_batch(std::slice::from_ref(event)).await
    }

    async fn handle_batch(&self, events: &[BusEvent]) -> Result<(), HandlerError> {
        let jobs: Vec<NewCleanupJob> = events.iter().filter_map(job).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let inserted = self
            .jobs
            .insert_cleanup_jobs(&jobs, self.clock.now())
            .await
            .map_err(failed)?;
        if inserted > 0 {
            self.wake.notify_one();
        }
        Ok(())
    }
}

/// The job that an event asks for; none when nothing is stored anywhere, as such a purge is done with its request.
fn job(event: &BusEvent) -> Option<NewCleanupJob> {
    match &event.event {
        Event::PurgeRequested(facts) if facts.storage_count > 0 => Some(NewCleanupJob {
            event_id: event.event_id,
            position: event.position,
            key: event.key.clone(),
            purge_id: facts.purge_id,
            storage_count: facts.storage_count,
        }),
        Event::PurgeRequested(_)
        | Event::Registered(_)
        | Event::SoftDeleted(_)
        | Event::Restored(_)
        | Event::Purged(_)
        | Event::PurgeFailed(_)
        | Event::PurgeForced(_) => None,
    }
}

/// An event that is parked here is still found by the redrive from the log.
fn failed(error: StoreError) -> HandlerError {
    if error.is_transient() {
        HandlerError::retry(error)
    } else {
        HandlerError::poison(error)
    }
}
