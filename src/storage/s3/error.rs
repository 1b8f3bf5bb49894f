//! What an S3 error means for a purge.

use super::super::request::{Doubt, Failed, RequestError, plain};
use crate::storage::deletion::BlobErrorKind;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// A failed request, or one key's failure inside a bulk deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct S3Error {
    pub(super) verdict: Verdict,
    /// Letters and digits of the server's code.
    pub(super) code: String,
    /// The server said that Object Lock is the reason.
    pub(super) locked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was to be deleted does not exist.
    Gone,
    /// The server does not have this operation.
    NotImplemented,
    /// No permission, or Object Lock.
    Denied,
    NoSuchBucket,
    /// The AWS chain has none for us.
    NoCredentials,
    /// Credentials that have expired, or a clock that is wrong: to be tried again, with credentials that are loaded anew.
    Expired,
    /// Credentials that the server does not know: others may have taken their place.
    Unknown,
    /// What came is no whole answer: to be tried again.
    Doubtful(&'static str),
    /// A refusal without a code, as proxies, gateways and login pages give it: to be tried again.
    Foreign,
    /// The server cannot make anything of the body of the request.
    Unreadable,
    /// To be tried again, more slowly.
    Throttled,
    /// To be tried again.
    Unavailable,
    /// Any other answer.
    Rejected,
}

impl S3Error {
    /// Reads the error of a whole request.
    pub(super) fn read<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Self {
        let status = error.raw_response().map(|response| response.status().as_u16());
        match error {
            SdkError::ServiceError(service) => {
                let (code, message) = (service.err().code(), service.err().message());
                let known = Self::from_code(code.unwrap_or_default(), message);
                match (known.verdict, status) {
                    // Without a code that is known, the status decides; a proxy in between has no codes at all.
                    (Verdict::Rejected | Verdict::Foreign, Some(status)) => {
                        let verdict = from_status(status, known.verdict);
                        let code = if known.code.is_empty() {
                            format!("status{status}")
                        } else {
                            known.code
                        };
                        Self {
                            verdict,
                            code,
                            ..known
                        }
                    }
                    _ => known,
                }
            }
            SdkError::ConstructionFailure(_) => Self::invalid(),
            SdkError::DispatchFailure(failure)
                if failure.as_connector_error().is_some_and(|e| lacks_credentials(e)) =>
            {
                Self::of(Verdict::NoCredentials)
            }
            // A timeout, a connection that fails or breaks, an answer that cannot be read.
            _ => Self::of(Verdict::Unavailable),
        }
    }

    fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            code: String::new(),
            locked: false,
        }
    }

    /// Reads a code as S3 sends it.
    pub(super) fn from_code(code: &str, message: Option<&str>) -> Self {
        let message = message.unwrap_or_default();
        let locked = code == "ObjectLocked" || is_lock_message(message);
        let plain = plain(code);
        let verdict = match code {
            _ if plain.is_empty() => Verdict::Foreign,
            "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" => Verdict::Gone,
            "NotImplemented" | "MissingContentMD5" => Verdict::NotImplemented,
            "InvalidRequest" if message.contains("Content-MD5") => Verdict::NotImplemented,
            "InvalidRequest" if locked => Verdict::Denied,
            "AccessDenied" | "ObjectLocked" | "AllAccessDisabled" | "AccountProblem" => Verdict::Denied,
            "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed" => Verdict::Expired,
            "InvalidAccessKeyId" | "InvalidToken" | "InvalidSecurity" | "SignatureDoesNotMatch" => {
                Verdict::Unknown
            }
            "InvalidArgument" | "MalformedXML" | "MalformedPOSTRequest" => Verdict::Unreadable,
            "NoSuchBucket" => Verdict::NoSuchBucket,
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "ServerBusy"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "KMS.ThrottlingException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "BandwidthLimitExceeded"
            | "TooManyRequests"
            | "TooManyRequestsException"
            | "EC2ThrottledException"
            | "LimitExceededException"
            | "PriorRequestNotComplete"
            | "ProvisionedThroughputExceededException" => Verdict::Throttled,
            "InternalError"
            | "InternalServerError"
            | "ServiceUnavailable"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "OperationAborted"
            | "ConditionalRequestConflict"
            // The name of a new bucket, until every server knows where it is.
            | "TemporaryRedirect"
            | "Redirect"
            | "ClientDisconnected"
            | "XMinioServerNotInitialized"
            | "XMinioIAMNotInitialized"
            | "XMinioBucketMetadataNotInitialized"
            | "BadDigest"
            | "InvalidDigest"
            | "IncompleteBody"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch" => Verdict::Unavailable,
            _ => Verdict::Rejected,
        };
        Self {
            verdict,
            code: plain,
            locked,
        }
    }

    /// A request that cannot be built.
    pub(super) fn invalid() -> Self {
        Self {
            verdict: Verdict::Rejected,
            code: "something that is not S3".to_owned(),
            locked: false,
        }
    }

    pub(super) fn doubt(what: &'static str) -> Self {
        Self::of(Verdict::Doubtful(what))
    }

    /// As the outcome of the whole purge.
    pub(super) fn kind(self) -> BlobErrorKind {
        match self.verdict {
            Verdict::Denied if self.locked => BlobErrorKind::ObjectLocked { remaining: 1 },
            Verdict::Denied | Verdict::Unknown => BlobErrorKind::PermissionDenied,
            Verdict::NoSuchBucket => BlobErrorKind::NoSuchBucket,
            Verdict::NoCredentials => BlobErrorKind::NoCredentials,
            Verdict::Throttled => BlobErrorKind::Throttled,
            Verdict::Unavailable => BlobErrorKind::Unavailable,
            Verdict::Expired => BlobErrorKind::CredentialsRefused { code: self.code },
            Verdict::Doubtful(what) => BlobErrorKind::Doubtful { what },
            // Where there is another way it has been gone before; whatever speaks S3 does the rest.
            Verdict::Foreign | Verdict::NotImplemented => BlobErrorKind::ForeignRefusal { code: self.code },
            Verdict::Gone | Verdict::Unreadable | Verdict::Rejected => {
                BlobErrorKind::Rejected { code: self.code }
            }
        }
    }
}

impl Failed for S3Error {
    fn is_transient(&self) -> bool {
        match self.verdict {
            Verdict::Throttled
            | Verdict::Unavailable
            | Verdict::Expired
            | Verdict::Doubtful(_)
            | Verdict::Foreign => true,
            Verdict::Gone
            | Verdict::NotImplemented
            | Verdict::Denied
            | Verdict::NoSuchBucket
            | Verdict::NoCredentials
            | Verdict::Unknown
            | Verdict::Unreadable
            | Verdict::Rejected => false,
        }
    }

    fn concerns_all(&self) -> bool {
        match self.verdict {
            Verdict::NoSuchBucket
            | Verdict::NoCredentials
            | Verdict::Expired
            | Verdict::Unknown
            | Verdict::Throttled
            | Verdict::Unavailable
            | Verdict::Doubtful(_)
            | Verdict::Foreign => true,
            Verdict::Gone
            | Verdict::NotImplemented
            | Verdict::Denied
            | Verdict::Unreadable
            | Verdict::Rejected => false,
        }
    }
}

impl From<Doubt> for S3Error {
    fn from(doubt: Doubt) -> Self {
        Self::doubt(doubt.0)
    }
}

impl From<S3Error> for RequestError {
    fn from(error: S3Error) -> Self {
        if error.verdict == Verdict::Gone {
            Self::Gone
        } else if error.is_transient() || error.verdict == Verdict::NotImplemented {
            Self::Transient(error.kind())
        } else {
            Self::Permanent(error.kind())
        }
    }
}

/// Credentials are loaded while a request is sent, so that their absence looks like a connection that failed.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<CredentialsError>())
}

/// How servers word that retention or a legal hold is the reason.
fn is_lock_message(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["object lock", "worm", "retention", "legal hold"]
        .iter()
        .any(|word| message.contains(word))
}

/// What a status means. Without a code of the storage's own (`known`) it never means something that lasts.
fn from_status(status: u16, known: Verdict) -> Verdict {
    match status {
        405 | 501 => Verdict::NotImplemented,
        429 | 503 => Verdict::Throttled,
        // Also what proxies and gateways have made up.
        408 | 425 | 500 | 502 | 504..=599 => Verdict::Unavailable,
        401 | 403 if known != Verdict::Foreign => Verdict::Denied,
        _ => known,
    }
}
