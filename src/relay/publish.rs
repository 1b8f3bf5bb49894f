//! The leader's work: publishes events in order with a window of unacknowledged messages.
//!
//! Every message names the stream sequence that it has to follow. While all goes well the k-th message behind sequence `s`
//! is stored as `s + k`; the first that is lost or refused makes the server refuse all behind it. Then the window is
//! drained, the place is looked up again, and publishing goes on from there: nothing is skipped, and what was stored although
//! its acknowledgement was lost is recognised by its `Nats-Msg-Id`.
//!
//! An entity's events keep their order even where a stranger's message takes the place of one that was lost: an event whose
//! entity has one on the way is sent only right behind that one, and then names its id as well (a purge without storage is
//! two such events); any other waits for the acknowledgement.

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
use std::collections::HashMap;
use std::future::IntoFuture;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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
    event_id: Uuid,
    /// The sequence that it gets if nothing comes between.
    sequence: u64,
    stream_id: String,
    /// The stream that it is meant for ([`Place::stream`]).
    stream: i128,
}

/// What the server will say of a message.
type Ack = BoxFuture<'static, Result<PublishAck, PublishError>>;

/// Messages on their way, in order.
#[derive(Default)]
struct Window {
    acks: FuturesOrdered<BoxFuture<'static, (Sent, Result<PublishAck, PublishError>)>>,
    /// The entities that they are about, and how many messages each: more than one only where each follows the one before.
    entities: HashMap<String, usize>,
    /// The entity and the id of the last one that was sent.
    last: Option<(String, Uuid)>,
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
                let stream_id = event.key.stream_id();
                while window.is_full_for(&stream_id, self.settings.window) {
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
                self.send(window, &event, stream_id, sequence, stream).await?;
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
        stream_id: String,
        sequence: u64,
        stream: i128,
    ) -> Result<(), BusError> {
        let failed = NatsError::request("publishing an event");
        let body = match CloudEvent::new(event, &self.source).encode() {
            Ok(body) => body,
            Err(error) => return Err(failed(error.into()).into()),
        };
        let mut message = PublishMessage::build()
            .payload(body.into())
            .message_id(event.event_id.to_string())
            .expected_stream(STREAM)
            .expected_last_sequence(sequence)
            .header("Content-Type", CONTENT_TYPE);
        if let Some(before) = window.before(&stream_id) {
            message = message.expected_last_message_id(before.to_string());
        }
        let subject = subject(&event.key, event.event.name());
        let ack = match self.bus.context().send_publish(subject, message).await {
            Ok(ack) => ack,
            Err(error) => return Err(failed(error.into()).into()),
        };
        let sent = Sent {
            position: event.position,
            event_id: event.event_id,
            sequence: sequence + 1,
            stream_id,
            stream,
        };
        window.push(sent, ack.into_future());
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
        window.settled(&sent);
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
            Err(error)
                if matches!(
                    error.kind(),
                    PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId
                ) =>
            {
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
    /// Whether an event of this entity has to wait.
    fn is_full_for(&self, stream_id: &str, limit: usize) -> bool {
        let parted = self.entities.contains_key(stream_id) && self.before(stream_id).is_none();
        !self.acks.is_empty() && (self.acks.len() >= limit || parted)
    }

    /// The id of the message on its way that an event of this entity would follow, where that one is about the same entity.
    fn before(&self, stream_id: &str) -> Option<Uuid> {
        let (last, event_id) = self.last.as_ref()?;
        (last == stream_id && self.entities.contains_key(stream_id)).then_some(*event_id)
    }

    fn push(&mut self, sent: Sent, ack: Ack) {
        *self.entities.entry(sent.stream_id.clone()).or_default() += 1;
        self.last = Some((sent.stream_id.clone(), sent.event_id));
        self.acks.push_back(Box::pin(async move { (sent, ack.await) }));
    }

    fn settled(&mut self, sent: &Sent) {
        if let Some(count) = self.entities.get_mut(&sent.stream_id) {
            *count -= 1;
            if *count == 0 {
                self.entities.remove(&sent.stream_id);
            }
        }
    }

    fn clear(&mut self) {
        self.acks.clear();
        self.entities.clear();
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use futures::FutureExt;

    const LIMIT: usize = 4;

    fn sent(position: Position, stream_id: &str) -> Sent {
        Sent {
            position,
            event_id: SystemClock.new_id(),
            sequence: position,
            stream_id: stream_id.to_owned(),
            stream: 1,
        }
    }

    fn push(window: &mut Window, position: Position, stream_id: &str) -> (Uuid, Sent) {
        let one = sent(position, stream_id);
        let again = Sent {
            stream_id: stream_id.to_owned(),
            ..one
        };
        window.push(one, futures::future::pending().boxed());
        (again.event_id, again)
    }

    #[test]
    fn an_entitys_next_event_goes_right_behind_its_last_one_or_waits() {
        let mut window = Window::default();
        assert!(!window.is_full_for("a", LIMIT));
        assert_eq!(window.before("a"), None);
        let (first, first_sent) = push(&mut window, 1, "a");
        assert!(!window.is_full_for("a", LIMIT));
        assert_eq!(window.before("a"), Some(first), "it names the one before");
        assert_eq!(window.before("b"), None, "another entity's names none");
        let (second, second_sent) = push(&mut window, 2, "a");
        assert_eq!(window.before("a"), Some(second));
        push(&mut window, 3, "b");
        assert!(window.is_full_for("a", LIMIT), "b stands between");
        assert!(!window.is_full_for("c", LIMIT));
        window.settled(&first_sent);
        assert!(window.is_full_for("a", LIMIT), "its second is still on the way");
        window.settled(&second_sent);
        assert!(!window.is_full_for("a", LIMIT));
        assert_eq!(window.before("a"), None, "nothing of it is on the way");
    }

    #[test]
    fn an_acknowledged_event_is_not_named_and_the_window_has_an_end() {
        let mut window = Window::default();
        let (_, only) = push(&mut window, 1, "a");
        window.settled(&only);
        assert_eq!(window.before("a"), None);
        for (position, stream_id) in [(2, "b"), (3, "c"), (4, "d")] {
            push(&mut window, position, stream_id);
        }
        assert!(window.is_full_for("d", LIMIT), "even right behind its own");
        window.clear();
        assert!(!window.is_full_for("d", LIMIT));
        assert_eq!(window.before("d"), None);
    }
}
