//! The relay: publishes the log to JetStream, in order, without gaps.
//!
//! ```text
//! log        … 41   42   43   44   45          by position
//! stream     … 41   42   43                    stream order = log order
//! message 44: Nats-Msg-Id = its event id, Nats-Expected-Last-Sequence = the stream sequence of 43
//! ```
//!
//! - One instance leads, by the lease `relay`, and stops publishing before the lease could have run out by its own clock.
//!   The lease only avoids contention. What keeps the order is the server: every message names the sequence that it has to
//!   follow, so a message that was lost stops everything behind it, and a leader that was paused and does not know that it
//!   was replaced is refused (`relay/publish.rs`).
//! - Where to go on is read from the stream itself, not remembered: the last message that the log confirms (`relay/resume.rs`).
//!   The cursor `relay` in the database says where to go on only when nothing is left on the stream.
//! - **A stream that was deleted is created again and receives the whole log from position 1.** Subscribers drop what they
//!   know by the event's id; the service's own consumers do.
//! - NATS or the database being away is waited for, for ever. Where events wait and nothing is published for a while, the log
//!   says so once, and `/readyz` and a gauge as long as it lasts.

mod compare;
mod lost;
mod outgoing;
mod publish;
mod resume;
mod stored;
mod window;

pub use compare::compare;
pub use lost::LostPart;

use crate::bus::cloud_event::Source;
use crate::bus::health::{Look, RelayState};
use crate::bus::marks::Marks;
use crate::bus::nats::NatsBus;
use crate::bus::{Backoff, BusError, CommitSignal, LogAccess};
use crate::store::StoreError;
use crate::task_states::{self, TaskFailure};
use crate::telemetry;
use metrics::{counter, gauge};
use publish::{End, Publisher};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The name of the lease and of the cursor.
const NAME: &str = "relay";

/// What the leader waits for, as the table of tasks tells it.
const PUBLISHING: &str = "publishing";

/// The relay's limits.
#[derive(Debug, Clone, Copy)]
pub struct RelaySettings {
    /// How long the lease stands without being renewed: the longest that a takeover takes.
    pub lease: Duration,
    /// How often it is renewed, and how often the others ask for it.
    pub renew: Duration,
    /// The most messages without an acknowledgement.
    pub window: usize,
    /// How long the leader waits without a commit of its own process: other instances commit too.
    pub poll: Duration,
    /// How long events may wait while nothing is published, before that is told.
    pub patience: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            renew: Duration::from_millis(1500),
            window: 256,
            poll: Duration::from_millis(100),
            patience: Duration::from_secs(10),
        }
    }
}

/// How often it is looked whether the leader gets on.
const LOOK: Duration = Duration::from_secs(1);

/// The longest pause after a refusal: whoever publishes between the events leaves room for them at some time.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

impl RelaySettings {
    /// How long after asking for the lease its holder may publish: shorter than the lease by what a message may take to
    /// reach the server and by what two clocks may differ.
    fn publish_for(&self) -> Duration {
        self.lease * 4 / 5
    }
}

/// The relay of one instance: leads, or waits until it may.
pub struct Relay {
    bus: NatsBus,
    log: LogAccess,
    signal: CommitSignal,
    source: Source,
    marks: Marks,
    owner: Uuid,
    settings: RelaySettings,
    state: RelayState,
}

impl Relay {
    /// A relay that publishes as `source`, with these marks, and tells `state` how it gets on.
    #[must_use]
    pub fn new(
        bus: NatsBus,
        log: LogAccess,
        signal: CommitSignal,
        source: Source,
        marks: Marks,
        settings: RelaySettings,
        state: RelayState,
    ) -> Self {
        let owner = log.clock.new_id();
        Self {
            bus,
            log,
            signal,
            source,
            marks,
            owner,
            settings,
            state,
        }
    }

    /// Runs until `shutdown`; gives the lease back then, so that another instance takes over at once.
    ///
    /// # Errors
    /// [`BusError::Store`] when the database proves to be another one.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), BusError> {
        let result = self.lead_when_possible(&shutdown).await;
        gauge!(telemetry::RELAY_LEADER).set(0.0);
        if let Err(error) = self.log.coordination.release_lease(NAME, self.owner).await {
            // It runs out by itself.
            tracing::debug!(error = %telemetry::chain(&error), "the relay's lease was not given back");
        }
        result
    }

    async fn lead_when_possible(&mut self, shutdown: &CancellationToken) -> Result<(), BusError> {
        let mut backoff = Backoff::new();
        while !shutdown.is_cancelled() {
            let asked = Instant::now();
            let pause = match self.take_up_lease().await {
                Ok(Some(epoch)) => {
                    backoff.reset();
                    task_states::goes_on(NAME);
                    let until = asked + self.settings.publish_for();
                    self.lead(epoch, until, shutdown).await?;
                    continue;
                }
                Ok(None) => {
                    backoff.reset();
                    task_states::goes_on(NAME);
                    self.settings.renew
                }
                Err(error) if error.is_proven() => return Err(error.into()),
                Err(error) => {
                    task_states::waits(NAME, &error);
                    if !backoff.is_failing() {
                        tracing::warn!(error = %telemetry::chain(&error), "the relay cannot ask for its lease");
                    }
                    backoff.next_pause()
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// Asks for the lease; whoever takes it up first looks whether the log is the one that was acknowledged.
    async fn take_up_lease(&self) -> Result<Option<u64>, StoreError> {
        let epoch = self.ask_for_lease().await?;
        if epoch.is_some() {
            self.log.reads.vouch().await?;
        }
        Ok(epoch)
    }

    async fn ask_for_lease(&self) -> Result<Option<u64>, StoreError> {
        self.log
            .coordination
            .acquire_lease(NAME, self.owner, self.settings.lease)
            .await
    }

    /// Publishes as long as the lease is renewed.
    async fn lead(
        &mut self,
        epoch: u64,
        until: Instant,
        shutdown: &CancellationToken,
    ) -> Result<(), BusError> {
        tracing::info!(
            lease.epoch = epoch,
            "this instance publishes the log (epoch {epoch})"
        );
        gauge!(telemetry::RELAY_LEADER).set(1.0);
        let (lease, deadline) = watch::channel(until);
        let publisher = Publisher::new(self, deadline);
        let ended = tokio::select! {
            lost = self.keep_lease(epoch, &lease) => lost.map_err(BusError::from),
            ended = publish_until_stopped(publisher, &self.state, shutdown) => ended,
            never = self.watch() => match never {},
        };
        self.state.rests();
        gauge!(telemetry::RELAY_LEADER).set(0.0);
        gauge!(telemetry::RELAY_STALLED_SECONDS).set(0.0);
        tracing::info!(
            lease.epoch = epoch,
            "this instance no longer publishes the log (epoch {epoch})"
        );
        ended
    }

    /// Tells when events wait and nothing is published, and when that is over.
    async fn watch(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            // A database that is away is told of elsewhere.
            let Ok(head) = self.log.reads.head().await else {
                continue;
            };
            match self.state.look(head.position, self.settings.patience) {
                Look::AsBefore => {}
                Look::Stalls(stall) => tracing::error!(
                    relay.waiting = stall.waiting,
                    "the relay publishes nothing: {} events wait, for {:?} now ({})",
                    stall.waiting,
                    stall.lasted,
                    stall.cause.as_deref().unwrap_or("no answer came"),
                ),
                Look::GoesOn(after) => {
                    tracing::info!("the relay publishes again, after {after:?}");
                }
            }
            let stalled = self.state.stalled();
            let lasted = stalled.as_ref().map_or(0.0, |stall| stall.lasted.as_secs_f64());
            gauge!(telemetry::RELAY_STALLED_SECONDS).set(lasted);
            if let Some(stall) = stalled {
                show_lag(stall.waiting);
            }
        }
    }

    /// Renews the lease until it is another's, or the log is.
    async fn keep_lease(&self, epoch: u64, deadline: &watch::Sender<Instant>) -> Result<(), StoreError> {
        loop {
            tokio::time::sleep(self.settings.renew).await;
            let asked = Instant::now();
            match self.ask_for_lease().await {
                Ok(Some(current)) if current == epoch => {
                    // Whose log it is, and by what number its events go, may have changed while this instance slept.
                    match self.log.reads.vouch().await {
                        Ok(()) => {
                            deadline.send_replace(asked + self.settings.publish_for());
                        }
                        Err(error) if error.is_proven() => return Err(error),
                        Err(error) => {
                            tracing::warn!(error = %telemetry::chain(&error), "the relay cannot look whose log it publishes");
                        }
                    }
                }
                Ok(_) => return Ok(()),
                Err(error) if error.is_proven() => return Err(error),
                // The publisher stops by itself when the deadline passes; the next attempt may still come in time.
                Err(error) => {
                    tracing::warn!(error = %telemetry::chain(&error), "the relay's lease was not renewed");
                }
            }
        }
    }
}

/// Starts the publisher again after whatever interrupts it.
async fn publish_until_stopped(
    mut publisher: Publisher,
    state: &RelayState,
    shutdown: &CancellationToken,
) -> Result<(), BusError> {
    let mut backoff = Backoff::new();
    loop {
        let before = publisher.published();
        let end = publisher.run(shutdown).await;
        let progress = publisher.published() > before;
        if progress {
            backoff.reset();
        }
        let (cause, error) = match end {
            End::Shutdown => return Ok(()),
            End::LeaseOver => tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = publisher.lease_renewed() => continue,
            },
            End::Known => ("known", None),
            End::Refused => ("refused", None),
            End::Failed(error) if error.is_proven() => return Err(error),
            End::Failed(error) => ("failed", Some(error)),
        };
        counter!(telemetry::RELAY_RESUMES_TOTAL, "cause" => cause).increment(1);
        publisher.report_lag().await;
        let mut longest = REFUSED_PAUSE;
        if let Some(error) = &error {
            longest = Duration::MAX;
            task_states::waits(PUBLISHING, error);
            let error = telemetry::chain(error);
            if !backoff.is_failing() {
                tracing::warn!(error, "the relay waits and looks for its place again");
            }
            state.refused(error);
        } else if progress {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.next_pause().min(longest)) => {}
        }
    }
}

/// Shows how much of the log is not on the stream yet.
fn show_lag(positions: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    gauge!(telemetry::RELAY_LAG_POSITIONS).set(positions as f64);
}
