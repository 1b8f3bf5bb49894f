//! What tests of reading share: what an error tells, and a cursor.

use crate::http::answer::error::ApiError;
use crate::http::request::cursor::{CursorCodec, ListCursor};
use crate::numbering::Numbering;
use archive_ledger_domain::{EntityKey, EntityType};
use chrono::DateTime;
use uuid::Uuid;

/// The id and the key of an error.
pub fn told(error: &ApiError) -> (&'static str, String) {
    let description = error.describe(Uuid::nil());
    let key = description
        .details
        .as_ref()
        .and_then(|details| details["key"].as_str())
        .unwrap_or_default()
        .to_owned();
    (description.id, key)
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>, id: &str, key: &str) {
    assert_eq!(told(&result.unwrap_err()), (id, key.to_owned()));
}

pub fn codec() -> CursorCodec {
    CursorCodec::new(b"a secret of at least thirty-two bytes", Numbering::default())
}

pub fn cursor() -> ListCursor {
    ListCursor {
        key: EntityKey::new(EntityType::Backups, "497f6eca-6276-4993-bfeb-53cbbbba6f08").unwrap(),
        deleted_at: DateTime::from_timestamp_micros(1_750_762_637_248_123).unwrap(),
    }
}
