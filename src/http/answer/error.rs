//! The one place that knows status codes: every way a request can fail, and how a client is told.
//!
//! The ids and texts are Onedata's (onedata-errors `ca3af8cb`, 25.0 wording) wherever its catalogue has one; the rest are
//! ours and documented in `docs/API.md`. Handlers return an [`ApiError`]; `envelope.rs` writes the body around it.

mod challenge;
mod headers;
pub use challenge::Challenge;

use http::StatusCode;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;
use std::{error::Error, fmt};
use uuid::Uuid;

/// The name of a field, parameter or header that an error is about.
pub type Key = Cow<'static, str>;

/// An error's cause, for the log only: never part of an answer.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Every way in which a request can fail.
#[derive(Debug)]
pub enum ApiError {
    /// The body is not a JSON object in UTF-8.
    MalformedData,
    /// The field must be a string.
    BadValueString {
        /// The field.
        key: Key,
    },
    /// The field must be an integer.
    BadValueInteger {
        /// The field.
        key: Key,
    },
    /// The field must be a list of strings.
    BadValueListOfStrings {
        /// The field.
        key: Key,
    },
    /// The text must not be empty.
    BadValueEmpty {
        /// The field.
        key: Key,
    },
    /// The text is too long.
    BadValueTextTooLarge {
        /// The field.
        key: Key,
        /// The greatest length, in characters.
        limit: usize,
    },
    /// The value is none of those allowed.
    BadValueNotAllowed {
        /// The field.
        key: Key,
        /// What is allowed.
        allowed: Vec<&'static str>,
    },
    /// The value is no identifier of the kind asked for.
    BadValueIdentifier {
        /// The field.
        key: Key,
    },
    /// The number lies outside a range.
    BadValueNotInRange {
        /// The field.
        key: Key,
        /// The least value.
        low: i64,
        /// The greatest value.
        high: i64,
    },
    /// The number is too small.
    BadValueTooLow {
        /// The field.
        key: Key,
        /// The least value.
        limit: i64,
    },
    /// The number is too great.
    BadValueTooHigh {
        /// The field.
        key: Key,
        /// The greatest value.
        limit: i64,
    },
    /// The value is wrong in a way that no other error names.
    BadData {
        /// The field.
        key: Key,
        /// What is wrong with it, for people.
        hint: Option<Cow<'static, str>>,
    },
    /// A field that must be given is absent or null.
    MissingRequiredValue {
        /// The field.
        key: Key,
    },
    /// Nobody is authenticated.
    Unauthorized(Challenge),
    /// The token does not grant what the request needs.
    Forbidden,
    /// There is no such resource: it never existed, or it was purged.
    NotFound,
    /// The route has no such method.
    MethodNotAllowed {
        /// The methods it has, as an `Allow` header says it.
        allow: String,
    },
    /// The request did not arrive in time.
    RequestTimeout,
    /// There is one already; also the answer to restoring what is live (AIP-164).
    AlreadyExists,
    /// The operation needs an archived entity.
    EntityNotArchived {
        /// The state it is in.
        state: Cow<'static, str>,
    },
    /// The entity is being purged, which nothing reverses.
    PurgeInProgress,
    /// The entity was purged: its id is never used again.
    EntityPurged,
    /// The entity's key cannot be opened: nothing can be sealed for it, and it can only be purged.
    EntityUnreadable,
    /// The rows of a purge are damaged (409).
    PurgeUnreadable,
    /// A request with the same idempotency key has not been answered yet.
    OperationInProgress,
    /// `If-Match` or `If-None-Match` does not allow the current version.
    PreconditionFailed,
    /// The cursor belongs to a history that the ledger has left by a fork.
    LedgerForked {
        /// The parameter or header.
        key: Key,
        /// The number of the ledger that gave it out.
        of: u64,
        /// The number of this ledger.
        ledger: u64,
        /// The position behind which to go on: the last one that was seen and that both have.
        position: u64,
    },
    /// The body is larger than the route takes.
    PayloadTooLarge {
        /// The limit in bytes, where it is known.
        limit: Option<u64>,
    },
    /// The request's address is longer than the server reads.
    UriTooLong,
    /// The request's head is longer than the server reads.
    HeadTooLarge,
    /// The body is not declared as JSON in UTF-8.
    UnsupportedMediaType,
    /// The idempotency key was used with another request.
    IdempotencyKeyReused,
    /// Too many requests.
    TooManyRequests {
        /// When to try again.
        retry_after: Duration,
    },
    /// Onedata: the archive's state does not allow the operation.
    ForbiddenForCurrentArchiveState {
        /// The state it is in.
        current: Cow<'static, str>,
        /// The states that allow it.
        allowed: Vec<&'static str>,
    },
    /// Onedata: what a member that lacks a privilege is told, behind a compatibility switch.
    Posix {
        /// The name of the error, such as `eperm`.
        errno: &'static str,
    },
    /// Something that this service needs is away for now.
    TemporaryFailure {
        /// When to try again.
        retry_after: Duration,
        /// Why, for the log.
        cause: Option<Cause>,
    },
    /// A defect, or a failure that the client can do nothing about.
    Internal {
        /// Why, for the log.
        cause: Cause,
    },
}

/// What an error says: filled in once, by [`ApiError::describe`].
#[derive(Debug)]
pub struct Description {
    /// The status of the answer.
    pub status: StatusCode,
    /// The error's stable id.
    pub id: &'static str,
    /// The error in words.
    pub text: String,
    /// What a program may want to know.
    pub details: Option<Value>,
}

impl ApiError {
    /// An error that the client is told nothing about but a reference.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal { cause: cause.into() }
    }

    /// A value that is wrong in a way that `hint` says.
    pub fn bad_data(key: impl Into<Key>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::BadData {
            key: key.into(),
            hint: Some(hint.into()),
        }
    }

    /// Status, id, text and details of this error. `reference` appears in the answer to an internal error only.
    #[must_use]
    pub fn describe(&self, reference: Uuid) -> Description {
        let key_only = |key: &Key| Some(json!({ "key": key }));
        let (status, id, text, details) = match self {
            Self::MalformedData => (
                StatusCode::BAD_REQUEST,
                "malformedData",
                "Malformed data; the request data could not be understood by the server.".to_owned(),
                None,
            ),
            Self::BadValueString { key } => (
                StatusCode::BAD_REQUEST,
                "badValueString",
                format!("Bad value: provided \"{key}\" must be a string."),
                key_only(key),
            ),
            Self::BadValueInteger { key } => (
                StatusCode::BAD_REQUEST,
                "badValueInteger",
                format!("Bad value: provided \"{key}\" must be an integer."),
                key_only(key),
            ),
            Self::BadValueListOfStrings { key } => (
                StatusCode::BAD_REQUEST,
                "badValueListOfStrings",
                format!("Bad value: provided \"{key}\" must be a list of strings."),
                key_only(key),
            ),
            Self::BadValueEmpty { key } => (
                StatusCode::BAD_REQUEST,
                "badValueEmpty",
                format!("Bad value: provided \"{key}\" must not be empty."),
                key_only(key),
            ),
            Self::BadValueTextTooLarge { key, limit } => (
                StatusCode::BAD_REQUEST,
                "badValueTextTooLarge",
                format!(
                    "Bad value: the text provided in \"{key}\" cannot be larger than {limit} characters."
                ),
                Some(json!({ "key": key, "limit": limit })),
            ),
            Self::BadValueNotAllowed { key, allowed } => (
                StatusCode::BAD_REQUEST,
                "badValueNotAllowed",
                format!(
                    "Bad value: provided \"{key}\" must be one of: {}.",
                    allowed.join(", ")
                ),
                Some(json!({ "key": key, "allowed": allowed })),
            ),
            Self::BadValueIdentifier { key } => (
                StatusCode::BAD_REQUEST,
                "badValueIdentifier",
                format!("Bad value: provided \"{key}\" must be a valid identifier."),
                key_only(key),
            ),
            Self::BadValueNotInRange { key, low, high } => (
                StatusCode::BAD_REQUEST,
                "badValueNotInRange",
                format!("Bad value: provided \"{key}\" must be between <{low}, {high}>."),
                Some(json!({ "key": key, "low": low, "high": high })),
            ),
            Self::BadValueTooLow { key, limit } => (
                StatusCode::BAD_REQUEST,
                "badValueTooLow",
                format!("Bad value: provided \"{key}\" must be at least {limit}."),
                Some(json!({ "key": key, "limit": limit })),
            ),
            Self::BadValueTooHigh { key, limit } => (
                StatusCode::BAD_REQUEST,
                "badValueTooHigh",
                format!("Bad value: provided \"{key}\" must not exceed {limit}."),
                Some(json!({ "key": key, "limit": limit })),
            ),
            Self::BadData { key, hint } => (
                StatusCode::BAD_REQUEST,
                "badData",
                format!(
                    "Bad value provided for \"{key}\": {}.",
                    hint.as_deref().unwrap_or("null")
                ),
                Some(json!({ "key": key, "hint": hint })),
            ),
            Self::MissingRequiredValue { key } => (
                StatusCode::BAD_REQUEST,
                "missingRequiredValue",
                format!("Missing required value: {key}."),
                key_only(key),
            ),
            Self::Unauthorized(challenge) => {
                let (reason, auth_error) = challenge.describe();
                (
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    format!("You must authenticate yourself to perform this operation: {reason}"),
                    Some(json!({ "authError": auth_error })),
                )
            }
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "You are not authorized to perform this operation.".to_owned(),
                None,
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "notFound",
                "The requested resource could not be found.".to_owned(),
                None,
            ),
            Self::MethodNotAllowed { allow } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "methodNotAllowed",
                format!("This resource does not support the method. Supported methods are: {allow}."),
                None,
            ),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "requestTimeout",
                "The request did not arrive in time.".to_owned(),
                None,
            ),
            Self::AlreadyExists => (
                StatusCode::CONFLICT,
                "alreadyExists",
                "The resource already exists.".to_owned(),
                None,
            ),
            Self::EntityNotArchived { state } => (
                StatusCode::CONFLICT,
                "entityNotArchived",
                format!("The operation needs an archived entity; this one is {state}."),
                Some(json!({ "state": state })),
            ),
            Self::PurgeInProgress => (
                StatusCode::CONFLICT,
                "purgeInProgress",
                "The entity is being purged, which cannot be reversed.".to_owned(),
                None,
            ),
            Self::EntityPurged => conflict(
                "entityPurged",
                "The entity was purged; its id cannot be used again.",
            ),
            Self::EntityUnreadable => conflict(
                "entityUnreadable",
                "The entity's key cannot be opened: it can be purged once it is archived, and nothing else.",
            ),
            Self::PurgeUnreadable => conflict(
                "purgeUnreadable",
                "The purge's rows in the database are damaged; they have to be repaired first.",
            ),
            Self::OperationInProgress => conflict(
                "operationInProgress",
                "A request with this idempotency key is still being processed.",
            ),
            Self::PreconditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "preconditionFailed",
                "The resource's version is not one that \"If-Match\" or \"If-None-Match\" allows.".to_owned(),
                None,
            ),
            Self::LedgerForked {
                key,
                of,
                ledger,
                position,
            } => (
                StatusCode::GONE,
                "ledgerForked",
                format!(
                    "The ledger was forked: \"{key}\" was given out by ledger {of}, and this is ledger {ledger}. Go on behind \
                     position {position}, up to which both are the same."
                ),
                Some(json!({ "key": key, "of": of, "ledger": ledger, "position": position })),
            ),
            Self::PayloadTooLarge { limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "payloadTooLarge",
                limit.map_or_else(
                    || "The request body is too large.".to_owned(),
                    |limit| format!("The request body is larger than the limit of {limit} bytes."),
                ),
                limit.map(|limit| json!({ "limit": limit })),
            ),
            Self::UriTooLong => (
                StatusCode::URI_TOO_LONG,
                "uriTooLong",
                "The request's address is longer than the server reads.".to_owned(),
                None,
            ),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "requestHeaderFieldsTooLarge",
                "The request's head is longer than the server reads, or has too many fields.".to_owned(),
                None,
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupportedMediaType",
                "The request body must be sent as \"application/json\" in UTF-8.".to_owned(),
                None,
            ),
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotencyKeyReused",
                "The idempotency key was already used with another request.".to_owned(),
                None,
            ),
            Self::TooManyRequests { retry_after: _ } => (
                StatusCode::TOO_MANY_REQUESTS,
                "tooManyRequests",
                "Too many requests - please try again later.".to_owned(),
                None,
            ),
            Self::ForbiddenForCurrentArchiveState { current, allowed } => (
                StatusCode::BAD_REQUEST,
                "forbiddenForCurrentArchiveState",
                format!(
                    "This operation is forbidden while the archive state is {current}. Allowed states are: {}.",
                    allowed.join(", ")
                ),
                // Onedata encodes both values as JSON once more, inside a string.
                Some(
                    json!({ "allowedStates": json!(allowed).to_string(), "currentState": json!(current).to_string() }),
                ),
            ),
            Self::Posix { errno } => (
                StatusCode::BAD_REQUEST,
                "posix",
                format!("Operation failed with POSIX error: {errno}."),
                Some(json!({ "errno": errno })),
            ),
            Self::TemporaryFailure { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporaryFailure",
                "Temporary failure - please try again later.".to_owned(),
                None,
            ),
            Self::Internal { cause: _ } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internalServerError",
                format!(
                    "The server has encountered an error while processing this request. If the problem persists, \
                     please contact the site's administrators, citing the following reference: \"{reference}\"."
                ),
                Some(json!({ "reference": reference })),
            ),
        };
        Description {
            status,
            id,
            text,
            details,
        }
    }
}

/// Status, id, text and details of something that stands in the way.
fn conflict(id: &'static str, text: &str) -> (StatusCode, &'static str, String, Option<Value>) {
    (StatusCode::CONFLICT, id, text.to_owned(), None)
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(Uuid::nil()).text)
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = match self {
            Self::Internal { cause } => Some(cause),
            Self::TemporaryFailure { cause, .. } => cause.as_ref(),
            _ => None,
        };
        cause.map(|cause| &**cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests;
