//! The id that every answer carries: the request's own, or a fresh one.

use crate::clock::Clock;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The header that carries a request's id, in and out.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a client may give its request, in characters.
const REQUEST_ID_MAX: usize = 128;

/// The id of a request: the client's own, or a fresh one. Kept as the answer's header will have it.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that a request names, if it is fit to be one, or a fresh one.
    #[must_use]
    pub fn of(headers: &HeaderMap, clock: &dyn Clock) -> Self {
        let named = headers.get(&X_REQUEST_ID).filter(|value| {
            let id = value.as_bytes();
            (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
        });
        named.map_or_else(|| Self::fresh(clock.new_id()), |named| Self(named.clone()))
    }

    fn fresh(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        let value = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text));
        // Digits, letters and hyphens are always a header's value.
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header's value.
    #[must_use]
    pub fn into_header(self) -> HeaderValue {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
