//! The one source of time and of ids.
//!
//! `Utc::now`, `Uuid::new_v4` and `Uuid::now_v7` are banned by clippy everywhere else, so that every time and id that
//! reaches the log can be replaced by a test.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Where the current time and fresh ids come from.
///
/// Times have microsecond precision: what the databases keep, and what a canonical entry states.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current time, UTC, truncated to microseconds.
    fn now(&self) -> DateTime<Utc>;

    /// A fresh time-ordered id (UUID version 7).
    fn new_id(&self) -> Uuid;
}

/// A clock that any part of the service can hold.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the machine's clock"
        )]
        let now = Utc::now();
        to_micros(now)
    }

    fn new_id(&self) -> Uuid {
        #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
        Uuid::now_v7()
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock(Mutex<DateTime<Utc>>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new(to_micros(now)))
    }

    /// Moves the clock forward by `by` (backwards when negative).
    pub fn advance(&self, by: TimeDelta) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn new_id(&self) -> Uuid {
        SystemClock.new_id()
    }
}

/// Truncates to the microseconds that both databases keep.
fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}
