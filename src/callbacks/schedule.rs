//! When a callback that did not arrive is tried again. Pure: time and chance come in.

use super::outcome::AttemptOutcome;
use crate::clock::later;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// The longest wait that a receiver can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest wait, so that sums of waits stay within the calendar.
const WAIT_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// The most waits that a schedule may list.
const WAITS_MAX: usize = 100;
/// The default waits in seconds: DESIGN.md, "Callbacks".
const DEFAULT_WAITS: [u64; 9] = [1, 5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The waits between attempts: a list that is walked once, its last wait again and again until the horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    waits: Vec<Duration>,
    every: Duration,
    until: Option<Duration>,
    stop_on_gone: bool,
}

impl Default for Schedule {
    /// 1 s, 5 s, 30 s, 2 min, 10 min, 30 min, 2 h, 5 h, 10 h, then daily until day 30.
    fn default() -> Self {
        Self {
            waits: DEFAULT_WAITS.map(Duration::from_secs).to_vec(),
            every: DAY,
            until: Some(30 * DAY),
            stop_on_gone: false,
        }
    }
}

/// Why a list of waits is no schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// No wait, or more than a hundred.
    #[error("a schedule lists 1 to 100 waits, not {0}")]
    Length(usize),
    /// A wait of under a millisecond or over a year.
    #[error("a schedule's waits are between 1ms and a year")]
    Wait,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The receiver has it.
    Delivered,
    /// Try again.
    RetryAt {
        /// Not before this time.
        at: DateTime<Utc>,
        /// The receiver answered 410 Gone: shown to the operator, and tried at the slow cadence only.
        gone: bool,
    },
    /// Do not try again: kept as a dead letter that can be replayed.
    Dead(DeadReason),
}

/// Why a callback is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadReason {
    /// The horizon has passed.
    Exhausted,
    /// 410 Gone, and the schedule stops on it.
    Gone,
}

impl Schedule {
    /// A schedule of these waits; the last one recurs until day 30.
    ///
    /// # Errors
    /// [`InvalidSchedule`].
    pub fn new(waits: &[Duration]) -> Result<Self, InvalidSchedule> {
        let Some((every, waits)) = waits.split_last().filter(|_| waits.len() <= WAITS_MAX) else {
            return Err(InvalidSchedule::Length(waits.len()));
        };
        let fits = |wait: &Duration| (Duration::from_millis(1)..=WAIT_MAX).contains(wait);
        if !fits(every) || !waits.iter().all(fits) {
            return Err(InvalidSchedule::Wait);
        }
        Ok(Self {
            waits: waits.to_vec(),
            every: *every,
            ..Self::default()
        })
    }

    /// How long after the first due time attempts go on; `None`: for ever.
    #[must_use]
    pub fn until(self, until: Option<Duration>) -> Self {
        Self { until, ..self }
    }

    /// Whether 410 Gone ends a delivery. Without it the receiver is asked again at the last wait (daily): the contract (seed 004) retries
    /// on any other code than 2xx, Standard Webhooks stops on this one.
    #[must_use]
    pub fn stop_on_gone(self, stop_on_gone: bool) -> Self {
        Self { stop_on_gone, ..self }
    }

    /// What to do now that attempt number `attempt` (from 1) has come to `outcome`.
    ///
    /// - The wait is multiplied by 0.8–1.2, chosen by `jitter_unit` (0–1), so that what failed together does not return
    ///   together.
    /// - `Retry-After` only ever lengthens the wait, and counts up to 24 h.
    /// - Past the horizon, counted from `first_due`, it ends; but the whole list is always walked first, so that a
    ///   delivery that fell due while the service was down is not given up after one attempt.
    #[must_use]
    pub fn next(
        &self,
        attempt: u32,
        first_due: DateTime<Utc>,
        now: DateTime<Utc>,
        jitter_unit: f64,
        outcome: &AttemptOutcome,
    ) -> Next {
        if outcome.is_success() {
            return Next::Delivered;
        }
        let gone = outcome.status == Some(410);
        if gone && self.stop_on_gone {
            return Next::Dead(DeadReason::Gone);
        }
        let step = usize::try_from(attempt.saturating_sub(1))
            .ok()
            .and_then(|index| self.waits.get(index));
        let wait = match step {
            Some(step) if gone => self.every.max(*step),
            Some(step) => *step,
            None => self.every,
        };
        let unit = if jitter_unit.is_finite() {
            jitter_unit.clamp(0.0, 1.0)
        } else {
            0.5
        };
        let wait = wait.mul_f64(0.8 + 0.4 * unit);
        let asked = outcome.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let at = later(now, wait.max(asked));
        match self.until {
            Some(until) if step.is_none() && at > later(first_due, until) => {
                Next::Dead(DeadReason::Exhausted)
            }
            Some(_) | None => Next::RetryAt { at, gone },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::DeliveryFailure;
    use super::*;
    use crate::clock::LAST_TIME;
    use chrono::TimeDelta;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn answer(status: u16, retry_after: Option<u64>) -> AttemptOutcome {
        AttemptOutcome {
            status: Some(status),
            error: None,
            retry_after: retry_after.map(Duration::from_secs),
            ..AttemptOutcome::failed(DeliveryFailure::RequestFailed, Duration::ZERO)
        }
    }

    fn unreachable() -> AttemptOutcome {
        AttemptOutcome::failed(DeliveryFailure::ConnectRefused, Duration::ZERO)
    }

    /// The wait in milliseconds after `attempt`, made right when it was due.
    fn wait(schedule: &Schedule, attempt: u32, jitter: f64, outcome: &AttemptOutcome) -> i64 {
        match schedule.next(attempt, at(0), at(0), jitter, outcome) {
            Next::RetryAt { at: due, .. } => (due - at(0)).num_milliseconds(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_default_waits_are_those_of_the_design_between_four_and_six_fifths() {
        let schedule = Schedule::default();
        let seconds = [1, 5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 86_400, 86_400];
        for (attempt, seconds) in (1..).zip(seconds) {
            for outcome in [
                unreachable(),
                answer(500, None),
                answer(404, None),
                answer(301, None),
            ] {
                assert_eq!(
                    wait(&schedule, attempt, 0.0, &outcome),
                    seconds * 800,
                    "{attempt}"
                );
                assert_eq!(
                    wait(&schedule, attempt, 0.5, &outcome),
                    seconds * 1_000,
                    "{attempt}"
                );
                assert_eq!(
                    wait(&schedule, attempt, 1.0, &outcome),
                    seconds * 1_200,
                    "{attempt}"
                );
            }
        }
        assert_eq!(wait(&schedule, 1, f64::NAN, &unreachable()), 1_000);
        assert_eq!(wait(&schedule, 1, 17.0, &unreachable()), 1_200);
    }

    #[test]
    fn a_receiver_that_never_recovers_is_tried_about_38_times_and_dead_by_day_30() {
        let schedule = Schedule::default();
        let (mut now, mut attempt) = (at(0), 1);
        loop {
            match schedule.next(attempt, at(0), now, 0.5, &unreachable()) {
                Next::RetryAt { at, gone } => {
                    assert!(at > now && !gone);
                    now = at;
                    attempt += 1;
                }
                Next::Dead(reason) => {
                    assert_eq!(reason, DeadReason::Exhausted);
                    break;
                }
                Next::Delivered => panic!("nothing was delivered"),
            }
        }
        assert!(now <= at(30 * 86_400) && now > at(29 * 86_400), "{now}");
        assert_eq!(attempt, 39);
    }

    #[test]
    fn any_2xx_ends_it_even_past_the_horizon() {
        for status in [200, 201, 202, 204, 206, 299] {
            assert_eq!(
                Schedule::default().next(99, at(0), at(99 * 86_400), 0.5, &answer(status, None)),
                Next::Delivered
            );
        }
    }

    #[test]
    fn retry_after_lengthens_a_wait_up_to_a_day_and_never_shortens_it() {
        let schedule = Schedule::default();
        for (attempt, asked, seconds) in [
            (1, 0, 1),
            (1, 60, 60),
            (4, 60, 120),
            (4, 121, 121),
            (1, 86_400, 86_400),
            (1, 86_401, 86_400),
            (1, u64::MAX, 86_400),
            (10, 60, 86_400),
        ] {
            for status in [429, 503] {
                assert_eq!(
                    wait(&schedule, attempt, 0.5, &answer(status, Some(asked))),
                    seconds * 1_000,
                    "{attempt} {asked}"
                );
            }
        }
        // The hint is a lower bound, so chance never undercuts it.
        assert_eq!(wait(&schedule, 1, 0.0, &answer(503, Some(60))), 60_000);
    }

    #[test]
    fn gone_is_flagged_and_tried_daily_or_ends_it_when_asked() {
        let schedule = Schedule::default();
        let gone = answer(410, None);
        assert_eq!(
            schedule.next(1, at(0), at(0), 0.5, &gone),
            Next::RetryAt {
                at: at(86_400),
                gone: true
            }
        );
        assert_eq!(
            schedule.next(30, at(0), at(30 * 86_400), 0.5, &gone),
            Next::Dead(DeadReason::Exhausted)
        );
        assert_eq!(
            schedule.stop_on_gone(true).next(1, at(0), at(0), 0.5, &gone),
            Next::Dead(DeadReason::Gone)
        );
    }

    #[test]
    fn the_whole_list_is_walked_even_when_the_service_was_down_past_the_horizon() {
        let schedule = Schedule::default();
        let late = at(40 * 86_400);
        for attempt in 1..=9 {
            assert!(matches!(
                schedule.next(attempt, at(0), late, 0.5, &unreachable()),
                Next::RetryAt { gone: false, .. }
            ));
        }
        assert_eq!(
            schedule.next(10, at(0), late, 0.5, &unreachable()),
            Next::Dead(DeadReason::Exhausted)
        );
    }

    #[test]
    fn a_list_of_waits_is_a_schedule_whose_last_wait_recurs() {
        let seconds = |list: &[u64]| {
            list.iter()
                .map(|wait| Duration::from_secs(*wait))
                .collect::<Vec<_>>()
        };
        let design = [&DEFAULT_WAITS[..], &[86_400]].concat();
        assert_eq!(Schedule::new(&seconds(&design)), Ok(Schedule::default()));
        let short = Schedule::new(&seconds(&[2, 7])).unwrap();
        for (attempt, wait_s) in [(1, 2), (2, 7), (3, 7), (99, 7)] {
            assert_eq!(wait(&short, attempt, 0.5, &unreachable()), wait_s * 1_000);
        }
        assert_eq!(wait(&short, 1, 0.5, &answer(410, None)), 7_000);
        assert_eq!(Schedule::new(&[]), Err(InvalidSchedule::Length(0)));
        assert_eq!(
            Schedule::new(&seconds(&[1; 101])),
            Err(InvalidSchedule::Length(101))
        );
        assert_eq!(Schedule::new(&seconds(&[1, 0])), Err(InvalidSchedule::Wait));
        assert_eq!(
            Schedule::new(&seconds(&[367 * 86_400, 1])),
            Err(InvalidSchedule::Wait)
        );
    }

    #[test]
    fn a_schedule_without_a_horizon_never_gives_up() {
        let schedule = Schedule::default().until(None);
        assert!(matches!(
            schedule.next(u32::MAX, at(0), at(9_999 * 86_400), 0.5, &unreachable()),
            Next::RetryAt { .. }
        ));
    }

    #[test]
    fn no_attempt_is_due_after_the_last_time_that_a_database_keeps() {
        let schedule = Schedule::default().until(None);
        for now in [
            LAST_TIME,
            LAST_TIME - TimeDelta::seconds(1),
            DateTime::<Utc>::MAX_UTC,
        ] {
            let next = schedule.next(50, at(0), now, 0.5, &answer(503, Some(u64::MAX)));
            assert_eq!(
                next,
                Next::RetryAt {
                    at: LAST_TIME,
                    gone: false
                }
            );
        }
        // What ends, ends there too.
        let until = Some(Duration::from_secs(u64::MAX));
        let next = Schedule::default()
            .until(until)
            .next(50, at(0), LAST_TIME, 0.5, &unreachable());
        assert_eq!(
            next,
            Next::RetryAt {
                at: LAST_TIME,
                gone: false
            }
        );
    }
}
