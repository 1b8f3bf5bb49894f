//! What each error says, to the letter.

use super::*;
use axum::response::IntoResponse;

fn described(error: &ApiError) -> (u16, &'static str, String, Value) {
    let Description {
        status,
        id,
        text,
        details,
    } = error.describe(Uuid::nil());
    (status.as_u16(), id, text, details.unwrap_or(Value::Null))
}

#[test]
fn the_errors_of_onedatas_catalogue_have_its_ids_texts_and_details() {
    let cases = [
        (
            ApiError::MalformedData,
            (
                400,
                "malformedData",
                "Malformed data; the request data could not be understood by the server.",
                json!(null),
            ),
        ),
        (
            ApiError::BadValueString {
                key: "deletedCallback".into(),
            },
            (
                400,
                "badValueString",
                "Bad value: provided \"deletedCallback\" must be a string.",
                json!({"key": "deletedCallback"}),
            ),
        ),
        (
            ApiError::BadData {
                key: "deletedCallback".into(),
                hint: None,
            },
            (
                400,
                "badData",
                "Bad value provided for \"deletedCallback\": null.",
                json!({"key": "deletedCallback", "hint": null}),
            ),
        ),
        (
            ApiError::bad_data("colour", "unknown field"),
            (
                400,
                "badData",
                "Bad value provided for \"colour\": unknown field.",
                json!({"key": "colour", "hint": "unknown field"}),
            ),
        ),
        (
            ApiError::BadValueNotAllowed {
                key: "entity_type".into(),
                allowed: vec!["backups", "users"],
            },
            (
                400,
                "badValueNotAllowed",
                "Bad value: provided \"entity_type\" must be one of: backups, users.",
                json!({"key": "entity_type", "allowed": ["backups", "users"]}),
            ),
        ),
        (
            ApiError::BadValueIdentifier { key: "id".into() },
            (
                400,
                "badValueIdentifier",
                "Bad value: provided \"id\" must be a valid identifier.",
                json!({"key": "id"}),
            ),
        ),
        (
            ApiError::BadValueInteger { key: "page".into() },
            (
                400,
                "badValueInteger",
                "Bad value: provided \"page\" must be an integer.",
                json!({"key": "page"}),
            ),
        ),
        (
            ApiError::BadValueNotInRange {
                key: "limit".into(),
                low: 1,
                high: 100,
            },
            (
                400,
                "badValueNotInRange",
                "Bad value: provided \"limit\" must be between <1, 100>.",
                json!({"key": "limit", "low": 1, "high": 100}),
            ),
        ),
        (
            ApiError::BadValueTooLow {
                key: "n".into(),
                limit: 1,
            },
            (
                400,
                "badValueTooLow",
                "Bad value: provided \"n\" must be at least 1.",
                json!({"key": "n", "limit": 1}),
            ),
        ),
        (
            ApiError::BadValueTooHigh {
                key: "n".into(),
                limit: 9,
            },
            (
                400,
                "badValueTooHigh",
                "Bad value: provided \"n\" must not exceed 9.",
                json!({"key": "n", "limit": 9}),
            ),
        ),
        (
            ApiError::MissingRequiredValue { key: "name".into() },
            (
                400,
                "missingRequiredValue",
                "Missing required value: name.",
                json!({"key": "name"}),
            ),
        ),
        (
            ApiError::Unauthorized(Challenge::NoToken),
            (
                401,
                "unauthorized",
                "You must authenticate yourself to perform this operation: no details available.",
                json!({"authError": null}),
            ),
        ),
        (
            ApiError::Unauthorized(Challenge::TokenInvalid),
            (
                401,
                "unauthorized",
                "You must authenticate yourself to perform this operation: Provided token is not valid.",
                json!({"authError": {"id": "tokenInvalid", "description": "Provided token is not valid."}}),
            ),
        ),
        (
            ApiError::Forbidden,
            (
                403,
                "forbidden",
                "You are not authorized to perform this operation.",
                json!(null),
            ),
        ),
        (
            ApiError::NotFound,
            (
                404,
                "notFound",
                "The requested resource could not be found.",
                json!(null),
            ),
        ),
        (
            ApiError::AlreadyExists,
            (409, "alreadyExists", "The resource already exists.", json!(null)),
        ),
        (
            ApiError::Posix { errno: "eperm" },
            (
                400,
                "posix",
                "Operation failed with POSIX error: eperm.",
                json!({"errno": "eperm"}),
            ),
        ),
        (
            ApiError::ForbiddenForCurrentArchiveState {
                current: "building".into(),
                allowed: vec![
                    "preserved",
                    "failed",
                    "deleting",
                    "verification_failed",
                    "cancelled",
                ],
            },
            (
                400,
                "forbiddenForCurrentArchiveState",
                "This operation is forbidden while the archive state is building. Allowed states are: preserved, failed, \
                 deleting, verification_failed, cancelled.",
                json!({
                    "allowedStates": "[\"preserved\",\"failed\",\"deleting\",\"verification_failed\",\"cancelled\"]",
                    "currentState": "\"building\"",
                }),
            ),
        ),
        (
            ApiError::TemporaryFailure {
                retry_after: Duration::from_secs(1),
                cause: None,
            },
            (
                503,
                "temporaryFailure",
                "Temporary failure - please try again later.",
                json!(null),
            ),
        ),
        (
            ApiError::internal("the disk is gone"),
            (
                500,
                "internalServerError",
                "The server has encountered an error while processing this request. If the problem persists, please \
                 contact the site's administrators, citing the following reference: \
                 \"00000000-0000-0000-0000-000000000000\".",
                json!({"reference": "00000000-0000-0000-0000-000000000000"}),
            ),
        ),
    ];
    for (error, (status, id, text, details)) in cases {
        assert_eq!(
            described(&error),
            (status, id, text.to_owned(), details),
            "{error:?}"
        );
    }
}

#[test]
fn the_errors_of_our_own_have_stable_ids_and_the_status_that_the_design_gives_them() {
    let second = Duration::from_secs(1);
    let cases = [
        (
            ApiError::EntityNotArchived { state: "live".into() },
            409,
            "entityNotArchived",
        ),
        (ApiError::PurgeInProgress, 409, "purgeInProgress"),
        (ApiError::EntityPurged, 409, "entityPurged"),
        (ApiError::EntityUnreadable, 409, "entityUnreadable"),
        (ApiError::PurgeUnreadable, 409, "purgeUnreadable"),
        (ApiError::OperationInProgress, 409, "operationInProgress"),
        (ApiError::PreconditionFailed, 412, "preconditionFailed"),
        (
            ApiError::PayloadTooLarge { limit: Some(10) },
            413,
            "payloadTooLarge",
        ),
        (ApiError::UnsupportedMediaType, 415, "unsupportedMediaType"),
        (ApiError::IdempotencyKeyReused, 422, "idempotencyKeyReused"),
        (
            ApiError::TooManyRequests { retry_after: second },
            429,
            "tooManyRequests",
        ),
        (
            ApiError::MethodNotAllowed { allow: "GET".into() },
            405,
            "methodNotAllowed",
        ),
        (ApiError::RequestTimeout, 408, "requestTimeout"),
        (
            ApiError::BadValueListOfStrings {
                key: "storage".into(),
            },
            400,
            "badValueListOfStrings",
        ),
        (
            ApiError::BadValueEmpty { key: "name".into() },
            400,
            "badValueEmpty",
        ),
        (
            ApiError::BadValueTextTooLarge {
                key: "name".into(),
                limit: 512,
            },
            400,
            "badValueTextTooLarge",
        ),
    ];
    for (error, status, id) in cases {
        let (got_status, got_id, _, _) = described(&error);
        assert_eq!((got_status, got_id), (status, id));
    }
}

fn header(error: ApiError, name: &str) -> Option<String> {
    error
        .into_response()
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn the_challenge_names_an_error_only_when_a_token_was_sent() {
    let challenge = |challenge| header(ApiError::Unauthorized(challenge), "www-authenticate").unwrap();
    assert_eq!(challenge(Challenge::NoToken), "Bearer realm=\"archive-ledger\"");
    for sent in [Challenge::BadToken, Challenge::TokenInvalid] {
        assert_eq!(
            challenge(sent),
            "Bearer realm=\"archive-ledger\", error=\"invalid_token\""
        );
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    assert_eq!(
        header(
            ApiError::MethodNotAllowed {
                allow: "GET,HEAD".into()
            },
            "allow"
        )
        .unwrap(),
        "GET,HEAD"
    );
}

#[test]
fn a_retry_is_asked_for_in_whole_seconds_and_never_at_once() {
    for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (30_000, "30")] {
        let retry_after = Duration::from_millis(millis);
        let temporary = ApiError::TemporaryFailure {
            retry_after,
            cause: None,
        };
        assert_eq!(header(temporary, "retry-after").unwrap(), seconds);
        assert_eq!(
            header(ApiError::TooManyRequests { retry_after }, "retry-after").unwrap(),
            seconds
        );
    }
}

#[test]
fn a_cause_is_kept_for_the_log_and_appears_in_no_text() {
    let error = ApiError::internal("secret cause");
    assert_eq!(error.source().unwrap().to_string(), "secret cause");
    assert!(!error.to_string().contains("secret"));
    assert!(!described(&error).3.to_string().contains("secret"));
}
