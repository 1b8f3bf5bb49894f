//! URLs that a password may be part of.

use std::fmt;
use std::str::FromStr;
use url::Url;

/// A URL that may hold a password: `Debug` and `Display` leave out the credentials and the query.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    url: String,
    shown: String,
}

impl SecretUrl {
    pub(crate) fn new(text: &str, url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let credentials = if url.username().is_empty() && url.password().is_none() {
            ""
        } else {
            "***@"
        };
        let query = if url.query().is_some() { "?***" } else { "" };
        let shown = format!(
            "{}://{credentials}{host}{port}{}{query}",
            url.scheme(),
            url.path()
        );
        Self {
            url: text.to_owned(),
            shown,
        }
    }

    /// The whole URL, credentials included: for the client that connects, never for a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.url
    }
}

impl FromStr for SecretUrl {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Url::parse(text).map(|url| Self::new(text, &url))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}
