//! Columns of a row that was read: one that is missing or of another kind is an error of the operation, never a panic.

use super::StoreError;
use sqlx::{ColumnIndex, Decode, Row, Type};

/// Reads columns by name, on either database.
pub trait Columns: Row {
    /// The value of the column `name`.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the row has no such column, or its value is of another kind.
    fn read<'r, T>(&'r self, operation: &'static str, name: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Self::Database> + Type<Self::Database>,
        &'static str: ColumnIndex<Self>,
    {
        self.try_get(name).map_err(StoreError::database(operation))
    }
}

impl<R: Row> Columns for R {}
