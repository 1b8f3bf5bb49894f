//! Where to go on: read from the stream, confirmed by the log.
//!
//! | the stream | the relay goes on after |
//! |---|---|
//! | its last message is an event of the log | that event |
//! | messages of others follow it | the event before them |
//! | it is new, or holds nothing but messages of others from its first sequence on | position 0: everything |
//! | everything on it has aged out or was purged | the cursor `relay` in the database |

use super::NAME;
use crate::bus::cloud_event::CloudEvent;
use crate::bus::nats::{NatsBus, NatsError};
use crate::bus::{BusError, LogAccess};
use crate::store::Position;
use async_nats::jetstream::stream::{RawMessageErrorKind, State, Stream};

/// How many messages that are no events of the log are skipped from the end of the stream. Only somebody else who publishes
/// under the ledger's subjects puts them there.
const STRANGERS: u64 = 1000;

/// An event that the server has said to hold; ordered by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Confirmed {
    pub(super) position: Position,
    pub(super) sequence: u64,
}

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resume {
    /// The last position that was published.
    pub(super) position: Position,
    /// The same, if it is on the stream.
    pub(super) confirmed: Option<Confirmed>,
    /// The stream's last sequence: the next message has to follow it.
    pub(super) last_sequence: u64,
}

/// Finds the place to go on.
///
/// `confirmed` is the end of what this leader knows to be on the stream. `gap` is set when something was stored although an
/// event before it was not: nothing behind that position may be believed then, whatever the stream ends with.
pub(super) async fn find(
    bus: &NatsBus,
    log: &LogAccess,
    confirmed: Option<Confirmed>,
    gap: Option<Position>,
) -> Result<Resume, BusError> {
    let stream = bus.stream().await?;
    // What `stream` has just asked for.
    let state = &stream.cached_info().state;
    let last_sequence = state.last_sequence;
    // A stream that was created again, or lost its end with the power, does not hold it any more.
    let known = match confirmed {
        Some(known) if event_at(&stream, log, known.sequence).await? == Some(known) => Some(known),
        Some(_) | None => None,
    };
    let end = last_event(&stream, log, state.first_sequence, last_sequence).await?;
    let confirmed = known.max(end);
    let position = match confirmed {
        Some(confirmed) => confirmed.position,
        None if holds_nothing_of_ours(state) => 0,
        None => log.coordination.cursor(NAME).await?,
    };
    if let Some(gap) = gap
        && gap < position
    {
        return Ok(Resume {
            position: gap,
            confirmed: known.filter(|known| known.position <= gap),
            last_sequence,
        });
    }
    Ok(Resume {
        position,
        confirmed,
        last_sequence,
    })
}

/// Whether no event of the ledger was ever on the stream; known only while its very first message is still there.
fn holds_nothing_of_ours(state: &State) -> bool {
    state.last_sequence == 0
        || (state.messages > 0 && state.first_sequence == 1 && state.last_sequence <= STRANGERS)
}

/// The last message that is an event of the log.
async fn last_event(
    stream: &Stream,
    log: &LogAccess,
    first: u64,
    last: u64,
) -> Result<Option<Confirmed>, BusError> {
    let stop = first.max(last.saturating_sub(STRANGERS) + 1);
    for sequence in (stop..=last).rev() {
        if let Some(event) = event_at(stream, log, sequence).await? {
            if sequence < last {
                tracing::warn!(
                    stream.sequence = last,
                    "the stream's last {} messages are no events of this ledger",
                    last - sequence
                );
            }
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// The event that stands at this sequence, if it is one of the log.
async fn event_at(stream: &Stream, log: &LogAccess, sequence: u64) -> Result<Option<Confirmed>, BusError> {
    let message = match stream.get_raw_message(sequence).await {
        Ok(message) => message,
        Err(error) => {
            return match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(_)
                | RawMessageErrorKind::InvalidSubject
                | RawMessageErrorKind::Other => {
                    Err(NatsError::request("reading the end of the stream")(error.into()).into())
                }
            };
        }
    };
    let Ok(claim) = CloudEvent::decode(&message.payload) else {
        return Ok(None);
    };
    let position = claim.data.position;
    if position == 0 || i64::try_from(position).is_err() {
        return Ok(None);
    }
    let stored = log.reads.log_after(position - 1, &[], 1).await?;
    let confirmed = stored
        .first()
        .is_some_and(|stored| stored.position == position && stored.event_id == claim.id);
    Ok(confirmed.then_some(Confirmed { position, sequence }))
}
