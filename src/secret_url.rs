//! URLs that a password may be part of.

use std::fmt;
use std::str::FromStr;
use url::Url;

/// A URL that may hold a password: `Debug` and `Display` leave out the credentials and the query.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    url: String,
    shown: String,
    bare: String,
    credentials: Option<(String, Option<String>)>,
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
        let decoded = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8_lossy()
                .into_owned()
        };
        let found = (!credentials.is_empty()).then(|| (decoded(url.username()), url.password().map(decoded)));
        let mut bare = url.clone();
        // Only URLs that have no host cannot do without, and these have no credentials either.
        let _ = bare.set_username("").and_then(|()| bare.set_password(None));
        Self {
            url: text.to_owned(),
            shown,
            bare: bare.into(),
            credentials: found,
        }
    }

    /// The URL as it is written, without its credentials.
    #[must_use]
    pub(crate) fn without_credentials(&self) -> String {
        self.bare.clone()
    }

    /// The user and the password that stand in it, decoded; a user alone is what some servers take for a token.
    #[must_use]
    pub(crate) fn credentials(&self) -> Option<(String, Option<String>)> {
        self.credentials.clone()
    }

    /// Whether there is anything that is not shown.
    #[must_use]
    pub fn hides_something(&self) -> bool {
        self.shown.contains("***")
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
