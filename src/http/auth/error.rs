//! Why a request is not authenticated.

use super::jwks::error::JwksError;

/// Why a request is not authenticated. Clients learn the `Challenge` only.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no token.
    #[error("no token")]
    NoToken,
    /// `Authorization` has another scheme than `Bearer`.
    #[error("the authorization scheme is not Bearer")]
    UnsupportedScheme,
    /// A header that carries tokens occurs more than once.
    #[error("a header that carries tokens occurs more than once")]
    RepeatedHeader,
    /// `Authorization` and `X-Auth-Token` carry different tokens.
    #[error("two different tokens")]
    ConflictingTokens,
    /// The token is longer than we look at.
    #[error("the token is too long")]
    TooLong,
    /// The token is no compact JWT.
    #[error("the token is malformed")]
    Malformed,
    /// The algorithm is none of ours, or not the one that the key is for.
    #[error("the token's algorithm is not accepted")]
    UnsupportedAlgorithm,
    /// The token was made for another purpose.
    #[error("the token's type is not accepted")]
    UnsupportedType,
    /// The token's header tells us what to trust.
    #[error("the token's header must not have {name}")]
    ForbiddenHeader {
        /// The header parameter.
        name: &'static str,
    },
    /// No key of ours goes by the token's key id, or it names none and there are several.
    #[error("no key for the token")]
    UnknownKey,
    /// The signature does not hold.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// The token is not valid any more.
    #[error("the token has expired")]
    Expired,
    /// The token is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is of another issuer.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// The token is for somebody else.
    #[error("the token is for another audience")]
    WrongAudience,
    /// A claim that must be there is not.
    #[error("the token has no {name}")]
    MissingClaim {
        /// The claim.
        name: &'static str,
    },
    /// A claim or header parameter has the wrong type, or a value out of bounds.
    #[error("the token's {name} is of the wrong type")]
    ClaimType {
        /// The claim or header parameter.
        name: &'static str,
    },
    /// The keys to check the token with cannot be had. Worth retrying.
    #[error("the keys for tokens cannot be had")]
    KeysUnavailable(#[source] JwksError),
}

impl AuthError {
    /// What the audit says of it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "token_missing",
            Self::UnsupportedScheme => "scheme_unsupported",
            Self::RepeatedHeader => "token_repeated",
            Self::ConflictingTokens => "token_conflicting",
            Self::TooLong => "token_too_long",
            Self::Malformed => "token_malformed",
            Self::UnsupportedAlgorithm => "token_algorithm",
            Self::UnsupportedType => "token_type",
            Self::ForbiddenHeader { .. } => "token_header",
            Self::UnknownKey => "token_key_unknown",
            Self::BadSignature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongIssuer => "token_issuer",
            Self::WrongAudience => "token_audience",
            Self::MissingClaim { .. } => "token_claim_missing",
            Self::ClaimType { .. } => "token_claim_type",
            Self::KeysUnavailable(_) => "keys_unavailable",
        }
    }
}
