//! The attempts under way, and who gets the next slots.
//!
//! # Who gives way
//! When three quarters of the places for first attempts to receivers that are not known to answer are taken, those that have waited
//! longest for an answer, but not less than [`super::options::ReceiverLimits::gives_way`], give theirs up, at the endpoint that has most
//! of them first. So there is always a place for the next one, and however many are silent, each is tried. What gave way is tried again as
//! the schedule says, then for its whole time.

use super::attempt::{Sender, Sent};
use super::options::{Kind, WorkerOptions};
use super::outcome::Evidence;
use super::receivers::{BusyEndpoints, Receivers, Standing};

use crate::store::callbacks::{AttemptRecord, ClaimedDelivery, Lane, endpoint_of};
use chrono::{DateTime, Utc};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An attempt under way.
#[derive(Debug)]
struct Flight {
    receiver: String,
    began: Instant,
    lane: Lane,
    kind: Kind,
    gives_way: CancellationToken,
}

/// The attempts under way, and who gets the next slots.
#[derive(Debug)]
pub(super) struct Slots {
    options: WorkerOptions,
    pub(super) receivers: Receivers,
    pub(super) attempts: JoinSet<Option<Evidence>>,
    flights: HashMap<Id, Flight>,
    /// Where the next claim of a lane goes on: the receiver that the last one had to stop at.
    pub(super) after: HashMap<(Lane, Standing), String>,
    /// When the circuits of other instances were read last.
    pub(super) heard: Option<Instant>,
}

/// What attempts to receivers of a standing are made for.
pub(super) const fn kind_of(lane: Lane, standing: Standing) -> Kind {
    match (standing, lane) {
        (Standing::Prompt, _) => Kind::Prompt,
        (Standing::Slow, _) => Kind::Slow,
        (Standing::Unproven, Lane::First) => Kind::New,
        (Standing::Unproven, Lane::Retry) => Kind::Again,
    }
}

impl Slots {
    pub(super) fn new(options: WorkerOptions) -> Self {
        Self {
            receivers: Receivers::new(options.receivers.clone()),
            options,
            attempts: JoinSet::new(),
            flights: HashMap::new(),
            after: HashMap::new(),
            heard: None,
        }
    }

    /// The attempts under way, by endpoint.
    pub(super) fn busy(&self) -> BusyEndpoints<'_> {
        let mut busy = BusyEndpoints::new();
        for flight in self.flights.values().filter(|flight| !flight.has_given_way()) {
            let of_endpoint = busy.entry(endpoint_of(&flight.receiver)).or_default();
            let held = match flight.kind {
                Kind::Prompt => &mut of_endpoint.prompt,
                Kind::Slow => &mut of_endpoint.slow,
                Kind::New => &mut of_endpoint.new,
                Kind::Again | Kind::Probe => &mut of_endpoint.again,
            };
            if flight.began.elapsed() >= self.options.receivers.patience {
                held.stalled += 1;
            } else {
                held.waiting += 1;
            }
        }
        busy
    }

    fn count(&self, which: impl Fn(&Flight) -> bool) -> usize {
        self.flights.values().filter(|flight| which(flight)).count()
    }

    /// How many attempts of a lane may begin now, for what they are made.
    pub(super) fn free(&self, lane: Lane, kind: Kind) -> usize {
        let held = |kind| self.count(|flight| flight.kind == kind && !flight.has_given_way());
        let left = |kind: Kind, held| self.options.places_of(kind).saturating_sub(held);
        let free = match kind {
            Kind::Prompt => {
                let waits = |flight: &Flight| {
                    flight.kind == Kind::Prompt && flight.began.elapsed() < self.options.receivers.patience
                };
                let slots = self.options.concurrency;
                let free = slots.saturating_sub(self.count(waits));
                let free = free.min(left(kind, held(kind) + held(Kind::Slow)));
                match lane {
                    Lane::First => free,
                    Lane::Retry => {
                        let of_lane = self.count(|flight| waits(flight) && flight.lane == lane);
                        free.min((slots / 2).max(1).saturating_sub(of_lane))
                    }
                }
            }
            Kind::Slow | Kind::New | Kind::Again | Kind::Probe => left(kind, held(kind)),
        };
        free.min(self.options.places().saturating_sub(self.flights.len()))
    }

    /// Has attempts give way until a quarter of the places for new ones is free, or none may have to.
    pub(super) fn make_way(&self) {
        let places = self.options.places_of(Kind::New);
        let of_kind = |flight: &&Flight| flight.kind == Kind::New && !flight.has_given_way();
        let held = self.flights.values().filter(of_kind).count();
        let mut excess = held.saturating_sub(places - places / 4);
        if excess == 0 {
            return;
        }
        let mut endpoints: HashMap<&str, Vec<&Flight>> = HashMap::new();
        for flight in self.flights.values().filter(of_kind) {
            endpoints
                .entry(endpoint_of(&flight.receiver))
                .or_default()
                .push(flight);
        }
        let mut most = BinaryHeap::new();
        for (endpoint, flights) in &mut endpoints {
            // The one that has waited longest last, where it is taken from.
            flights.sort_unstable_by_key(|flight| Reverse(flight.began));
            let longest = flights.last().map(|flight| Reverse(flight.began));
            most.push((flights.len(), longest, *endpoint));
        }
        while excess > 0
            && let Some((_, _, endpoint)) = most.pop()
            && let Some(flights) = endpoints.get_mut(endpoint)
            && let Some(flight) = flights.pop()
            // Where those that are most have just begun, nobody else gives way for them.
            && flight.began.elapsed() >= self.options.receivers.gives_way
        {
            flight.gives_way.cancel();
            excess -= 1;
            let longest = flights.last().map(|flight| Reverse(flight.began));
            most.push((flights.len(), longest, endpoint));
        }
    }

    pub(super) fn start(
        &mut self,
        sender: &Arc<Sender>,
        delivery: ClaimedDelivery,
        lease_until: DateTime<Utc>,
        (lane, kind): (Lane, Kind),
        results: mpsc::Sender<AttemptRecord>,
    ) {
        self.receivers.started(&delivery.receiver, sender.clock.now());
        let gives_way = CancellationToken::new();
        let flight = Flight {
            receiver: delivery.receiver.clone(),
            began: Instant::now(),
            lane,
            kind,
            gives_way: gives_way.clone(),
        };
        let sender = Arc::clone(sender);
        let task = self.attempts.spawn(async move {
            let (record, evidence) = match sender.send(&delivery, lease_until, &gives_way).await {
                Sent::Made { record, evidence } => (record, Some(evidence)),
                Sent::Unsendable(record) => (record, None),
                Sent::TooLate => return None,
            };
            // The recorder ends only with the worker.
            let _ = results.send(*record).await;
            evidence
        });
        self.flights.insert(task.id(), flight);
    }

    /// Takes note of an attempt that has ended.
    pub(super) fn settle(&mut self, ended: Result<(Id, Option<Evidence>), JoinError>, now: DateTime<Utc>) {
        let (id, evidence) = match ended {
            Ok((id, evidence)) => (id, evidence),
            Err(error) => {
                tracing::error!(%error, "a callback attempt panicked; it is made again when its lease ends");
                (error.id(), None)
            }
        };
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        let Some(evidence) = evidence else {
            self.receivers.released(&flight.receiver);
            return;
        };
        if let Some(opened) = self.receivers.finished(&flight.receiver, evidence, now) {
            tracing::warn!(
                callback.receiver = opened.key,
                "{} does not answer: no callbacks to it for {} s",
                opened.key,
                opened.pause.as_secs(),
            );
        }
    }
}

impl Flight {
    fn has_given_way(&self) -> bool {
        self.gives_way.is_cancelled()
    }
}
