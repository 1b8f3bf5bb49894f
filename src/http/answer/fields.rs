//! Fields that answers write alike.

use chrono::{DateTime, Datelike, SecondsFormat, Utc};

/// Whether a mark is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(in crate::http) const fn is_false(mark: &bool) -> bool {
    !*mark
}

/// A time as answers write it: RFC 3339 in UTC, with as many digits as it has. `None` where that has no way to write it, because the
/// year has more than four digits or is before the first one: only a damaged row holds such a time.
#[must_use]
pub fn timestamp(time: DateTime<Utc>) -> Option<String> {
    let can_be_written = (0..=9999).contains(&time.year());
    can_be_written.then(|| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{NaiveDate, NaiveTime};

    #[test]
    fn a_time_that_rfc_3339_cannot_write_is_not_written() {
        let year = |year: i32| {
            NaiveDate::from_ymd_opt(year, 1, 1)
                .unwrap()
                .and_time(NaiveTime::MIN)
                .and_utc()
        };
        assert_eq!(timestamp(year(2026)).as_deref(), Some("2026-01-01T00:00:00Z"));
        assert_eq!(timestamp(year(9999)).as_deref(), Some("9999-01-01T00:00:00Z"));
        for none in [-4712, -1, 10_000] {
            assert_eq!(timestamp(year(none)), None, "{none}");
        }
    }
}
