//! The one source of time and of ids.
//!
//! `Utc::now`, `Uuid::new_v4` and `Uuid::now_v7` are banned by clippy everywhere else, so that every time and id that
//! reaches the log can be replaced by a test.

mod database;

pub use database::DatabaseClock;

use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use uuid::{ContextV7, Timestamp, Uuid};

/// Clocks that differ by more are told of: instances' clocks differ a little.
pub const SKEW_TOLD: TimeDelta = TimeDelta::seconds(5);

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

    /// How far the machine's clock is ahead of the one that the service goes by; `None` where that is the machine's.
    fn skew(&self) -> Option<TimeDelta> {
        None
    }

    /// Takes note of what the database's clock showed at some moment of the time that has just passed.
    fn observe(&self, _shown: DateTime<Utc>, _within: Duration) {}
}

/// A skew as it is told, where it is worth it.
#[must_use]
pub fn told_skew(clock: &dyn Clock) -> Option<String> {
    let skew = clock.skew().filter(|skew| skew.abs() > SKEW_TOLD)?;
    let side = if skew > TimeDelta::zero() {
        "ahead of"
    } else {
        "behind"
    };
    Some(format!(
        "the machine's clock is {} s {side} the database's, which the service goes by",
        skew.abs().num_seconds()
    ))
}

/// A clock that shows another time than the time that has passed makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMoved {
    /// What it should show.
    pub expected: DateTime<Utc>,
    /// What it shows.
    pub shown: DateTime<Utc>,
    /// Whose clock it is: the `machine`'s or the `database`'s.
    pub whose: &'static str,
}

impl ClockMoved {
    /// The machine's clock has moved.
    #[must_use]
    pub const fn of_the_machine(expected: DateTime<Utc>, shown: DateTime<Utc>) -> Self {
        Self {
            expected,
            shown,
            whose: "machine",
        }
    }
}

impl std::fmt::Display for ClockMoved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(
            f,
            "the {}'s clock shows {}, and by the time that has passed it is {}",
            self.whose,
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

/// What keeps ids of one moment apart and in order.
static IDS: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// What the machine's clock shows, before 1970 too: `Utc::now` and `Uuid::now_v7` panic there.
fn machine_time() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// A clock that was never set: hardly any time that is written or compared has a meaning with it, and none beyond the year 9999
/// can be written in an answer's `Date` or in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine's clock shows {}, which is {side}: set it", .shown.to_rfc3339_opts(SecondsFormat::Secs, true))]
pub struct ClockUnset {
    shown: DateTime<Utc>,
    side: &'static str,
}

/// Checks that the machine's clock was ever set.
///
/// # Errors
/// [`ClockUnset`] when it shows a time before 1970 or after 9999.
pub fn check() -> Result<(), ClockUnset> {
    check_shown(machine_time())
}

fn check_shown(shown: DateTime<Utc>) -> Result<(), ClockUnset> {
    let unset = |side| Err(ClockUnset { shown, side });
    if shown < DateTime::UNIX_EPOCH {
        unset("before 1970")
    } else if shown > LAST_TIME {
        unset("after 9999")
    } else {
        Ok(())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        to_micros(machine_time())
    }

    fn new_id(&self) -> Uuid {
        let now = machine_time();
        // An id cannot hold a time before 1970, which a clock may jump to; ids keep their order all the same.
        let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
        Uuid::new_v7(Timestamp::from_unix(&IDS, seconds, now.timestamp_subsec_nanos()))
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
        ((shown - expected).abs() > DOUBTED).then_some(ClockMoved::of_the_machine(expected, shown))
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

/// The last time that the databases keep: the last microsecond of the year 9999.
pub const LAST_TIME: DateTime<Utc> = match DateTime::from_timestamp_micros(253_402_300_799_999_999) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};

/// So long after a time, or [`LAST_TIME`].
#[must_use]
pub fn later(time: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|by| time.checked_add_signed(by))
        .map_or(LAST_TIME, |later| later.min(LAST_TIME))
}

/// Truncates to the microseconds that both databases keep.
fn to_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}
