//! Fields that answers write alike.

use chrono::{DateTime, SecondsFormat, Utc};

/// Whether a mark is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
pub(in crate::http) const fn is_false(mark: &bool) -> bool {
    !*mark
}

/// A time as answers write it: RFC 3339 in UTC, with as many digits as it has.
#[must_use]
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
