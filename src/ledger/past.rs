//! An entity as it was: its stream, folded up to a point.

use super::opened::{Opened, was_sealed};
use super::view::{EntityView, view};
use super::{Ledger, LedgerError};
use crate::store::{EntityStream, Position, StoredEvent};
use archive_ledger_domain::{EntityKey, EventName};
use chrono::{DateTime, Utc};

/// A point in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// After the event at this position.
    Position(Position),
    /// After everything that was recorded at this time or before.
    Time(DateTime<Utc>),
}

impl AsOf {
    fn includes(self, event: &StoredEvent) -> bool {
        match self {
            Self::Position(position) => event.position <= position,
            Self::Time(time) => event.recorded_at <= time,
        }
    }
}

/// An entity as it was.
#[derive(Debug, Clone)]
pub struct PastEntity {
    /// What it was.
    pub view: EntityView,
    /// The position of the last event that it follows from.
    pub position: Position,
    /// Whether what was sealed is gone for good: the entity was purged since.
    pub erased: bool,
}

/// An entity at two of its versions.
#[derive(Debug, Clone)]
pub struct Versions {
    /// At the earlier one; `None` for version 0, before the ledger heard of it.
    pub from: Option<PastEntity>,
    /// At the later one.
    pub to: Option<PastEntity>,
    /// Its version today.
    pub current: u64,
}

impl Ledger {
    /// An entity as it was, whatever became of it; `None` when the ledger had not heard of it then.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn entity_as_of(
        &self,
        key: &EntityKey,
        as_of: AsOf,
    ) -> Result<Option<PastEntity>, LedgerError> {
        let Some(stream) = self.reads().stream(key).await? else {
            return Ok(None);
        };
        let opened = self.open_all(key, &stream);
        let count = stream
            .events
            .iter()
            .take_while(|event| as_of.includes(event))
            .count();
        Ok(past(key, &stream, &opened, count))
    }

    /// An entity at two of its versions; `None` when the ledger has never heard of it. A version that it has not reached is
    /// as its current one.
    ///
    /// # Errors
    /// [`LedgerError::Store`].
    pub async fn entity_versions(
        &self,
        key: &EntityKey,
        from: u64,
        to: u64,
    ) -> Result<Option<Versions>, LedgerError> {
        let Some(stream) = self.reads().stream(key).await? else {
            return Ok(None);
        };
        let opened = self.open_all(key, &stream);
        let at = |version: u64| {
            let count = usize::try_from(version).unwrap_or(usize::MAX);
            past(key, &stream, &opened, count.min(stream.events.len()))
        };
        Ok(Some(Versions {
            from: at(from),
            to: at(to),
            current: stream.events.last().map_or(0, |event| event.sequence),
        }))
    }
}

/// What the first `count` events of a stream made of the entity.
fn past(key: &EntityKey, stream: &EntityStream, opened: &[Opened], count: usize) -> Option<PastEntity> {
    let (events, opened) = (&stream.events[..count], &opened[..count]);
    let purged = stream
        .events
        .iter()
        .any(|event| event.event.name() == EventName::Purged);
    Some(PastEntity {
        view: view(key, events, opened)?,
        position: events.last()?.position,
        erased: purged && events.iter().any(was_sealed),
    })
}
