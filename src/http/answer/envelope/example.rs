//! What each status looks like, for the API's description.

use super::{Envelope, ServiceInfo};
use crate::http::answer::error::{ApiError, Challenge};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

/// 2026-03-04T05:06:07.008Z, in milliseconds since 1970.
const TIMESTAMP: i64 = 1_772_600_767_008;

/// The body that an error of this status has; of each status, the error that a client meets first.
pub(in crate::http) fn example(status: &str) -> Option<Value> {
    let error = match status {
        "400" => ApiError::bad_data("limt", "unknown parameter"),
        "401" => ApiError::Unauthorized(Challenge::NoToken),
        "403" => ApiError::Forbidden,
        "404" => ApiError::NotFound,
        "408" => ApiError::RequestTimeout,
        "409" => ApiError::AlreadyExists,
        "410" => ApiError::LedgerForked {
            key: "cursor".into(),
            of: 1,
            ledger: 2,
            position: 46,
        },
        "412" => ApiError::PreconditionFailed,
        "413" => ApiError::PayloadTooLarge { limit: Some(262_144) },
        "415" => ApiError::UnsupportedMediaType,
        "422" => ApiError::IdempotencyKeyReused,
        "500" => ApiError::internal("an example"),
        "503" => ApiError::TemporaryFailure {
            retry_after: Duration::from_secs(1),
            cause: None,
        },
        _ => return None,
    };
    let reference = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let service = ServiceInfo::new("ledger-1", "localhost");
    let described = error.describe(reference);
    serde_json::to_value(Envelope::new(&described, &service, TIMESTAMP)).ok()
}
