//! The task that delivers callbacks: claims what is due, makes the attempts, records what came of them.
//!
//! ```text
//!            ┌── wake (a new delivery) · poll · an attempt has ended
//!            ▼
//!   next due? ──▶ claim ──▶ attempts, each a task ──▶ recorder: many outcomes in one transaction
//!                   ▲               │
//!                   └── receivers ◀─┘   who answers, who is slow, whose circuit is open
//! ```
//!
//! # Who gets a turn
//! An attempt takes a turn for as long as it may still be answered promptly; after [`ReceiverLimits::patience`] it counts
//! as stalled, which takes memory but no turn. Of the turns, retries get half at the most, and so do receivers that are
//! not known to answer promptly. So neither a backlog nor any number of silent receivers stands before a new callback to
//! a receiver that answers. Stalled attempts are bounded too: when there are too many, only prompt receivers are tried.
//!
//! # At least once
//! A delivery is leased for the attempt's longest time and a margin, and an attempt that begins too late for its lease is
//! not made. So the same delivery is under way twice only if the clocks of two instances differ by more than the margin.

use super::attempt::{Sender, Sent};
use super::client::CallbackClient;
use super::receivers::{ReceiverLimits, Receivers};
use super::schedule::Schedule;
use crate::clock::SharedClock;
use crate::keyring::Keyring;
use crate::store::StoreError;
use crate::store::callbacks::{AttemptRecord, CallbackStore, ClaimRequest, ClaimedDelivery, Lane};
use crate::task_states::{self, TaskFailure};
use crate::telemetry;
use chrono::{DateTime, TimeDelta, Utc};
use metrics::gauge;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the worker waits for, as the table of tasks tells it.
const CLAIMING: &str = "claiming";
const RECORDING: &str = "recording";
/// Rounds follow each other no faster, so that under load each claims many deliveries at once.
const PACE: Duration = Duration::from_millis(5);
/// How soon to look again when turns were short.
const SHORT_OF_TURNS: Duration = Duration::from_millis(100);
/// The most outcomes that one transaction records.
const RECORD_BATCH: usize = 500;
/// Pauses after a failure of the store: doubling between these.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Bounds of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Turns: attempts at once that may still be answered promptly.
    pub concurrency: usize,
    /// Stalled attempts beyond which only prompt receivers are tried.
    pub stalled: usize,
    /// Limits for each receiver.
    pub receivers: ReceiverLimits,
    /// How often to look for what other instances created or left behind.
    pub poll: Duration,
    /// What a lease is longer than the longest attempt.
    pub lease_margin: Duration,
    /// How long attempts under way may take at shutdown.
    pub grace: Duration,
    /// How often the gauges are measured.
    pub gauges: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 256,
            stalled: 1_024,
            receivers: ReceiverLimits::default(),
            poll: Duration::from_secs(1),
            lease_margin: Duration::from_secs(15),
            grace: Duration::from_secs(30),
            gauges: Duration::from_secs(15),
        }
    }
}

/// What the worker is made of.
#[derive(Clone)]
pub struct WorkerParts {
    /// What is owed.
    pub store: Arc<dyn CallbackStore>,
    /// Makes the attempts.
    pub client: Arc<CallbackClient>,
    /// Opens the URLs.
    pub keyring: Arc<Keyring>,
    /// Times and ids.
    pub clock: SharedClock,
    /// When to try again.
    pub schedule: Schedule,
    /// Notified when a delivery became due in this process.
    pub wake: Arc<Notify>,
}

/// Delivers callbacks until it is told to stop. Any number may run on one store.
pub struct CallbackWorker {
    store: Arc<dyn CallbackStore>,
    sender: Arc<Sender>,
    wake: Arc<Notify>,
    options: WorkerOptions,
}

impl std::fmt::Debug for CallbackWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackWorker")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl CallbackWorker {
    /// Puts a worker together.
    #[must_use]
    pub fn new(parts: WorkerParts, options: WorkerOptions) -> Self {
        Self {
            store: parts.store,
            wake: parts.wake,
            options,
            sender: Arc::new(Sender {
                client: parts.client,
                keyring: parts.keyring,
                clock: parts.clock,
                schedule: parts.schedule,
            }),
        }
    }

    /// Delivers until `cancel`, then lets attempts under way end within the grace. What is cut off stays `unknown` in the
    /// delivery log and is attempted again when its lease ends.
    ///
    /// # Errors
    /// [`StoreError::Diverged`] when the database proves to be another one. Everything else is waited for.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), StoreError> {
        let (results, finished) = mpsc::channel(self.options.concurrency.max(1));
        let work = async {
            tokio::try_join!(
                self.deliver(&cancel, results),
                self.record(finished),
                self.measure(&cancel)
            )
        };
        let cut_off = async {
            cancel.cancelled().await;
            tokio::time::sleep(self.options.grace).await;
        };
        tokio::select! {
            ended = work => ended.map(|_| ()),
            () = cut_off => {
                tracing::warn!("callback attempts were cut off at shutdown; they are made again");
                Ok(())
            }
        }
    }

    async fn deliver(
        &self,
        cancel: &CancellationToken,
        results: mpsc::Sender<AttemptRecord>,
    ) -> Result<(), StoreError> {
        let mut turns = Turns::new(self.options.clone());
        let mut backoff = BACKOFF.0;
        while !cancel.is_cancelled() {
            let began = Instant::now();
            while let Some(ended) = turns.attempts.try_join_next_with_id() {
                turns.settle(ended, self.sender.clock.now());
            }
            gauge!(telemetry::CALLBACK_OPEN_CIRCUITS).set(turns.receivers.open_circuits() as f64);
            let pause = match self.round(&mut turns, &results).await {
                Ok(pause) => {
                    backoff = BACKOFF.0;
                    task_states::goes_on(CLAIMING);
                    pause
                }
                Err(error) if error.is_proven() => return Err(error),
                Err(error) => {
                    task_states::waits(CLAIMING, &error);
                    tracing::warn!(
                        error = telemetry::chain(&error),
                        "callbacks cannot be claimed now"
                    );
                    let pause = backoff;
                    backoff = (backoff * 2).min(BACKOFF.1);
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    continue;
                }
            };
            if !pause.is_zero() {
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = self.wake.notified() => {}
                    Some(ended) = turns.attempts.join_next_with_id() => {
                        turns.settle(ended, self.sender.clock.now());
                    }
                    () = tokio::time::sleep(pause) => {}
                }
            }
            tokio::time::sleep_until(began + PACE).await;
        }
        while let Some(ended) = turns.attempts.join_next_with_id().await {
            turns.settle(ended, self.sender.clock.now());
        }
        Ok(())
    }

    /// Claims and starts what there are turns for. Returns how long to wait unless something happens.
    async fn round(
        &self,
        turns: &mut Turns,
        results: &mpsc::Sender<AttemptRecord>,
    ) -> Result<Duration, StoreError> {
        let due = self.store.next_due().await?;
        let mut pause = self.options.poll;
        for lane in Lane::ALL {
            let now = self.sender.clock.now();
            match due.of(lane) {
                None => continue,
                Some(at) if at > now => {
                    pause = pause.min((at - now).to_std().unwrap_or_default());
                    continue;
                }
                Some(_) => {}
            }
            for prompt in [true, false] {
                pause = pause.min(self.claim(turns, lane, prompt, results).await?);
            }
        }
        Ok(pause)
    }

    /// Claims and starts attempts of one lane, to prompt receivers or to the others.
    async fn claim(
        &self,
        turns: &mut Turns,
        lane: Lane,
        prompt: bool,
        results: &mpsc::Sender<AttemptRecord>,
    ) -> Result<Duration, StoreError> {
        let now = self.sender.clock.now();
        let rooms = if prompt {
            turns.receivers.prompt_rooms(now)
        } else {
            turns.receivers.other_rooms(now)
        };
        if prompt && rooms.is_empty() {
            return Ok(self.options.poll);
        }
        let limit = turns.free(lane, prompt);
        if limit == 0 {
            return Ok(SHORT_OF_TURNS);
        }
        let after = turns.after.entry((lane, prompt)).or_default();
        let began_after = std::mem::take(after);
        let lease = self.sender.client.exchange_timeout() + self.options.lease_margin;
        let lease_until = now + TimeDelta::from_std(lease).unwrap_or(TimeDelta::MAX);
        let request = ClaimRequest {
            lane,
            now,
            lease_until,
            token: self.sender.clock.new_id(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            rooms: &if prompt {
                rotated(rooms, &began_after)
            } else {
                rooms
            },
            others: u32::from(!prompt),
            after: if prompt { "" } else { &began_after },
        };
        let claimed = self.store.claim(&request).await?;
        let full = claimed.len() >= limit;
        if full && let Some(last) = claimed.last() {
            // The next claim goes on where this one had to stop, so that the first in the alphabet are not the only ones.
            last.host.clone_into(after);
        }
        // A walk that began in the middle has not seen the receivers before it.
        let again = full || !(prompt || began_after.is_empty());
        for delivery in claimed {
            turns.start(&self.sender, delivery, lease_until, lane, prompt, results.clone());
        }
        Ok(if again { Duration::ZERO } else { self.options.poll })
    }

    /// Records outcomes, as many in one transaction as came while the last one was written.
    async fn record(&self, mut finished: mpsc::Receiver<AttemptRecord>) -> Result<(), StoreError> {
        let mut records = Vec::new();
        while finished.recv_many(&mut records, RECORD_BATCH).await > 0 {
            let mut backoff = BACKOFF.0;
            while let Err(error) = self.store.record(&records).await {
                if error.is_proven() {
                    return Err(error);
                }
                task_states::waits(RECORDING, &error);
                tracing::warn!(
                    error = telemetry::chain(&error),
                    "callback attempts cannot be recorded now"
                );
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
            task_states::goes_on(RECORDING);
            records.clear();
        }
        Ok(())
    }

    async fn measure(&self, cancel: &CancellationToken) -> Result<(), StoreError> {
        while !cancel.is_cancelled() {
            // A failure shows in the claims, which use the same store; the gauges keep their last value.
            if let Ok(stats) = self.store.delivery_stats().await {
                let now = self.sender.clock.now();
                let waiting = stats.oldest_due.and_then(|since| (now - since).to_std().ok());
                gauge!(telemetry::CALLBACK_DELIVERIES, "state" => "due").set(stats.due as f64);
                gauge!(telemetry::CALLBACK_DELIVERIES, "state" => "dead").set(stats.dead as f64);
                gauge!(telemetry::CALLBACK_OLDEST_DUE_SECONDS).set(waiting.unwrap_or_default().as_secs_f64());
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(self.options.gauges) => {}
            }
        }
        Ok(())
    }
}

/// The receivers in alphabetical order, beginning with the first that follows `after`.
fn rotated(mut rooms: Vec<(String, u32)>, after: &str) -> Vec<(String, u32)> {
    rooms.sort_unstable();
    let split = rooms.partition_point(|(host, _)| host.as_str() <= after);
    rooms.rotate_left(split);
    rooms
}

/// An attempt under way.
#[derive(Debug)]
struct Flight {
    host: String,
    began: Instant,
    lane: Lane,
    prompt: bool,
}

/// The attempts under way, and who gets the next turns.
#[derive(Debug)]
struct Turns {
    options: WorkerOptions,
    receivers: Receivers,
    attempts: JoinSet<Option<Option<Duration>>>,
    flights: HashMap<Id, Flight>,
    /// Where the next claim of a lane goes on: the receiver that the last one had to stop at.
    after: HashMap<(Lane, bool), String>,
}

impl Turns {
    fn new(options: WorkerOptions) -> Self {
        Self {
            receivers: Receivers::new(options.receivers.clone()),
            options,
            attempts: JoinSet::new(),
            flights: HashMap::new(),
            after: HashMap::new(),
        }
    }

    /// How many attempts of a lane may begin now, to prompt receivers or to the others.
    fn free(&self, lane: Lane, prompt: bool) -> usize {
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

    fn start(
        &mut self,
        sender: &Arc<Sender>,
        delivery: ClaimedDelivery,
        lease_until: DateTime<Utc>,
        lane: Lane,
        prompt: bool,
        results: mpsc::Sender<AttemptRecord>,
    ) {
        self.receivers.started(&delivery.host);
        let flight = Flight {
            host: delivery.host.clone(),
            began: Instant::now(),
            lane,
            prompt,
        };
        let sender = Arc::clone(sender);
        let task = self.attempts.spawn(async move {
            let (record, answered) = match sender.send(&delivery, lease_until).await {
                Sent::Made { record, answered } => (record, Some(answered)),
                Sent::Unsendable(record) => (record, None),
                Sent::TooLate => return None,
            };
            // The recorder ends only with the worker.
            let _ = results.send(*record).await;
            answered
        });
        self.flights.insert(task.id(), flight);
    }

    /// Takes note of an attempt that has ended.
    fn settle(&mut self, ended: Result<(Id, Option<Option<Duration>>), JoinError>, now: DateTime<Utc>) {
        let (id, answered) = match ended {
            Ok((id, answered)) => (id, answered),
            Err(error) => {
                tracing::error!(%error, "a callback attempt panicked; it is made again when its lease ends");
                (error.id(), None)
            }
        };
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        let Some(answered) = answered else {
            self.receivers.released(&flight.host);
            return;
        };
        if let Some(pause) = self.receivers.finished(&flight.host, answered, now) {
            tracing::warn!(
                callback.receiver = flight.host,
                "{} does not answer: no callbacks to it for {} s",
                flight.host,
                pause.as_secs(),
            );
        }
    }
}
