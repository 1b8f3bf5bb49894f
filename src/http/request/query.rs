//! The values of query parameters.

use super::cursor::is_storable;
use crate::http::answer::error::ApiError;
use crate::store::Position;
use chrono::{DateTime, TimeDelta, Utc};
use std::borrow::Cow;

/// Whether a query has a parameter: what decides which right a read needs, before anything else is looked at.
pub(in crate::http) fn asks_for(query: Option<&str>, name: &str) -> bool {
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.any(|(found, _)| found == name)
}

/// The one value of a parameter; other parameters are not looked at.
pub(in crate::http) fn parameter(
    query: Option<&str>,
    name: &'static str,
) -> Result<Option<String>, ApiError> {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(found, _)| found == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(std::borrow::Cow::into_owned)),
        (_, Some(_)) => Err(ApiError::bad_data(name, "given more than once")),
    }
}

/// A decimal number from 0 to `high`; 0 when absent.
pub(in crate::http) fn integer(
    key: &'static str,
    text: Option<Cow<'_, str>>,
    high: i64,
) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(0) };
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::BadValueInteger { key: key.into() });
    }
    // All digits: only a number too great for 64 bits fails to parse.
    match text.parse::<i64>() {
        Ok(value) if (0..=high).contains(&value) => Ok(value),
        Ok(_) | Err(_) => Err(ApiError::BadValueNotInRange {
            key: key.into(),
            low: 1,
            high,
        }),
    }
}

/// A time as in RFC 3339; what lies between two microseconds is the earlier one: nothing is recorded between them.
///
/// # Errors
/// [`ApiError::BadData`] naming `key`.
pub fn time(key: &'static str, value: &str) -> Result<DateTime<Utc>, ApiError> {
    read_time(key, value).map(|(time, _)| time)
}

/// A time as in RFC 3339 where something begins or ends: what lies between two microseconds is the later one, so that what is
/// recorded at the earlier one is before it.
///
/// # Errors
/// [`ApiError::BadData`] naming `key`.
pub fn bound(key: &'static str, value: &str) -> Result<DateTime<Utc>, ApiError> {
    let (time, between) = read_time(key, value)?;
    Ok(if between {
        time + TimeDelta::microseconds(1)
    } else {
        time
    })
}

/// A time to the microsecond, and whether it lies behind it.
fn read_time(key: &'static str, value: &str) -> Result<(DateTime<Utc>, bool), ApiError> {
    Some(value)
        .filter(|value| value.len() <= 64)
        .and_then(|value| DateTime::parse_from_rfc3339(value).ok())
        .and_then(|time| {
            let between = time.timestamp_subsec_nanos() % 1_000 != 0;
            Some((DateTime::from_timestamp_micros(time.timestamp_micros())?, between))
        })
        .filter(|(time, _)| is_storable(*time))
        .ok_or_else(|| ApiError::bad_data(key, "must be a time as in RFC 3339"))
}

/// A position of the log, or a number like it.
///
/// # Errors
/// [`ApiError::BadValueInteger`] naming `key`.
pub fn position(key: &'static str, value: &str) -> Result<Position, ApiError> {
    Some(value)
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<i64>().ok())
        .map(i64::unsigned_abs)
        .ok_or(ApiError::BadValueInteger { key: key.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_microseconds_is_behind_what_is_recorded_at_the_earlier_one() {
        for (given, begins, at) in [
            ("2026-01-01T00:00:00.000001Z", 1, 1),
            ("2026-01-01T00:00:00.0000010Z", 1, 1),
            ("2026-01-01T00:00:00.0000011Z", 2, 1),
            ("2026-01-01T00:00:00.000001999Z", 2, 1),
            ("2026-01-01T00:00:00.000000001Z", 1, 0),
            ("2025-12-31T23:59:59.999999999Z", 0, -1),
            ("2025-12-31T22:59:59.9999995-01:00", 0, -1),
        ] {
            let new_year = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
            let micros = |count| new_year + TimeDelta::microseconds(count);
            assert_eq!(bound("from", given).unwrap(), micros(begins), "{given}");
            assert_eq!(time("as_of", given).unwrap(), micros(at), "{given}");
        }
        // Before 1970 as well.
        let early = bound("from", "1969-12-31T23:59:59.9999995Z").unwrap();
        assert_eq!(early, DateTime::UNIX_EPOCH);
    }
}
