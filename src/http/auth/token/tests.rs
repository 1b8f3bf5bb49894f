//! Minted tokens, as the service sees them.

use super::*;
use crate::http::auth::{AuthConfig, Authenticator};
use crate::http::testing::{SECRET, clock};
use http::{HeaderMap, HeaderValue};

fn request() -> TokenRequest {
    TokenRequest {
        roles: vec![Role::Auditor],
        rights: vec![Right::ArchivedWrite, Right::CallbacksManage],
        privileges: vec!["space_remove_archives".into()],
        spaces: [("s1".into(), vec!["space_manage_datasets".into()])].into(),
        subject: "operator@example.org".into(),
        ttl: Duration::from_secs(60),
        issuer: Some("ledger".into()),
        audience: Some("clients".into()),
    }
}

async fn accepted(
    token: &str,
    issuer: Option<&str>,
    audience: Option<&str>,
    after: i64,
) -> Result<Principal, AuthError> {
    let clock = clock();
    clock.advance(TimeDelta::seconds(after));
    let config = AuthConfig {
        hs256_secrets: vec![SECRET.to_vec()],
        issuer: issuer.map(str::to_owned),
        audience: audience.map(str::to_owned),
        ..AuthConfig::default()
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    );
    Authenticator::new(config, clock)
        .unwrap()
        .authenticate(&headers, false)
        .await
        .map(std::sync::Arc::unwrap_or_clone)
}

#[tokio::test]
async fn a_minted_token_grants_what_was_asked_for_until_it_expires() {
    let token = mint(SECRET, &request(), &*clock()).unwrap();
    let principal = accepted(&token, Some("ledger"), Some("clients"), 0)
        .await
        .unwrap();
    assert_eq!(principal.subject, "operator@example.org");
    assert_eq!(principal.issuer.as_deref(), Some("ledger"));
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let token_id = claims["jti"].as_str().unwrap();
    assert!(uuid::Uuid::try_parse(token_id).is_ok());
    assert_eq!(principal.token_id_hash, Some(token_id_hash(token_id)));
    let rights: Vec<_> = principal.rights.iter().map(Right::as_str).collect();
    assert_eq!(
        rights,
        [
            "archived:read",
            "archived:write",
            "audit:read",
            "callbacks:manage"
        ]
    );
    assert!(principal.privileges.contains("space_remove_archives"));
    assert!(principal.spaces["s1"].contains("space_manage_datasets"));

    assert!(
        accepted(&token, Some("ledger"), Some("clients"), 89)
            .await
            .is_ok()
    );
    let expired = accepted(&token, Some("ledger"), Some("clients"), 90).await;
    assert!(matches!(expired, Err(AuthError::Expired)));
}

#[tokio::test]
async fn a_token_that_grants_nothing_still_says_who_asks() {
    let bare = TokenRequest {
        roles: Vec::new(),
        rights: Vec::new(),
        privileges: Vec::new(),
        spaces: BTreeMap::new(),
        issuer: None,
        audience: None,
        ..request()
    };
    let principal = accepted(&mint(SECRET, &bare, &*clock()).unwrap(), None, None, 0)
        .await
        .unwrap();
    assert_eq!(principal.rights, RightSet::NONE);
    assert!(principal.privileges.is_empty() && principal.spaces.is_empty() && principal.issuer.is_none());
}

#[test]
fn a_token_is_three_parts_and_says_when_it_was_minted() {
    let token = mint(SECRET, &request(), &*clock()).unwrap();
    let parts: Vec<_> = token
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
        .collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0], br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims: Value = serde_json::from_slice(&parts[1]).unwrap();
    assert_eq!(claims["iat"], json!(clock().now().timestamp()));
    assert_eq!(claims["exp"], json!(clock().now().timestamp() + 60));
    assert_eq!(claims["scope"], json!("archived:write callbacks:manage"));
}

#[test]
fn two_tokens_have_two_ids() {
    assert_ne!(
        mint(SECRET, &request(), &*clock()).unwrap(),
        mint(SECRET, &request(), &*clock()).unwrap()
    );
}

#[test]
fn what_the_service_would_refuse_is_not_minted() {
    let mint_with = |request: TokenRequest| mint(SECRET, &request, &*clock()).unwrap_err();
    assert!(matches!(
        mint(&SECRET[..31], &request(), &*clock()),
        Err(MintError::ShortSecret)
    ));
    for subject in ["", "a\nb", &"a".repeat(257)] {
        assert!(matches!(
            mint_with(TokenRequest {
                subject: subject.into(),
                ..request()
            }),
            MintError::Subject
        ));
    }
    for ttl in [
        Duration::ZERO,
        Duration::from_millis(999),
        Duration::from_secs(u64::MAX),
        Duration::from_secs(1 << 38),
    ] {
        assert!(matches!(
            mint_with(TokenRequest { ttl, ..request() }),
            MintError::Lifetime
        ));
    }
    let privileges = vec!["x".repeat(100); 100];
    assert!(matches!(
        mint_with(TokenRequest {
            privileges,
            ..request()
        }),
        MintError::TooLong
    ));
}
