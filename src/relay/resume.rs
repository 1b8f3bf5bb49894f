//! Where to go on: read from the stream, confirmed by the log.
//!
//! | the stream | the relay goes on after |
//! |---|---|
//! | ends with events of the log | the last one before which none is missing |
//! | messages of strangers follow them | the same: they are skipped |
//! | is new, or its very first message is still there and none is the ledger's | position 0: everything |
//! | everything on it has aged out or was purged | the cursor `relay` in the database |
//!
//! The server stores a message only right behind the sequence that it names, so the stream has gaps in one case only:
//! a message was lost or refused, a stranger's took its place, and what followed fitted again. Behind what is certain there
//! is never more than one window of messages, so that much is read and looked through. What a stranger copied is told from
//! what a relay published by the headers: a copy does not name the sequence that it followed.

use super::NAME;
use crate::bus::cloud_event::CloudEvent;
use crate::bus::nats::{NatsBus, NatsError};
use crate::bus::{BusError, LogAccess, find_in_log};
use crate::store::Position;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, State, Stream};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// How many messages are read to see whether an event is missing: a window, and as many of strangers.
const REGION: u64 = 512;

/// How many regions of strangers' messages are passed over in search of the last event.
const STRANGE_REGIONS: u64 = 8;

/// How many messages are asked for at once.
const READ_AHEAD: usize = 32;

/// A place up to which the stream is known to be the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The last position that was published.
    pub(super) position: Position,
    /// A sequence of the stream; whatever is missing up to the position stands behind it.
    pub(super) sequence: u64,
    /// Whether the event itself stands at that sequence.
    pub(super) exact: bool,
    /// When the stream was created, in nanoseconds since 1970: another one holds nothing of this.
    pub(super) stream: i128,
}

/// Finds the place to go on; its sequence is the stream's last one, which the next message has to follow.
///
/// `certain` is what this leader knows already. `doubtful` is set when a message behind it failed, so that what follows has
/// to be looked through.
pub(super) async fn find(
    bus: &NatsBus,
    log: &LogAccess,
    certain: Option<Place>,
    doubtful: bool,
) -> Result<Place, BusError> {
    let stream = bus.stream().await?;
    // What `stream` has just asked for.
    let info = stream.cached_info();
    let state = &info.state;
    let last = state.last_sequence;
    let created = info.created.unix_timestamp_nanos();
    let at = |position| Place {
        position,
        sequence: last,
        exact: false,
        stream: created,
    };
    let certain = match certain {
        Some(place) if place.stream == created && still_holds(&stream, log, place, last).await? => {
            Some(place)
        }
        Some(_) | None => None,
    };
    if let Some(place) = certain
        && doubtful
        && last - place.sequence <= 2 * REGION
    {
        let events = events(&stream, log, place.sequence + 1..=last).await?;
        return Ok(at(end_of_run(place.position, &events)));
    }
    let end = last_complete(&stream, log, state.first_sequence, last).await?;
    let position = match certain.map(|place| place.position).max(end) {
        Some(position) => position,
        None if holds_nothing_of_ours(state) => 0,
        None => log.coordination.cursor(NAME).await?,
    };
    Ok(at(position))
}

/// Whether no event of the ledger was ever on the stream; known only while its very first message is still there.
fn holds_nothing_of_ours(state: &State) -> bool {
    state.last_sequence == 0
        || (state.messages > 0
            && state.first_sequence == 1
            && state.last_sequence <= REGION * STRANGE_REGIONS)
}

/// Whether a place is still on the stream: its end may have been lost with the power.
async fn still_holds(stream: &Stream, log: &LogAccess, place: Place, last: u64) -> Result<bool, BusError> {
    if place.sequence > last {
        return Ok(false);
    }
    if !place.exact {
        return Ok(true);
    }
    let found = events(stream, log, place.sequence..=place.sequence).await?;
    Ok(found.contains(&place.position))
}

/// The position of the last event before which none is missing, as far as one can be.
async fn last_complete(
    stream: &Stream,
    log: &LogAccess,
    first: u64,
    last: u64,
) -> Result<Option<Position>, BusError> {
    let first = first.max(1);
    let mut upper = last;
    for _ in 0..STRANGE_REGIONS {
        if upper < first {
            break;
        }
        let lower = first.max((upper + 1).saturating_sub(REGION));
        let mut found = events(stream, log, lower..=upper).await?;
        if found.is_empty() {
            upper = lower - 1;
            continue;
        }
        if upper < last {
            tracing::warn!(
                stream.sequence = last,
                "the stream ends with messages that are no events of this ledger"
            );
            // Strangers cut the region short: look as far back as ever from the last event.
            let lower_still = first.max(lower.saturating_sub(REGION));
            found.extend(events(stream, log, lower_still..=lower - 1).await?);
        }
        let Some(lowest) = found.first().copied() else {
            break;
        };
        return Ok(Some(end_of_run(lowest, &found)));
    }
    Ok(None)
}

/// The end of the run of positions that begins with `position`.
fn end_of_run(position: Position, events: &BTreeSet<Position>) -> Position {
    let mut end = position;
    for next in events.range(position + 1..) {
        if *next != end + 1 {
            tracing::error!(
                event.position = end + 1,
                "event {} is missing on the stream and is published behind its successors: somebody else publishes there",
                end + 1,
            );
            break;
        }
        end = *next;
    }
    end
}

/// The positions of the events that a relay has published at these sequences.
async fn events(
    stream: &Stream,
    log: &LogAccess,
    sequences: RangeInclusive<u64>,
) -> Result<BTreeSet<Position>, BusError> {
    let claims: Vec<CloudEvent> = stream::iter(sequences)
        .map(|sequence| published_at(stream, sequence))
        .buffered(READ_AHEAD)
        .try_filter_map(|claim| async move { Ok(claim) })
        .try_collect()
        .await?;
    let positions: Vec<Position> = claims.iter().map(|claim| claim.data.position).collect();
    let log = find_in_log(&*log.reads, &[], &positions).await?;
    let confirmed = claims.iter().filter(|claim| {
        log.get(&claim.data.position)
            .is_some_and(|event| event.event_id == claim.id)
    });
    Ok(confirmed.map(|claim| claim.data.position).collect())
}

/// What a relay says to have published at this sequence.
async fn published_at(stream: &Stream, sequence: u64) -> Result<Option<CloudEvent>, NatsError> {
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(claim(&message)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(_)
            | RawMessageErrorKind::InvalidSubject
            | RawMessageErrorKind::Other => {
                Err(NatsError::request("reading the end of the stream")(error.into()))
            }
        },
    }
}

fn claim(message: &StreamMessage) -> Option<CloudEvent> {
    let claim = CloudEvent::decode(&message.payload).ok()?;
    let id = message.headers.get(NATS_MESSAGE_ID)?.as_str();
    let follows = message.headers.get(NATS_EXPECTED_LAST_SEQUENCE)?.as_str();
    let published = id == claim.id.to_string() && follows == (message.sequence - 1).to_string();
    published.then_some(claim)
}
