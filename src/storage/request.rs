//! One request to a storage: how it can fail, and how often it is sent.

use super::backoff::Backoff;
use crate::storage::deletion::BlobErrorKind;

/// The error codes that servers put into the ledger are cut to this length.
const MAX_CODE: usize = 64;

/// A failed request.
#[derive(Debug)]
pub(super) enum RequestError {
    /// What was to be deleted does not exist.
    Gone,
    /// Asking again may help; this is what stands in the way if it does not.
    Transient(BlobErrorKind),
    /// This stands in the way.
    Permanent(BlobErrorKind),
}

impl RequestError {
    pub(super) fn doubt(what: &'static str) -> Self {
        Self::Transient(BlobErrorKind::Doubtful { what })
    }

    pub(super) fn kind(self) -> BlobErrorKind {
        match self {
            // Nothing but what is deleted can be gone already.
            Self::Gone => BlobErrorKind::ForeignRefusal {
                code: "notFound".to_owned(),
            },
            Self::Transient(kind) | Self::Permanent(kind) => kind,
        }
    }
}

/// Why an answer is not believed. A text for the operator, without anything of the answer in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt(pub(super) &'static str);

impl From<Doubt> for RequestError {
    fn from(doubt: Doubt) -> Self {
        Self::doubt(doubt.0)
    }
}

/// What follows from a failed request, in whatever words its protocol has for it.
pub(super) trait Failed {
    /// Asking again may help.
    fn is_transient(&self) -> bool;

    /// All other requests would fail like this one.
    fn concerns_all(&self) -> bool;
}

impl Failed for RequestError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }

    fn concerns_all(&self) -> bool {
        match self {
            Self::Gone => false,
            Self::Transient(_) => true,
            Self::Permanent(kind) => !matches!(
                kind,
                BlobErrorKind::ObjectLocked { .. }
                    | BlobErrorKind::PermissionDenied
                    | BlobErrorKind::Rejected { .. }
            ),
        }
    }
}

/// Sends a request until it is answered, as long as the backoff has attempts left.
pub(super) async fn patiently<T, E, F, Fut>(backoff: Backoff, request: F) -> Result<T, E>
where
    E: Failed,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut attempt = 0;
    loop {
        attempt += 1;
        match request().await {
            Err(error) if error.is_transient() => match backoff.after(attempt) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            },
            outcome => return outcome,
        }
    }
}

/// Letters and digits of a code, as many as go into the ledger.
pub(super) fn plain(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(MAX_CODE)
        .collect()
}
