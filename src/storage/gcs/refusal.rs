//! What an error of GCS means for a purge.

use super::super::request::{RequestError, plain};
use super::super::rest::{Answer, from_status};
use crate::storage::deletion::BlobErrorKind;
use serde::Deserialize;

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    errors: Option<Vec<RefusalReason>>,
    /// The reason, as Google's newer servers write it.
    status: Option<String>,
}

#[derive(Deserialize)]
struct RefusalReason {
    #[serde(default)]
    reason: String,
}

/// The storage's own reason; empty when it gives none, as whatever lies between it and this service.
fn reason(answer: &Answer) -> String {
    let Ok(Refusal { error }) = serde_json::from_slice(&answer.body) else {
        return String::new();
    };
    let first = error.errors.and_then(|errors| errors.into_iter().next());
    first
        .map(|first| first.reason)
        .into_iter()
        .chain(error.status)
        .find(|reason| !plain(reason).is_empty())
        .unwrap_or_default()
}

/// Whether it is the storage that refuses, and nothing between it and this service.
pub(super) fn is_own(answer: &Answer) -> bool {
    !reason(answer).is_empty()
}

/// <https://cloud.google.com/storage/docs/json_api/v1/status-codes>
pub(super) fn refusal(answer: &Answer) -> RequestError {
    let reason = reason(answer);
    match reason.as_str() {
        "retentionPolicyNotMet" | "objectUnderActiveHold" => {
            RequestError::Permanent(BlobErrorKind::ObjectLocked { remaining: 1 })
        }
        "rateLimitExceeded"
        | "rateLimitExceededUnreg"
        | "userRateLimitExceeded"
        | "userRateLimitExceededUnreg"
        | "concurrentLimitExceeded"
        | "quotaExceeded"
        | "dailyLimitExceeded"
        | "dailyLimitExceededUnreg"
        | "RESOURCE_EXHAUSTED" => RequestError::Transient(BlobErrorKind::Throttled),
        "backendError" | "internalError" | "ABORTED" | "DEADLINE_EXCEEDED" | "INTERNAL" | "UNAVAILABLE" => {
            RequestError::Transient(BlobErrorKind::Unavailable)
        }
        _ => from_status(answer.status, &reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> RequestError {
        refusal(&Answer {
            status,
            headers: reqwest::header::HeaderMap::new(),
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        })
    }

    #[test]
    fn only_a_reason_of_the_storages_own_lasts() {
        for status in [302, 400, 403, 404, 407, 409, 412, 418, 421, 423, 499] {
            for body in [
                "",
                "{}",
                "<html></html>",
                "{\"error\":\"forbidden\"}",
                "{\"error\":{}}",
                "{\"error\":{\"code\":404,\"message\":\"Not Found\"}}",
                "{\"error\":{\"errors\":null}}",
                "{\"error\":{\"errors\":[{\"reason\":\"\"}]}}",
                "{\"error\":{\"errors\":[{\"reason\":\"...\"}]}}",
                "{\"errors\":[{\"reason\":\"forbidden\"}]}",
            ] {
                assert!(
                    matches!(
                        judged(status, body),
                        RequestError::Transient(BlobErrorKind::ForeignRefusal { .. })
                    ),
                    "{status} {body}"
                );
            }
        }
        let forbidden = "{\"error\":{\"code\":403,\"errors\":[{\"reason\":\"forbidden\"}]}}";
        assert!(matches!(
            judged(403, forbidden),
            RequestError::Permanent(BlobErrorKind::PermissionDenied)
        ));
        let newer = "{\"error\":{\"code\":403,\"status\":\"PERMISSION_DENIED\"}}";
        assert!(matches!(
            judged(403, newer),
            RequestError::Permanent(BlobErrorKind::PermissionDenied)
        ));
    }

    #[test]
    fn what_has_an_end_is_waited_for() {
        for reason in [
            "userRateLimitExceeded",
            "quotaExceeded",
            "dailyLimitExceeded",
            "backendError",
        ] {
            for status in [400, 403, 409, 429] {
                let body = format!("{{\"error\":{{\"errors\":[{{\"reason\":\"{reason}\"}}]}}}}");
                assert!(
                    matches!(judged(status, &body), RequestError::Transient(_)),
                    "{status} {reason}"
                );
            }
        }
    }
}
