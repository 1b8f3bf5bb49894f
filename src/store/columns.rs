//! Columns of a row that was read: one that is missing or of another kind is an error of the operation, never a panic.

use super::StoreError;
use sqlx::{ColumnIndex, Decode, Row, Type};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
        // The driver's own reading of a time panics where it is out of range, as `infinity` is.
        catch_unwind(AssertUnwindSafe(|| self.try_get(name)))
            .unwrap_or_else(|_| {
                Err(sqlx::Error::ColumnDecode {
                    index: name.to_owned(),
                    source: "the value is out of range".into(),
                })
            })
            .map_err(StoreError::database(operation))
    }
}

impl<R: Row> Columns for R {}
