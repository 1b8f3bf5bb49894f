//! What an error of Azure means for a purge.

use super::super::request::{RequestError, plain};
use super::super::rest::{Answer, from_status};
use super::super::xml;
use crate::storage::deletion::BlobErrorKind;

/// The letters and digits of the storage's own code, which a refusal has in a header and in its body; empty when it has none.
pub(super) fn code(answer: &Answer) -> String {
    let told = answer.headers.get("x-ms-error-code");
    let told = told.and_then(|code| code.to_str().ok()).map(plain);
    if let Some(code) = told.filter(|code| !code.is_empty()) {
        return code;
    }
    if answer.is_success() {
        return String::new();
    }
    let Ok(error) = xml::parse(&answer.body, "Error") else {
        return String::new();
    };
    let code = error.said("Code").ok().flatten();
    code.map(plain).unwrap_or_default()
}

/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>
pub(super) fn refusal(answer: &Answer) -> RequestError {
    let code = code(answer);
    match (code.as_str(), answer.status) {
        ("ContainerNotFound" | "ContainerDisabled", _) => RequestError::Permanent(BlobErrorKind::NoSuchBucket),
        // A proxy that knows nothing of the storage has no code, and what it does not find may be there.
        ("", status) => from_status(status, ""),
        ("BlobNotFound" | "BlobVersionNotFound" | "SnapshotNotFound", _) => RequestError::Gone,
        ("BlobImmutableDueToPolicy", _) => RequestError::Permanent(BlobErrorKind::ObjectLocked { remaining: 1 }),
        ("ServerBusy" | "AccountIsThrottled", _) => RequestError::Transient(BlobErrorKind::Throttled),
        (
            "OperationTimedOut"
            | "InternalError"
            | "Md5Mismatch"
            | "Crc64Mismatch"
            // Something else is going on, and has an end.
            | "ConcurrentOperations"
            | "SystemInUse"
            | "PendingCopyOperation"
            | "SnapshotOperationRateExceeded"
            | "AccountBeingCreated"
            | "ContainerBeingDeleted",
            _,
        ) => RequestError::Transient(BlobErrorKind::Unavailable),
        // Also a clock that is wrong, and a signature that has expired.
        ("AuthenticationFailed" | "InvalidAuthenticationInfo" | "NoAuthenticationInformation", _) => {
            RequestError::Transient(BlobErrorKind::CredentialsRefused { code: code.clone() })
        }
        (_, 404) => RequestError::Gone,
        (code, status) => from_status(status, code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, told: &'static str, body: &str) -> RequestError {
        let mut headers = reqwest::header::HeaderMap::new();
        if !told.is_empty() {
            headers.insert("x-ms-error-code", told.parse().unwrap());
        }
        refusal(&Answer {
            status,
            headers,
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        })
    }

    #[test]
    fn only_a_code_of_the_storages_own_lasts() {
        for status in [302, 400, 403, 404, 407, 409, 412, 418, 421, 423, 499] {
            for told in ["", "-"] {
                for body in [
                    "",
                    "AuthorizationFailure",
                    "<html></html>",
                    "<Error/>",
                    "<Error><Code/></Error>",
                    "<Error><Code>-</Code></Error>",
                    "<Error><Code>a</Code><Code>b</Code></Error>",
                    "<Error><Code><x/></Code></Error>",
                    "<Error><Code>AuthorizationFailure</Code>",
                    "<Code>AuthorizationFailure</Code>",
                    "{\"Code\":\"AuthorizationFailure\"}",
                ] {
                    assert!(
                        matches!(
                            judged(status, told, body),
                            RequestError::Transient(BlobErrorKind::ForeignRefusal { .. })
                        ),
                        "{status} {told} {body}"
                    );
                }
            }
        }
        let forbidden =
            "<?xml version=\"1.0\"?><Error><Code>AuthorizationFailure</Code><Message>no</Message></Error>";
        for (told, body) in [
            ("", forbidden),
            ("AuthorizationFailure", ""),
            ("AuthorizationFailure", "<html>"),
        ] {
            assert!(matches!(
                judged(403, told, body),
                RequestError::Permanent(BlobErrorKind::PermissionDenied)
            ));
        }
        assert!(matches!(
            judged(404, "", "<Error><Code>ContainerNotFound</Code></Error>"),
            RequestError::Permanent(BlobErrorKind::NoSuchBucket)
        ));
        assert!(matches!(judged(404, "BlobNotFound", ""), RequestError::Gone));
    }

    #[test]
    fn what_has_an_end_is_waited_for() {
        for code in [
            "ServerBusy",
            "OperationTimedOut",
            "ConcurrentOperations",
            "AccountBeingCreated",
            "ContainerBeingDeleted",
            "PendingCopyOperation",
        ] {
            for status in [400, 403, 404, 409, 412] {
                assert!(
                    matches!(judged(status, code, ""), RequestError::Transient(_)),
                    "{status} {code}"
                );
            }
        }
    }
}
