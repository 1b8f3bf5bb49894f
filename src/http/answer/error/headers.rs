//! What of an error stands in the head of its answer.

use super::ApiError;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// When to ask again for the answer to a request that is still under way: a command takes less, unless the store is away.
const IN_PROGRESS: Duration = Duration::from_secs(1);

impl ApiError {
    /// The headers that belong to this error beside its body.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Self::Unauthorized(challenge) = self {
            headers.insert(WWW_AUTHENTICATE, challenge.header());
        }
        if let Self::MethodNotAllowed { allow } = self {
            insert_text(&mut headers, ALLOW, allow);
        }
        if let Some(retry_after) = self.retry_after() {
            // Whole seconds, rounded up: "now" would invite a busy loop.
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            insert_text(&mut headers, RETRY_AFTER, &seconds.to_string());
        }
        headers
    }

    /// When the same request may turn out otherwise.
    const fn retry_after(&self) -> Option<Duration> {
        if let Self::TooManyRequests { retry_after } | Self::TemporaryFailure { retry_after, .. } = self {
            Some(*retry_after)
        } else if let Self::OperationInProgress = self {
            Some(IN_PROGRESS)
        } else {
            None
        }
    }
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The status and headers; the error itself travels along for `envelope.rs`, which writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.describe(Uuid::nil()).status.into_response();
        *response.headers_mut() = self.headers();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
