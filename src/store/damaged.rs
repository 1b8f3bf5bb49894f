//! Rows of a page that cannot be read: each is told as such where it stands, and the others of its page are not concerned.

use super::{Position, StoreError};
use crate::clock::later;
use crate::telemetry;
use archive_ledger_domain::EntityKey;
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// What can be read of a row that cannot be read whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DamagedRow {
    /// Where it stands on its page, from 0.
    pub index: usize,
    /// Its position in the log.
    pub position: Option<Position>,
    /// The entity.
    pub key: Option<EntityKey>,
    /// Its own id.
    pub id: Option<Uuid>,
}

/// The rows of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable<T> {
    /// Those that can be read.
    pub rows: Vec<T>,
    /// The others.
    pub damaged: Vec<DamagedRow>,
}

impl<T> Readable<T> {
    /// Reads each row by itself; of one that cannot be read, `left` says what can.
    pub(super) fn of<R>(
        page: &[R],
        mut whole: impl FnMut(&R) -> Result<T, StoreError>,
        left: impl Fn(&R) -> DamagedRow,
    ) -> Self {
        let (mut rows, mut damaged) = (Vec::with_capacity(page.len()), Vec::new());
        for (index, row) in page.iter().enumerate() {
            match whole(row) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    report(&error);
                    damaged.push(DamagedRow { index, ..left(row) });
                }
            }
        }
        Self { rows, damaged }
    }

    /// A row that is read by itself, or what can be read of it.
    pub(super) fn one(
        whole: Result<T, StoreError>,
        left: impl FnOnce() -> DamagedRow,
    ) -> Result<T, DamagedRow> {
        whole.map_err(|error| {
            report(&error);
            left()
        })
    }

    /// The one row that was asked for, where there is one.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] when it cannot be read.
    pub(super) fn only(mut self, operation: &'static str) -> Result<Option<T>, StoreError> {
        if self.damaged.is_empty() {
            Ok(self.rows.pop())
        } else {
            Err(StoreError::inconsistent(operation, "its row cannot be read"))
        }
    }

    /// How many of the last ones cannot be read: nothing behind them says where the page ends.
    #[must_use]
    pub fn damaged_at_end(&self) -> usize {
        damaged_at_end(&self.damaged, self.len())
    }

    /// How many there are of both.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len() + self.damaged.len()
    }

    /// Whether there is none of either.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the first ones.
    pub fn truncate(&mut self, count: usize) {
        self.damaged.retain(|row| row.index < count);
        self.rows.truncate(count.saturating_sub(self.damaged.len()));
    }
}

/// Those of the rows that can be read, for whoever can do without the others.
pub(super) fn readable<R, T>(rows: &[R], read: impl Fn(&R) -> Result<T, StoreError>) -> Vec<T> {
    let read = |row| read(row).inspect_err(report).ok();
    rows.iter().filter_map(read).collect()
}

/// How many of the last rows of a page of this length cannot be read.
#[must_use]
pub fn damaged_at_end(damaged: &[DamagedRow], length: usize) -> usize {
    let behind = damaged.iter().rev().zip(1..);
    behind
        .take_while(|(row, back)| row.index + back == length)
        .count()
}

/// Puts the items of damaged rows where these stand among the others.
pub fn put_in_place<T>(items: &mut Vec<T>, damaged: impl IntoIterator<Item = (usize, T)>) {
    for (index, item) in damaged {
        items.insert(index.min(items.len()), item);
    }
}

/// For so long, work is set aside whose row cannot be read: somebody may repair it.
pub(super) const SET_ASIDE: Duration = Duration::from_secs(60);

/// Rows of work that their table lets nobody change, so that they cannot be set aside where they stand: until when each is passed over.
/// Every other row of the same queue has its turn meanwhile.
#[derive(Debug)]
pub(super) struct PassedOver<K>(Arc<Mutex<HashMap<K, DateTime<Utc>>>>);

impl<K> Clone for PassedOver<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for PassedOver<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> PassedOver<K> {
    /// From now on, for as long as other damaged work is set aside.
    pub(super) fn pass(&self, row: K, now: DateTime<Utc>) {
        self.rows().insert(row, later(now, SET_ASIDE));
    }

    /// Those that are passed over still, and forgets the others. A clock that was set back keeps nothing here for longer.
    pub(super) fn at(&self, now: DateTime<Utc>) -> Vec<K> {
        let mut rows = self.rows();
        rows.retain(|_, until| *until > now && *until <= later(now, SET_ASIDE));
        rows.keys().cloned().collect()
    }

    /// All of them, with their times.
    pub(super) fn all(&self) -> Vec<(K, DateTime<Utc>)> {
        let rows = self.rows();
        rows.iter().map(|(row, until)| (row.clone(), *until)).collect()
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<K, DateTime<Utc>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a statement did to one row; `None`, and told, where the row's table lets nobody change it: the others are not concerned.
///
/// # Errors
/// Whatever else the statement failed with.
pub(super) fn unless_refused<T>(done: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match done {
        Err(error) if error.is_refused_by_table() => {
            metrics::counter!(telemetry::UNREADABLE_TOTAL).increment(1);
            tracing::error!(error = %telemetry::chain(&error), "a row is damaged and can be changed in nothing: it stays as it is");
            Ok(None)
        }
        done => done.map(Some),
    }
}

/// Tells the log and the metrics of work whose row cannot be read, and that is set aside.
pub(super) fn tell_aside(operation: &'static str, damaged: &[DamagedRow]) {
    for row in damaged {
        tracing::error!(
            id = row.id.map(|id| id.to_string()),
            entity.key = row.key.as_ref().map(EntityKey::stream_id),
            "{operation} has found a row that cannot be read: it is set aside and tried again later; what it stands for is not done"
        );
    }
}

/// Tells the log and the metrics of a row that cannot be read.
pub(super) fn report(error: &StoreError) {
    metrics::counter!(telemetry::UNREADABLE_TOTAL).increment(1);
    tracing::error!(error = %telemetry::chain(error), "a row cannot be read: it is shown as unreadable");
}
