//! When a callback that did not arrive is tried again. Pure: time and chance come in.

use super::outcome::AttemptOutcome;
use chrono::{DateTime, TimeDelta, Utc};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest wait that a receiver can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest duration that a schedule may name, so that sums of them stay within the calendar.
const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// The most waits that a list may name.
const STEPS_MAX: usize = 100;
/// The default: DESIGN.md, "Callbacks".
const DEFAULT_STEPS: [u64; 9] = [1, 5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The waits between attempts: a list that is walked once, then one cadence until the horizon.
///
/// As text: `1s,5s,30s,2m,10m,30m,2h,5h,10h then 24h until 30d` (durations as in the `humantime` crate). The end may be
/// left out, in parts or whole: a list alone means `then 24h until 30d`. `until forever` never gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    steps: Vec<Duration>,
    every: Duration,
    until: Option<Duration>,
    stop_on_gone: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            steps: DEFAULT_STEPS.map(Duration::from_secs).to_vec(),
            every: DAY,
            until: Some(30 * DAY),
            stop_on_gone: false,
        }
    }
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// Not a duration between a millisecond and ten years.
    #[error("'{0}' is not a duration between 1ms and 10 years, such as 30s, 10m or 24h")]
    Duration(String),
    /// More than a hundred waits.
    #[error("a schedule lists at most 100 waits")]
    TooManySteps,
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
    /// Whether 410 Gone ends a delivery. Without it the receiver is asked again daily: the contract (seed 004) retries
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
            .and_then(|index| self.steps.get(index));
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
        let at = after(now, wait.max(asked));
        match self.until {
            Some(until) if step.is_none() && at > after(first_due, until) => {
                Next::Dead(DeadReason::Exhausted)
            }
            Some(_) | None => Next::RetryAt { at, gone },
        }
    }
}

/// `time + wait`, or the end of the calendar.
fn after(time: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(wait)
        .ok()
        .and_then(|wait| time.checked_add_signed(wait))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let default = Self::default();
        let (text, until) = match text.split_once(" until ") {
            Some((text, until)) if until.trim() == "forever" => (text, None),
            Some((text, until)) => (text, Some(duration(until)?)),
            None => (text, default.until),
        };
        let (list, every) = match text.split_once(" then ") {
            Some((list, every)) => (list, duration(every)?),
            None => (text, default.every),
        };
        let steps = list.split(',').map(duration).collect::<Result<Vec<_>, _>>()?;
        if steps.len() > STEPS_MAX {
            return Err(InvalidSchedule::TooManySteps);
        }
        Ok(Self {
            steps,
            every,
            until,
            stop_on_gone: false,
        })
    }
}

fn duration(text: &str) -> Result<Duration, InvalidSchedule> {
    let text = text.trim();
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| (Duration::from_millis(1)..=DURATION_MAX).contains(duration))
        .ok_or_else(|| InvalidSchedule::Duration(text.to_owned()))
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", humantime::format_duration(*step))?;
        }
        write!(f, " then {} until ", humantime::format_duration(self.every))?;
        match self.until {
            Some(until) => write!(f, "{}", humantime::format_duration(until)),
            None => f.write_str("forever"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Failure;
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn answer(status: u16, retry_after: Option<u64>) -> AttemptOutcome {
        AttemptOutcome {
            status: Some(status),
            error: None,
            retry_after: retry_after.map(Duration::from_secs),
            ..AttemptOutcome::failed(Failure::RequestFailed, Duration::ZERO)
        }
    }

    fn unreachable() -> AttemptOutcome {
        AttemptOutcome::failed(Failure::ConnectRefused, Duration::ZERO)
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
    fn a_schedule_is_read_from_text_and_written_back() {
        let default = "1s,5s,30s,2m,10m,30m,2h,5h,10h then 1day until 30days";
        assert_eq!(Schedule::default().to_string(), default);
        for (text, written) in [
            (default, default),
            ("1s, 5s,30s,2m,10m,30m,2h,5h,10h", default),
            ("1s,5s,30s,2m,10m,30m,2h,5h,10h then 24h until 30d", default),
            ("10ms then 1s until forever", "10ms then 1s until forever"),
            ("1m 30s then 2h", "1m 30s then 2h until 30days"),
            ("5s until 1h", "5s then 1day until 1h"),
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), written);
            assert_eq!(written.parse::<Schedule>().unwrap(), schedule);
        }
        for bad in [
            "",
            ",",
            "5",
            "5s,",
            "0s",
            "-5s",
            "1s then",
            "1s then x",
            "1s until never",
            "11years",
            "1s 2x",
        ] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        assert_eq!(
            vec!["1s"; 101].join(",").parse::<Schedule>(),
            Err(InvalidSchedule::TooManySteps)
        );
    }

    #[test]
    fn a_schedule_without_a_horizon_never_gives_up() {
        let schedule: Schedule = "1s then 1h until forever".parse().unwrap();
        assert!(matches!(
            schedule.next(u32::MAX, at(0), at(9_999 * 86_400), 0.5, &unreachable()),
            Next::RetryAt { .. }
        ));
        assert!(matches!(
            schedule.next(5, at(0), DateTime::<Utc>::MAX_UTC, 0.5, &unreachable()),
            Next::RetryAt { .. }
        ));
    }
}
