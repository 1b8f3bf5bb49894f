//! A table that stands beside the log, row by row.

use super::Finding;
use crate::store::side::{SideRow, SideStore, SideTable};
use uuid::Uuid;

/// How many rows are read at a time.
const PAGE: u32 = 5_000;

/// A fence, a key, a job, … as its row says it.
pub(super) struct Row<'a> {
    table: &'static str,
    columns: &'a SideRow,
}

impl Row<'_> {
    pub(super) fn text(&self, column: usize) -> Result<&str, Finding> {
        self.optional(column)
            .ok_or_else(|| Finding::tampered(format!("a row of {} has a column that is no text", self.table)))
    }

    /// A text, or nothing.
    pub(super) fn optional(&self, column: usize) -> Option<&str> {
        self.columns.get(column).and_then(Option::as_deref)
    }

    pub(super) fn number(&self, column: usize) -> Result<u64, Finding> {
        self.text(column)?
            .parse()
            .map_err(|_| Finding::tampered(format!("a row of {} has a column that is no number", self.table)))
    }

    pub(super) fn id(&self, column: usize) -> Result<Uuid, Finding> {
        self.text(column)?
            .parse()
            .map_err(|_| Finding::tampered(format!("a row of {} has a column that is no id", self.table)))
    }
}

/// Goes through a table.
pub(super) async fn each(
    store: &dyn SideStore,
    table: SideTable,
    name: &'static str,
    mut check: impl FnMut(&Row<'_>) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let mut after = String::new();
    loop {
        let rows = store.side_rows(table, &after, PAGE).await?;
        let full = rows.len() >= PAGE as usize;
        for columns in &rows {
            check(&Row { table: name, columns })?;
        }
        match rows.last().and_then(|row| row.first()?.clone()) {
            Some(last) if full => after = last,
            Some(_) | None => return Ok(()),
        }
    }
}
