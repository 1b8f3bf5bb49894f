//! Columns of a row that was read: one that is missing, of another kind or out of range is an error of the operation, never a panic.

use super::StoreError;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::types::Json;
use sqlx::{ColumnIndex, Database, Decode, Postgres, Row, Type};
use uuid::Uuid;

/// Reads columns by name, on either database.
pub trait Columns: Row {
    /// The value of the column `name`.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the row has no such column, or its value is of another kind or out of range.
    fn read<'r, T>(&'r self, operation: &'static str, name: &'static str) -> Result<T, StoreError>
    where
        T: Column<'r, Self::Database>,
        &'static str: ColumnIndex<Self>,
    {
        self.try_get(name)
            .map(T::of)
            .map_err(StoreError::database(operation))
    }
}

impl<R: Row> Columns for R {}

/// What a column is read as. A type is one only if the driver cannot panic while it decodes it.
pub trait Column<'r, DB: Database>: Sized {
    /// What the driver decodes.
    type Decoded: Decode<'r, DB> + Type<DB>;

    /// The value of what was decoded.
    fn of(decoded: Self::Decoded) -> Self;
}

macro_rules! as_decoded {
    ($($column:ty),*) => {$(
        impl<'r, DB: Database> Column<'r, DB> for $column
        where
            Self: Decode<'r, DB> + Type<DB>,
        {
            type Decoded = Self;

            fn of(decoded: Self) -> Self {
                decoded
            }
        }
    )*};
}

as_decoded!(
    bool,
    i16,
    u16,
    u32,
    i32,
    i64,
    String,
    Uuid,
    Vec<u8>,
    Vec<i64>,
    Vec<String>,
    Vec<Vec<u8>>,
    &'r str,
    &'r [u8]
);

impl<'r, DB: Database, T> Column<'r, DB> for Json<T>
where
    Self: Decode<'r, DB> + Type<DB>,
{
    type Decoded = Self;

    fn of(decoded: Self) -> Self {
        decoded
    }
}

impl<'r, DB: Database, T: Column<'r, DB>> Column<'r, DB> for Option<T> {
    type Decoded = Option<T::Decoded>;

    fn of(decoded: Self::Decoded) -> Self {
        decoded.map(T::of)
    }
}

impl Column<'_, Postgres> for DateTime<Utc> {
    type Decoded = Time;

    fn of(decoded: Time) -> Self {
        decoded.0
    }
}

/// A time of PostgreSQL's. The driver's own decoding panics where the calendar ends, as it does at `infinity`.
#[derive(Debug)]
pub struct Time(DateTime<Utc>);

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Time {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            // A statement that is not prepared is answered in text, which the driver does not panic at.
            return Ok(Self(<DateTime<Utc> as Decode<Postgres>>::decode(value)?));
        }
        // Microseconds since the year 2000, whose greatest and least values stand for infinity.
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        DateTime::from_timestamp(946_684_800, 0)
            .and_then(|epoch| epoch.checked_add_signed(TimeDelta::microseconds(micros)))
            .map(Self)
            .ok_or_else(|| "the time is out of range".into())
    }
}
