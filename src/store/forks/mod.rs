//! Forks as the database keeps them: the statement that ends an origin, what goes with it, and what was lost.

mod postgres;
mod sqlite;

use super::{Position, StoreError};
use archive_ledger_domain::{EntityKey, EventName};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Whether the stream told of what was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamAsked {
    /// There is none: the ledger publishes to nobody outside its process.
    None,
    /// It could not be reached, or not read to its end.
    Away,
    /// The server has no such stream.
    Missing,
    /// It was read to its end.
    Read,
}

/// A text that names no [`StreamAsked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream is 'none', 'away', 'missing' or 'read'")]
pub struct UnknownStreamAsked;

impl StreamAsked {
    /// As it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Away => "away",
            Self::Missing => "missing",
            Self::Read => "read",
        }
    }
}

impl fmt::Display for StreamAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StreamAsked {
    type Err = UnknownStreamAsked;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = [Self::None, Self::Away, Self::Missing, Self::Read].into_iter();
        all.find(|asked| asked.as_str() == text).ok_or(UnknownStreamAsked)
    }
}

/// A purge of the lost part: the ledger does not know that it was asked for, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostPurge {
    /// The last event of the purge that the stream has.
    pub event: EventName,
    /// That event's id.
    pub event_id: Uuid,
    /// The position that it had.
    pub position: Position,
    /// The number of the ledger that recorded it.
    pub recorded_by: u64,
    /// The entity.
    pub key: EntityKey,
    /// The purge, where the event names it.
    pub purge_id: Option<Uuid>,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
}

/// What a fork has lost, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Losses {
    /// The number that the fork opened.
    pub ledger: u64,
    /// How many events it went on from.
    pub size: Position,
    /// The last position that is known to have been recorded; what came behind it nobody knows of.
    pub reached: Position,
    /// How many of the positions between them the stream told of.
    pub seen: u64,
    /// Whether it was asked.
    pub stream: StreamAsked,
    /// The purges among them, by their positions.
    pub purges: Vec<LostPurge>,
    /// When this was found out.
    pub told_at: DateTime<Utc>,
}

impl Losses {
    /// How many positions are known to be lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.reached.saturating_sub(self.size)
    }

    /// Of how many of them nothing is known: a purge may have been among them.
    #[must_use]
    pub const fn unaccounted(&self) -> u64 {
        self.lost().saturating_sub(self.seen)
    }
}

/// A fact that is remembered with a fork: its name and its value.
pub type Fact<'a> = (String, &'a str);

/// Opens origins, and keeps what each has lost.
#[async_trait]
pub trait ForkStore: Send + Sync {
    /// Opens an origin, in one transaction: remembers `facts`, keeps `losses`, and takes everything back that names a position
    /// behind `losses.size` or an event that the log does not hold, so that nobody passes over what is recorded there anew, and
    /// nobody works for what is lost: readers' cursors, the audit's index and places, tiles' hashes, claims, cleanup jobs, owed
    /// purges and callbacks. Returns false, and changes nothing, when the first fact is known already with another value.
    ///
    /// # Errors
    /// [`StoreError::HeadMoved`] when the log does not end at `losses.size`.
    async fn open_origin(&self, facts: &[Fact<'_>], losses: &Losses) -> Result<bool, StoreError>;

    /// What the fork that opened an origin has lost; `None` when it was not kept, as before forks did so.
    async fn losses(&self, ledger: u64) -> Result<Option<Losses>, StoreError>;

    /// Keeps what was found out later in the place of what was kept.
    async fn keep_losses(&self, losses: &Losses) -> Result<(), StoreError>;
}
