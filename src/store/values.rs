//! Values as columns hold them. SQLite has no columns for times and ids: it keeps microseconds since 1970 and hyphenated text.

use super::columns::Columns as _;
use super::{Hash, StoreError};
use archive_ledger_domain::EntityKey;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

/// A position or sequence as the database holds it. Both are checked to be positive and far below the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never negative.
pub(super) fn non_negative(operation: &'static str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::inconsistent(operation, "a negative number"))
}

/// A hash from its column.
pub(super) fn hash(operation: &'static str, bytes: &[u8]) -> Result<Hash, StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::inconsistent(operation, "a hash is not 32 bytes long"))
}

/// An entity from the id of its stream.
pub(super) fn entity_key(operation: &'static str, stream_id: &str) -> Result<EntityKey, StoreError> {
    EntityKey::from_stream_id(stream_id)
        .map_err(|error| StoreError::inconsistent(operation, error.to_string()))
}

/// How many rows were written of these.
pub(super) fn rows<T>(written: &[T]) -> u64 {
    u64::try_from(written.len()).unwrap_or(u64::MAX)
}

/// The last time that is written, in the year 9999, as SQLite's columns hold it. Texts and bytes, which are no times, are greater than
/// every number.
pub(super) const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// A time as SQLite's column holds it.
pub(super) fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// A time from SQLite's column.
pub(super) fn time(operation: &'static str, micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| StoreError::inconsistent(operation, "a time is out of range"))
}

/// An id from SQLite's column.
pub(super) fn uuid(operation: &'static str, text: &str) -> Result<Uuid, StoreError> {
    text.parse()
        .map_err(|_| StoreError::inconsistent(operation, "an id is no UUID"))
}

/// The same, as ids are written: one in another spelling is found by nothing that looks for it.
fn canonical_uuid(operation: &'static str, text: &str) -> Result<Uuid, StoreError> {
    let id = uuid(operation, text)?;
    if id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text {
        Ok(id)
    } else {
        Err(StoreError::inconsistent(operation, "an id in another spelling"))
    }
}

/// A row of either database: what is made of one in the same way for both.
pub(super) trait StoredRow {
    /// A number.
    fn number(&self, operation: &'static str, column: &'static str) -> Result<i64, StoreError>;
    /// A number that may be absent.
    fn optional_number(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<i64>, StoreError>;
    /// A number of a column of four bytes, where the database has such.
    fn integer(&self, operation: &'static str, column: &'static str) -> Result<i64, StoreError>;
    /// The same, which may be absent.
    fn optional_integer(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<i64>, StoreError>;
    /// Yes or no.
    fn flag(&self, operation: &'static str, column: &'static str) -> Result<bool, StoreError>;
    /// A text.
    fn text(&self, operation: &'static str, column: &'static str) -> Result<String, StoreError>;
    /// A text that may be absent.
    fn optional_text(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<String>, StoreError>;
    /// Bytes.
    fn bytes(&self, operation: &'static str, column: &'static str) -> Result<Vec<u8>, StoreError>;
    /// Bytes that may be absent.
    fn optional_bytes(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<Vec<u8>>, StoreError>;
    /// A time.
    fn time(&self, operation: &'static str, column: &'static str) -> Result<DateTime<Utc>, StoreError>;
    /// A time that may be absent.
    fn optional_time(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<DateTime<Utc>>, StoreError>;
    /// An id.
    fn uuid(&self, operation: &'static str, column: &'static str) -> Result<Uuid, StoreError>;
    /// An id that may be absent.
    fn optional_uuid(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<Uuid>, StoreError>;

    /// An entity, by the id of its stream.
    fn entity(&self, operation: &'static str, column: &'static str) -> Result<EntityKey, StoreError> {
        entity_key(operation, &self.text(operation, column)?)
    }

    /// A number that is never negative.
    fn natural(&self, operation: &'static str, column: &'static str) -> Result<u64, StoreError> {
        non_negative(operation, self.number(operation, column)?)
    }
}

/// What both databases' rows hold alike.
macro_rules! plain_columns {
    () => {
        fn number(&self, operation: &'static str, column: &'static str) -> Result<i64, StoreError> {
            self.read(operation, column)
        }

        fn optional_number(
            &self,
            operation: &'static str,
            column: &'static str,
        ) -> Result<Option<i64>, StoreError> {
            self.read(operation, column)
        }

        fn text(&self, operation: &'static str, column: &'static str) -> Result<String, StoreError> {
            self.read(operation, column)
        }

        fn optional_text(
            &self,
            operation: &'static str,
            column: &'static str,
        ) -> Result<Option<String>, StoreError> {
            self.read(operation, column)
        }

        fn bytes(&self, operation: &'static str, column: &'static str) -> Result<Vec<u8>, StoreError> {
            self.read(operation, column)
        }

        fn optional_bytes(
            &self,
            operation: &'static str,
            column: &'static str,
        ) -> Result<Option<Vec<u8>>, StoreError> {
            self.read(operation, column)
        }

        fn flag(&self, operation: &'static str, column: &'static str) -> Result<bool, StoreError> {
            self.read(operation, column)
        }
    };
}

impl StoredRow for PgRow {
    plain_columns!();

    fn integer(&self, operation: &'static str, column: &'static str) -> Result<i64, StoreError> {
        self.read::<i32>(operation, column).map(i64::from)
    }

    fn optional_integer(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<i64>, StoreError> {
        let number: Option<i32> = self.read(operation, column)?;
        Ok(number.map(i64::from))
    }

    fn optional_time(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.read(operation, column)
    }

    fn time(&self, operation: &'static str, column: &'static str) -> Result<DateTime<Utc>, StoreError> {
        self.read(operation, column)
    }

    fn uuid(&self, operation: &'static str, column: &'static str) -> Result<Uuid, StoreError> {
        self.read(operation, column)
    }

    fn optional_uuid(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<Uuid>, StoreError> {
        self.read(operation, column)
    }
}

impl StoredRow for SqliteRow {
    plain_columns!();

    fn integer(&self, operation: &'static str, column: &'static str) -> Result<i64, StoreError> {
        self.read(operation, column)
    }

    fn optional_integer(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<i64>, StoreError> {
        self.read(operation, column)
    }

    fn optional_time(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let micros: Option<i64> = self.read(operation, column)?;
        micros.map(|micros| time(operation, micros)).transpose()
    }

    fn time(&self, operation: &'static str, column: &'static str) -> Result<DateTime<Utc>, StoreError> {
        time(operation, self.read(operation, column)?)
    }

    fn uuid(&self, operation: &'static str, column: &'static str) -> Result<Uuid, StoreError> {
        canonical_uuid(operation, self.read(operation, column)?)
    }

    fn optional_uuid(
        &self,
        operation: &'static str,
        column: &'static str,
    ) -> Result<Option<Uuid>, StoreError> {
        let text: Option<&str> = self.read(operation, column)?;
        text.map(|text| canonical_uuid(operation, text)).transpose()
    }
}
