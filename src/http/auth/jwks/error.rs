//! Why there are no keys.

use super::MAX_BYTES;
use std::path::PathBuf;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address is neither `http` nor `https`.
    #[error("the address must begin with http:// or https://")]
    Scheme,
    /// The client cannot be set up.
    #[error("cannot set up the client")]
    Client(#[source] reqwest::Error),
    /// The address does not answer, or not in time.
    #[error("cannot fetch the key set")]
    Fetch(#[source] reqwest::Error),
    /// The address answers something else.
    #[error("the address answered with status {status}")]
    Status {
        /// The status of the answer.
        status: u16,
    },
    /// The key set is too large.
    #[error("the key set is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// The text is no key set.
    #[error("the text is no JSON Web Key Set")]
    Malformed,
    /// The issuer's own description is none, or leads elsewhere.
    #[error("the issuer's description at {address} {reason}")]
    Discovery {
        /// Where it was asked for.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The set has no key that we can use.
    #[error("the key set has no key for RS256, ES256 or EdDSA")]
    NoUsableKey,
    /// A task of ours did not finish.
    #[error("reading the file was interrupted")]
    Interrupted,
    /// The keys could not be had, and are not tried again at once.
    #[error("the keys could not be had a moment ago")]
    Unavailable,
}
