//! Callback deliveries as an operator reads and replays them.

pub(super) mod postgres;
pub(super) mod sqlite;

use super::{DeliveryState, UnknownDeliveryState};
use crate::store::damaged::{DamagedRow, Readable};
use crate::store::{Position, StoreError};
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// Which deliveries to show or replay; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// In this state.
    pub state: Option<DeliveryState>,
    /// To this receiver, `host:port`.
    pub host: Option<String>,
    /// About this entity.
    pub key: Option<EntityKey>,
    /// Created at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Created before this time.
    pub until: Option<DateTime<Utc>>,
}

/// A place in the list of deliveries, newest first: a delivery's creation time and id.
pub type DeliveryCursor = (DateTime<Utc>, Uuid);

/// A delivery as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub delivery_id: Uuid,
    /// The event that it tells of.
    pub event_id: Uuid,
    /// That event's place in the log.
    pub position: Position,
    /// The entity.
    pub key: EntityKey,
    /// The receiver: one URL, behind its endpoint.
    pub receiver: String,
    /// Its `host:port`.
    pub host: String,
    /// The URL, sealed for the service and bound to the entity.
    pub url_sealed: Vec<u8>,
    /// The data set that it names.
    pub dataset_id: Option<String>,
    /// The error that it tells.
    pub error: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
    /// The receiver answered 410 Gone.
    pub gone: bool,
    /// How many attempts were begun.
    pub attempts: u32,
    /// Whether an attempt is under way (or was, when its instance died).
    pub leased: bool,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When the walk through the schedule began.
    pub first_due_at: DateTime<Utc>,
    /// When it may be attempted next; of a leased one, when its lease ends. Means nothing once it is finished.
    pub next_attempt_at: DateTime<Utc>,
    /// The last answer's status.
    pub last_status: Option<u16>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was delivered or given up.
    pub finished_at: Option<DateTime<Utc>>,
}

impl DeliveryRow {
    /// Its place in the list.
    #[must_use]
    pub const fn cursor(&self) -> DeliveryCursor {
        (self.created_at, self.delivery_id)
    }
}

/// What is known of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptState {
    /// Begun; what came of it is not known yet, or never will be.
    Unknown,
    /// It arrived.
    Delivered,
    /// It did not.
    Failed,
}

impl AttemptState {
    /// The state as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for AttemptState {
    type Err = UnknownDeliveryState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Unknown, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownDeliveryState)
    }
}

/// An attempt as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it was begun.
    pub started_at: DateTime<Utc>,
    /// What is known of it.
    pub outcome: AttemptState,
    /// How long it took.
    pub duration: Option<Duration>,
    /// The answer's status.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub body: Vec<u8>,
    /// Whether the answer was longer.
    pub body_truncated: bool,
}

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// Newest first.
    pub rows: Readable<DeliveryRow>,
    /// Whether rows follow.
    pub more: bool,
}

impl DeliveryPage {
    /// Where the next page begins, of a page that began there.
    #[must_use]
    pub fn next(&self, began: ListStart) -> ListStart {
        match self.rows.rows.last() {
            Some(last) => ListStart {
                after: Some(last.cursor()),
                skipped: u32::try_from(self.rows.damaged_at_end()).unwrap_or(u32::MAX),
            },
            None => ListStart {
                skipped: began
                    .skipped
                    .saturating_add(u32::try_from(self.rows.len()).unwrap_or(u32::MAX)),
                ..began
            },
        }
    }
}

/// Where a page of deliveries begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListStart {
    /// Behind this place; at the newest when there is none.
    pub after: Option<DeliveryCursor>,
    /// And behind so many that follow it: they cannot be read, so that nothing says where they stand.
    pub skipped: u32,
}

/// One delivery with everything that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryFound {
    /// The delivery, or what can be read of it.
    pub row: Result<DeliveryRow, DamagedRow>,
    /// Its attempts, oldest first.
    pub attempts: Readable<AttemptRow>,
}

impl DeliveryFound {
    /// The entity that it is of, if that can be read.
    #[must_use]
    pub fn key(&self) -> Option<&EntityKey> {
        match &self.row {
            Ok(row) => Some(&row.key),
            Err(damaged) => damaged.key.as_ref(),
        }
    }
}

/// What became of a wish to replay one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// It is due now, and its schedule begins anew.
    Due,
    /// An attempt is under way: ask again later.
    UnderWay,
    /// There is no such delivery.
    Unknown,
}

/// A part of a replay by filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayedPart {
    /// How many are due now that were not.
    pub replayed: u64,
    /// The last one's place, to go on after; `None` when no delivery was left.
    pub last: Option<DeliveryCursor>,
}

/// The delivery log as an operator reads it, and replay.
#[async_trait]
pub trait CallbackLog: Send + Sync {
    /// A page of deliveries, newest first; `limit` at the most, from `start` on.
    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        start: ListStart,
        limit: u32,
    ) -> Result<DeliveryPage, StoreError>;

    /// How many deliveries there are.
    async fn count_deliveries(&self, filter: &DeliveryFilter) -> Result<u64, StoreError>;

    /// One delivery and its attempts, oldest first.
    async fn delivery(&self, delivery_id: Uuid) -> Result<Option<DeliveryFound>, StoreError>;

    /// Makes a delivery due at `now`, whatever its state, unless an attempt is under way, and a probe: see
    /// [`super::CallbackStore::claim_probes`]. Its id stays, its schedule begins anew.
    async fn replay(&self, delivery_id: Uuid, now: DateTime<Utc>) -> Result<Replay, StoreError>;

    /// Does the same to the next deliveries, newest first, that match and are not `due`; `limit` at the most, all after
    /// `after`. One of each receiver becomes a probe.
    async fn replay_matching(
        &self,
        filter: &DeliveryFilter,
        after: Option<DeliveryCursor>,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<ReplayedPart, StoreError>;
}
