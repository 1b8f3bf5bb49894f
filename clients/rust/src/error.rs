//! What can go wrong, as a caller tells it apart.

use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This is no address of a service.
    #[error("{0:?} is no address of a service")]
    Address(String),
    /// The service could not be reached, or its answer was lost. A command may have happened all the same.
    #[error("the service did not answer")]
    Transport(#[from] reqwest::Error),
    /// The service answered with something else than this client knows.
    #[error("the service's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The service refused the request.
    #[error(transparent)]
    Refused(Box<Refusal>),
}

/// What the service said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{description} ({id}, status {status})")]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Which error it is.
    pub id: ErrorId,
    /// The error in words.
    pub description: String,
    /// What belongs to it, such as the `key` of the field that is wrong.
    pub details: Option<Value>,
    /// The request's id, by which the service's log knows it.
    pub request_id: Option<String>,
    /// When to try again, where the service says so.
    pub retry_after: Option<Duration>,
}

/// Defines the ids that programs tell apart.
macro_rules! ids {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// Which error it is.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorId {
            $($(#[$doc])* $variant,)+
            /// Another one, by its id.
            Other(String),
        }

        impl From<String> for ErrorId {
            fn from(text: String) -> Self {
                match &*text {
                    $($text => Self::$variant,)+
                    _ => Self::Other(text),
                }
            }
        }

        impl fmt::Display for ErrorId {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                })
            }
        }
    };
}

ids! {
    /// There is no valid token.
    Unauthorized = "unauthorized",
    /// The token does not grant it.
    Forbidden = "forbidden",
    /// It never existed, or it was purged.
    NotFound = "notFound",
    /// There is one already, or it is live already.
    AlreadyExists = "alreadyExists",
    /// It is not archived.
    EntityNotArchived = "entityNotArchived",
    /// It is being purged, which nothing reverses.
    PurgeInProgress = "purgeInProgress",
    /// It was purged: its id is never used again.
    EntityPurged = "entityPurged",
    /// It has another version than `if_match` allows.
    PreconditionFailed = "preconditionFailed",
    /// The command with this idempotency key is still under way.
    OperationInProgress = "operationInProgress",
    /// The idempotency key was used with another request.
    IdempotencyKeyReused = "idempotencyKeyReused",
    /// A cursor is of before a fork: the list has to be begun anew.
    LedgerForked = "ledgerForked",
    /// Something that the service needs is away for now.
    TemporaryFailure = "temporaryFailure",
    /// The service failed; its log tells more.
    InternalServerError = "internalServerError",
    /// A value must not be empty.
    BadValueEmpty = "badValueEmpty",
    /// A value is none of those allowed.
    BadValueNotAllowed = "badValueNotAllowed",
    /// A value is no identifier of the kind that is asked for.
    BadValueIdentifier = "badValueIdentifier",
    /// A value is wrong in another way.
    BadData = "badData",
}

#[derive(Deserialize)]
struct Envelope {
    error: ErrorJson,
}

#[derive(Deserialize)]
struct ErrorJson {
    id: String,
    description: String,
    details: Option<Value>,
}

impl Error {
    /// The error of an answer that is none of success.
    pub(crate) async fn refused(response: Response) -> Self {
        let status = response.status().as_u16();
        let text = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (request_id, after) = (text("x-request-id"), text(RETRY_AFTER.as_str()));
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return Self::Transport(error),
        };
        match serde_json::from_slice::<Envelope>(&body) {
            Ok(Envelope { error }) => Self::Refused(Box::new(Refusal {
                status,
                id: error.id.into(),
                description: error.description,
                details: error.details,
                request_id,
                retry_after: after.and_then(|text| text.parse().ok()).map(Duration::from_secs),
            })),
            Err(error) => Self::Unreadable(error),
        }
    }

    /// What the service said, where it did.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Address(_) | Self::Transport(_) | Self::Unreadable(_) => None,
        }
    }

    /// Whether the same request may succeed later: the service was away, or the command is still under way.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Refused(refusal) => {
                refusal.status == 429
                    || matches!(
                        refusal.id,
                        ErrorId::TemporaryFailure | ErrorId::OperationInProgress
                    )
            }
            Self::Address(_) | Self::Unreadable(_) => false,
        }
    }
}
