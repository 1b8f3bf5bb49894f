//! The database's clock, which all instances of a cluster go by.

use super::{Clock, ClockMoved, DOUBTED, SystemClock, WatchedClock, passed, to_micros};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Shows what the database's clock shows, as far as this process knows it.
///
/// The database tells its time along with answers that are waited for anyway. Of each it is known that the time was shown between the
/// question and the answer; what is believed is moved as little as that asks for, and goes on with the time that passes in between. So no
/// instance's own clock decides anything, and a wrong one is only told of.
///
/// Both clocks are watched as [`WatchedClock`] is: while the machine's or the database's has moved further than an hour, it is not
/// believed, and what is shown is the time that has passed.
#[derive(Debug)]
pub struct DatabaseClock {
    machine: WatchedClock,
    known: Mutex<Known>,
}

/// What the database's clock showed when no time had passed.
#[derive(Debug)]
struct Known {
    believed: DateTime<Utc>,
    doubted: Option<DateTime<Utc>>,
}

impl DatabaseClock {
    /// Begins with what the database's clock showed at some moment of the time that has just passed.
    #[must_use]
    pub fn new(shown: DateTime<Utc>, within: Duration) -> Self {
        let within = TimeDelta::from_std(within).unwrap_or_default();
        Self {
            machine: WatchedClock::new(),
            known: Mutex::new(Known {
                believed: shown - passed() + within / 2,
                doubted: None,
            }),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> DateTime<Utc> {
        to_micros(self.known().believed + passed())
    }

    fn new_id(&self) -> Uuid {
        SystemClock.new_id()
    }

    fn moved(&self) -> Option<ClockMoved> {
        self.machine.moved().or_else(|| {
            let known = self.known();
            known.doubted.map(|doubted| ClockMoved {
                expected: to_micros(known.believed + passed()),
                shown: to_micros(doubted + passed()),
                whose: "database",
            })
        })
    }

    fn accept(&self) {
        self.machine.accept();
        let mut known = self.known();
        if let Some(doubted) = known.doubted.take() {
            known.believed = doubted;
        }
    }

    fn skew(&self) -> Option<TimeDelta> {
        Some(SystemClock.now() - self.now())
    }

    fn observe(&self, shown: DateTime<Utc>, within: Duration) {
        let earliest = shown - passed();
        let latest = earliest + TimeDelta::from_std(within).unwrap_or_default();
        let mut known = self.known();
        let next = known.believed.clamp(earliest, latest);
        if (next - known.believed).abs() > DOUBTED {
            known.doubted = Some(next);
        } else {
            known.believed = next;
            known.doubted = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(ahead: TimeDelta) -> DatabaseClock {
        DatabaseClock::new(SystemClock.now() + ahead, Duration::ZERO)
    }

    /// How far the clock is ahead of the machine's, in whole seconds.
    fn ahead(clock: &DatabaseClock) -> i64 {
        ((clock.now() - SystemClock.now()).num_milliseconds() + 500).div_euclid(1_000)
    }

    #[test]
    fn it_goes_by_the_database_and_tells_how_far_the_machine_is_off() {
        for seconds in [0, 60, -600, 7_200] {
            let clock = clock(TimeDelta::seconds(-seconds));
            assert_eq!(ahead(&clock), -seconds);
            assert_eq!(clock.moved(), None, "a wrong clock at the start has not moved");
            let told = super::super::told_skew(&clock);
            match seconds {
                0 => assert_eq!(told, None),
                1.. => assert!(told.unwrap().contains("s ahead of the database's")),
                _ => assert!(told.unwrap().contains("s behind the database's")),
            }
        }
    }

    #[test]
    fn a_late_answer_moves_it_no_further_than_it_proves() {
        let clock = clock(TimeDelta::zero());
        // The answer took ten seconds, and the time may have been shown at any moment of them.
        clock.observe(SystemClock.now() - TimeDelta::seconds(9), Duration::from_secs(10));
        assert_eq!(ahead(&clock), 0);
        // Shown 30 s ago at the least: it cannot be later than 20 s ago now.
        clock.observe(
            SystemClock.now() - TimeDelta::seconds(30),
            Duration::from_secs(10),
        );
        assert_eq!(ahead(&clock), -20);
        clock.observe(SystemClock.now() + TimeDelta::seconds(7), Duration::ZERO);
        assert_eq!(ahead(&clock), 7);
    }

    #[test]
    fn a_database_whose_clock_jumps_is_not_believed_until_it_is_back_or_accepted() {
        let clock = clock(TimeDelta::zero());
        clock.observe(SystemClock.now() + TimeDelta::minutes(30), Duration::ZERO);
        assert_eq!(
            (ahead(&clock), clock.moved()),
            (1_800, None),
            "clocks are corrected"
        );
        clock.observe(SystemClock.now() + TimeDelta::days(400), Duration::ZERO);
        assert_eq!(ahead(&clock), 1_800);
        let moved = clock.moved().unwrap();
        assert!(
            moved.to_string().starts_with("the database's clock shows"),
            "{moved}"
        );
        clock.observe(SystemClock.now() + TimeDelta::minutes(30), Duration::ZERO);
        assert_eq!(clock.moved(), None);
        clock.observe(SystemClock.now() + TimeDelta::hours(5), Duration::ZERO);
        clock.accept();
        assert_eq!((ahead(&clock), clock.moved()), (18_000, None));
    }
}
