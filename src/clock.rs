//! The one source of time and of ids.
//!
//! `Utc::now`, `Uuid::new_v4` and `Uuid::now_v7` are banned by clippy everywhere else, so that every time and id that
//! reaches the log can be replaced by a test.

use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
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

    /// How the clock has moved against the time that has passed, if it did so further than clocks are corrected; `None` for a
    /// clock that nobody watches.
    fn moved(&self) -> Option<ClockMoved> {
        None
    }

    /// Takes the clock for right as it is now.
    fn accept(&self) {}
}

/// A clock that shows another time than the time that has passed makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMoved {
    /// What it should show.
    pub expected: DateTime<Utc>,
    /// What it shows.
    pub shown: DateTime<Utc>,
}

impl std::fmt::Display for ClockMoved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(
            f,
            "the machine's clock shows {}, and by the time that has passed it is {}",
            text(self.shown),
            text(self.expected)
        )
    }
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

/// How far a clock may be corrected before it is doubted.
const DOUBTED: TimeDelta = TimeDelta::hours(1);

/// The machine's clock, compared with the time that has passed since the process began, suspended or not.
///
/// A clock that moves further than an hour is not believed until it is back or accepted: what it shows meanwhile is the time
/// that has passed. So nothing that waits or expires is moved by a wrong clock.
#[derive(Debug)]
pub struct WatchedClock {
    /// What the clock showed when no time had passed.
    zero: Mutex<DateTime<Utc>>,
}

impl WatchedClock {
    /// Watches from now on.
    #[must_use]
    pub fn new() -> Self {
        Self {
            zero: Mutex::new(SystemClock.now() - passed()),
        }
    }

    fn expected(&self) -> DateTime<Utc> {
        *self
            .zero
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            + passed()
    }
}

impl Default for WatchedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for WatchedClock {
    fn now(&self) -> DateTime<Utc> {
        match self.moved() {
            None => SystemClock.now(),
            Some(moved) => moved.expected,
        }
    }

    fn new_id(&self) -> Uuid {
        SystemClock.new_id()
    }

    fn moved(&self) -> Option<ClockMoved> {
        let (expected, shown) = (to_micros(self.expected()), SystemClock.now());
        ((shown - expected).abs() > DOUBTED).then_some(ClockMoved { expected, shown })
    }

    fn accept(&self) {
        let zero = SystemClock.now() - passed();
        *self
            .zero
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = zero;
    }
}

/// How long the machine has been up, suspended or not.
fn passed() -> TimeDelta {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    TimeDelta::seconds(up.tv_sec) + TimeDelta::nanoseconds(up.tv_nsec)
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
