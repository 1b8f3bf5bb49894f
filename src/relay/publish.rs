//! The leader's work: publishes events in order with a window of unacknowledged messages.
//!
//! Every message names the stream sequence that it has to follow. While all goes well the k-th message behind sequence `s`
//! is stored as `s + k`; the first that is lost or refused makes the server refuse all behind it. Then the window is
//! drained, the place is looked up again, and publishing goes on from there: nothing is skipped, and what was stored although
//! its acknowledgement was lost is recognised by its `Nats-Msg-Id`.
//!
//! The server takes no message whose `Nats-Msg-Id` it knows, whoever sent it before. So what it calls a duplicate is read: if
//! it says what the event says, the event is published; if it says anything else, somebody has taken the event's id, and the
//! relay waits, loudly, until the server has forgotten it. Behind a duplicate the sequences no longer fit what was sent ahead,
//! so that for a while each message waits for the one before it.
//!
//! Strangers' messages take the sequences that events were to get. Where they keep coming, nothing would fit for long: for a while
//! each event is then sent by itself, behind the last message of its own subject, which strangers have no business with.
//!
//! An entity's events keep their order even where a stranger's message takes the place of one that was lost: an event whose
//! entity has one on the way is sent only right behind that one, and then names its id as well (a purge without storage is
//! two such events); any other waits for the acknowledgement.

use super::outgoing::{Fence, Outgoing};
use super::resume::{Finder, Place};
use super::stored::{Own, last_on};
use super::window::{Answer, Broken, Sent, Window};
use super::{NAME, PUBLISHING, RelaySettings};
use crate::bus::cloud_event::Source;
use crate::bus::health::RelayState;
use crate::bus::marks::Marks;
use crate::bus::nats::{NatsBus, NatsError};
use crate::bus::{BusError, CommitSignal, LogAccess};
use crate::store::Position;
use crate::task_states;
use crate::telemetry;
use futures::StreamExt;
use metrics::{counter, gauge};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many events are read at once.
const PAGE: u32 = 512;

/// How often the cursor is written while it moves. It only matters once nothing is left on the stream.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// How often the stream is looked at although nothing was refused.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How often the connection is looked at while an acknowledgement is awaited.
const CONNECTION_CHECK: Duration = Duration::from_millis(100);

/// How many messages behind a duplicate wait for each other: where one was copied, more may be.
const CAREFUL_FOR: usize = 64;

/// How many messages are sent by themselves once strangers came in between.
const CROWDED_FOR: usize = 256;

/// What ended a stretch of publishing.
pub(super) enum End {
    /// The service stops.
    Shutdown,
    /// The lease was not renewed in time.
    LeaseOver,
    /// The server refused a message: something else was published, or a message was lost.
    Refused,
    /// What comes next is on the stream already.
    Known,
    /// The server or the database failed.
    Failed(BusError),
}

/// Publishes the log as long as it holds the lease.
pub(super) struct Publisher {
    bus: NatsBus,
    log: LogAccess,
    signal: CommitSignal,
    source: Source,
    marks: Marks,
    settings: RelaySettings,
    state: RelayState,
    deadline: watch::Receiver<Instant>,
    /// How far the stream is known to be the log.
    certain: Option<Place>,
    /// Whether a message behind it failed.
    doubtful: bool,
    /// How many messages more wait for each other.
    careful: usize,
    /// How many messages more follow the last one of their subject, not of the stream: strangers came in between.
    crowded: usize,
    /// The event whose id somebody else has taken, once that was told.
    taken: Position,
    saved: Position,
    saved_at: Instant,
    looked_at: Instant,
}

impl Publisher {
    /// A publisher that may publish until `deadline`, and tells `state` how it gets on.
    pub(super) fn new(parts: &super::Relay, deadline: watch::Receiver<Instant>) -> Self {
        Self {
            bus: parts.bus.clone(),
            log: parts.log.clone(),
            signal: parts.signal.clone(),
            source: parts.source.clone(),
            marks: parts.marks.clone(),
            settings: parts.settings,
            state: parts.state.clone(),
            deadline,
            certain: None,
            doubtful: false,
            careful: 0,
            crowded: 0,
            taken: 0,
            saved: 0,
            saved_at: Instant::now(),
            looked_at: Instant::now(),
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
                Some(Broken::Known) => End::Known,
                Some(Broken::Failed(error)) => {
                    End::Failed(NatsError::request("publishing an event")(error).into())
                }
                Some(Broken::Disconnected) => End::Failed(
                    NatsError::request("publishing an event")("the connection was lost".into()).into(),
                ),
            };
        }
        match self.save().await {
            Err(error) if matches!(end, End::Refused | End::Known | End::LeaseOver) => End::Failed(error),
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
        let place = self.finder().find(self.certain, self.doubtful).await?;
        self.is_certain_of(place);
        self.doubtful = false;
        let Place {
            mut position,
            scanned: mut sequence,
            mut stream,
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
                while window.is_full_for(&stream_id, self.limit()) {
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
                let message = Outgoing::new(
                    &event,
                    stream_id,
                    self.bus.subjects(),
                    &self.source,
                    &self.marks,
                    stream,
                )?;
                if self.crowded > 0 {
                    self.crowded -= 1;
                    self.send_alone(window, message).await?;
                    continue;
                }
                if window.acks.is_empty() {
                    // Neither a duplicate nor a message that went alone was counted.
                    sequence = self.certain.map_or(sequence, |place| place.scanned);
                }
                self.careful = self.careful.saturating_sub(1);
                self.send(window, message, Fence::Stream(sequence)).await?;
                sequence += 1;
            }
            let look = self.looked_at.elapsed() >= LOOK_AGAIN;
            if look {
                self.settle_all(window).await;
            }
            if shutdown.is_cancelled() {
                return Ok(End::Shutdown);
            }
            if window.broken.is_some() {
                return Ok(End::Refused);
            }
            if look && let Some(place) = self.look_again().await? {
                (position, sequence, stream) = (place.position, place.scanned, place.stream);
                continue;
            }
            let since_saved = self.saved_at.elapsed();
            if since_saved >= SAVE_EVERY {
                self.save().await?;
            }
            if window.acks.is_empty() {
                task_states::goes_on(PUBLISHING);
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

    /// Looks whether the stream is still the one that was published to, and ends where that ended; if not, where to go on. No
    /// refusal tells of a stream that was deleted while there was nothing to publish, of another one in its place that took
    /// the first events or those that went alone, or of what others publish under this ledger's name.
    async fn look_again(&mut self) -> Result<Option<Place>, BusError> {
        self.looked_at = Instant::now();
        let stream = self.bus.stream().await?;
        let info = stream.cached_info();
        if self.certain.is_some_and(|place| place.is_end_of(info)) {
            return Ok(None);
        }
        let place = self.finder().find(self.certain, true).await?;
        self.is_certain_of(place);
        Ok(Some(place))
    }

    /// Sends one event among strangers' messages: it follows the last one of its own subject, whatever else comes.
    async fn send_alone(&mut self, window: &mut Window, message: Outgoing) -> Result<(), BusError> {
        let last = match last_on(&self.bus, &message.subject).await? {
            Some(stored) if message.stands_in(&stored) => {
                self.advance(&message.sent, Some(stored.sequence), false);
                return Ok(());
            }
            Some(other) => other.sequence,
            None => 0,
        };
        self.send(window, message, Fence::Subject(last)).await?;
        self.settle_all(window).await;
        Ok(())
    }

    /// Sends one event, to be stored where the fence allows it.
    async fn send(&self, window: &mut Window, message: Outgoing, fence: Fence) -> Result<(), BusError> {
        let before = window.before(&message.sent.stream_id);
        let (sent, ack) = message.send(&self.bus, fence, before).await?;
        window.push(sent, ack);
        Ok(())
    }

    const fn finder(&self) -> Finder<'_> {
        Finder {
            bus: &self.bus,
            log: &self.log,
            own: Own {
                source: &self.source,
                marks: &self.marks,
            },
        }
    }

    /// How many messages may be on their way.
    const fn limit(&self) -> usize {
        if self.careful > 0 || self.crowded > 0 {
            1
        } else {
            self.settings.window
        }
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
        // Behind a failure, only what follows without a gap counts.
        let follows = sent.position == self.published() + 1;
        match answer {
            Answer::Stored(sequence) if follows => {
                counter!(telemetry::RELAY_PUBLISHED_TOTAL).increment(1);
                let expected = sent.sequence.is_none_or(|expected| expected == sequence);
                self.advance(&sent, Some(sequence), expected);
                if !expected {
                    self.fail(window, Broken::Misplaced);
                }
            }
            Answer::Known(sequence) if follows => self.pass_over(window, &sent, Some(sequence)),
            Answer::Removed if follows => {
                tracing::warn!(
                    event.position = sent.position,
                    event.id = %sent.event_id,
                    "event {} was on the stream and was removed from it: it is not published again",
                    sent.position,
                );
                self.pass_over(window, &sent, None);
            }
            Answer::Taken(sequence) if follows => {
                self.state.refused(format!(
                    "the id of event {} belongs to another message, at the stream's sequence {sequence}",
                    sent.position
                ));
                if self.taken != sent.position {
                    self.taken = sent.position;
                    tracing::error!(
                        event.position = sent.position,
                        event.id = %sent.event_id,
                        stream.sequence = sequence,
                        "event {} cannot be published: somebody else has sent another message under its id (sequence \
                         {sequence}), and the server takes no other one before it has forgotten that",
                        sent.position,
                    );
                }
                self.fail(window, Broken::Misplaced);
            }
            Answer::Refused if follows => {
                self.crowded = CROWDED_FOR;
                self.state.refused(format!(
                    "event {} was refused: other messages come to the stream",
                    sent.position
                ));
                self.fail(window, Broken::Misplaced);
            }
            Answer::Stored(_)
            | Answer::Known(_)
            | Answer::Removed
            | Answer::Taken(_)
            | Answer::Refused
            | Answer::UnderWay => self.fail(window, Broken::Misplaced),
            Answer::Failed(error) => self.fail(window, Broken::Failed(error)),
        }
    }

    /// The event of a duplicate is published. Unless it was alone, what was sent behind it names sequences that do not come.
    fn pass_over(&mut self, window: &mut Window, sent: &Sent, at: Option<u64>) {
        self.careful = CAREFUL_FOR;
        self.advance(sent, at, false);
        if !window.acks.is_empty() {
            self.fail(window, Broken::Known);
        }
    }

    /// An event is on the stream; `last` is set when it is the last message there.
    fn advance(&mut self, sent: &Sent, at: Option<u64>, last: bool) {
        task_states::goes_on(PUBLISHING);
        let scanned = match (at, self.certain) {
            (Some(at), _) if last => at,
            (_, Some(place)) => place.scanned,
            (_, None) => 0,
        };
        self.is_certain_of(Place {
            position: sent.position,
            scanned,
            at,
            stream: sent.stream,
        });
    }

    fn is_certain_of(&mut self, place: Place) {
        self.state.published(place.position);
        self.certain = Some(place);
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
            super::show_lag(head.position.saturating_sub(self.published()));
        }
    }
}
