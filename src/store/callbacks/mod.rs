//! Callback deliveries and their attempts: what is owed to whom, claimed under leases.
//!
//! ```text
//!              create            claim: lease, attempt + 1, log entry 'unknown'
//! outcome ────────────▶ due ─────────────────────────────▶ due, leased ──record──▶ delivered │ due (later) │ dead
//!                        ▲                                      │                         │                  │
//!                        ├─────────── the lease ends ───────────┘                         │                  │
//!                        └──────────────────────────────── replay ────────────────────────┴──────────────────┘
//!
//! due or dead, of a purge that failed ──the entity is purged, the same target is told──▶ superseded
//! ```

mod circuits;
mod claim;
mod log;
mod plan;
mod postgres;
mod sqlite;

pub use circuits::{CIRCUITS_MAX, Circuit, CircuitChange, CircuitStore, endpoint_of};
pub use log::{
    AttemptRow, AttemptState, CallbackLog, DeliveryCursor, DeliveryFilter, DeliveryFound, DeliveryPage,
    DeliveryRow, ListStart, Replay, ReplayedPart,
};
pub(super) use plan::{TargetRow, all_told, plan, streams};

use super::{Position, StoreError};
use crate::clock::Clock;
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// How a purge ended, which is what callbacks tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeOutcome {
    /// The event that says so: with the target, what makes a delivery unique.
    pub event_id: Uuid,
    /// Its place in the log.
    pub position: Position,
    /// The entity.
    pub key: EntityKey,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Why the purge failed, or what it was forced to leave; `None` when the entity is gone with all its objects.
    pub error: Option<String>,
    /// Whether the purge is over for good: nobody can ask for it again.
    pub over: bool,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be attempted, now or later.
    Due,
    /// The receiver has it.
    Delivered,
    /// Given up, until somebody replays it.
    Dead,
    /// It tells of a purge that failed, and by now the purge is over for good and the same receiver is told so: not
    /// attempted any more.
    Superseded,
}

/// A text that names no [`DeliveryState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delivery is 'due', 'delivered', 'dead' or 'superseded'")]
pub struct UnknownDeliveryState;

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Due, Self::Delivered, Self::Dead, Self::Superseded];

    /// Those that a replay by a filter may name.
    pub const REPLAYABLE: [Self; 2] = [Self::Dead, Self::Delivered];

    /// The state as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeliveryState {
    type Err = UnknownDeliveryState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownDeliveryState)
    }
}

/// The two queues: deliveries that were attempted before never stand before those that were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Never attempted.
    First,
    /// Attempted or replayed.
    Retry,
}

impl Lane {
    /// Both, the one to serve first at the front.
    pub const ALL: [Self; 2] = [Self::First, Self::Retry];

    pub(super) const fn is_retry(self) -> bool {
        match self {
            Self::First => false,
            Self::Retry => true,
        }
    }
}

/// When the next delivery of each lane may be claimed, past or future; `None` where nothing is due at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NextDue {
    /// Of those never attempted.
    pub first: Option<DateTime<Utc>>,
    /// Of the others.
    pub retry: Option<DateTime<Utc>>,
    /// Of those that an operator replayed and nobody has attempted since, which are among the others too.
    pub probe: Option<DateTime<Utc>>,
}

impl NextDue {
    /// Of one lane.
    #[must_use]
    pub const fn of(&self, lane: Lane) -> Option<DateTime<Utc>> {
        match lane {
            Lane::First => self.first,
            Lane::Retry => self.retry,
        }
    }
}

/// Which deliveries to claim.
#[derive(Debug, Clone)]
pub struct ClaimRequest<'a> {
    /// The queue.
    pub lane: Lane,
    /// The time now; deliveries due later stay.
    pub now: DateTime<Utc>,
    /// From when on others may claim the same deliveries.
    pub lease_until: DateTime<Utc>,
    /// Marks the leases of this claim; must be fresh.
    pub token: Uuid,
    /// At most so many in all, at least 1.
    pub limit: u32,
    /// At most so many of each of these receivers; 0 leaves one out.
    pub slots: &'a [(String, u32)],
    /// At most so many of every receiver that `slots` does not name. When 0, only the named ones are looked at, in the
    /// order given.
    pub others: u32,
    /// When `others` is not 0, at most so many of all receivers at each of these endpoints; 0 leaves one out.
    pub endpoints: &'a [(String, u32)],
    /// The same for every endpoint that `endpoints` does not name.
    pub per_endpoint: u32,
    /// When `others` is not 0, only receivers that follow this one, in byte order.
    pub after: &'a str,
}

/// A claimed delivery: make the attempt, then [`CallbackStore::record`] what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// Its id.
    pub delivery_id: Uuid,
    /// The lease.
    pub token: Uuid,
    /// The number of the attempt to make, from 1.
    pub attempt: u32,
    /// The same, counted from the latest replay: what the schedule goes by.
    pub step: u32,
    /// The entity.
    pub key: EntityKey,
    /// The receiver: one URL, behind its endpoint.
    pub receiver: String,
    /// Its `host:port`.
    pub host: String,
    /// The URL, sealed for the service and bound to the entity.
    pub url_sealed: Vec<u8>,
    /// The data set to name.
    pub dataset_id: Option<String>,
    /// The error to tell.
    pub error: Option<String>,
    /// When the walk through the schedule began.
    pub first_due_at: DateTime<Utc>,
}

/// What to do with a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It arrived.
    Delivered,
    /// Try again.
    RetryAt {
        /// Not before this time.
        at: DateTime<Utc>,
        /// The receiver answered 410 Gone.
        gone: bool,
    },
    /// Give it up.
    Dead {
        /// The receiver answered 410 Gone.
        gone: bool,
    },
}

impl Disposition {
    /// The delivery's state after it.
    #[must_use]
    pub const fn state(&self) -> DeliveryState {
        match self {
            Self::Delivered => DeliveryState::Delivered,
            Self::RetryAt { .. } => DeliveryState::Due,
            Self::Dead { .. } => DeliveryState::Dead,
        }
    }

    /// Whether the receiver answered 410 Gone.
    #[must_use]
    pub const fn gone(&self) -> bool {
        match self {
            Self::Delivered => false,
            Self::RetryAt { gone, .. } | Self::Dead { gone } => *gone,
        }
    }

    /// The attempt's outcome as the log keeps it.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::RetryAt { .. } | Self::Dead { .. } => "failed",
        }
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The delivery.
    pub delivery_id: Uuid,
    /// The lease that it was claimed under.
    pub token: Uuid,
    /// The attempt's number.
    pub attempt: u32,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
    /// The answer's status.
    pub status: Option<u16>,
    /// What went wrong, as a short class without any part of the URL.
    pub error: Option<&'static str>,
    /// The first bytes of the answer.
    pub body: Vec<u8>,
    /// Whether the answer was longer.
    pub body_truncated: bool,
    /// What follows.
    pub next: Disposition,
}

/// How much is owed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryStats {
    /// Deliveries to be attempted, now or later.
    pub due: u64,
    /// Deliveries given up.
    pub dead: u64,
    /// The earliest time at which a delivery may be attempted (in the past: it waits).
    pub oldest_due: Option<DateTime<Utc>>,
}

/// What callbacks are owed, and what became of them.
#[async_trait]
pub trait CallbackStore: CallbackLog + CircuitStore {
    /// Creates the deliveries that follow from outcomes, in one transaction: one for each target that a purge request of the
    /// entity named, or, when none did, for each that came with its registration. Telling an outcome twice changes
    /// nothing. Returns how many were created; ids and times come from `clock`.
    ///
    /// Whoever is told that an entity is gone is not told afterwards that its purge failed: in the same transaction, whatever
    /// order the outcomes are told in, undelivered failures for the same target become `superseded`, and when an attempt at
    /// one is under way, the first attempt at the success waits until that attempt's lease has ended.
    ///
    /// A target that cannot be read is passed over: the others are told.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was created then, unless it is of a target that was passed over
    /// ([`StoreError::is_of_one_row`]).
    async fn create_deliveries(
        &self,
        outcomes: &[PurgeOutcome],
        clock: &dyn Clock,
    ) -> Result<u64, StoreError>;

    /// When something may be claimed next, leases that end included.
    async fn next_due(&self) -> Result<NextDue, StoreError>;

    /// Claims deliveries that are due, each for one attempt, which is logged as `unknown` in the same transaction. No other
    /// claim gets them before the lease ends. Costs what the claimed deliveries and the receivers cost, never what is
    /// waiting for them.
    ///
    /// One that cannot be read is told to the log, set aside for a minute, and keeps nobody waiting.
    ///
    /// Order: by receiver, then by due time. With `others` 0 the receivers come in the order of `slots`, else in byte
    /// order from `after` on.
    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError>;

    /// Claims probes that are due, the one that waits longest first, whosoever they go to: of the request, its receivers and
    /// endpoints do not count.
    async fn claim_probes(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError>;

    /// Records attempts. A delivery changes only while the record's lease is its lease; the log entry is completed in
    /// any case. Returns how many deliveries changed.
    async fn record(&self, records: &[AttemptRecord]) -> Result<u64, StoreError>;

    /// Ends leases of attempts that no attempt can hold: those that end later than `longest` from `now`, and those of attempts that
    /// begin later than `skew` from now. Whoever took them went by a clock that was wrong, or nobody did. Their deliveries are due
    /// at once, and so are those that are due at no time that a calendar has. Returns how many there were.
    async fn end_impossible_leases(
        &self,
        now: DateTime<Utc>,
        longest: Duration,
        skew: Duration,
    ) -> Result<u64, StoreError>;

    /// How much is owed.
    async fn delivery_stats(&self) -> Result<DeliveryStats, StoreError>;
}
