//! Where to go on: read from the stream, confirmed by the log.
//!
//! | the stream | the relay goes on after |
//! |---|---|
//! | ends with events of the log | the last one before which none is missing |
//! | messages of strangers follow them, or of a part of the log that was lost before a fork | the same: they are skipped |
//! | is new, or its very first message is still there and no relay's | the end of the run of copies from position 1: mostly 0 |
//! | everything on it has aged out or was purged | the cursor `relay` in the database |
//!
//! The server stores a message only right behind the sequence that it names, so the stream has gaps in one case only:
//! a message was lost or refused, a stranger's took its place, and what followed fitted again. Behind what is certain there
//! is never more than one window of messages, so that much is read and looked through. What a stranger copied is told from
//! what a relay published by the headers: a copy does not name the sequence that it followed. It is the event all the same,
//! if it says word for word what the log says.

use super::NAME;
use super::stored::{By, Found, Own, Stretch, stretch_at};
use crate::bus::nats::{NatsBus, NatsError};
use crate::bus::{BusError, LogAccess};
use crate::store::{Position, StoreError};
use async_nats::jetstream::stream::{Info, State, Stream};
use std::ops::RangeInclusive;

/// How many messages are read to see whether an event is missing: a window, and as many of strangers.
pub(super) const REGION: u64 = 512;

/// How many regions of strangers' messages are passed over in search of the last event.
const STRANGE_REGIONS: u64 = 8;

/// How often what came meanwhile is looked through before publishing is tried: who keeps publishing there must not keep the
/// relay reading.
const ROUNDS: usize = 3;

/// A place up to which the stream is known to be the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The last position that was published.
    pub(super) position: Position,
    /// Up to this sequence the stream was looked through: whatever is missing behind the position stands behind it.
    pub(super) scanned: u64,
    /// Where the event itself stands, when that is known.
    pub(super) at: Option<u64>,
    /// When the stream was created, in nanoseconds since 1970: another one holds nothing of this.
    pub(super) stream: i128,
}

impl Place {
    /// Whether the stream is the one that it is on, and has nothing behind it.
    pub(super) fn is_end_of(&self, info: &Info) -> bool {
        let end = self.scanned.max(self.at.unwrap_or_default());
        created(info) == self.stream && info.state.last_sequence == end
    }

    /// The place when what stands behind it, up to the sequence `scanned`, was found.
    fn with(self, found: &Found, scanned: u64) -> Self {
        let position = end_of_run(self.position, found);
        Self {
            position,
            scanned,
            at: self.at.filter(|_| position == self.position),
            stream: self.stream,
        }
    }
}

/// What the place is found with.
pub(super) struct Finder<'a> {
    pub(super) bus: &'a NatsBus,
    pub(super) log: &'a LogAccess,
    pub(super) own: Own<'a>,
}

impl Finder<'_> {
    /// Finds the place to go on; `scanned` is the stream's last sequence then, which the next message has to follow.
    ///
    /// `certain` is what this leader knows already. `doubtful` is set when a message behind it failed, so that what follows has
    /// to be looked through.
    pub(super) async fn find(&self, certain: Option<Place>, doubtful: bool) -> Result<Place, BusError> {
        let stream = self.bus.stream().await?;
        // What `stream` has just asked for.
        let mut place = self.first_look(stream.cached_info(), certain, doubtful).await?;
        for _ in 0..ROUNDS {
            let last = last_of(&stream, place).await?;
            if last == place.scanned {
                break;
            }
            place = self
                .look_behind(place, last.min(place.scanned + 2 * REGION))
                .await?;
        }
        Ok(place)
    }

    async fn first_look(
        &self,
        info: &Info,
        certain: Option<Place>,
        doubtful: bool,
    ) -> Result<Place, BusError> {
        let state = &info.state;
        let last = state.last_sequence;
        let certain = match certain {
            Some(place) if place.stream == created(info) && self.still_holds(place, last).await? => {
                Some(place)
            }
            Some(_) | None => None,
        };
        if let Some(place) = certain
            && doubtful
            && last - place.scanned <= 2 * REGION
        {
            return self.look_behind(place, last).await;
        }
        let end = self.last_complete(state, last).await?;
        let position = match certain.map(|place| place.position).max(end) {
            Some(position) => position,
            None => self.log.coordination.cursor(NAME).await?,
        };
        Ok(Place {
            position,
            scanned: last,
            at: None,
            stream: created(info),
        })
    }

    /// Takes in what stands behind a place.
    async fn look_behind(&self, place: Place, last: u64) -> Result<Place, BusError> {
        let found = self.events(place.scanned + 1..=last).await?;
        Ok(place.with(&found, last))
    }

    /// Whether a place is still on the stream: its end may have been lost with the power.
    async fn still_holds(&self, place: Place, last: u64) -> Result<bool, BusError> {
        if place.scanned > last {
            return Ok(false);
        }
        let Some(at) = place.at else { return Ok(true) };
        if at > last {
            return Ok(false);
        }
        let one = stretch_at(self.bus, self.log, self.own, at..=at).await?;
        Ok(one.found.contains_key(&place.position))
    }

    /// The position of the last event before which none is missing, as far as one can be; `None` when the stream does not say.
    pub(super) async fn last_complete(&self, state: &State, last: u64) -> Result<Option<Position>, BusError> {
        let first = state.first_sequence.max(1);
        let mut upper = last;
        let mut found = Found::new();
        for _ in 0..STRANGE_REGIONS {
            if upper < first {
                break;
            }
            let lower = first.max((upper + 1).saturating_sub(REGION));
            let more = self.events(lower..=upper).await?;
            let published = more.values().any(|by| *by == By::Relay);
            join(&mut found, more);
            if !published {
                upper = lower - 1;
                continue;
            }
            if upper < last {
                tracing::warn!(
                    stream.sequence = last,
                    "the stream ends with messages that no relay of this ledger has published"
                );
                // Strangers cut the region short: look as far back as ever from the last event.
                let lower_still = first.max(lower.saturating_sub(REGION));
                join(&mut found, self.events(lower_still..=lower - 1).await?);
            }
            let lowest = found.iter().find(|(_, by)| **by == By::Relay);
            return Ok(lowest.map(|(position, _)| end_of_run(*position, &found)));
        }
        // Whether no relay ever published here is known only while the very first message is still there.
        let untouched = last == 0 || (state.messages > 0 && state.first_sequence == 1 && upper < first);
        Ok(untouched.then(|| end_of_run(0, &found)))
    }

    /// The events of the log that stand there. One that the log should have and has not is a question to the database: is it the
    /// one that published it?
    async fn events(&self, sequences: RangeInclusive<u64>) -> Result<Found, BusError> {
        let Stretch {
            found,
            lacking,
            unproven,
            foreign: _,
        } = stretch_at(self.bus, self.log, self.own, sequences).await?;
        if let Some(published) = lacking {
            self.log.witness.published(published);
            tokio::select! {
                vouched = self.log.reads.vouch() => vouched?,
                // A pool whose new connections are refused for it would say so much later.
                reason = self.log.witness.diverged() => return Err(StoreError::Diverged(reason).into()),
            }
        }
        if let Some(position) = unproven {
            tracing::warn!(
                event.position = position,
                "event {position} is on the stream under this ledger's name and not in the log; it has no mark of this ledger, so \
                 that anybody may have sent it"
            );
        }
        Ok(found)
    }
}

/// The last sequence of the stream that a place is on.
async fn last_of(stream: &Stream, place: Place) -> Result<u64, NatsError> {
    let failed = NatsError::request("reading the end of the stream");
    let info = match stream.get_info().await {
        Ok(info) => info,
        Err(error) => return Err(failed(error.into())),
    };
    let last = info.state.last_sequence;
    if created(&info) != place.stream || last < place.scanned {
        return Err(failed("it was replaced".into()));
    }
    Ok(last)
}

const fn created(info: &Info) -> i128 {
    info.created.unix_timestamp_nanos()
}

/// Adds what stands elsewhere; what a relay published anywhere was published by one.
fn join(found: &mut Found, more: Found) {
    for (position, by) in more {
        let known = found.entry(position).or_insert(by);
        *known = by.max(*known);
    }
}

/// The end of the run of positions that begins with `position`.
fn end_of_run(position: Position, found: &Found) -> Position {
    let mut end = position;
    for next in found.range(position + 1..).map(|(next, _)| *next) {
        if next != end + 1 {
            tracing::warn!(
                event.position = end + 1,
                "event {} is not on the stream and is published behind its successors: somebody else publishes there",
                end + 1,
            );
            break;
        }
        end = next;
    }
    end
}
