//! Whether the writer can record, for whoever keeps the service running: `/readyz`, `/metrics` and one line in the log at each
//! change.

use crate::clock::SharedClock;
use crate::store::StoreError;
use crate::telemetry;
use chrono::{DateTime, Utc};
use metrics::{counter, gauge};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the writer may be at one batch before it is told: commands wait behind it.
const STUCK_AFTER: Duration = Duration::from_secs(3);

/// What keeps the writer from recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: DateTime<Utc>,
    /// What failed last; no text of the database server's.
    pub reason: String,
}

/// The writer's own health.
#[derive(Debug)]
pub struct WriterHealth {
    clock: SharedClock,
    failing: Mutex<Option<Failing>>,
    /// Since when the writer waits for the database with what it has taken up last; `None` while it has nothing to do.
    at_it: Mutex<Option<Instant>>,
}

/// The writer is at something as long as this is there.
pub(super) struct AtIt(Arc<WriterHealth>);

impl Drop for AtIt {
    fn drop(&mut self) {
        *self.0.at_it.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl WriterHealth {
    /// Of a writer that nothing is known against.
    pub(super) fn new(clock: SharedClock) -> Self {
        gauge!(telemetry::WRITER_UP).set(1.0);
        counter!(telemetry::TASK_PANICS_TOTAL, "task" => "the writer").increment(0);
        Self {
            clock,
            failing: Mutex::new(None),
            at_it: Mutex::new(None),
        }
    }

    /// What keeps the writer from recording; `None` while it can. A writer that has been at one batch for three seconds cannot:
    /// all that was asked of it since then waits.
    #[must_use]
    pub fn failing(&self) -> Option<Failing> {
        let failing = self
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        failing.or_else(|| {
            let lasted = self.waited();
            (lasted >= STUCK_AFTER).then(|| Failing {
                since: self.clock.now() - lasted,
                reason: format!(
                    "the writer has waited for the database for {} s, and commands wait for it",
                    lasted.as_secs()
                ),
            })
        })
    }

    /// For how long the writer has been at what it has taken up last; the oldest command that waits for an answer has waited as
    /// long.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let since = *self.at_it.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The writer takes something up.
    pub(super) fn at_it(self: Arc<Self>) -> AtIt {
        *self.at_it.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        AtIt(self)
    }

    /// Something was recorded, or could have been.
    pub(super) fn succeeded(&self) {
        let now = self.clock.now();
        gauge!(telemetry::WRITER_UP).set(1.0);
        gauge!(telemetry::WRITER_LAST_SUCCESS_SECONDS).set(seconds(now));
        let before = self.failing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            let lasted = (now - before.since).num_seconds();
            tracing::info!(
                "the writer records again, after {lasted} s: {} is over",
                before.reason
            );
        }
    }

    /// Nothing can be recorded.
    pub(super) fn failed(&self, error: &StoreError) {
        gauge!(telemetry::WRITER_UP).set(0.0);
        counter!(telemetry::WRITER_FAILURES_TOTAL).increment(1);
        let reason = error.brief();
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *failing {
            Some(failing) => failing.reason = reason,
            None => {
                tracing::error!(error = %telemetry::chain(error), "the writer cannot record: {reason}");
                *failing = Some(Failing {
                    since: self.clock.now(),
                    reason,
                });
            }
        }
    }
}

/// A time as metrics take it: seconds since 1970.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric's seconds need no more than a double holds"
)]
fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1_000.0
}
