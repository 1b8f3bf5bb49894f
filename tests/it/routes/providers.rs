//! Identity providers as they are: tokens shaped as Keycloak, Auth0, Entra ID and Dex make them, keys found by discovery; and the
//! service's own keys while they are replaced.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archive_ledger::clock::SystemClock;
use archive_ledger::http::auth::rights::Role;
use archive_ledger::http::auth::token::mint;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{ARCHIVED, Api, Grant, answer, configured};
use crate::harness::receiver::Receiver;
use crate::harness::{eventually, fresh_id, on_both_backends};

const SOON: Duration = Duration::from_secs(30);

/// A provider on loopback: its description, and its keys where that says.
struct Provider {
    issuer: String,
    key: RsaKeyPair,
    kid: &'static str,
    /// Where the keys are now.
    keys_at: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Provider {
    /// One whose issuer has this path, and whose set has this beside its key.
    async fn start(path: &str, kid: &'static str, others: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let issuer = format!("{host}{path}");
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
        let own = json!({
            "kty": "RSA", "use": "sig", "kid": kid, "n": URL_SAFE_NO_PAD.encode(&public.n), "e": URL_SAFE_NO_PAD.encode(&public.e),
        });
        let all = [&others[..], &[own]].concat();
        let keys = json!({ "keys": all });
        let keys_at = Arc::new(Mutex::new("/keys".to_owned()));
        let (at, named) = (Arc::clone(&keys_at), issuer.clone());
        let description = format!("{}/.well-known/openid-configuration", path.trim_end_matches('/'));
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let read = connection.read(&mut head).await.unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default();
                let at = at.lock().unwrap().clone();
                let body = if target == description {
                    Some(
                        json!({"issuer": named, "jwks_uri": format!("{host}{at}"), "response_types_supported": ["code"]}),
                    )
                } else {
                    (target == at).then(|| keys.clone())
                };
                let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
                let body = body.map(|body| body.to_string()).unwrap_or_default();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            issuer,
            key,
            kid,
            keys_at,
            task,
        }
    }

    /// A token of these claims, with what every token has; the header has `more` as well.
    fn token(&self, more: Value, claims: Value) -> String {
        self.named(&self.issuer, more, claims)
    }

    /// The same under another issuer's name.
    fn named(&self, issuer: &str, more: Value, mut claims: Value) -> String {
        let mut header = more;
        header["alg"] = json!("RS256");
        header["kid"] = json!(self.kid);
        claims["iss"] = json!(issuer);
        claims["exp"] = json!(4_000_000_000_u64);
        claims["iat"] = json!(1_700_000_000);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As a Keycloak realm gives it to a service account.
fn keycloak(roles: &[&str]) -> Value {
    json!({
        "jti": "trrtcc:c1d8", "aud": ["archive-ledger", "account"], "sub": "f3b1c2d4-8f0e-4d52-9d0d-0c6a4b2f8a11", "typ": "Bearer",
        "azp": "platform", "sid": "0b9c", "acr": "1", "allowed-origins": ["/*"], "realm_access": {"roles": roles},
        "resource_access": {
            "account": {"roles": ["manage-account"]},
            "archive-ledger": {"privileges": ["space_manage_datasets", "space_remove_archives"]},
        },
        "scope": "openid profile email", "email_verified": true, "preferred_username": "service-account-platform",
    })
}

fn auth0(roles: &[&str]) -> Value {
    json!({
        "sub": "auth0|64f0c2", "aud": ["https://ledger.example.org", "https://tenant.example/userinfo"], "azp": "x7Kb",
        "scope": "openid profile", "https://ledger.example.org/roles": roles, "permissions": ["read:x"],
    })
}

fn entra(roles: &[&str]) -> Value {
    json!({
        "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "nbf": 1_700_000_000, "aio": "AXQAi", "azp": "6e74172b", "azpacr": "0",
        "name": "Abe Lincoln", "oid": "690222be", "preferred_username": "abe@example.org", "rh": "0.AX", "roles": roles,
        "scp": "access_as_user", "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "tid": "fa15d692", "uti": "fqi", "ver": "2.0",
    })
}

fn dex(groups: &[&str]) -> Value {
    json!({
        "sub": "CgcyMzQyNzQ5EgZnaXRodWI", "aud": "ledger-cli", "at_hash": "9z", "email": "kilgore@example.org", "email_verified": true,
        "groups": groups, "name": "Kilgore Trout",
    })
}

async fn reads(api: &Api, token: &str) -> u16 {
    answer(api.bare("GET", &format!("{ARCHIVED}/summary")).bearer_auth(token))
        .await
        .status
}

async fn writes(api: &Api, token: &str) -> u16 {
    let body = json!({"id": fresh_id(), "name": "n"});
    answer(
        api.bare("POST", &format!("{ARCHIVED}/users"))
            .bearer_auth(token)
            .json(&body),
    )
    .await
    .status
}

fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

on_both_backends! {
    async fn tokens_of_four_providers_count_by_what_each_of_them_says(backend: Backend) {
        let sealing = json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "enc", "n": "AQAB", "e": "AQAB"});
        let chain = json!({"kty": "RSA", "use": "sig", "kid": "old", "x5t": "old", "n": "AQAB", "e": "AQAB", "x5c": ["MIIC"]});
        let (k, a) = (Provider::start("/realms/platform", "k1", vec![sealing]).await, Provider::start("/", "a1", vec![]).await);
        let (e, d) = (Provider::start("/fa15d692/v2.0", "e1", vec![chain]).await, Provider::start("/dex", "d1", vec![]).await);
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger.toml");
        let text = format!(
            "[[issuer]]\nissuer = \"{}\"\naudience = \"https://ledger.example.org\"\nclaim_roles = \
             \"https://ledger.example.org/roles\"\nrole_map = [\"Storage Operator=operator\", \"Storage Operator=auditor\"]\n\
             [[issuer]]\nissuer = \"{}\"\naudience = \"6e74172b-be56-4843-9ff4-e66a39bb12e3\"\n\
             [[issuer]]\nissuer = \"{}\"\naudience = \"ledger-cli\"\nclaim_roles = \"groups\"\nrole_map = [\"org:ops=operator\"]\n\
             algorithms = [\"RS256\"]\n",
            a.issuer, e.issuer, d.issuer
        );
        std::fs::write(&file, text).unwrap();
        let server = configured(backend)
            .arg("--config").arg(&file)
            .arg("--jwt-issuer").arg(&k.issuer)
            .arg("--jwt-audience").arg("archive-ledger")
            .arg("--jwt-claim-roles").arg("realm_access.roles")
            .arg("--jwt-claim-privileges").arg("resource_access.archive-ledger.privileges")
            .arg("--role-map").arg("team-storage=operator")
            .arg("--role-map").arg("team-audit=auditor")
            .start()
            .await;
        // The service's own key signs nothing here: there is none.
        assert!(!server.data_dir().join("jwt-secret").exists());
        let refused = server.run_command(&["token", "--role", "admin", "--jwt-issuer", &k.issuer]).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        secret(&server.data_dir().join("jwt-secret"), &"x".repeat(32));
        let api = Api::of(&server);
        assert_eq!(reads(&api, &api.admin).await, 401);

        let jwt = || json!({"typ": "JWT"});
        let operator = k.token(jwt(), keycloak(&["offline_access", "team-storage"]));
        assert_eq!((reads(&api, &operator).await, writes(&api, &operator).await), (200, 201));
        let auditor = k.token(jwt(), keycloak(&["team-audit"]));
        assert_eq!((reads(&api, &auditor).await, writes(&api, &auditor).await), (200, 403));
        // A realm's own `admin` is nobody here.
        assert_eq!(reads(&api, &k.token(jwt(), keycloak(&["admin"]))).await, 403);
        let archive = json!({"datasetId": "d", "spaceId": "s", "storage": []});
        let registers = api.bare("POST", "/api/v3/oneprovider/archives").bearer_auth(&operator).json(&archive);
        let registered = answer(registers).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let id = registered.json(201)["archiveId"].as_str().unwrap().to_owned();
        let deletes = api.bare("POST", &format!("/api/v3/oneprovider/archives/{id}/delete")).bearer_auth(&operator).json(&json!({}));
        assert!([200, 202, 204].contains(&answer(deletes).await.status));

        let at = || json!({"typ": "at+jwt"});
        let operator = a.token(at(), auth0(&["Storage Operator"]));
        assert_eq!((reads(&api, &operator).await, writes(&api, &operator).await), (200, 201));
        assert_eq!(reads(&api, &a.token(at(), auth0(&["operator"]))).await, 403);
        let admin = e.token(json!({"typ": "JWT", "x5t": "old"}), entra(&["admin"]));
        assert_eq!((reads(&api, &admin).await, writes(&api, &admin).await), (200, 201));
        let operator = d.token(json!({}), dex(&["org:ops"]));
        assert_eq!((reads(&api, &operator).await, writes(&api, &operator).await), (200, 201));
        assert_eq!(reads(&api, &d.token(json!({}), dex(&["operator"]))).await, 403);

        // Nobody vouches for another's, for nobody's, or for what was meant for somebody else.
        assert_eq!(reads(&api, &a.named(&k.issuer, jwt(), keycloak(&["team-storage"]))).await, 401);
        assert_eq!(reads(&api, &k.named(&e.issuer, jwt(), entra(&["admin"]))).await, 401);
        assert_eq!(reads(&api, &k.named("https://elsewhere.example", jwt(), keycloak(&["team-storage"]))).await, 401);
        assert_eq!(reads(&api, &e.token(jwt(), keycloak(&["team-storage"]))).await, 401);
        let ready = answer(api.bare("GET", "/readyz")).await.json(200);
        assert_eq!(ready["jwks"], "ok");

        // The keys move; the issuer says where to.
        drop(a);
        *k.keys_at.lock().unwrap() = "/elsewhere".to_owned();
        eventually("one of four is away", Duration::from_secs(90), || async {
            let ready = answer(api.bare("GET", "/readyz")).await.json(200);
            (ready["jwks"] == "stale").then_some(())
        })
        .await;
        let metrics = answer(api.bare("GET", "/metrics")).await;
        let up = |provider: &Provider| format!("archive_ledger_jwks_up{{issuer=\"{}\"}} 1", provider.issuer);
        for provider in [&k, &e, &d] {
            assert!(metrics.text().contains(&up(provider)), "{}", metrics.text());
        }
        assert_eq!(reads(&api, &k.token(jwt(), keycloak(&["team-audit", "x"]))).await, 200);
    }

    async fn keys_and_secrets_are_replaced_while_the_service_runs(backend: Backend) {
        let receiver = Receiver::start().await;
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let (present, former) = (server.data_dir().join("jwt-secret"), server.data_dir().join("jwt-secret.former"));
        let (old, secret_of_new) = (api.admin.clone(), [7; 32]);
        let new = mint(&secret_of_new, &Grant::default().role(Role::Admin).0, &SystemClock).unwrap();
        assert_eq!((reads(&api, &old).await, reads(&api, &new).await), (200, 401));
        std::fs::rename(&present, &former).unwrap();
        secret(&present, &URL_SAFE_NO_PAD.encode(secret_of_new));
        server.hang_up();
        eventually("the new key counts", SOON, || async { (reads(&api, &new).await == 200).then_some(()) }).await;
        assert_eq!(reads(&api, &old).await, 200);
        std::fs::remove_file(&former).unwrap();
        server.hang_up();
        eventually("the former key counts no more", SOON, || async { (reads(&api, &old).await == 401).then_some(()) }).await;
        // What cannot be used changes nothing, and is told.
        secret(&present, "short");
        server.hang_up();
        eventually("it is told", SOON, || async {
            server.log().contains("--jwt-secret-file: ").then_some(())
        })
        .await;
        assert_eq!(reads(&api, &new).await, 200);

        let path = server.data_dir().join("callback-secrets");
        let signing = format!("whsec_{}", STANDARD.encode([9; 32]));
        secret(&path, &format!("{signing}\n"));
        server.hang_up();
        let privileges = ["space_manage_datasets", "space_remove_archives"].map(ToOwned::to_owned);
        let mut grant = Grant::default().role(Role::Admin);
        grant.0.privileges = privileges.into();
        let token = mint(&secret_of_new, &grant.0, &SystemClock).unwrap();
        let webhook = standardwebhooks::Webhook::new(&signing).unwrap();
        eventually("a callback is signed with the new secret", SOON, || async {
            let archive = json!({"datasetId": "d", "spaceId": "s", "storage": []});
            let registers = api.bare("POST", "/api/v3/oneprovider/archives").bearer_auth(&token).json(&archive);
            let id = answer(registers).await.json(201)["archiveId"].as_str().unwrap().to_owned();
            let body = json!({"deletedCallback": receiver.url("/done")});
            let deletes = api.bare("POST", &format!("/api/v3/oneprovider/archives/{id}/delete")).bearer_auth(&token).json(&body);
            answer(deletes).await;
            let before = receiver.received().len();
            let told = receiver.wait_for(before + 1, SOON).await;
            let last = told.last().unwrap();
            let at = last.header("webhook-timestamp").unwrap().parse().unwrap();
            let signed = webhook.sign(last.header("webhook-id").unwrap(), at, &last.body).unwrap();
            (last.header("webhook-signature") == Some(signed.as_str())).then_some(())
        })
        .await;
    }
}
