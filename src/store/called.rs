//! SQLite called directly, without a driver's thread between: what its errors and columns are here.
//!
//! An error has the class that the driver gives it, by the same extended result code: whoever asks whether it passes, or what is left
//! of its connection, need not know who called.

use super::StoreError;
use rusqlite::types::{FromSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Params, Row};
use sqlx::error::{DatabaseError, ErrorKind};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Wraps an error: `.map_err(failed("load the head"))`.
pub(super) fn failed(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| StoreError::database(operation)(source(error))
}

fn source(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(cause, message) => sqlx::Error::Database(Box::new(Refused {
            code: cause.extended_code,
            message: message.unwrap_or_else(|| cause.to_string()),
        })),
        rusqlite::Error::QueryReturnedNoRows => sqlx::Error::RowNotFound,
        rusqlite::Error::FromSqlConversionFailure(column, ..)
        | rusqlite::Error::InvalidColumnType(column, ..)
        | rusqlite::Error::IntegralValueOutOfRange(column, _) => sqlx::Error::ColumnDecode {
            index: column.to_string(),
            source: error.into(),
        },
        error => sqlx::Error::AnyDriverError(error.into()),
    }
}

/// What SQLite has refused.
#[derive(Debug)]
struct Refused {
    /// The extended result code.
    code: i32,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.message)
    }
}

impl Error for Refused {}

impl DatabaseError for Refused {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

/// The value of a column, by its name.
///
/// # Errors
/// [`StoreError::Database`] when the row has no such column, or its value is of another kind or out of range.
pub(super) fn read<T: FromSql>(
    found: &Row<'_>,
    operation: &'static str,
    name: &'static str,
) -> Result<T, StoreError> {
    found.get(name).map_err(|error| {
        StoreError::database(operation)(sqlx::Error::ColumnDecode {
            index: format!("{name:?}"),
            source: error.into(),
        })
    })
}

/// The value of a column, by its number.
pub(super) fn at<T: FromSql>(found: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    found.get(column)
}

/// Calls a statement, which stays prepared; returns how many rows it has changed.
pub(super) fn execute(
    connection: &Connection,
    operation: &'static str,
    statement: &'static str,
    values: impl Params,
) -> Result<u64, StoreError> {
    let changed = connection
        .prepare_cached(statement)
        .and_then(|mut statement| statement.execute(values))
        .map_err(failed(operation))?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

/// The text of a column that is of one row's concern, by its number; `None` where there is no text.
pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> Option<&'r str> {
    row.get_ref(column).ok()?.as_str().ok()
}

/// The bytes of such a column; `None` where there are none.
pub(super) fn bytes<'r>(row: &'r Row<'_>, column: usize) -> Option<&'r [u8]> {
    row.get_ref(column).ok()?.as_blob().ok()
}

/// Whether such a column has nothing.
pub(super) fn is_null(row: &Row<'_>, column: usize) -> bool {
    matches!(row.get_ref(column), Ok(ValueRef::Null))
}

/// An id as columns hold it, without an allocation.
pub(super) struct IdText([u8; Hyphenated::LENGTH]);

impl IdText {
    pub(super) fn of(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }
}

impl rusqlite::ToSql for IdText {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn refused(code: i32) -> StoreError {
        failed("try")(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(code),
            Some("a text of the library's".into()),
        ))
    }

    #[test]
    fn an_error_has_the_class_of_its_extended_code() {
        for code in [
            5, 261, 517, 6, 7, 8, 1032, 10, 266, 778, 4618, 11, 267, 13, 14, 15,
        ] {
            assert!(refused(code).is_transient(), "{code}");
            assert!(!refused(code).leaves_connection_clean(), "{code}");
            assert!(!refused(code).outcome_unknown(), "{code}");
        }
        for code in [1, 19, 26, 1555, 2067] {
            assert!(!refused(code).is_transient(), "{code}");
            assert!(!refused(code).leaves_connection_clean(), "{code}");
        }
        assert_eq!(refused(4874).brief(), "try failed in the database (4874)");
    }

    #[test]
    fn a_constraint_is_told_with_its_extended_code_and_a_column_with_its_name() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (a PRIMARY KEY); INSERT INTO t VALUES ('x')")
            .unwrap();
        let twice = connection
            .execute("INSERT INTO t VALUES ('x')", ())
            .map_err(failed("insert"));
        assert_eq!(twice.unwrap_err().brief(), "insert failed in the database (1555)");
        let read = connection.query_row("SELECT a FROM t", (), |row| Ok(read::<i64>(row, "look", "a")));
        let error = read.unwrap().unwrap_err();
        assert_eq!(
            error.brief(),
            "look failed in the database (the column a cannot be read)"
        );
        assert!(error.is_of_one_row());
    }

    #[test]
    fn an_id_is_bound_as_the_text_that_it_is_written_as() {
        let connection = Connection::open_in_memory().unwrap();
        let id = Uuid::from_u128(0x1234);
        let text: String = connection
            .query_row("SELECT ?1", [IdText::of(id)], |row| at(row, 0))
            .unwrap();
        assert_eq!(text, id.to_string());
    }
}
