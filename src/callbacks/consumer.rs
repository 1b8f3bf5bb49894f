//! From the log to deliveries: an outcome of a purge makes one delivery for each target that waits for it.

use crate::bus::{BusEvent, Handler, HandlerError};
use crate::clock::SharedClock;
use crate::store::callbacks::{CallbackStore, PurgeOutcome};
use archive_ledger_domain::{Event, EventName};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::Notify;

/// Records deliveries and wakes the worker. Idempotent by event id and target.
pub struct CallbackConsumer {
    store: Arc<dyn CallbackStore>,
    clock: SharedClock,
    wake: Arc<Notify>,
}

impl std::fmt::Debug for CallbackConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackConsumer").finish_non_exhaustive()
    }
}

impl CallbackConsumer {
    /// A consumer that wakes the worker of this process by `wake`; workers elsewhere look for themselves.
    #[must_use]
    pub const fn new(store: Arc<dyn CallbackStore>, clock: SharedClock, wake: Arc<Notify>) -> Self {
        Self { store, clock, wake }
    }
}

#[async_trait]
impl Handler for CallbackConsumer {
    fn name(&self) -> &'static str {
        "callbacks"
    }

    fn events(&self) -> &'static [EventName] {
        &[EventName::Purged, EventName::PurgeFailed]
    }

    async fn handle(&self, event: &BusEvent) -> Result<(), HandlerError> {
        self.handle_batch(std::slice::from_ref(event)).await
    }

    async fn handle_batch(&self, events: &[BusEvent]) -> Result<(), HandlerError> {
        let outcomes: Vec<PurgeOutcome> = events.iter().filter_map(outcome).collect();
        if outcomes.is_empty() {
            return Ok(());
        }
        let created = self
            .store
            .create_deliveries(&outcomes, &*self.clock)
            .await
            .map_err(|error| {
                if error.is_of_one_row() {
                    // Only this entity's rows are at fault: others must not wait for their repair.
                    HandlerError::poison(error)
                } else {
                    HandlerError::retry(error)
                }
            })?;
        if created > 0 {
            self.wake.notify_one();
        }
        Ok(())
    }
}

/// What an event says of a purge's end, if it ends one.
fn outcome(event: &BusEvent) -> Option<PurgeOutcome> {
    let (error, over) = match &event.event {
        // Objects may be left: whoever waits for the storage to be clean must not be told that it is.
        Event::Purged(purged) if purged.forced => (Some(given_up(purged.skipped)), true),
        Event::Purged(_) => (None, true),
        Event::PurgeFailed(failed) => (Some(failed.error.clone()), false),
        Event::Registered(_)
        | Event::SoftDeleted(_)
        | Event::Restored(_)
        | Event::PurgeRequested(_)
        // The end follows in the same commit.
        | Event::PurgeForced(_) => return None,
    };
    Some(PurgeOutcome {
        event_id: event.event_id,
        position: event.position,
        key: event.key.clone(),
        recorded_at: event.recorded_at,
        error,
        over,
    })
}

fn given_up(skipped: u32) -> String {
    let places = if skipped == 1 {
        "location was"
    } else {
        "locations were"
    };
    format!("the purge was forced: {skipped} storage {places} given up, and objects may remain there")
}
