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
//! Receivers that answered the last time are claimed by name, the prompt ones on slots that they take for as long as they may still be
//! answered promptly ([`super::options::ReceiverLimits::patience`]), and retries take half of these at the most. All others are found on
//! a walk: first attempts and retries on places of their own ([`WorkerOptions::places_of`]), of which an endpoint leaves some to the
//! others, and first attempts that have waited long give way to those that were never tried (`slots.rs`). So neither a backlog nor
//! any number of silent receivers stands before a new callback. What an operator replays goes out whatever a circuit says, and
//! closes it when it arrives.
//!
//! # At least once
//! A delivery is leased for the attempt's longest time and a margin, and an attempt that begins too late for its lease is
//! not made. So the same delivery is under way twice only if the clocks of two instances differ by more than the margin.

use super::attempt::Sender;
use super::client::CallbackClient;
use super::options::Kind;
pub use super::options::WorkerOptions;
use super::receivers::{Receivers, Standing};
use super::schedule::Schedule;
use super::slots::{Slots, kind_of};
use crate::clock::{SharedClock, later};
use crate::keyring::Keyring;
use crate::store::StoreError;
use crate::store::callbacks::{AttemptRecord, CallbackStore, ClaimRequest, Lane};
use crate::task_states::{self, TaskFailure};
use crate::telemetry;
use chrono::{DateTime, TimeDelta, Utc};
use metrics::gauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the worker waits for, as the table of tasks tells it.
const CLAIMING: &str = "claiming";
const RECORDING: &str = "recording";
/// Rounds follow each other no faster, so that under load each claims many deliveries at once.
const PACE: Duration = Duration::from_millis(5);
/// How soon to look again when slots were short.
const SHORT_OF_TURNS: Duration = Duration::from_millis(100);
/// The most replayed deliveries that one round sends past open circuits.
const PROBES: usize = 16;
/// Open circuits that nobody has probed for so long are forgotten: nothing is due there any more.
const CIRCUITS_KEPT: TimeDelta = TimeDelta::hours(1);
/// No lease is longer: the longest attempt that can be configured, and twice the margin.
const LONGEST_LEASE: Duration = Duration::from_secs(630);
/// The most outcomes that one transaction records.
const RECORD_BATCH: usize = 500;
/// Pauses after a failure of the store: doubling between these.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

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
        let mut slots = Slots::new(self.options.clone());
        let mut backoff = BACKOFF.0;
        while !cancel.is_cancelled() {
            let began = Instant::now();
            while let Some(ended) = slots.attempts.try_join_next_with_id() {
                slots.settle(ended, self.sender.clock.now());
            }
            gauge!(telemetry::CALLBACK_OPEN_CIRCUITS).set(slots.receivers.open_circuits() as f64);
            let pause = match self.round(&mut slots, &results).await {
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
                    Some(ended) = slots.attempts.join_next_with_id() => {
                        slots.settle(ended, self.sender.clock.now());
                    }
                    () = tokio::time::sleep(pause) => {}
                }
            }
            tokio::time::sleep_until(began + PACE).await;
        }
        while let Some(ended) = slots.attempts.join_next_with_id().await {
            slots.settle(ended, self.sender.clock.now());
        }
        if let Err(error) = self.share_circuits(&mut slots).await {
            // Whoever comes next finds out for itself.
            tracing::debug!(
                error = telemetry::chain(&error),
                "circuits were not shared at shutdown"
            );
        }
        Ok(())
    }

    /// Tells other instances of circuits, and hears of theirs.
    async fn share_circuits(&self, slots: &mut Slots) -> Result<(), StoreError> {
        let receivers = &mut slots.receivers;
        if !receivers.changes().is_empty() {
            self.store.change_circuits(receivers.changes()).await?;
            receivers.told();
        }
        if slots
            .heard
            .is_none_or(|heard| heard.elapsed() >= self.options.poll)
        {
            receivers.adopt(&self.store.circuits().await?);
            slots.heard = Some(Instant::now());
        }
        Ok(())
    }

    /// Claims and starts what there are slots for. Returns how long to wait unless something happens.
    async fn round(
        &self,
        slots: &mut Slots,
        results: &mpsc::Sender<AttemptRecord>,
    ) -> Result<Duration, StoreError> {
        self.share_circuits(slots).await?;
        let due = self.store.next_due().await?;
        let mut pause = self.options.poll;
        slots.make_way();
        if due.probe.is_some_and(|at| at <= self.sender.clock.now()) {
            pause = pause.min(self.probe(slots, results).await?);
        }
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
            for standing in Standing::ALL {
                pause = pause.min(self.claim(slots, lane, standing, results).await?);
            }
        }
        Ok(pause)
    }

    /// Claims and starts what was replayed, whosoever it goes to.
    async fn probe(
        &self,
        slots: &mut Slots,
        results: &mpsc::Sender<AttemptRecord>,
    ) -> Result<Duration, StoreError> {
        let lane = Lane::Retry;
        let limit = slots.free(lane, Kind::Probe).min(PROBES);
        if limit == 0 {
            return Ok(SHORT_OF_TURNS);
        }
        let (now, lease_until) = self.lease();
        let request = ClaimRequest {
            lane,
            now,
            lease_until,
            token: self.sender.clock.new_id(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            slots: &[],
            others: 1,
            endpoints: &[],
            per_endpoint: 1,
            after: "",
        };
        let claimed = self.store.claim_probes(&request).await?;
        let full = claimed.len() >= limit;
        for delivery in claimed {
            let what = (lane, Kind::Probe);
            slots.start(&self.sender, delivery, lease_until, what, results.clone());
        }
        Ok(if full { Duration::ZERO } else { self.options.poll })
    }

    /// The time now, and when a lease ends that begins now.
    fn lease(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let now = self.sender.clock.now();
        let lease = self.sender.client.exchange_timeout() + self.options.lease_margin;
        (now, later(now, lease))
    }

    /// Claims and starts attempts of one lane, to receivers of one standing.
    async fn claim(
        &self,
        slots: &mut Slots,
        lane: Lane,
        standing: Standing,
        results: &mpsc::Sender<AttemptRecord>,
    ) -> Result<Duration, StoreError> {
        let (now, lease_until) = self.lease();
        let kind = kind_of(lane, standing);
        let named = standing != Standing::Unproven;
        let limit = slots.free(lane, kind);
        let after = slots.after.get(&(lane, standing)).cloned().unwrap_or_default();
        let busy = slots.busy();
        let (by_receiver, endpoints) = if named {
            let free = slots.free(lane, Kind::Slow);
            let by_receiver = slots.receivers.named_slots(standing, now, &busy, (free, &after));
            (by_receiver, Vec::new())
        } else {
            (
                slots.receivers.other_slots(now, lane, &busy),
                slots.receivers.endpoint_slots(now, lane, &busy, limit),
            )
        };
        if named && by_receiver.is_empty() {
            return Ok(self.options.poll);
        }
        if limit == 0 {
            return Ok(SHORT_OF_TURNS);
        }
        let moving = !named && Receivers::is_moving(lane, &busy);
        slots.after.remove(&(lane, standing));
        let request = ClaimRequest {
            lane,
            now,
            lease_until,
            token: self.sender.clock.new_id(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            slots: &by_receiver,
            others: u32::from(!named),
            endpoints: &endpoints,
            per_endpoint: slots.receivers.per_endpoint(lane, limit),
            after: if named { "" } else { &after },
        };
        let claimed = self.store.claim(&request).await?;
        let full = claimed.len() >= limit;
        if full && let Some(last) = claimed.last() {
            // The next claim goes on where this one had to stop, so that the first in the alphabet are not the only ones.
            let last = last.receiver.clone();
            slots.after.insert((lane, standing), last);
        }
        // A walk that began in the middle has not seen the receivers before it, and one that found something may have left some for the
        // next because of what it found.
        let again = full || !(named || after.is_empty() && claimed.is_empty());
        for delivery in claimed {
            slots.start(&self.sender, delivery, lease_until, (lane, kind), results.clone());
        }
        Ok(match (again, moving) {
            (true, _) => Duration::ZERO,
            (false, true) => SHORT_OF_TURNS,
            (false, false) => self.options.poll,
        })
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

    /// Ends leases that a clock which was wrong, or somebody's hand, has made longer than any attempt. Whatever this fails for shows in
    /// the claims, which use the same store.
    async fn end_impossible_leases(&self) {
        let now = self.sender.clock.now();
        let ended = self
            .store
            .end_impossible_leases(now, LONGEST_LEASE, self.options.lease_margin);
        match ended.await {
            Ok(0) => {}
            Ok(ended) => tracing::warn!(
                deliveries = ended,
                "{ended} leases of callbacks lay further ahead than an attempt takes; they are over"
            ),
            Err(error) => tracing::debug!(
                error = telemetry::chain(&error),
                "leases of callbacks were not looked at"
            ),
        }
    }

    async fn measure(&self, cancel: &CancellationToken) -> Result<(), StoreError> {
        while !cancel.is_cancelled() {
            self.end_impossible_leases().await;
            // A failure shows in the claims, which use the same store; the gauges keep their last value.
            if let Ok(stats) = self.store.delivery_stats().await {
                let now = self.sender.clock.now();
                let waiting = stats.oldest_due.and_then(|since| (now - since).to_std().ok());
                gauge!(telemetry::CALLBACK_DELIVERIES, "state" => "due").set(stats.due as f64);
                gauge!(telemetry::CALLBACK_DELIVERIES, "state" => "dead").set(stats.dead as f64);
                gauge!(telemetry::CALLBACK_OLDEST_DUE_SECONDS).set(waiting.unwrap_or_default().as_secs_f64());
                // Whatever it fails for shows in the claims as well.
                drop(self.store.forget_circuits(now - CIRCUITS_KEPT).await);
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = tokio::time::sleep(self.options.gauges) => {}
            }
        }
        Ok(())
    }
}
