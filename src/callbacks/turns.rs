//! The attempts under way, and who gets the next turns.

use super::attempt::{Sender, Sent};
use super::options::WorkerOptions;
use super::outcome::Evidence;
use super::receivers::{BusyEndpoints, Receivers};

use crate::store::callbacks::{AttemptRecord, ClaimedDelivery, Lane, endpoint_of};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

/// An attempt under way.
#[derive(Debug)]
struct Flight {
    receiver: String,
    began: Instant,
    lane: Lane,
    prompt: bool,
}

/// The attempts under way, and who gets the next turns.
#[derive(Debug)]
pub(super) struct Turns {
    options: WorkerOptions,
    pub(super) receivers: Receivers,
    pub(super) attempts: JoinSet<Option<Evidence>>,
    flights: HashMap<Id, Flight>,
    /// Where the next claim of a lane goes on: the receiver that the last one had to stop at.
    pub(super) after: HashMap<(Lane, bool), String>,
    /// When the circuits of other instances were read last.
    pub(super) heard: Option<Instant>,
}

impl Turns {
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

    /// How many attempts are under way.
    pub(super) fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// The attempts under way, by endpoint.
    pub(super) fn busy(&self) -> BusyEndpoints<'_> {
        let mut busy = BusyEndpoints::new();
        for flight in self.flights.values() {
            let of_endpoint = busy.entry(endpoint_of(&flight.receiver)).or_default();
            if flight.began.elapsed() >= self.options.receivers.patience {
                of_endpoint.stalled += 1;
            } else if !flight.prompt {
                of_endpoint.waiting += 1;
            }
        }
        busy
    }

    /// How many attempts of a lane may begin now, to prompt receivers or to the others.
    pub(super) fn free(&self, lane: Lane, prompt: bool) -> usize {
        let half = (self.options.concurrency / 2).max(1);
        let (mut all, mut of_lane, mut of_kind) = (0_usize, 0_usize, 0_usize);
        for flight in self.flights.values() {
            if flight.began.elapsed() < self.options.receivers.patience {
                all += 1;
                of_lane += usize::from(flight.lane == lane);
                of_kind += usize::from(flight.prompt == prompt);
            }
        }
        let stalled = self.flights.len() - all;
        let mut free = self.options.concurrency.saturating_sub(all);
        free = free.min((self.options.concurrency + self.options.stalled).saturating_sub(self.flights.len()));
        free = match lane {
            Lane::First => free,
            Lane::Retry => free.min(half.saturating_sub(of_lane)),
        };
        if prompt {
            free
        } else if stalled >= self.options.stalled {
            0
        } else {
            free.min(half.saturating_sub(of_kind))
        }
    }

    pub(super) fn start(
        &mut self,
        sender: &Arc<Sender>,
        delivery: ClaimedDelivery,
        lease_until: DateTime<Utc>,
        lane: Lane,
        prompt: bool,
        results: mpsc::Sender<AttemptRecord>,
    ) {
        self.receivers.started(&delivery.receiver, sender.clock.now());
        let flight = Flight {
            receiver: delivery.receiver.clone(),
            began: Instant::now(),
            lane,
            prompt,
        };
        let sender = Arc::clone(sender);
        let task = self.attempts.spawn(async move {
            let (record, evidence) = match sender.send(&delivery, lease_until).await {
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
