//! What the worker knows of receivers: how many attempts each may have at once, and whose circuit is open.
//!
//! | receiver | attempts at once |
//! |---|---|
//! | not known yet, or silent the last time | 1 |
//! | answered the last time, whatever it said | [`ReceiverLimits::per_receiver`] |
//! | silent [`ReceiverLimits::failures`] times in a row, or half the time ([`ReceiverLimits::sample`]) | none for a while, then one probe, the while doubling |
//!
//! Starting with one attempt keeps a thousand receivers that never answer from filling every slot at once.

use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Limits for each receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// Attempts at once to one that answers.
    pub per_receiver: u32,
    /// Failures to answer in a row that open its circuit.
    pub failures: u32,
    /// When so many attempts have ended within `window` and half of them or more in silence, that opens it as well: a
    /// receiver that answers every other time never fails often in a row.
    pub sample: usize,
    /// How far back `sample` looks.
    pub window: Duration,
    /// How long the circuit stays open at first; doubles with each probe that fails.
    pub open_first: Duration,
    /// The longest that it stays open.
    pub open_longest: Duration,
    /// An answer within this time makes a receiver prompt.
    pub patience: Duration,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self {
            per_receiver: 8,
            failures: 5,
            sample: 20,
            window: Duration::from_secs(60),
            open_first: Duration::from_secs(30),
            open_longest: Duration::from_secs(600),
            patience: Duration::from_millis(500),
        }
    }
}

/// Receivers that are forgotten first when there are more: those that answer and have nothing under way.
const REMEMBERED: usize = 10_000;

/// How many attempts are remembered of a receiver at the most: a busy one's last moments are sample enough.
const SAMPLES_KEPT: usize = 100;

#[derive(Debug, Default)]
struct Receiver {
    in_flight: u32,
    /// It answered the last time.
    answers: bool,
    /// It did so within the patience.
    prompt: bool,
    /// Failures to answer in a row.
    failures: u32,
    /// How often in a row its circuit was opened.
    opened: u32,
    open_until: Option<DateTime<Utc>>,
    /// The attempt under way is the probe of an open circuit.
    probing: bool,
    /// Attempts that ended lately, oldest first: when, and whether in silence.
    recent: VecDeque<(DateTime<Utc>, bool)>,
}

impl Receiver {
    /// Takes note of an attempt, and says whether half of the sample or more were silent.
    fn is_flaky(&mut self, limits: &ReceiverLimits, silent: bool, now: DateTime<Utc>) -> bool {
        let oldest = TimeDelta::from_std(limits.window)
            .ok()
            .and_then(|window| now.checked_sub_signed(window));
        self.recent.push_back((now, silent));
        while self.recent.len() > SAMPLES_KEPT.max(limits.sample)
            || self.recent.front().is_some_and(|(at, _)| Some(*at) < oldest)
        {
            self.recent.pop_front();
        }
        let failed = self.recent.iter().filter(|(_, silent)| *silent).count();
        self.recent.len() >= limits.sample && failed * 2 >= self.recent.len()
    }
}

/// The receivers that the worker knows.
#[derive(Debug)]
pub struct Receivers {
    limits: ReceiverLimits,
    known: HashMap<String, Receiver>,
}

impl Receivers {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(limits: ReceiverLimits) -> Self {
        Self {
            limits,
            known: HashMap::new(),
        }
    }

    /// Whether the receiver answered promptly the last time.
    #[must_use]
    pub fn is_prompt(&self, host: &str) -> bool {
        self.known.get(host).is_some_and(|receiver| receiver.prompt)
    }

    /// How many circuits are open.
    #[must_use]
    pub fn open_circuits(&self) -> usize {
        let open = |receiver: &&Receiver| receiver.open_until.is_some();
        self.known.values().filter(open).count()
    }

    /// How many more attempts each prompt receiver may have now, those with none left out.
    #[must_use]
    pub fn prompt_rooms(&self, now: DateTime<Utc>) -> Vec<(String, u32)> {
        self.rooms(now, |receiver| receiver.prompt)
            .filter(|(_, room)| *room > 0)
            .collect()
    }

    /// The same for every other receiver that is known, and 0 for the prompt ones. Unknown ones may have one.
    #[must_use]
    pub fn other_rooms(&self, now: DateTime<Utc>) -> Vec<(String, u32)> {
        self.rooms(now, |_| true)
            .map(|(host, room)| {
                let room = if self.is_prompt(&host) { 0 } else { room };
                (host, room)
            })
            .collect()
    }

    fn rooms(
        &self,
        now: DateTime<Utc>,
        wanted: impl Fn(&Receiver) -> bool,
    ) -> impl Iterator<Item = (String, u32)> {
        self.known
            .iter()
            .filter(move |(_, receiver)| wanted(receiver))
            .map(move |(host, receiver)| (host.clone(), self.room(receiver, now)))
    }

    fn room(&self, receiver: &Receiver, now: DateTime<Utc>) -> u32 {
        let at_once = match receiver.open_until {
            Some(until) if until > now => 0,
            Some(_) => 1,
            None if receiver.answers => self.limits.per_receiver,
            None => 1,
        };
        at_once.saturating_sub(receiver.in_flight)
    }

    /// An attempt begins.
    pub fn started(&mut self, host: &str) {
        let receiver = self.known.entry(host.to_owned()).or_default();
        receiver.in_flight += 1;
        receiver.probing = receiver.open_until.is_some();
    }

    /// An attempt has ended that was not made after all: nothing is learned from it.
    pub fn released(&mut self, host: &str) {
        if let Some(receiver) = self.known.get_mut(host) {
            receiver.in_flight = receiver.in_flight.saturating_sub(1);
            receiver.probing = false;
        }
    }

    /// An attempt has ended: after `answered` when a status line came, else in silence.
    ///
    /// Returns how long the circuit stays open when this attempt opened it.
    pub fn finished(
        &mut self,
        host: &str,
        answered: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Option<Duration> {
        let receiver = self.known.entry(host.to_owned()).or_default();
        receiver.in_flight = receiver.in_flight.saturating_sub(1);
        let flaky = receiver.is_flaky(&self.limits, answered.is_none(), now);
        if let Some(duration) = answered {
            let mut recent = std::mem::take(&mut receiver.recent);
            if receiver.open_until.is_some() {
                // A circuit that closes begins anew: what opened it does not open it again.
                recent.clear();
            }
            *receiver = Receiver {
                in_flight: receiver.in_flight,
                answers: true,
                prompt: duration <= self.limits.patience,
                recent,
                ..Receiver::default()
            };
            self.forget_some();
            return None;
        }
        receiver.answers = false;
        receiver.prompt = false;
        receiver.failures = receiver.failures.saturating_add(1);
        let open = receiver.open_until.is_some();
        // What was under way when the circuit opened is no news.
        if (open && !receiver.probing) || (!open && !flaky && receiver.failures < self.limits.failures) {
            return None;
        }
        let pause = self
            .limits
            .open_first
            .saturating_mul(2_u32.saturating_pow(receiver.opened))
            .min(self.limits.open_longest);
        receiver.opened = receiver.opened.saturating_add(1);
        receiver.probing = false;
        receiver.recent.clear();
        receiver.open_until = TimeDelta::from_std(pause)
            .ok()
            .and_then(|pause| now.checked_add_signed(pause));
        Some(pause)
    }

    fn forget_some(&mut self) {
        if self.known.len() > REMEMBERED {
            self.known
                .retain(|_, receiver| receiver.in_flight > 0 || receiver.failures > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "a:80";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn room(receivers: &Receivers, now: DateTime<Utc>) -> u32 {
        let rooms = receivers.prompt_rooms(now).into_iter();
        rooms
            .chain(receivers.other_rooms(now))
            .map(|(_, room)| room)
            .max()
            .unwrap()
    }

    fn attempt(receivers: &mut Receivers, answered: Option<u64>, now: DateTime<Utc>) -> Option<Duration> {
        receivers.started(HOST);
        receivers.finished(HOST, answered.map(Duration::from_millis), now)
    }

    #[test]
    fn a_receiver_gets_one_attempt_until_it_answers_and_eight_then() {
        let mut receivers = Receivers::new(ReceiverLimits::default());
        assert_eq!(receivers.other_rooms(at(0)), []);
        receivers.started(HOST);
        assert_eq!(room(&receivers, at(0)), 0);
        receivers.finished(HOST, Some(Duration::from_millis(3)), at(0));
        assert_eq!(receivers.prompt_rooms(at(0)), [(HOST.to_owned(), 8)]);
        assert_eq!(receivers.other_rooms(at(0)), [(HOST.to_owned(), 0)]);
        receivers.started(HOST);
        receivers.started(HOST);
        assert_eq!(room(&receivers, at(0)), 6);
    }

    #[test]
    fn a_slow_answer_makes_a_receiver_slow_but_not_silent() {
        let mut receivers = Receivers::new(ReceiverLimits::default());
        attempt(&mut receivers, Some(9_000), at(0));
        assert_eq!(receivers.prompt_rooms(at(0)), []);
        assert_eq!(receivers.other_rooms(at(0)), [(HOST.to_owned(), 8)]);
    }

    #[test]
    fn five_silent_attempts_open_the_circuit_and_one_probe_at_a_time_tries_it_later() {
        let mut receivers = Receivers::new(ReceiverLimits::default());
        for _ in 0..4 {
            assert_eq!(attempt(&mut receivers, None, at(0)), None);
            assert_eq!(room(&receivers, at(0)), 1);
        }
        let mut now = 0;
        for pause in [30, 60, 120, 240, 480, 600, 600] {
            assert_eq!(
                attempt(&mut receivers, None, at(now)),
                Some(Duration::from_secs(pause.try_into().unwrap()))
            );
            assert_eq!(room(&receivers, at(now + pause - 1)), 0);
            now += pause;
            assert_eq!(room(&receivers, at(now)), 1);
        }
        receivers.started(HOST);
        assert_eq!(room(&receivers, at(now)), 0, "the probe is under way");
        receivers.finished(HOST, Some(Duration::ZERO), at(now));
        assert_eq!(room(&receivers, at(now)), 8);
        assert_eq!(receivers.open_circuits(), 0);
    }

    #[test]
    fn what_fails_together_opens_a_circuit_once() {
        let mut receivers = Receivers::new(ReceiverLimits::default());
        attempt(&mut receivers, Some(1), at(0));
        for _ in 0..8 {
            receivers.started(HOST);
        }
        let opened: Vec<_> = (0..8)
            .filter_map(|_| receivers.finished(HOST, None, at(1)))
            .collect();
        assert_eq!(opened, [Duration::from_secs(30)]);
    }

    #[test]
    fn an_answer_of_any_status_between_failures_keeps_the_circuit_closed_for_nineteen_attempts() {
        let mut receivers = Receivers::new(ReceiverLimits::default());
        for number in 0..19 {
            let answered = (number % 5 == 4).then_some(1);
            assert_eq!(attempt(&mut receivers, answered, at(0)), None);
        }
        assert_eq!(
            attempt(&mut receivers, None, at(0)),
            Some(Duration::from_secs(30))
        );
        assert_eq!(room(&receivers, at(29)), 0);
        // The probe that answers forgets what opened the circuit.
        assert_eq!(attempt(&mut receivers, Some(1), at(30)), None);
        for _ in 0..4 {
            assert_eq!(attempt(&mut receivers, None, at(30)), None);
        }
    }

    #[test]
    fn half_of_twenty_attempts_in_a_minute_open_the_circuit() {
        let mut receivers = Receivers::new(ReceiverLimits::default());
        let alternating = |number: i64| (number % 2 == 0).then_some(1);
        for number in 0..19 {
            assert_eq!(attempt(&mut receivers, alternating(number), at(number)), None);
        }
        assert_eq!(
            attempt(&mut receivers, alternating(19), at(19)),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn fewer_than_half_or_fewer_than_twenty_in_a_minute_do_not() {
        let mut receivers = Receivers::new(ReceiverLimits::default());
        for number in 0..500 {
            // Two of five are silent.
            assert_eq!(
                attempt(&mut receivers, (number % 5 > 1).then_some(1), at(0)),
                None
            );
        }
        let mut receivers = Receivers::new(ReceiverLimits::default());
        for number in 0..500 {
            // Every other one is, and nineteen come in a minute.
            assert_eq!(
                attempt(
                    &mut receivers,
                    (number % 2 == 0).then_some(1),
                    at(number * 60 / 18)
                ),
                None
            );
        }
    }
}
