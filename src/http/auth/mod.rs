//! Who is asking: finds the token in a request, its key, and gives a [`Principal`].

pub mod error;
pub mod jwks;
pub mod rights;
pub mod token;
mod token_cache;

pub use error::AuthError;

use crate::clock::SharedClock;
use crate::config::JwksSource;
use crate::http::answer::error::{ApiError, Challenge};
use chrono::TimeDelta;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use jsonwebtoken::DecodingKey;
use jwks::error::JwksError;
use jwks::{JwksCache, KeysState, RETRY_PAUSE};
use rights::Principal;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use token::{Expected, JwsAlgorithm, MAX_TOKEN, MIN_SECRET, UnverifiedToken, VerifyingKey};
use token_cache::TokenCache;
use tokio_util::sync::CancellationToken;

/// Onedata's header, taken on Onedata's routes only.
const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// How far an issuer's clock may be off.
pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);

/// Which tokens are accepted.
#[derive(Clone)]
pub struct AuthConfig {
    /// The secret for HS256, of at least 32 bytes.
    pub hs256_secret: Option<Vec<u8>>,
    /// Public keys for RS256, ES256 and EdDSA.
    pub jwks: Option<JwksSource>,
    /// The issuer that tokens must name; any or none when absent.
    pub issuer: Option<String>,
    /// The audience that tokens must name. When absent, a token that names one is refused (RFC 7519, section 4.1.3).
    pub audience: Option<String>,
    /// How far an issuer's clock may be off.
    pub leeway: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            hs256_secret: None,
            jwks: None,
            issuer: None,
            audience: None,
            leeway: DEFAULT_LEEWAY,
        }
    }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("hs256_secret", &self.hs256_secret.as_ref().map(|_| "[redacted]"))
            .field("jwks", &self.jwks)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("leeway", &self.leeway)
            .finish()
    }
}

/// Why tokens cannot be checked at all: an error of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// There is neither a secret nor a key set.
    #[error("no key to check tokens with: neither a secret nor a key set is configured")]
    NoKeys,
    /// The secret is too short for HS256.
    #[error("the secret that tokens are signed with must have at least {MIN_SECRET} bytes")]
    ShortSecret,
    /// The leeway is out of range.
    #[error("the leeway for token times is out of range")]
    Leeway,
    /// The key set cannot be used.
    #[error("the key set cannot be used")]
    Jwks(#[source] JwksError),
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::NoToken | AuthError::UnsupportedScheme => Self::Unauthorized(Challenge::NoToken),
            AuthError::RepeatedHeader
            | AuthError::ConflictingTokens
            | AuthError::TooLong
            | AuthError::Malformed => Self::Unauthorized(Challenge::BadToken),
            AuthError::UnsupportedAlgorithm
            | AuthError::UnsupportedType
            | AuthError::ForbiddenHeader { .. }
            | AuthError::UnknownKey
            | AuthError::BadSignature
            | AuthError::Expired
            | AuthError::NotYetValid
            | AuthError::WrongIssuer
            | AuthError::WrongAudience
            | AuthError::MissingClaim { .. }
            | AuthError::ClaimType { .. } => Self::Unauthorized(Challenge::TokenInvalid),
            AuthError::KeysUnavailable(_) => Self::TemporaryFailure {
                // The pause between two attempts to get them.
                retry_after: RETRY_PAUSE,
                cause: Some(Box::new(error)),
            },
        }
    }
}

/// Checks tokens.
#[derive(Debug)]
pub struct Authenticator {
    secret: Option<VerifyingKey>,
    jwks: Option<JwksCache>,
    expected: Expected,
    clock: SharedClock,
    verified: TokenCache,
}

impl Authenticator {
    /// An authenticator that accepts what `config` says, by `clock`'s time. A key set in a file is read now, one behind
    /// an address when the first token needs it.
    ///
    /// # Errors
    /// [`AuthSetupError`].
    pub fn new(config: AuthConfig, clock: SharedClock) -> Result<Self, AuthSetupError> {
        let AuthConfig {
            hs256_secret,
            jwks,
            issuer,
            audience,
            leeway,
        } = config;
        if hs256_secret.is_none() && jwks.is_none() {
            return Err(AuthSetupError::NoKeys);
        }
        if hs256_secret
            .as_ref()
            .is_some_and(|secret| secret.len() < MIN_SECRET)
        {
            return Err(AuthSetupError::ShortSecret);
        }
        let leeway = TimeDelta::from_std(leeway).map_err(|_| AuthSetupError::Leeway)?;
        let jwks = jwks
            .map(|source| JwksCache::new(source, clock.clone()))
            .transpose();
        Ok(Self {
            secret: hs256_secret
                .map(|secret| VerifyingKey::new(JwsAlgorithm::Hs256, DecodingKey::from_secret(&secret))),
            jwks: jwks.map_err(AuthSetupError::Jwks)?,
            expected: Expected {
                issuer,
                audience,
                leeway,
            },
            clock,
            verified: TokenCache::default(),
        })
    }

    /// Whether the key set can be had; `None` where none is configured.
    #[must_use]
    pub fn keys_state(&self) -> Option<KeysState> {
        self.jwks.as_ref().map(JwksCache::keys_state)
    }

    /// Who sent these headers: by `Authorization: Bearer`, and with `accept_x_auth_token` also by `X-Auth-Token`.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        accept_x_auth_token: bool,
    ) -> Result<Arc<Principal>, AuthError> {
        let token = find_token(headers, accept_x_auth_token)?;
        if token.len() > MAX_TOKEN {
            return Err(AuthError::TooLong);
        }
        let (key, now) = (TokenCache::key(token), self.clock.now());
        if let Some(principal) = self.verified.get(&key, now) {
            return Ok(principal);
        }
        let token = UnverifiedToken::parse(token)?;
        let claims = match (token.algorithm(), &self.secret, &self.jwks) {
            (JwsAlgorithm::Hs256, Some(secret), _) => token.verify(secret)?,
            (JwsAlgorithm::Rs256 | JwsAlgorithm::Es256 | JwsAlgorithm::EdDsa, _, Some(jwks)) => {
                let key = jwks.find(token.key_id(), token.algorithm()).await?;
                match token.verify(&key) {
                    Err(AuthError::BadSignature) => {
                        let key = jwks.find_again(token.key_id(), token.algorithm()).await?;
                        token.verify(&key)?
                    }
                    verified => verified?,
                }
            }
            (JwsAlgorithm::Hs256, None, _)
            | (JwsAlgorithm::Rs256 | JwsAlgorithm::Es256 | JwsAlgorithm::EdDsa, _, None) => {
                return Err(AuthError::UnsupportedAlgorithm);
            }
        };
        let now = self.clock.now();
        let principal = Arc::new(token::principal(&claims, &self.expected, now)?);
        self.verified.put(key, &principal, now, principal.valid_until);
        Ok(principal)
    }
}

/// How often the key set is looked at where nobody asks for a key: as often as a fetch that failed may be repeated.
const LOOK_EVERY: Duration = RETRY_PAUSE;

/// Keeps the key set at hand until it is told to stop, so that it is known whether it can be had before a token needs it.
///
/// # Errors
/// None: what cannot be had now is asked for again.
pub async fn keep_keys(auth: Arc<Authenticator>, stop: CancellationToken) -> Result<(), Infallible> {
    let Some(jwks) = &auth.jwks else {
        stop.cancelled().await;
        return Ok(());
    };
    loop {
        jwks.refresh().await;
        if tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}

/// The one token of a request.
fn find_token(headers: &HeaderMap, accept_x_auth_token: bool) -> Result<&str, AuthError> {
    let bearer = single(headers, &AUTHORIZATION)?.map(bearer_token).transpose()?;
    let plain = if accept_x_auth_token {
        single(headers, &X_AUTH_TOKEN)?
    } else {
        None
    };
    match (bearer, plain) {
        (None, None) => Err(AuthError::NoToken),
        (Some(token), None) | (None, Some(token)) => Ok(token),
        (Some(bearer), Some(plain)) if bearer == plain => Ok(bearer),
        (Some(_), Some(_)) => Err(AuthError::ConflictingTokens),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| AuthError::Malformed),
        (Some(_), Some(_)) => Err(AuthError::RepeatedHeader),
    }
}

/// The token in `Bearer <token>`; the scheme in any case (RFC 9110, section 11.1).
fn bearer_token(value: &str) -> Result<&str, AuthError> {
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("Bearer") {
        Ok(token.trim_matches(' '))
    } else {
        Err(AuthError::UnsupportedScheme)
    }
}

#[cfg(test)]
mod tests;
