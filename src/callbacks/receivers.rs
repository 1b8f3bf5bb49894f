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

/// Attempts under way at an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// To receivers that are not prompt, and not stalled yet.
    pub waiting: u32,
    /// Stalled.
    pub stalled: u32,
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

    /// Whether the receiver answered promptly the last time, and nothing speaks against its endpoint since.
    #[must_use]
    pub fn is_prompt(&self, receiver: &str) -> bool {
        self.known
            .get(receiver)
            .is_some_and(|known| known.prompt && !known.breaker.is_open())
            && !self
                .endpoints
                .get(endpoint_of(receiver))
                .is_some_and(Breaker::is_open)
    }

    /// How many more attempts each prompt receiver may have now, those with none left out.
    #[must_use]
    pub fn prompt_rooms(&self, now: DateTime<Utc>) -> Vec<(String, u32)> {
        self.known
            .iter()
            .filter(|(key, _)| self.is_prompt(key))
            .map(|(key, receiver)| (key.clone(), self.room(receiver, now)))
            .filter(|(_, room)| *room > 0)
            .collect()
    }

    /// The same for every other receiver that may have more or less than one, and 0 for the prompt ones. All others may have one.
    #[must_use]
    pub fn other_rooms(&self, now: DateTime<Utc>, busy: &BusyEndpoints<'_>) -> Vec<(String, u32)> {
        let crowded = |key: &str| {
            busy.get(endpoint_of(key))
                .is_some_and(|busy| busy.stalled >= self.limits.stalled_per_endpoint / 2)
        };
        self.known
            .iter()
            .map(|(key, receiver)| {
                let waits = self.is_prompt(key) || (receiver.failed && crowded(key));
                let room = if waits { 0 } else { self.room(receiver, now) };
                (key.clone(), room)
            })
            .filter(|(_, room)| *room != 1)
            .collect()
    }

    /// How many more attempts of a lane all receivers of an endpoint may have that are not prompt, where it is not
    /// [`Self::per_endpoint`].
    #[must_use]
    pub fn endpoint_rooms(
        &self,
        now: DateTime<Utc>,
        lane: Lane,
        busy: &BusyEndpoints<'_>,
    ) -> Vec<(String, u32)> {
        let mut endpoints: HashSet<&str> = busy.keys().copied().collect();
        let open = self.endpoints.iter().filter(|(_, breaker)| breaker.is_open());
        endpoints.extend(open.map(|(endpoint, _)| endpoint.as_str()));
        let stalled_limit = match lane {
            Lane::First => self.limits.stalled_per_endpoint,
            Lane::Retry => self.limits.stalled_per_endpoint / 2,
        };
        endpoints
            .into_iter()
            .map(|endpoint| {
                let Busy { waiting, stalled } = busy.get(endpoint).copied().unwrap_or_default();
                let (at_once, stalled_limit) = match self.endpoints.get(endpoint) {
                    Some(breaker) if breaker.is_shut_off(now) => (0, 0),
                    Some(breaker) if breaker.is_open() => (1, STALLED_PROBES),
                    Some(_) | None => (self.per_endpoint(lane), stalled_limit),
                };
                let room = if stalled >= stalled_limit {
                    0
                } else {
                    at_once.saturating_sub(waiting)
                };
                (endpoint.to_owned(), room)
            })
            .collect()
    }

    /// How many attempts of a lane at once all receivers of an endpoint may have that are not prompt.
    #[must_use]
    pub fn per_endpoint(&self, lane: Lane) -> u32 {
        match lane {
            Lane::First => self.limits.per_endpoint,
            Lane::Retry => (self.limits.per_endpoint / 2).max(1),
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

#[cfg(test)]
mod tests;
