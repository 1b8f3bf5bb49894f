//! Callback deliveries as an operator reads and replays them.

mod postgres;
mod sqlite;

use super::{DeliveryState, UnknownDeliveryState};
use crate::store::damaged::{DamagedRow, Readable};
use crate::store::values::{StoredRow, non_negative};
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

fn delivery_row(operation: &'static str, row: &impl StoredRow) -> Result<DeliveryRow, StoreError> {
    Ok(DeliveryRow {
        delivery_id: row.uuid(operation, "delivery_id")?,
        event_id: row.uuid(operation, "event_id")?,
        position: row.natural(operation, "position")?,
        key: row.entity(operation, "aggregate_id")?,
        receiver: row.text(operation, "receiver")?,
        host: row.text(operation, "host")?,
        url_sealed: row.bytes(operation, "url_sealed")?,
        dataset_id: row.optional_text(operation, "dataset_id")?,
        error: row.optional_text(operation, "error")?,
        state: row
            .text(operation, "state")?
            .parse()
            .map_err(|_| StoreError::inconsistent(operation, "an unknown state"))?,
        gone: row.flag(operation, "gone")?,
        attempts: count(operation, row, "attempts")?,
        leased: row.optional_uuid(operation, "lease_token")?.is_some(),
        created_at: row.time(operation, "created_at")?,
        first_due_at: row.time(operation, "first_due_at")?,
        next_attempt_at: row.time(operation, "next_attempt_at")?,
        last_status: status(operation, row, "last_status")?,
        last_error: row.optional_text(operation, "last_error")?,
        finished_at: row.optional_time(operation, "finished_at")?,
    })
}

/// What can be read of a delivery's row that cannot be read whole.
pub(super) fn damaged_delivery(operation: &'static str, row: &impl StoredRow) -> DamagedRow {
    DamagedRow {
        id: row.uuid(operation, "delivery_id").ok(),
        key: row.entity(operation, "aggregate_id").ok(),
        position: row.natural(operation, "position").ok(),
        ..DamagedRow::default()
    }
}

fn attempt_row(operation: &'static str, row: &impl StoredRow) -> Result<AttemptRow, StoreError> {
    Ok(AttemptRow {
        attempt: count(operation, row, "attempt")?,
        started_at: row.time(operation, "started_at")?,
        outcome: row
            .text(operation, "outcome")?
            .parse()
            .map_err(|_| StoreError::inconsistent(operation, "an unknown outcome"))?,
        duration: row
            .optional_number(operation, "duration_ms")?
            .map(|millis| non_negative(operation, millis).map(Duration::from_millis))
            .transpose()?,
        status: status(operation, row, "status")?,
        error: row.optional_text(operation, "error")?,
        body: row.optional_bytes(operation, "body")?.unwrap_or_default(),
        body_truncated: row.flag(operation, "body_truncated")?,
    })
}

/// A place in the list of deliveries.
fn place(operation: &'static str, row: &impl StoredRow) -> Result<DeliveryCursor, StoreError> {
    Ok((
        row.time(operation, "created_at")?,
        row.uuid(operation, "delivery_id")?,
    ))
}

/// A number of attempts.
pub(super) fn count(
    operation: &'static str,
    row: &impl StoredRow,
    column: &'static str,
) -> Result<u32, StoreError> {
    u32::try_from(row.integer(operation, column)?)
        .map_err(|_| StoreError::inconsistent(operation, "a number is out of range"))
}

fn status(
    operation: &'static str,
    row: &impl StoredRow,
    column: &'static str,
) -> Result<Option<u16>, StoreError> {
    row.optional_integer(operation, column)?
        .map(u16::try_from)
        .transpose()
        .map_err(|_| StoreError::inconsistent(operation, "a status is out of range"))
}
