//! Rows of a page that cannot be read: each is told as such where it stands, and the others of its page are not concerned.

use super::{Position, StoreError};
use crate::telemetry;
use archive_ledger_domain::EntityKey;
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
        let behind = self.damaged.iter().rev().zip(1..);
        behind
            .take_while(|(row, back)| row.index + back == self.len())
            .count()
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

/// Puts the items of damaged rows where these stand among the others.
pub fn put_in_place<T>(items: &mut Vec<T>, damaged: impl IntoIterator<Item = (usize, T)>) {
    for (index, item) in damaged {
        items.insert(index.min(items.len()), item);
    }
}

/// For so long, work is set aside whose row cannot be read: somebody may repair it.
pub(super) const SET_ASIDE: Duration = Duration::from_secs(60);

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
