//! Clocks that moved under a running instance: told to the database, so that an operator can accept them from outside.

mod postgres;
mod sqlite;

use super::StoreError;
use crate::clock::ClockMoved;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Who accepted a clock, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Keeps what instances have noticed and operators have accepted.
#[async_trait]
pub trait ClockMoveStore: Send + Sync {
    /// Tells what an instance has noticed; a second time changes nothing.
    async fn notice_move(&self, id: Uuid, moved: &ClockMoved) -> Result<(), StoreError>;

    /// Who accepted it; `None` while nobody has.
    async fn accepted_move(&self, id: Uuid) -> Result<Option<Accepted>, StoreError>;

    /// Tells that the instance goes on.
    async fn end_move(&self, id: Uuid, at: DateTime<Utc>) -> Result<(), StoreError>;

    /// Accepts every clock that instances wait with; returns them.
    async fn accept_moves(&self, by: &Accepted, at: DateTime<Utc>) -> Result<Vec<ClockMoved>, StoreError>;

    /// What the database's clock shows; `None` where it has none of its own.
    async fn time(&self) -> Result<Option<DateTime<Utc>>, StoreError>;
}
