//! Who is asking: finds the token in a request, its key, and gives a [`Principal`].

pub mod claims;
pub mod error;
pub mod issuers;
pub mod jwks;
pub mod rights;
pub mod token;
mod token_cache;

pub use error::AuthError;

use crate::clock::SharedClock;
use crate::http::answer::error::{ApiError, Challenge};
use chrono::TimeDelta;
use claims::ClaimNames;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use issuers::{IssuerConfig, Issuers};
use jsonwebtoken::DecodingKey;
use jwks::error::JwksError;
use jwks::{KeysState, RETRY_PAUSE};
use rights::Principal;
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
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
    /// The secrets for HS256, of at least 32 bytes each.
    pub hs256_secrets: Vec<Vec<u8>>,
    /// Issuers with public keys for RS256, ES256 and EdDSA.
    pub issuers: Vec<IssuerConfig>,
    /// The issuer that tokens signed with a secret must name; any or none when absent.
    pub issuer: Option<String>,
    /// The audience that they must name. When absent, a token that names one is refused (RFC 7519, section 4.1.3).
    pub audience: Option<String>,
    /// How far an issuer's clock may be off.
    pub leeway: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            hs256_secrets: Vec::new(),
            issuers: Vec::new(),
            issuer: None,
            audience: None,
            leeway: DEFAULT_LEEWAY,
        }
    }
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig")
            .field("hs256_secrets", &self.hs256_secrets.len())
            .field("issuers", &self.issuers)
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
    /// For HS256.
    secrets: RwLock<Arc<[VerifyingKey]>>,
    issuers: Issuers,
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
            hs256_secrets,
            issuers,
            issuer,
            audience,
            leeway,
        } = config;
        let leeway = TimeDelta::from_std(leeway).map_err(|_| AuthSetupError::Leeway)?;
        let issuers = Issuers::new(issuers, leeway, &clock).map_err(AuthSetupError::Jwks)?;
        if hs256_secrets.is_empty() && issuers.is_empty() {
            return Err(AuthSetupError::NoKeys);
        }
        Ok(Self {
            secrets: RwLock::new(verifying(&hs256_secrets)?),
            issuers,
            expected: Expected {
                issuer,
                audience,
                leeway,
                claims: ClaimNames::default(),
            },
            clock,
            verified: TokenCache::default(),
        })
    }

    /// Has tokens of HS256 checked with these secrets from now on, and with no other.
    ///
    /// # Errors
    /// [`AuthSetupError::ShortSecret`]; then everything stays as it is.
    pub fn replace_secrets(&self, secrets: &[Vec<u8>]) -> Result<(), AuthSetupError> {
        let secrets = verifying(secrets)?;
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
        // What one of the former secrets vouched for counts no more.
        self.verified.forget();
        Ok(())
    }

    /// Has key sets fetched from now on from whoever the authorities vouch for that the system trusts now.
    ///
    /// # Errors
    /// [`AuthSetupError::Jwks`].
    pub fn renew_trust(&self) -> Result<(), AuthSetupError> {
        self.issuers.renew_clients().map_err(AuthSetupError::Jwks)
    }

    /// Whether the key set can be had; `None` where none is configured.
    #[must_use]
    pub fn keys_state(&self) -> Option<KeysState> {
        self.issuers.state()
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
        let (claims, expected) = match token.algorithm() {
            JwsAlgorithm::Hs256 => (self.verify_by_secret(&token)?, &self.expected),
            JwsAlgorithm::Rs256 | JwsAlgorithm::Es256 | JwsAlgorithm::EdDsa => {
                self.issuers.verify(&token).await?
            }
        };
        let now = self.clock.now();
        let principal = Arc::new(token::principal(&claims, expected, now)?);
        self.verified.put(key, &principal, now, principal.valid_until);
        Ok(principal)
    }

    fn verify_by_secret(&self, token: &UnverifiedToken<'_>) -> Result<Map<String, Value>, AuthError> {
        let secrets = Arc::clone(&self.secrets.read().unwrap_or_else(PoisonError::into_inner));
        let mut verified = Err(AuthError::UnsupportedAlgorithm);
        for secret in secrets.iter() {
            verified = token.verify(secret);
            if !matches!(verified, Err(AuthError::BadSignature)) {
                break;
            }
        }
        verified
    }
}

fn verifying(secrets: &[Vec<u8>]) -> Result<Arc<[VerifyingKey]>, AuthSetupError> {
    if secrets.iter().any(|secret| secret.len() < MIN_SECRET) {
        return Err(AuthSetupError::ShortSecret);
    }
    let keys = secrets
        .iter()
        .map(|secret| VerifyingKey::new(JwsAlgorithm::Hs256, DecodingKey::from_secret(secret)));
    Ok(keys.collect())
}

/// How often the key set is looked at where nobody asks for a key: as often as a fetch that failed may be repeated.
const LOOK_EVERY: Duration = RETRY_PAUSE;

/// Keeps the key set at hand until it is told to stop, so that it is known whether it can be had before a token needs it.
///
/// # Errors
/// None: what cannot be had now is asked for again.
pub async fn keep_keys(auth: Arc<Authenticator>, stop: CancellationToken) -> Result<(), Infallible> {
    loop {
        auth.issuers.refresh().await;
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
