//! Circuits of callbacks that are open, as instances share them and keep them over a restart.

mod postgres;
mod sqlite;

use super::log::count;
use crate::store::StoreError;
use crate::store::values::StoredRow;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The most open circuits that are read at once: the ones that stay open longest.
pub const CIRCUITS_MAX: usize = 10_000;

/// The endpoint of a receiver: scheme, host and port, `http://a.example:80`.
#[must_use]
pub fn endpoint_of(receiver: &str) -> &str {
    receiver
        .split_once('#')
        .map_or(receiver, |(endpoint, _)| endpoint)
}

/// A circuit that is open: what it stands for is left alone until a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    /// A receiver (one URL), or an endpoint (scheme, host and port of many).
    pub key: String,
    /// When it was opened first.
    pub since: DateTime<Utc>,
    /// From when on an attempt probes it.
    pub open_until: DateTime<Utc>,
    /// How often in a row it was opened.
    pub opened: u32,
}

impl Circuit {
    /// Whether it stands for all URLs of an endpoint.
    #[must_use]
    pub fn is_of_endpoint(&self) -> bool {
        !self.key.contains('#')
    }
}

/// What became of a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CircuitChange {
    /// It was opened, for the first time or again.
    Opened(Circuit),
    /// The one with this key was closed.
    Closed(String),
}

/// Open circuits.
#[async_trait]
pub trait CircuitStore: Send + Sync {
    /// Those that are open, the one that stays open longest first; [`CIRCUITS_MAX`] at the most.
    async fn circuits(&self) -> Result<Vec<Circuit>, StoreError>;

    /// Those of these keys that are open.
    async fn circuits_of(&self, keys: &[String]) -> Result<Vec<Circuit>, StoreError>;

    /// Takes note of changes, in their order. Of two that open the same circuit, the one that keeps it open longer counts.
    async fn change_circuits(&self, changes: &[CircuitChange]) -> Result<(), StoreError>;

    /// Forgets those that nobody has probed since `before`: nothing is due there any more.
    async fn forget_circuits(&self, before: DateTime<Utc>) -> Result<(), StoreError>;
}

fn circuit(operation: &'static str, row: &impl StoredRow) -> Result<Circuit, StoreError> {
    Ok(Circuit {
        key: row.text(operation, "key")?,
        since: row.time(operation, "since")?,
        open_until: row.time(operation, "open_until")?,
        opened: count(operation, row, "opened")?,
    })
}
