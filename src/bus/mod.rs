//! The bus between the log and its consumers.
//!
//! ```text
//!                       ┌──────────── local.rs ────────────┐  embedded: cursor `<consumer>`
//! log (by position) ────┤                                  ├──▶ Handler ──▶ (event id + job) in one transaction
//!        │              └── local.rs, `redrive:<consumer>` ┘  clustered: everything again, seconds later
//!        └─▶ relay.rs ─▶ JetStream ─▶ nats.rs ─▶ looked up in the log ─▶ Handler
//! ```
//!
//! - A [`Handler`] sees every event of the names that it asks for at least once, and decides nothing else about delivery.
//! - What it sees is always the log's own event. A message only says where to look: one that the log does not confirm is
//!   parked, never acted upon.
//! - In clustered mode every handler also reads the log itself, some time behind ([`local::LogConsumer::redriver`]), so
//!   that a lost message, stream or server loses no work.

pub mod cloud_event;
#[cfg(feature = "contract")]
pub mod contract;
pub mod health;
pub mod local;
pub mod marks;
pub mod nats;
pub mod subjects;

use crate::clock::SharedClock;
use crate::store::witness::Witness;
use crate::store::{CoordinationStore, Position, ReadStore, StoreError, StoredEvent};
use crate::task_states::TaskFailure;
use crate::telemetry;
use archive_ledger_domain::{EntityKey, Event, EventName};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use metrics::counter;
use std::collections::HashMap;
use std::error::Error;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// An event of the log, as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusEvent {
    /// Its place in the log.
    pub position: Position,
    /// Its id: what makes a handler idempotent.
    pub event_id: Uuid,
    /// The entity that it happened to.
    pub key: EntityKey,
    /// The entity's version after it.
    pub sequence: u64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// What happened.
    pub event: Event,
}

impl From<StoredEvent> for BusEvent {
    fn from(stored: StoredEvent) -> Self {
        Self {
            position: stored.position,
            event_id: stored.event_id,
            key: stored.key,
            sequence: stored.sequence,
            recorded_at: stored.recorded_at,
            event: stored.event,
        }
    }
}

/// What became of an event that was not handled.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// It may succeed later: the event comes again.
    #[error("the event could not be handled now")]
    Retry(#[source] Box<dyn Error + Send + Sync>),
    /// It will never succeed: the event is parked (logged once, counted) and the next one is handled.
    #[error("the event cannot be handled")]
    Poison(#[source] Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// Wraps an error that passes.
    pub fn retry(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Retry(error.into())
    }

    /// Wraps an error that stays.
    pub fn poison(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Poison(error.into())
    }
}

/// Why a consumer or the relay ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The stream cannot hold the ledger's events.
    #[error(transparent)]
    Nats(#[from] nats::NatsError),
    /// The log or a cursor cannot be read, and waiting does not change that.
    #[error("the log cannot be followed")]
    Store(#[from] StoreError),
}

impl TaskFailure for BusError {
    fn is_proven(&self) -> bool {
        match self {
            // Whatever a server says or holds, it says nothing of the log.
            Self::Nats(_) => false,
            Self::Store(error) => error.is_proven(),
        }
    }

    fn brief(&self) -> String {
        match self {
            Self::Nats(error) => error.brief(),
            Self::Store(error) => error.brief(),
        }
    }
}

/// A consumer of the log.
///
/// Delivery is at least once. The events of one name come in the order of the log the first time; between names, and for
/// repetitions, there is no order, and another instance may be handling the same event at the same moment. So a handler is idempotent by event id: it records the id and
/// the job that follows in one transaction and leaves the work itself to leased jobs. It returns soon.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The durable name, 1–64 of `[a-z0-9_-]`: cursors and JetStream consumers are kept under it, so it never changes.
    fn name(&self) -> &'static str;

    /// The events that it wants, at least one.
    fn events(&self) -> &'static [EventName];

    /// Records one event and what follows from it.
    ///
    /// # Errors
    /// [`HandlerError::Retry`] to see it again, [`HandlerError::Poison`] to have it parked.
    async fn handle(&self, event: &BusEvent) -> Result<(), HandlerError>;

    /// Records several events at once. Worth overriding where one transaction can hold them all; when it fails, nothing or
    /// any part may have been recorded, and every event comes again through [`Handler::handle`], one by one.
    ///
    /// # Errors
    /// Any [`HandlerError`]: which event it is about is found out one by one.
    async fn handle_batch(&self, events: &[BusEvent]) -> Result<(), HandlerError> {
        for event in events {
            self.handle(event).await?;
        }
        Ok(())
    }
}

/// What a reader of the log needs.
#[derive(Clone)]
pub struct LogAccess {
    /// Reads the log.
    pub reads: Arc<dyn ReadStore>,
    /// Keeps cursors and leases.
    pub coordination: Arc<dyn CoordinationStore>,
    /// Tells how old an event is.
    pub clock: SharedClock,
    /// Is told what others know of the log.
    pub witness: Arc<Witness>,
}

/// Wakes readers of the log when this process commits.
///
/// Other processes commit too, so a wait always ends after a while by itself.
#[derive(Debug, Clone)]
pub struct CommitSignal(Option<watch::Receiver<Position>>);

impl CommitSignal {
    /// Wakes on every position that the writer has committed (`WriterHandle::committed`).
    #[must_use]
    pub const fn new(committed: watch::Receiver<Position>) -> Self {
        Self(Some(committed))
    }

    /// Never wakes: the reader polls.
    #[must_use]
    pub const fn polling() -> Self {
        Self(None)
    }

    /// Returns at the next commit, at once when there was one since the last call, and after `at_most` in any case.
    pub async fn wait(&mut self, at_most: Duration) {
        if let Some(committed) = &mut self.0 {
            match tokio::time::timeout(at_most, committed.changed()).await {
                Ok(Ok(())) | Err(_) => return,
                // The writer is gone; what others commit is still found by polling.
                Ok(Err(_)) => self.0 = None,
            }
        }
        tokio::time::sleep(at_most).await;
    }
}

/// Pauses between repetitions: from a tenth of a second, doubling, to five seconds.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(crate) const fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::LONGEST);
        pause
    }

    pub(crate) const fn reset(&mut self) {
        self.0 = Self::FIRST;
    }

    /// Whether something was failing since the last [`Backoff::reset`].
    pub(crate) fn is_failing(&self) -> bool {
        self.0 > Self::FIRST
    }
}

/// The log's events at the given positions, those that exist.
///
/// Positions come from messages, so they may be anything.
pub(crate) async fn find_in_log(
    reads: &dyn ReadStore,
    positions: &[Position],
) -> Result<HashMap<Position, StoredEvent>, StoreError> {
    /// What a database column can hold.
    const POSSIBLE: RangeInclusive<Position> = 1..=i64::MAX as Position;
    let mut wanted: Vec<Position> = positions
        .iter()
        .copied()
        .filter(|position| POSSIBLE.contains(position))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let found = reads.log_at(&wanted).await?.into_iter();
    Ok(found.map(|stored| (stored.position, stored)).collect())
}

/// Counts and logs an event of the log that its consumer cannot handle.
pub(crate) fn park_event(consumer: &'static str, event: &BusEvent, cause: &(dyn Error + 'static)) {
    counter!(telemetry::BUS_PARKED_TOTAL, "consumer" => consumer).increment(1);
    tracing::error!(
        consumer,
        event.position,
        event.id = %event.event_id,
        entity.key = %event.key,
        error = %telemetry::chain(cause),
        "event {} is parked: {consumer} cannot handle it",
        event.position,
    );
}

/// Counts handled events.
pub(crate) fn count_handled(consumer: &'static str, via: &'static str, events: usize) {
    counter!(telemetry::BUS_HANDLED_TOTAL, "consumer" => consumer, "via" => via).increment(events as u64);
}
