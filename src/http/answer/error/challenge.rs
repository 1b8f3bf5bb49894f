//! What a request without a good token is told.

use http::HeaderValue;
use serde_json::{Value, json};

/// Why nobody is authenticated, as far as a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// No token was sent.
    NoToken,
    /// A token was sent that is none.
    BadToken,
    /// A token was sent that does not hold.
    TokenInvalid,
}

impl Challenge {
    /// The reason in words, and Onedata's nested error where there is one.
    pub(super) fn describe(self) -> (&'static str, Value) {
        let nested = |id, text| (text, json!({ "id": id, "description": text }));
        match self {
            Self::NoToken => ("no details available.", Value::Null),
            Self::BadToken => nested(
                "badToken",
                "Provided token could not be understood by the server.",
            ),
            Self::TokenInvalid => nested("tokenInvalid", "Provided token is not valid."),
        }
    }

    /// RFC 6750, section 3: no error code unless a token was sent.
    pub(super) const fn header(self) -> HeaderValue {
        match self {
            Self::NoToken => HeaderValue::from_static("Bearer realm=\"archive-ledger\""),
            Self::BadToken | Self::TokenInvalid => {
                HeaderValue::from_static("Bearer realm=\"archive-ledger\", error=\"invalid_token\"")
            }
        }
    }
}
