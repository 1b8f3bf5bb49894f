//! The leader's work: publishes events in order with a window of unacknowledged messages.
//!
//! Every message names the stream sequence that it has to follow. While all goes well the k-th message behind sequence `s`
//! is stored as `s + k`; the first that is lost or refused makes the server refuse all behind it. Then the window is
//! drained, the place is looked up again, and publishing goes on from there: nothing is skipped, and what was stored although
//! its acknowledgement was lost is recognised by its `Nats-Msg-Id`.

use super::resume::{self, Place};
use super::{NAME, RelaySettings};
use crate::bus::cloud_event::{CONTENT_TYPE, CloudEvent, subject};
use crate::bus::nats::{NatsBus, NatsError, STREAM};
use crate::bus::{BusError, CommitSignal, LogAccess};
use crate::store::{Position, StoredEvent};
use crate::telemetry;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use metrics::{counter, gauge};
use std::collections::HashSet;
use std::future::IntoFuture;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many events are read at once.
const PAGE: u32 = 512;

/// How often the cursor is written while it moves. It only matters once nothing is left on the stream.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// How often the connection is looked at while an acknowledgement is awaited.
const CONNECTION_CHECK: Duration = Duration::from_millis(100);

/// What ended a stretch of publishing.
pub(super) enum End {
    /// The service stops.
    Shutdown,
    /// The lease was not renewed in time.
    LeaseOver,
    /// The server refused a message: something else was published, or a message was lost.
    Refused,
    /// The server or the database failed.
    Failed(BusError),
}

/// A message that is on its way.
struct Sent {
    position: Position,
    /// The sequence that it gets if nothing comes between.
    sequence: u64,
    stream_id: String,
    /// The stream that it is meant for ([`Place::stream`]).
    stream: i128,
}

/// Messages on their way, in order.
#[derive(Default)]
struct Window {
    acks: FuturesOrdered<BoxFuture<'static, (Sent, Result<PublishAck, PublishError>)>>,
    /// The entities that they are about: at most one message each.
    entities: HashSet<String>,
    /// What went wrong first; nothing is sent any more then.
    broken: Option<Broken>,
}

enum Broken {
    /// A message was refused, or stands elsewhere than expected.
    Misplaced,
    /// An acknowledgement did not come.
    Failed(PublishError),
    /// The connection was lost.
    Disconnected,
}

/// Publishes the log as long as it holds the lease.
pub(super) struct Publisher {
    bus: NatsBus,
    log: LogAccess,
    signal: CommitSignal,
    source: String,
    settings: RelaySettings,
    deadline: watch::Receiver<Instant>,
    /// How far the stream is known to be the log.
    certain: Option<Place>,
    /// Whether a message behind it failed.
    doubtful: bool,
    saved: Position,
    saved_at: Instant,
}

impl Publisher {
    pub(super) fn new(
        bus: NatsBus,
        log: LogAccess,
        signal: CommitSignal,
        source: String,
        settings: RelaySettings,
        deadline: watch::Receiver<Instant>,
    ) -> Self {
        Self {
            bus,
            log,
            signal,
            source,
            settings,
            deadline,
            certain: None,
            doubtful: false,
            saved: 0,
            saved_at: Instant::now(),
        }
    }

    /// The last position that is known to be on the stream.
    pub(super) fn published(&self) -> Position {
        self.certain.map_or(0, |place| place.position)
    }

    /// Returns once the lease stands again.
    pub(super) async fn lease_renewed(&mut self) {
        while !self.holds_lease() {
            if self.deadline.changed().await.is_err() {
                return;
            }
        }
    }

    /// Finds the place and publishes from there until something ends it; no message is on its way afterwards.
    pub(super) async fn run(&mut self, shutdown: &CancellationToken) -> End {
        let mut window = Window::default();
        let mut end = match self.publish(&mut window, shutdown).await {
            Ok(end) => end,
            Err(error) => End::Failed(error),
        };
        self.settle_all(&mut window).await;
        if let End::Refused = end {
            end = match window.broken {
                Some(Broken::Misplaced) | None => End::Refused,
                Some(Broken::Failed(error)) => {
                    End::Failed(NatsError::request("publishing an event")(error.into()).into())
                }
                Some(Broken::Disconnected) => End::Failed(
                    NatsError::request("publishing an event")("the connection was lost".into()).into(),
                ),
            };
        }
        match self.save().await {
            Err(error) if matches!(end, End::Refused | End::LeaseOver) => End::Failed(error),
            Ok(()) | Err(_) => end,
        }
    }

    async fn publish(&mut self, window: &mut Window, shutdown: &CancellationToken) -> Result<End, BusError> {
        while !self.bus.is_connected() {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(End::Shutdown),
                () = tokio::time::sleep(CONNECTION_CHECK) => {}
            }
        }
        let place = resume::find(&self.bus, &self.log, self.certain, self.doubtful).await?;
        self.certain = Some(place);
        self.doubtful = false;
        let Place {
            mut position,
            mut sequence,
            stream,
            ..
        } = place;
        let (mut signal, poll) = (self.signal.clone(), self.settings.poll);
        loop {
            let events = self.log.reads.log_after(position, &[], PAGE).await?;
            if events.is_empty() {
                // What is committed meanwhile does not wait for acknowledgements of what was sent before.
                tokio::select! {
                    biased;
                    () = self.settle_all(window) => {}
                    () = signal.wait(poll) => {}
                }
            }
            for event in events {
                while window.is_full_for(&event, self.settings.window) {
                    self.settle(window).await;
                }
                if shutdown.is_cancelled() {
                    return Ok(End::Shutdown);
                }
                if window.broken.is_some() {
                    return Ok(End::Refused);
                }
                if !self.holds_lease() {
                    return Ok(End::LeaseOver);
                }
                position = event.position;
                self.send(window, &event, sequence, stream).await?;
                sequence += 1;
            }
            if shutdown.is_cancelled() {
                return Ok(End::Shutdown);
            }
            if window.broken.is_some() {
                return Ok(End::Refused);
            }
            let since_saved = self.saved_at.elapsed();
            if since_saved >= SAVE_EVERY {
                self.save().await?;
            }
            if window.acks.is_empty() {
                gauge!(telemetry::RELAY_LAG_POSITIONS).set(0.0);
                let pause = if self.published() > self.saved {
                    SAVE_EVERY.saturating_sub(since_saved).min(poll)
                } else {
                    poll
                };
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = signal.wait(pause) => {}
                }
            }
        }
    }

    /// Sends one event, to be stored right behind `sequence`.
    async fn send(
        &self,
        window: &mut Window,
        event: &StoredEvent,
        sequence: u64,
        stream: i128,
    ) -> Result<(), BusError> {
        let failed = NatsError::request("publishing an event");
        let body = match CloudEvent::new(event, &self.source).encode() {
            Ok(body) => body,
            Err(error) => return Err(failed(error.into()).into()),
        };
        let message = PublishMessage::build()
            .payload(body.into())
            .message_id(event.event_id.to_string())
            .expected_stream(STREAM)
            .expected_last_sequence(sequence)
            .header("Content-Type", CONTENT_TYPE);
        let subject = subject(&event.key, event.event.name());
        let ack = match self.bus.context().send_publish(subject, message).await {
            Ok(ack) => ack.into_future(),
            Err(error) => return Err(failed(error.into()).into()),
        };
        let sent = Sent {
            position: event.position,
            sequence: sequence + 1,
            stream_id: event.key.stream_id(),
            stream,
        };
        window.entities.insert(sent.stream_id.clone());
        window.acks.push_back(Box::pin(async move { (sent, ack.await) }));
        Ok(())
    }

    async fn settle_all(&mut self, window: &mut Window) {
        while !window.acks.is_empty() {
            self.settle(window).await;
        }
    }

    /// Awaits the oldest acknowledgement. All of them are polled together, so that their timers run together. Dropped before
    /// its end, it has changed nothing.
    async fn settle(&mut self, window: &mut Window) {
        let (sent, answer) = loop {
            tokio::select! {
                biased;
                next = window.acks.next() => match next {
                    Some(next) => break next,
                    None => return,
                },
                () = tokio::time::sleep(CONNECTION_CHECK) => {
                    if !self.bus.is_connected() {
                        // Acknowledgements of a lost connection never come; the stream itself says what was stored.
                        window.clear();
                        self.fail(window, Broken::Disconnected);
                        return;
                    }
                }
            }
        };
        window.entities.remove(&sent.stream_id);
        match answer {
            // Behind a failure, only what follows without a gap counts.
            Ok(ack) if ack.sequence > 0 && sent.position == self.published() + 1 => {
                counter!(telemetry::RELAY_PUBLISHED_TOTAL).increment(u64::from(!ack.duplicate));
                self.certain = Some(Place {
                    position: sent.position,
                    sequence: ack.sequence,
                    exact: true,
                    stream: sent.stream,
                });
                if ack.sequence != sent.sequence {
                    self.fail(window, Broken::Misplaced);
                }
            }
            // In a cluster, sequence 0 means that the same message is still being stored.
            Ok(_) => self.fail(window, Broken::Misplaced),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                self.fail(window, Broken::Misplaced);
            }
            Err(error) => self.fail(window, Broken::Failed(error)),
        }
    }

    /// Notes what went wrong first.
    fn fail(&mut self, window: &mut Window, cause: Broken) {
        self.doubtful = true;
        window.broken.get_or_insert(cause);
    }

    fn holds_lease(&self) -> bool {
        Instant::now() < *self.deadline.borrow()
    }

    /// Writes down how far the stream is, for the day on which nothing is left on it.
    async fn save(&mut self) -> Result<(), BusError> {
        let published = self.published();
        if published > self.saved {
            self.log.coordination.advance_cursor(NAME, published).await?;
            self.saved = published;
            self.report_lag().await;
        }
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Shows how much of the log is not on the stream yet.
    pub(super) async fn report_lag(&self) {
        if let Ok(head) = self.log.reads.head().await {
            let lag = head.position.saturating_sub(self.published());
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
            gauge!(telemetry::RELAY_LAG_POSITIONS).set(lag as f64);
        }
    }
}

impl Window {
    fn is_full_for(&self, event: &StoredEvent, limit: usize) -> bool {
        !self.acks.is_empty() && (self.acks.len() >= limit || self.entities.contains(&event.key.stream_id()))
    }

    fn clear(&mut self) {
        self.acks.clear();
        self.entities.clear();
    }
}
