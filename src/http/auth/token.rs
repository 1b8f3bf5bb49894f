//! JSON Web Tokens: taken apart strictly, checked against our clock, and minted for the `token` command.
//!
//! `jsonwebtoken` verifies the signatures. Headers and claims are read here, because the crate's own validation reads the
//! machine's clock and lets through duplicate keys, lists of issuers, unknown `crit` headers and any `typ`.

use super::claims::{self, ClaimNames};
use super::error::AuthError;
use super::rights::{Principal, Privileges, Right, RightSet, Role, token_id_hash};
use crate::clock::Clock;
use crate::http::request::json;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// The shortest secret that HS256 may be used with, in bytes (RFC 7518, section 3.2).
pub const MIN_SECRET: usize = 32;

/// The longest `sub`, `jti` and `kid`, in characters.
const MAX_NAME: usize = 256;

/// Headers that tell a verifier where to find the key, or that it must understand more than it does.
const FORBIDDEN_HEADERS: [&str; 5] = ["crit", "jku", "jwk", "x5u", "x5c"];

/// The latest time that a claim may name: the last second of the year 9999.
const MAX_TIME: f64 = 253_402_300_799.0;

/// The signature algorithms that we accept. Each goes with one kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JwsAlgorithm {
    /// HMAC with SHA-256: the secret from the data directory.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl JwsAlgorithm {
    /// The algorithm that a header's `alg` names.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    const fn library(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// A key and the one algorithm that it may be used with.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    algorithm: JwsAlgorithm,
    key: DecodingKey,
}

impl VerifyingKey {
    /// Binds `key` to `algorithm`.
    #[must_use]
    pub const fn new(algorithm: JwsAlgorithm, key: DecodingKey) -> Self {
        Self { algorithm, key }
    }

    /// The algorithm that the key is bound to.
    #[must_use]
    pub const fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }
}

/// A token whose header has been read and whose signature has not been checked yet.
#[derive(Debug)]
pub struct UnverifiedToken<'a> {
    algorithm: JwsAlgorithm,
    key_id: Option<String>,
    message: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a compact token apart.
    ///
    /// # Errors
    /// [`AuthError`]: too long, not three parts of canonical base64url, a header that is no strict JSON object, an algorithm or
    /// type that we do not take, or a header that we must not trust.
    pub fn parse(token: &'a str) -> Result<Self, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(AuthError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed);
        let header = json::parse_object(&decode(header)?).map_err(|_| AuthError::Malformed)?;
        if let Some(name) = FORBIDDEN_HEADERS
            .into_iter()
            .find(|name| header.contains_key(*name))
        {
            return Err(AuthError::ForbiddenHeader { name });
        }
        check_type(&header)?;
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .and_then(JwsAlgorithm::from_name);
        Ok(Self {
            algorithm: algorithm.ok_or(AuthError::UnsupportedAlgorithm)?,
            key_id: optional_name(&header, "kid")?,
            message,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }

    /// The algorithm that the header names.
    #[must_use]
    pub const fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    /// The key that the header names: good for finding one among trusted keys, and for nothing else.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The issuer that the token says it is of: good for finding whose keys to check it with, and for nothing else.
    ///
    /// # Errors
    /// [`AuthError::Malformed`], [`AuthError::ClaimType`].
    pub fn claimed_issuer(&self) -> Result<Option<String>, AuthError> {
        let claims = json::parse_object(&self.payload).map_err(|_| AuthError::Malformed)?;
        Ok(string(&claims, "iss")?.map(str::to_owned))
    }

    /// Checks the signature and gives the claims.
    ///
    /// # Errors
    /// [`AuthError::UnsupportedAlgorithm`] when the key is bound to another algorithm, [`AuthError::BadSignature`], or
    /// [`AuthError::Malformed`] for claims that are no strict JSON object.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Map<String, Value>, AuthError> {
        if key.algorithm != self.algorithm {
            return Err(AuthError::UnsupportedAlgorithm);
        }
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.library(), &key.key)
            .map_err(|_| AuthError::BadSignature)?;
        verifier
            .verify(self.message.as_bytes(), &self.signature)
            .map_err(|_| AuthError::BadSignature)?;
        json::parse_object(&self.payload).map_err(|_| AuthError::Malformed)
    }
}

/// `typ` is absent, `JWT`, or `at+jwt` (RFC 9068): a token made for another purpose is none of ours.
fn check_type(header: &Map<String, Value>) -> Result<(), AuthError> {
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(typ))
            if ["JWT", "at+jwt"]
                .iter()
                .any(|ours| typ.eq_ignore_ascii_case(ours)) =>
        {
            Ok(())
        }
        Some(_) => Err(AuthError::UnsupportedType),
    }
}

/// What the claims are held against.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The issuer that a token must name.
    pub issuer: Option<String>,
    /// The audience that a token must name.
    pub audience: Option<String>,
    /// How far the issuer's clock may be off.
    pub leeway: TimeDelta,
    /// Where it says what it grants.
    pub claims: ClaimNames,
}

/// Checks verified claims and reads what they grant. Roles and scopes that we do not know grant nothing.
///
/// # Errors
/// [`AuthError`] for a token that is expired, not valid yet, of another issuer, for another audience, without a subject, or
/// with a claim of the wrong type (`null` included).
pub fn principal(
    claims: &Map<String, Value>,
    expected: &Expected,
    now: DateTime<Utc>,
) -> Result<Principal, AuthError> {
    let valid_until = check_times(claims, expected.leeway, now)?;
    let issuer = string(claims, "iss")?;
    if expected.issuer.is_some() && issuer != expected.issuer.as_deref() {
        return Err(AuthError::WrongIssuer);
    }
    check_audience(claims, expected.audience.as_deref())?;
    let subject = optional_name(claims, "sub")?.ok_or(AuthError::MissingClaim { name: "sub" })?;
    let roles = names(claims::find(claims, &expected.claims.roles), "roles")?;
    let scopes = string(claims, "scope")?.unwrap_or_default().split(' ');
    let of_roles = roles
        .iter()
        .flat_map(|role| expected.claims.roles_of(role))
        .map(Role::rights);
    let of_scopes: RightSet = scopes.filter_map(|scope| scope.parse::<Right>().ok()).collect();
    Ok(Principal {
        subject,
        issuer: issuer.map(str::to_owned),
        token_id_hash: optional_name(claims, "jti")?.as_deref().map(token_id_hash),
        valid_until,
        rights: of_roles.fold(of_scopes, RightSet::union),
        privileges: names(claims::find(claims, &expected.claims.privileges), "privileges")?,
        spaces: spaces(claims)?,
    })
}

/// Checks the times of a token and gives the one from which it is refused.
fn check_times(
    claims: &Map<String, Value>,
    leeway: TimeDelta,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, AuthError> {
    // Microseconds since 1970 are exact in a float for the next 250 years.
    let (now, leeway) = (now.timestamp_micros() as f64 / 1e6, leeway.as_seconds_f64());
    let expires = time(claims, "exp")?.ok_or(AuthError::MissingClaim { name: "exp" })?;
    if expires + leeway <= now {
        return Err(AuthError::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|begins| begins > now + leeway) {
        return Err(AuthError::NotYetValid);
    }
    time(claims, "iat")?;
    // `time` lets no later year through than 9999.
    let end = ((expires + leeway) * 1e6) as i64;
    Ok(DateTime::from_timestamp_micros(end).unwrap_or(DateTime::<Utc>::MAX_UTC))
}

/// A `NumericDate` (RFC 7519): seconds since 1970, fractions allowed.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, AuthError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value
            .as_f64()
            .filter(|seconds| (0.0..=MAX_TIME).contains(seconds))
        {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(AuthError::ClaimType { name }),
        },
    }
}

/// RFC 7519, section 4.1.3: a token that names an audience is refused by whoever is not in it, so a token with an `aud` needs
/// a configured audience.
fn check_audience(claims: &Map<String, Value>, expected: Option<&str>) -> Result<(), AuthError> {
    let single;
    let audiences = match claims.get("aud") {
        None if expected.is_none() => return Ok(()),
        None => return Err(AuthError::WrongAudience),
        Some(Value::String(audience)) => {
            single = [audience.clone()].into();
            single
        }
        list => names(list, "aud")?,
    };
    if expected.is_some_and(|expected| audiences.contains(expected)) {
        Ok(())
    } else {
        Err(AuthError::WrongAudience)
    }
}

fn spaces(claims: &Map<String, Value>) -> Result<BTreeMap<String, Privileges>, AuthError> {
    match claims.get("spaces") {
        None => Ok(BTreeMap::new()),
        Some(Value::Object(spaces)) => spaces
            .iter()
            .map(|(id, list)| Ok((id.clone(), names(Some(list), "spaces")?)))
            .collect(),
        Some(_) => Err(AuthError::ClaimType { name: "spaces" }),
    }
}

/// A list of strings; absent means empty.
fn names(value: Option<&Value>, name: &'static str) -> Result<Privileges, AuthError> {
    match value {
        None => Ok(Privileges::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::to_owned)
                    .ok_or(AuthError::ClaimType { name })
            })
            .collect(),
        Some(_) => Err(AuthError::ClaimType { name }),
    }
}

fn string<'a>(object: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, AuthError> {
    match object.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(AuthError::ClaimType { name }),
    }
}

/// A text of 1 to [`MAX_NAME`] characters, none of them a control character.
fn optional_name(object: &Map<String, Value>, name: &'static str) -> Result<Option<String>, AuthError> {
    match string(object, name)? {
        None => Ok(None),
        Some(text) if is_name(text) => Ok(Some(text.to_owned())),
        Some(_) => Err(AuthError::ClaimType { name }),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control)
}

/// What a token is to grant, to whom, and for how long.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The roles (`roles`).
    pub roles: Vec<Role>,
    /// Single rights (`scope`).
    pub rights: Vec<Right>,
    /// Onedata's privileges, in every space (`privileges`).
    pub privileges: Vec<String>,
    /// Onedata's privileges, space by space (`spaces`).
    pub spaces: BTreeMap<String, Vec<String>>,
    /// The actor (`sub`): 1 to 256 characters.
    pub subject: String,
    /// How long the token lives (`exp`), in whole seconds.
    pub ttl: Duration,
    /// The issuer that the service expects (`iss`).
    pub issuer: Option<String>,
    /// The audience that the service expects (`aud`).
    pub audience: Option<String>,
}

/// Why no token was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The secret is too short for HS256.
    #[error("the signing secret must have at least {MIN_SECRET} bytes")]
    ShortSecret,
    /// The subject is empty, too long, or holds control characters.
    #[error("the subject must have 1 to {MAX_NAME} characters and no control characters")]
    Subject,
    /// The lifetime is under a second, or ends after the year 9999.
    #[error("the time to live must be at least one second and end before the year 10000")]
    Lifetime,
    /// The token would be longer than the service accepts.
    #[error("the token would be longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// The signature could not be made.
    #[error("the token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Mints an HS256 token that a service with the same secret, issuer and audience accepts.
///
/// # Errors
/// [`MintError`].
pub fn mint(secret: &[u8], request: &TokenRequest, clock: &dyn Clock) -> Result<String, MintError> {
    if secret.len() < MIN_SECRET {
        return Err(MintError::ShortSecret);
    }
    if !is_name(&request.subject) {
        return Err(MintError::Subject);
    }
    let now = clock.now();
    let ttl = TimeDelta::from_std(request.ttl).map_err(|_| MintError::Lifetime)?;
    let expires = now
        .checked_add_signed(ttl)
        .ok_or(MintError::Lifetime)?
        .timestamp();
    let in_range = expires as f64 <= MAX_TIME;
    if ttl < TimeDelta::seconds(1) || !in_range {
        return Err(MintError::Lifetime);
    }
    let mut claims = json!({
        "sub": request.subject,
        "iat": now.timestamp(),
        "exp": expires,
        "jti": clock.new_id(),
    });
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims[name] = value;
        }
    };
    let roles: Vec<_> = request.roles.iter().map(|role| role.as_str()).collect();
    let rights: Vec<_> = request.rights.iter().map(|right| right.as_str()).collect();
    add("roles", (!roles.is_empty()).then(|| json!(roles)));
    add("scope", (!rights.is_empty()).then(|| json!(rights.join(" "))));
    add(
        "privileges",
        (!request.privileges.is_empty()).then(|| json!(request.privileges)),
    );
    add(
        "spaces",
        (!request.spaces.is_empty()).then(|| json!(request.spaces)),
    );
    add("iss", request.issuer.as_ref().map(|issuer| json!(issuer)));
    add("aud", request.audience.as_ref().map(|audience| json!(audience)));

    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!(
        "{}.{}",
        encode(&json!({"alg": "HS256", "typ": "JWT"})),
        encode(&claims)
    );
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::HS256, &EncodingKey::from_secret(secret))
        .map_err(MintError::Sign)?;
    let signature = signer
        .try_sign(message.as_bytes())
        .map_err(|error| MintError::Sign(error.into()))?;
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    if token.len() > MAX_TOKEN {
        Err(MintError::TooLong)
    } else {
        Ok(token)
    }
}

#[cfg(test)]
mod tests;
