//! Tokens that are accepted, and a collection of hostile ones that are not.
//!
//! Every hostile token differs from an accepted one in one respect only, and must fail for that reason.

use super::rights::Right;
use super::*;
use crate::clock::Clock;
use crate::config::JwksSource;
use crate::http::testing::*;
use chrono::TimeDelta;
use http::HeaderValue;
use serde_json::{Value, json};
use std::sync::Arc;

mod hostile;

const ISSUER: &str = "https://issuer.example.org";
const AUDIENCE: &str = "archive-ledger";

/// An authenticator whose key set is there as long as it is.
struct WithKeySet {
    authenticator: Authenticator,
    _directory: tempfile::TempDir,
}

impl std::ops::Deref for WithKeySet {
    type Target = Authenticator;

    fn deref(&self) -> &Authenticator {
        &self.authenticator
    }
}

/// An authenticator with a secret, a key of each kind, an issuer and an audience.
fn authenticator() -> WithKeySet {
    let directory = tempfile::tempdir().unwrap();
    let path = key_file(
        directory.path(),
        &[KEYS.rsa_jwk("r"), KEYS.ec_jwk("e"), KEYS.ed_jwk("d")],
    );
    let authenticator = with(AuthConfig {
        issuers: vec![issuer(JwksSource::File(path))],
        ..config()
    });
    WithKeySet {
        authenticator,
        _directory: directory,
    }
}

fn config() -> AuthConfig {
    AuthConfig {
        hs256_secrets: vec![SECRET.to_vec()],
        issuer: Some(ISSUER.into()),
        audience: Some(AUDIENCE.into()),
        ..AuthConfig::default()
    }
}

/// The issuer with these keys.
fn issuer(jwks: JwksSource) -> IssuerConfig {
    IssuerConfig {
        issuer: Some(ISSUER.into()),
        audience: Some(AUDIENCE.into()),
        jwks,
        claims: ClaimNames::default(),
        algorithms: vec![JwsAlgorithm::Rs256, JwsAlgorithm::Es256, JwsAlgorithm::EdDsa],
    }
}

fn with(config: AuthConfig) -> Authenticator {
    Authenticator::new(config, clock()).unwrap()
}

fn claims() -> Value {
    json!({"sub": "alice", "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 3600})
}

/// Claims that differ in one; `None` leaves it out.
fn changed(name: &str, value: Option<Value>) -> String {
    let mut claims = claims();
    match value {
        Some(value) => claims[name] = value,
        None => drop(claims.as_object_mut().unwrap().remove(name)),
    }
    claims.to_string()
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// A good HS256 token with other claims.
fn signed(claims: &str) -> String {
    token(HS256, claims, hs256(SECRET))
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    );
    headers
}

async fn ask(authenticator: &Authenticator, token: &str) -> Result<Principal, AuthError> {
    authenticator
        .authenticate(&bearer(token), false)
        .await
        .map(std::sync::Arc::unwrap_or_clone)
}

async fn accepted(claims: Value) -> Principal {
    ask(&with(config()), &signed(&claims.to_string())).await.unwrap()
}

#[tokio::test]
async fn a_token_of_each_algorithm_is_accepted_with_the_key_that_is_bound_to_it() {
    let authenticator = authenticator();
    let claims = claims().to_string();
    let tokens = [
        signed(&claims),
        token(r#"{"alg":"RS256","kid":"r"}"#, &claims, |message| {
            KEYS.rsa_sign(message)
        }),
        token(r#"{"alg":"ES256","kid":"e"}"#, &claims, |message| {
            KEYS.ec_sign(message)
        }),
        token(r#"{"alg":"EdDSA","kid":"d"}"#, &claims, |message| {
            KEYS.ed_sign(message)
        }),
    ];
    for token in tokens {
        let principal = ask(&authenticator, &token).await.unwrap();
        assert_eq!(
            (principal.subject.as_str(), principal.issuer.as_deref()),
            ("alice", Some(ISSUER))
        );
    }
}

#[tokio::test]
async fn a_token_may_say_its_type_and_carry_headers_that_mean_nothing_to_us() {
    let authenticator = authenticator();
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"jwt"}"#,
        r#"{"alg":"HS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","kid":"whatever","x5t":"abc","custom":{"a":[1]}}"#,
    ] {
        ask(
            &authenticator,
            &token(header, &claims().to_string(), hs256(SECRET)),
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn the_leeway_covers_clocks_that_are_up_to_thirty_seconds_off() {
    let mut claims = claims();
    claims["exp"] = json!(NOW - 29);
    claims["nbf"] = json!(NOW + 30);
    claims["iat"] = json!(NOW as f64 + 0.5);
    accepted(claims).await;
}

#[tokio::test]
async fn time_is_the_clocks_and_not_the_machines() {
    let clock = clock();
    let authenticator = Authenticator::new(config(), clock.clone()).unwrap();
    let token = signed(&claims().to_string());
    ask(&authenticator, &token).await.unwrap();
    clock.advance(TimeDelta::seconds(3600 + 29));
    ask(&authenticator, &token).await.unwrap();
    clock.advance(TimeDelta::seconds(1));
    assert!(matches!(
        ask(&authenticator, &token).await,
        Err(AuthError::Expired)
    ));
}

#[tokio::test]
async fn an_audience_may_be_one_of_several() {
    let mut claims = claims();
    claims["aud"] = json!(["other", AUDIENCE]);
    accepted(claims).await;
}

#[tokio::test]
async fn without_a_configured_issuer_any_is_taken_and_without_an_audience_a_token_must_name_none() {
    let open = with(AuthConfig {
        issuer: None,
        audience: None,
        ..config()
    });
    ask(&open, &signed(&changed("aud", None))).await.unwrap();
    assert!(matches!(
        ask(&open, &signed(&claims().to_string())).await,
        Err(AuthError::WrongAudience)
    ));
    let list = json!({"sub": "alice", "exp": NOW + 60, "iss": [ISSUER]}).to_string();
    assert!(matches!(
        ask(&open, &signed(&list)).await,
        Err(AuthError::ClaimType { name: "iss" })
    ));
}

#[tokio::test]
async fn roles_and_scopes_add_up_and_unknown_ones_grant_nothing() {
    let mut claims = claims();
    claims["roles"] = json!(["auditor", "root", "ADMIN", ""]);
    claims["scope"] = json!("archived:purge openid archived:* ");
    claims["jti"] = json!("t-1");
    let principal = accepted(claims).await;
    assert_eq!(
        principal.rights.iter().collect::<Vec<_>>(),
        [Right::ArchivedRead, Right::ArchivedPurge, Right::AuditRead]
    );
    assert_eq!(principal.token_id_hash, Some(rights::token_id_hash("t-1")));
}

#[tokio::test]
async fn a_token_without_roles_or_scopes_grants_nothing() {
    let principal = accepted(claims()).await;
    assert_eq!(principal.rights.iter().count(), 0);
    assert!(principal.privileges.is_empty() && principal.spaces.is_empty());
}

#[tokio::test]
async fn privileges_are_read_for_all_spaces_and_for_single_ones() {
    let mut claims = claims();
    claims["privileges"] = json!(["space_view"]);
    claims["spaces"] = json!({"s1": ["space_remove_archives"], "s2": []});
    let principal = accepted(claims).await;
    assert!(principal.has_privilege(Some("s2"), "space_view"));
    assert!(principal.has_privilege(Some("s1"), "space_remove_archives"));
    assert!(!principal.has_privilege(Some("s2"), "space_remove_archives"));
}

#[tokio::test]
async fn the_scheme_may_be_written_in_any_case() {
    let token = signed(&claims().to_string());
    for value in [
        format!("bearer {token}"),
        format!("BEARER  {token}"),
        format!("Bearer {token} "),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        with(config()).authenticate(&headers, false).await.unwrap();
    }
}

async fn refused(headers: &[(&'static str, String)], accept_x_auth_token: bool) -> String {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    with(config())
        .authenticate(&map, accept_x_auth_token)
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn x_auth_token_counts_on_onedatas_routes_only() {
    let token = signed(&claims().to_string());
    let mut headers = HeaderMap::new();
    headers.insert(X_AUTH_TOKEN, HeaderValue::from_str(&token).unwrap());
    with(config()).authenticate(&headers, true).await.unwrap();
    assert_eq!(
        refused(&[("x-auth-token", token.clone())], false).await,
        "no token"
    );
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    );
    with(config()).authenticate(&headers, true).await.unwrap();
}

#[tokio::test]
async fn requests_with_no_one_clear_token_are_refused() {
    let good = signed(&claims().to_string());
    let other = signed(&changed("sub", Some(json!("bob"))));
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let plain = |token: &str| ("x-auth-token", token.to_owned());
    assert_eq!(refused(&[], true).await, "no token");
    let repeated = "a header that carries tokens occurs more than once";
    assert_eq!(refused(&[bearer(&good), bearer(&good)], true).await, repeated);
    assert_eq!(refused(&[plain(&good), plain(&good)], true).await, repeated);
    assert_eq!(
        refused(&[bearer(&good), plain(&other)], true).await,
        "two different tokens"
    );
    let scheme = "the authorization scheme is not Bearer";
    let basic = ("authorization", "Basic dXNlcjpwYXNz".to_owned());
    assert_eq!(refused(std::slice::from_ref(&basic), false).await, scheme);
    assert_eq!(refused(&[basic, plain(&good)], true).await, scheme);
    assert_eq!(refused(&[("authorization", good.clone())], false).await, scheme);
    assert_eq!(
        refused(&[("authorization", "Bearer".to_owned())], false).await,
        "the token is malformed"
    );
    assert_eq!(
        refused(
            &[("authorization", format!("Bearer {good},Bearer {good}"))],
            false
        )
        .await,
        "the token is malformed"
    );
    assert_eq!(
        refused(&[("authorization", format!("Bearer\t{good}"))], false).await,
        scheme
    );
}

#[test]
fn clients_learn_whether_a_token_was_sent_and_no_more() {
    let challenge = |error: AuthError| match ApiError::from(error) {
        ApiError::Unauthorized(challenge) => Some(challenge),
        _ => None,
    };
    assert_eq!(challenge(AuthError::NoToken), Some(Challenge::NoToken));
    assert_eq!(challenge(AuthError::UnsupportedScheme), Some(Challenge::NoToken));
    assert_eq!(challenge(AuthError::TooLong), Some(Challenge::BadToken));
    assert_eq!(challenge(AuthError::Expired), Some(Challenge::TokenInvalid));
    let unavailable = ApiError::from(AuthError::KeysUnavailable(JwksError::Unavailable));
    assert!(matches!(unavailable, ApiError::TemporaryFailure { .. }));
}

#[test]
fn an_authenticator_without_keys_or_with_a_short_secret_is_refused_at_start() {
    let new = |config| Authenticator::new(config, clock()).map(|_| ()).unwrap_err();
    assert!(matches!(new(AuthConfig::default()), AuthSetupError::NoKeys));
    let short = AuthConfig {
        hs256_secrets: vec![vec![1; 31]],
        ..AuthConfig::default()
    };
    assert!(matches!(new(short), AuthSetupError::ShortSecret));
    let absent = AuthConfig {
        issuers: vec![issuer(JwksSource::File("/nowhere/jwks.json".into()))],
        ..config()
    };
    assert!(matches!(
        new(absent),
        AuthSetupError::Jwks(JwksError::ReadFile { .. })
    ));
}

#[test]
fn the_secret_is_not_in_debug_output() {
    let text = format!("{:?} {:?}", config(), with(config()));
    assert!(!text.contains("0123456789abcdef") && !text.contains("48, 49, 50"));
    let _: Arc<dyn Clock> = clock();
}
