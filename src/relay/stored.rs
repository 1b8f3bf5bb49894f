//! Messages that stand on the stream: whose they are, and whether they say what the log says.

use crate::bus::cloud_event::{CloudEvent, Source};
use crate::bus::marks::{self, Marks};
use crate::bus::nats::{NatsBus, NatsError};
use crate::bus::subjects::Subjects;
use crate::bus::{BusError, LogAccess, find_in_log};
use crate::store::witness::Published;
use crate::store::{Position, StoredEvent};
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageError, RawMessageErrorKind, Stream};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How many messages are asked for at once.
const READ_AHEAD: usize = 32;

/// Who has put an event of the log on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// Somebody else: a copy, which names no sequence that it followed. Where it stands says nothing of what stands before it.
    Other,
    /// A relay: everything before it in the log was published before it.
    Relay,
}

/// The events of a stretch of the stream, by their positions.
pub(super) type Found = BTreeMap<Position, By>;

/// The message at a sequence of the stream; `None` where there is none (any more).
pub(super) async fn message_at(bus: &NatsBus, sequence: u64) -> Result<Option<StreamMessage>, NatsError> {
    found(own(bus).await?.get_raw_message(sequence).await)
}

/// The last message of a subject.
pub(super) async fn last_on(bus: &NatsBus, subject: &str) -> Result<Option<StreamMessage>, NatsError> {
    found(own(bus).await?.get_last_raw_message_by_subject(subject).await)
}

/// The stream, without a look at whether it is there.
async fn own(bus: &NatsBus) -> Result<Stream<()>, NatsError> {
    let stream = bus.context().get_stream_no_info(bus.stream_name()).await;
    stream.map_err(|error| NatsError::request("looking up the stream")(error.into()))
}

fn found(message: Result<StreamMessage, RawMessageError>) -> Result<Option<StreamMessage>, NatsError> {
    match message {
        Ok(message) => Ok(Some(message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(_)
            | RawMessageErrorKind::InvalidSubject
            | RawMessageErrorKind::Other => Err(NatsError::request("reading a message of the stream")(
                error.into(),
            )),
        },
    }
}

/// What a relay knows the messages by that are its ledger's.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) source: &'a Source,
    pub(super) marks: &'a Marks,
}

/// What stands on a stretch of the stream.
#[derive(Default)]
pub(super) struct Stretch {
    /// The events of the log.
    pub(super) found: Found,
    /// The last event that this ledger has published, by its mark, and that the log does not have.
    pub(super) lacking: Option<Published>,
    /// The same without a mark: somebody else's, or a relay's that made none yet.
    pub(super) unproven: Option<Position>,
    /// Whether an event has a mark, and it is not this ledger's.
    pub(super) foreign: bool,
}

/// What stands at these sequences. The log is read after the stream, which only gets what was committed.
pub(super) async fn stretch_at(
    bus: &NatsBus,
    log: &LogAccess,
    own: Own<'_>,
    sequences: RangeInclusive<u64>,
) -> Result<Stretch, BusError> {
    let claims: Vec<Claim> = stream::iter(sequences)
        .map(|sequence| message_at(bus, sequence))
        .buffered(READ_AHEAD)
        .try_filter_map(|message| async move { Ok(message.and_then(Claim::of)) })
        .try_collect()
        .await?;
    let positions: Vec<Position> = claims.iter().map(|claim| claim.event.data.position).collect();
    let log = find_in_log(&*log.reads, &positions).await?;
    let mut stretch = Stretch::default();
    let mut confirmed = 0;
    let mut missed = Vec::new();
    for claim in &claims {
        let position = claim.event.data.position;
        match log.get(&position) {
            Some(logged) if logged.event_id == claim.event.id => {
                confirmed = confirmed.max(position);
                if claim.is(logged, own.source, bus.subjects()) {
                    let by = stretch.found.entry(position).or_insert(claim.by);
                    *by = claim.by.max(*by);
                }
            }
            Some(_) | None => missed.push(claim),
        }
    }
    stretch.foreign = claims.iter().any(|claim| claim.has_mark_of_another(own));
    for claim in missed {
        let position = claim.event.data.position;
        match own.number_of(&claim.event, confirmed) {
            Some(number) if claim.has_mark(own, number) => {
                let event_id = claim.event.id;
                let last = stretch.lacking.filter(|last| last.position > position);
                stretch.lacking = last.or(Some(Published { position, event_id }));
            }
            Some(_) => stretch.unproven = stretch.unproven.max(Some(position)),
            None => {}
        }
    }
    Ok(stretch)
}

impl Own<'_> {
    /// The number of the ledger that an event says has recorded it, where the log should have the event. It need not have what a fork
    /// has given up; but it should know of a fork after it. Up to the position `confirmed` the log is the one that was published, as
    /// two that have the same event at the same position are: a row in which it seems another was damaged.
    fn number_of(&self, event: &CloudEvent, confirmed: Position) -> Option<u64> {
        let numbering = self.source.numbering();
        let position = event.data.position;
        let number = self.source.number_in(&event.source)?;
        let should_have =
            number > numbering.current() || (number == numbering.of(position) && position > confirmed);
        should_have.then_some(number)
    }
}

/// What a message says that it is.
struct Claim {
    event: CloudEvent,
    message: StreamMessage,
    by: By,
}

impl Claim {
    fn of(message: StreamMessage) -> Option<Self> {
        let event = CloudEvent::decode(&message.payload).ok()?;
        let id = message.headers.get(NATS_MESSAGE_ID)?.as_str();
        let follows = message.headers.get(NATS_EXPECTED_LAST_SEQUENCE);
        let by = match follows {
            Some(follows) if follows.as_str() == (message.sequence - 1).to_string() => By::Relay,
            Some(_) | None => By::Other,
        };
        (id == event.id.to_string()).then_some(Self { event, message, by })
    }

    /// Whether a relay of this ledger has sent it first, whoever sent this copy of it.
    fn has_mark(&self, own: Own<'_>, number: u64) -> bool {
        let mark = self.message.headers.get(marks::HEADER);
        let position = self.event.data.position;
        mark.is_some_and(|mark| own.marks.is(mark.as_str(), number, position, self.event.id))
    }

    /// Whether the relay of another ledger has sent it first.
    fn has_mark_of_another(&self, own: Own<'_>) -> bool {
        let marked = self.message.headers.get(marks::HEADER).is_some();
        let number = own.source.number_in(&self.event.source);
        marked && number.is_none_or(|number| !self.has_mark(own, number))
    }

    /// Whether the log has this event at this position. What a relay published in an earlier version may lack what later ones
    /// say; from anybody else every word has to be the log's.
    fn is(&self, logged: &StoredEvent, source: &Source, subjects: &Subjects) -> bool {
        let own = subjects.of(&logged.key, logged.event.name());
        if logged.event_id != self.event.id || self.message.subject.as_str() != own {
            return false;
        }
        match self.by {
            By::Relay => true,
            By::Other => CloudEvent::new(logged, &source.of(logged.position))
                .encode()
                .is_ok_and(|body| is_same(&self.message, &own, &body, source.former(logged.position))),
        }
    }
}

/// Whether a stored message is the one that was to be published: the same subject and, as JSON, the same body. `former` is a
/// `source` that it may have instead.
pub(super) fn is_same(stored: &StreamMessage, subject: &str, body: &[u8], former: Option<&str>) -> bool {
    if stored.subject.as_str() != subject {
        return false;
    }
    if *stored.payload == *body {
        return true;
    }
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    let (Some(mut theirs), Some(own)) = (read(&stored.payload), read(body)) else {
        return false;
    };
    if let Some(former) = former
        && theirs["source"] == former
    {
        theirs["source"] = own["source"].clone();
    }
    theirs == own
}
