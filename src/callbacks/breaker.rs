//! A circuit breaker: when what it stands for is left alone, and for how long.

use super::options::ReceiverLimits;
use crate::clock::later;
use crate::store::callbacks::Circuit;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::VecDeque;
use std::time::Duration;

/// How many attempts are remembered at the most: the last moments of what is busy are sample enough.
const SAMPLES_KEPT: usize = 100;

/// An open circuit.
#[derive(Debug, Clone, Copy)]
struct Open {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    /// Other instances know it, so that one of them may close it.
    shared: bool,
}

/// A circuit.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// How often in a row it was opened.
    opened: u32,
    open: Option<Open>,
    /// The attempt under way is the probe of an open circuit.
    probing: bool,
    /// Attempts that ended lately, oldest first: when, and whether they failed.
    recent: VecDeque<(DateTime<Utc>, bool)>,
}

impl Breaker {
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it is open and not to be probed yet.
    pub(super) fn is_shut_off(&self, now: DateTime<Utc>) -> bool {
        self.open.is_some_and(|open| open.until > now)
    }

    /// The open circuit as instances share it.
    pub(super) fn circuit(&self, key: &str) -> Option<Circuit> {
        self.open.map(|open| Circuit {
            key: key.to_owned(),
            since: open.since,
            open_until: open.until,
            opened: self.opened,
        })
    }

    /// An attempt begins; what an operator asked for is no probe whose failure counts.
    pub(super) fn started(&mut self, now: DateTime<Utc>) {
        self.probing = self.open.is_some_and(|open| open.until <= now);
    }

    /// An attempt has ended without news.
    pub(super) const fn released(&mut self) {
        self.probing = false;
    }

    /// An attempt has ended well. Returns whether that closed the circuit.
    pub(super) fn succeeded(&mut self, limits: &ReceiverLimits, now: DateTime<Utc>) -> bool {
        self.note(limits, false, now);
        let was_open = self.open.is_some();
        let mut recent = std::mem::take(&mut self.recent);
        if was_open {
            // A circuit that closes begins anew: what opened it does not open it again.
            recent.clear();
        }
        *self = Self {
            recent,
            ..Self::default()
        };
        was_open
    }

    /// An attempt has failed. Returns how long the circuit stays open when this opened it.
    pub(super) fn failed(&mut self, limits: &ReceiverLimits, now: DateTime<Utc>) -> Option<Duration> {
        let flaky = self.note(limits, true, now);
        self.failures = self.failures.saturating_add(1);
        // What was under way when the circuit opened is no news.
        if (self.open.is_some() && !self.probing)
            || (self.open.is_none() && !flaky && self.failures < limits.failures)
        {
            return None;
        }
        let pause = limits
            .open_first
            .saturating_mul(2_u32.saturating_pow(self.opened))
            .min(limits.open_longest);
        let until = later(now, pause);
        self.opened = self.opened.saturating_add(1);
        self.probing = false;
        self.recent.clear();
        self.open = Some(Open {
            since: self.open.map_or(now, |open| open.since),
            until,
            shared: false,
        });
        Some(pause)
    }

    /// Other instances know by now that it is open.
    pub(super) const fn is_shared(&mut self) {
        if let Some(open) = &mut self.open {
            open.shared = true;
        }
    }

    /// Takes over what another instance knows, if that keeps it open longer.
    pub(super) fn adopt(&mut self, circuit: &Circuit) {
        if self.open.is_none_or(|open| open.until < circuit.open_until) {
            self.opened = circuit.opened;
            self.open = Some(Open {
                since: circuit.since,
                until: circuit.open_until,
                shared: true,
            });
        }
    }

    /// Another instance has closed it, unless nobody else has heard of it yet.
    pub(super) fn close_if_shared(&mut self) {
        if self.open.is_some_and(|open| open.shared) {
            *self = Self::default();
        }
    }

    /// Takes note of an attempt, and says whether half of the sample or more failed.
    fn note(&mut self, limits: &ReceiverLimits, failed: bool, now: DateTime<Utc>) -> bool {
        let oldest = TimeDelta::from_std(limits.window)
            .ok()
            .and_then(|window| now.checked_sub_signed(window));
        self.recent.push_back((now, failed));
        while self.recent.len() > SAMPLES_KEPT.max(limits.sample)
            || self.recent.front().is_some_and(|(at, _)| Some(*at) < oldest)
        {
            self.recent.pop_front();
        }
        let failures = self.recent.iter().filter(|(_, failed)| *failed).count();
        self.recent.len() >= limits.sample && failures * 2 >= self.recent.len()
    }
}
