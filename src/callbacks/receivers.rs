//! What the worker knows of receivers: how many attempts each may have at once, and whose circuit is open.
//!
//! A **receiver** is one URL; many share an **endpoint**: scheme, host and port. What an attempt came to speaks of one or both:
//!
//! | an attempt ended | its receiver | its endpoint |
//! |---|---|---|
//! | with a status line, whatever it says | answers | can be reached |
//! | without one, though a connection was made (silence, a handshake that failed, no HTTP) | failed | can be reached |
//! | without one, before a connection was tried (no address, a refused address) | failed | no news |
//! | without a connection | no news | failed |
//!
//! So whatever one tenant's URL does, the circuit of another URL stays closed; and where nobody can be reached, one attempt
//! finds out for all.
//!
//! | | attempts at once |
//! |---|---|
//! | a receiver that is not known yet, or failed the last time | 1 |
//! | one that answered the last time | [`ReceiverLimits::per_receiver`] |
//! | receivers of one endpoint that are not known to answer promptly | [`ReceiverLimits::per_endpoint`], as long as they are not stalled |
//! | whose circuit is open: failed [`ReceiverLimits::failures`] times in a row, or half the time ([`ReceiverLimits::sample`]) | none for a while, then one probe, the while doubling |
//!
//! Starting with one attempt keeps a thousand receivers that never answer from filling every slot at once.
//!
//! # Many that never answer, at one endpoint
//! Those that answered the last time ([`Standing`]) are claimed by name, on places of their own. The others are found on a walk, first
//! attempts and retries on places of their own each ([`super::options::WorkerOptions::places_of`]). Of what is free, an endpoint gets half
//! at the most, so that something is left for the next one. Among first attempts those give way that have waited longest, see
//! `slots.rs`; retries have their whole time, and an endpoint holds no more of their places than it leaves to all others.

use super::breaker::Breaker;
pub use super::options::ReceiverLimits;
use super::outcome::Evidence;
use crate::store::callbacks::{CIRCUITS_MAX, Circuit, CircuitChange, Lane, endpoint_of};
use chrono::{DateTime, Utc};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Receivers that are forgotten first when there are more: those with nothing under way and no open circuit.
const REMEMBERED: usize = 10_000;
/// Probes of an endpoint that may be stalled: their connections are made, or nobody answers there.
const STALLED_PROBES: u32 = 4;

#[derive(Debug, Default)]
struct Receiver {
    in_flight: u32,
    /// It answered the last time.
    answers: bool,
    /// It did so within the patience.
    prompt: bool,
    /// It did not answer the last time.
    failed: bool,
    breaker: Breaker,
}

/// How a receiver did the last time, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It answered promptly, and nothing speaks against its endpoint since.
    Prompt,
    /// It answered.
    Slow,
    /// It did not, or is not known.
    Unproven,
}

impl Standing {
    /// All, the one to serve first at the front.
    pub const ALL: [Self; 3] = [Self::Prompt, Self::Slow, Self::Unproven];
}

/// Attempts of a kind under way at an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Not stalled yet.
    pub waiting: u32,
    /// Stalled.
    pub stalled: u32,
}

impl Held {
    const fn all(self) -> u32 {
        self.waiting + self.stalled
    }
}

/// Attempts under way at an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// To prompt receivers.
    pub prompt: Held,
    /// To slow ones.
    pub slow: Held,
    /// To the others, of deliveries that were never attempted.
    pub new: Held,
    /// To the others, of the rest.
    pub again: Held,
}

/// The attempts under way, by endpoint.
pub type BusyEndpoints<'a> = HashMap<&'a str, Busy>;

/// A circuit that was opened just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedCircuit {
    /// The receiver or endpoint that it stands for.
    pub key: String,
    /// How long it stays open.
    pub pause: Duration,
}

/// The receivers that the worker knows.
#[derive(Debug)]
pub struct Receivers {
    limits: ReceiverLimits,
    known: HashMap<String, Receiver>,
    /// Endpoints that could not be reached lately.
    endpoints: HashMap<String, Breaker>,
    /// What other instances do not know yet.
    changes: Vec<CircuitChange>,
}

impl Receivers {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(limits: ReceiverLimits) -> Self {
        Self {
            limits,
            known: HashMap::new(),
            endpoints: HashMap::new(),
            changes: Vec::new(),
        }
    }

    /// How many circuits are open.
    #[must_use]
    pub fn open_circuits(&self) -> usize {
        let receivers = self.known.values().map(|receiver| &receiver.breaker);
        let all = receivers.chain(self.endpoints.values());
        all.filter(|breaker| breaker.is_open()).count()
    }

    fn standing(&self, key: &str, receiver: &Receiver, busy: &BusyEndpoints<'_>) -> Standing {
        let endpoint = endpoint_of(key);
        if !receiver.answers
            || receiver.breaker.is_open()
            || self.endpoints.get(endpoint).is_some_and(Breaker::is_open)
        {
            return Standing::Unproven;
        }
        let in_doubt = busy
            .get(endpoint)
            .is_some_and(|busy| busy.prompt.stalled >= self.limits.crowd);
        if receiver.prompt && !in_doubt {
            Standing::Prompt
        } else {
            Standing::Slow
        }
    }

    /// How many more attempts each receiver of this standing may have now, those with none left out, in alphabetical order from the
    /// first on that follows `after`. `free`: so many places there are for slow ones, of which an endpoint leaves as many to all others
    /// as it holds.
    #[must_use]
    pub fn named_slots(
        &self,
        standing: Standing,
        now: DateTime<Utc>,
        busy: &BusyEndpoints<'_>,
        (free, after): (usize, &str),
    ) -> Vec<(String, u32)> {
        let mut slots: Vec<(String, u32)> = self
            .known
            .iter()
            .filter(|(key, receiver)| self.standing(key, receiver, busy) == standing)
            .map(|(key, receiver)| (key.clone(), self.room(receiver, now)))
            .filter(|(_, room)| *room > 0)
            .collect();
        slots.sort_unstable();
        let split = slots.partition_point(|(receiver, _)| receiver.as_str() <= after);
        slots.rotate_left(split);
        if standing == Standing::Slow {
            let mut left: HashMap<String, u32> = HashMap::new();
            for (receiver, room) in &mut slots {
                let endpoint = endpoint_of(receiver);
                let left = left.entry(endpoint.to_owned()).or_insert_with(|| {
                    let held = busy.get(endpoint).map_or(0, |busy| busy.slow.all());
                    half(free, held)
                });
                *room = (*room).min(*left);
                *left -= *room;
            }
            slots.retain(|(_, room)| *room > 0);
        }
        slots
    }

    /// The same for every unproven receiver that may have more or less than one, and 0 for all that are not. All others may have one.
    #[must_use]
    pub fn other_slots(
        &self,
        now: DateTime<Utc>,
        lane: Lane,
        busy: &BusyEndpoints<'_>,
    ) -> Vec<(String, u32)> {
        let crowded = |key: &str| {
            lane == Lane::First
                && busy
                    .get(endpoint_of(key))
                    .is_some_and(|busy| busy.new.all() >= self.limits.crowd)
        };
        self.known
            .iter()
            .map(|(key, receiver)| {
                let waits = self.standing(key, receiver, busy) != Standing::Unproven
                    || (receiver.failed && crowded(key));
                let room = if waits { 0 } else { self.room(receiver, now) };
                (key.clone(), room)
            })
            .filter(|(_, room)| *room != 1)
            .collect()
    }

    /// How many more attempts of a lane all unproven receivers of an endpoint may have, where it is not [`Self::per_endpoint`]. `free`: so
    /// many places there are for them.
    #[must_use]
    pub fn endpoint_slots(
        &self,
        now: DateTime<Utc>,
        lane: Lane,
        busy: &BusyEndpoints<'_>,
        free: usize,
    ) -> Vec<(String, u32)> {
        let mut endpoints: HashSet<&str> = busy.keys().copied().collect();
        let open = self.endpoints.iter().filter(|(_, breaker)| breaker.is_open());
        endpoints.extend(open.map(|(endpoint, _)| endpoint.as_str()));
        endpoints
            .into_iter()
            .map(|endpoint| {
                let Busy { new, again, .. } = busy.get(endpoint).copied().unwrap_or_default();
                let room = match self.endpoints.get(endpoint) {
                    Some(breaker) if breaker.is_shut_off(now) => 0,
                    Some(breaker) if breaker.is_open() => {
                        let probing = new.waiting + again.waiting > 0;
                        u32::from(!probing && new.stalled + again.stalled < STALLED_PROBES)
                    }
                    Some(_) | None => self.room_of_endpoint(lane, free, new, again),
                };
                (endpoint.to_owned(), room)
            })
            .collect()
    }

    /// How many attempts of a lane at once the unproven receivers of an endpoint may have that has none under way.
    #[must_use]
    pub fn per_endpoint(&self, lane: Lane, free: usize) -> u32 {
        self.room_of_endpoint(lane, free, Held::default(), Held::default())
    }

    fn room_of_endpoint(&self, lane: Lane, free: usize, new: Held, again: Held) -> u32 {
        let at_once = self.limits.per_endpoint;
        match lane {
            // Silence is no reason to wait with the others, who may all be well. It is no reason either to hold on to a place: those
            // that have waited longest give way.
            Lane::First => at_once
                .max(self.limits.per_stalled.saturating_mul(new.stalled))
                .saturating_sub(new.waiting)
                .min(half(free, 0)),
            Lane::Retry => (at_once / 2)
                .max(1)
                .saturating_sub(again.waiting)
                .min(half(free, again.all())),
        }
    }

    fn room(&self, receiver: &Receiver, now: DateTime<Utc>) -> u32 {
        let at_once = if receiver.breaker.is_shut_off(now) {
            0
        } else if receiver.answers && !receiver.breaker.is_open() {
            self.limits.per_receiver
        } else {
            1
        };
        at_once.saturating_sub(receiver.in_flight)
    }

    /// An attempt begins.
    pub fn started(&mut self, receiver: &str, now: DateTime<Utc>) {
        if let Some(breaker) = self.endpoints.get_mut(endpoint_of(receiver)) {
            breaker.started(now);
        }
        let known = self.known.entry(receiver.to_owned()).or_default();
        known.in_flight += 1;
        known.breaker.started(now);
    }

    /// An attempt has ended that was not made after all: nothing is learned from it.
    pub fn released(&mut self, receiver: &str) {
        if let Some(known) = self.known.get_mut(receiver) {
            known.in_flight = known.in_flight.saturating_sub(1);
            known.breaker.released();
        }
        if let Some(breaker) = self.endpoints.get_mut(endpoint_of(receiver)) {
            breaker.released();
        }
    }

    /// An attempt has ended.
    ///
    /// Returns the circuit that this attempt opened, if it did.
    pub fn finished(
        &mut self,
        receiver: &str,
        evidence: Evidence,
        now: DateTime<Utc>,
    ) -> Option<OpenedCircuit> {
        self.forget_some();
        let endpoint = endpoint_of(receiver);
        let known = self.known.entry(receiver.to_owned()).or_default();
        known.in_flight = known.in_flight.saturating_sub(1);
        known.answers = matches!(evidence, Evidence::Answered(_));
        known.prompt = matches!(evidence, Evidence::Answered(within) if within <= self.limits.patience);
        known.failed = !known.answers;
        let (opened, breaker, key) = match evidence {
            Evidence::Answered(_) => {
                if known.breaker.succeeded(&self.limits, now) {
                    self.changes.push(CircuitChange::Closed(receiver.to_owned()));
                }
                self.reached(endpoint, now);
                return None;
            }
            Evidence::Failed { reached } => {
                let opened = known.breaker.failed(&self.limits, now);
                if reached {
                    self.reached(endpoint, now);
                } else if let Some(breaker) = self.endpoints.get_mut(endpoint) {
                    breaker.released();
                }
                (
                    opened,
                    self.known.get(receiver).map(|known| &known.breaker),
                    receiver,
                )
            }
            Evidence::Unreachable => {
                known.breaker.released();
                let breaker = self.endpoints.entry(endpoint.to_owned()).or_default();
                let opened = breaker.failed(&self.limits, now);
                (opened, self.endpoints.get(endpoint), endpoint)
            }
        };
        let pause = opened?;
        let circuit = breaker.and_then(|breaker| breaker.circuit(key))?;
        self.changes.push(CircuitChange::Opened(circuit));
        Some(OpenedCircuit {
            key: key.to_owned(),
            pause,
        })
    }

    /// A connection to an endpoint was made.
    fn reached(&mut self, endpoint: &str, now: DateTime<Utc>) {
        // Only those are remembered that could not be reached lately.
        if let Some(breaker) = self.endpoints.get_mut(endpoint)
            && breaker.succeeded(&self.limits, now)
        {
            self.changes.push(CircuitChange::Closed(endpoint.to_owned()));
        }
    }

    /// What happened to circuits that other instances do not know yet.
    #[must_use]
    pub fn changes(&self) -> &[CircuitChange] {
        &self.changes
    }

    /// Other instances know all [`Self::changes`] by now.
    pub fn told(&mut self) {
        for change in std::mem::take(&mut self.changes) {
            if let CircuitChange::Opened(circuit) = change
                && let Some(breaker) = self.breaker(&circuit.key)
            {
                breaker.is_shared();
            }
        }
    }

    /// Takes over the circuits that all instances know, after they were [told](Self::told) this one's changes.
    pub fn adopt(&mut self, circuits: &[Circuit]) {
        if circuits.len() < CIRCUITS_MAX {
            let open: HashSet<&str> = circuits.iter().map(|circuit| circuit.key.as_str()).collect();
            let receivers = self.known.iter_mut();
            let all = receivers
                .map(|(key, receiver)| (key, &mut receiver.breaker))
                .chain(self.endpoints.iter_mut());
            for (key, breaker) in all {
                if !open.contains(key.as_str()) {
                    breaker.close_if_shared();
                }
            }
        }
        for circuit in circuits {
            if circuit.is_of_endpoint() {
                self.endpoints
                    .entry(circuit.key.clone())
                    .or_default()
                    .adopt(circuit);
            } else {
                self.known
                    .entry(circuit.key.clone())
                    .or_default()
                    .breaker
                    .adopt(circuit);
            }
        }
    }

    fn breaker(&mut self, key: &str) -> Option<&mut Breaker> {
        match self.known.get_mut(key) {
            Some(receiver) => Some(&mut receiver.breaker),
            None => self.endpoints.get_mut(key),
        }
    }

    /// Whether an attempt to one that is not known to answer changes what may begin by the mere passing of time.
    #[must_use]
    pub fn is_moving(lane: Lane, busy: &BusyEndpoints<'_>) -> bool {
        busy.values().any(|busy| match lane {
            Lane::First => busy.new.all() > 0,
            Lane::Retry => busy.again.waiting > 0,
        })
    }

    fn forget_some(&mut self) {
        if self.known.len() > REMEMBERED {
            self.known
                .retain(|_, receiver| receiver.in_flight > 0 || receiver.breaker.is_open());
        }
        if self.endpoints.len() > REMEMBERED {
            self.endpoints.retain(|_, breaker| breaker.is_open());
        }
    }
}

/// Half of what is free for whoever holds so many already: what he leaves is no less than what he then has.
fn half(free: usize, held: u32) -> u32 {
    let free = u32::try_from(free).unwrap_or(u32::MAX);
    free.saturating_sub(held).div_ceil(2)
}

#[cfg(test)]
mod tests;
