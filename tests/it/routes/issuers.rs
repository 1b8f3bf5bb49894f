//! Key sets of issuers: a key that is rotated in is accepted soon, and a set that cannot be had is seen.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{ARCHIVED, Api, answer, configured};
use crate::harness::{eventually, on_both_backends};

/// An issuer of tokens, and the address of its keys.
struct Issuer {
    url: String,
    shown: Arc<Mutex<Option<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Issuer {
    /// One that shows no keys yet: it answers 503.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let shown: Arc<Mutex<Option<Value>>> = Arc::default();
        let keys = Arc::clone(&shown);
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let _ = connection.read(&mut [0; 4096]).await;
                let body = keys.lock().unwrap().as_ref().map(ToString::to_string);
                let status = if body.is_some() { "200 OK" } else { "503 No" };
                let body = body.unwrap_or_default();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, shown, task }
    }

    fn shows(&self, keys: &[(&str, &Ed25519KeyPair)]) {
        let keys: Vec<Value> = keys
            .iter()
            .map(|(id, key)| {
                let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
            })
            .collect();
        *self.shown.lock().unwrap() = Some(json!({ "keys": keys }));
    }

    fn is_down(&self) {
        *self.shown.lock().unwrap() = None;
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn token(id: &str, key: &Ed25519KeyPair) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "EdDSA", "kid": id}));
    let claims = part(json!({"sub": "a", "iss": "i", "exp": 4_000_000_000_u64, "roles": ["auditor"]}));
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

async fn status(api: &Api, token: &str) -> u16 {
    let request = api.bare("GET", &format!("{ARCHIVED}/summary")).bearer_auth(token);
    answer(request).await.status
}

on_both_backends! {
    async fn a_key_that_is_rotated_in_is_accepted_within_thirty_seconds(backend: Backend) {
        let issuer = Issuer::start().await;
        let (old, new, same) = (
            Ed25519KeyPair::generate().unwrap(),
            Ed25519KeyPair::generate().unwrap(),
            Ed25519KeyPair::generate().unwrap(),
        );
        issuer.shows(&[("old", &old)]);
        let server = configured(backend).arg("--jwks").arg(&issuer.url).arg("--jwt-hs256=on").start().await;
        let api = Api::of(&server);
        let ready = answer(api.bare("GET", "/readyz")).await.json(200);
        assert_eq!((&ready["status"], &ready["jwks"]), (&json!("ready"), &json!("ok")));
        assert_eq!(status(&api, &token("old", &old)).await, 200);
        // Asked for too soon, again and again.
        for _ in 0..3 {
            assert_eq!(status(&api, &token("new", &new)).await, 401);
        }
        // One under a new name, and one under the name that it had.
        issuer.shows(&[("old", &same), ("new", &new)]);
        let started = Instant::now();
        for rotated in [token("new", &new), token("old", &same)] {
            eventually("the rotated key", Duration::from_secs(30), || async {
                (status(&api, &rotated).await == 200).then_some(())
            })
            .await;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        // It was verified ten seconds ago at the most.
        eventually("the end of the key that is gone", Duration::from_secs(30), || async {
            (status(&api, &token("old", &old)).await == 401).then_some(())
        })
        .await;
    }

    async fn a_key_set_that_cannot_be_had_shows_in_the_readiness(backend: Backend) {
        let issuer = Issuer::start().await;
        let key = Ed25519KeyPair::generate().unwrap();
        issuer.shows(&[("k", &key)]);
        let server = configured(backend).arg("--jwks").arg(&issuer.url).arg("--jwt-hs256=on").start().await;
        let api = Api::of(&server);
        let state = async || {
            let ready = answer(api.bare("GET", "/readyz")).await;
            let body: Value = serde_json::from_slice(&ready.body).unwrap();
            (ready.status, body["jwks"].as_str().unwrap().to_owned())
        };
        assert_eq!(state().await, (200, "ok".to_owned()));
        issuer.is_down();
        // An unknown key makes it ask, if nothing else does before.
        eventually("the issuer's end", Duration::from_secs(90), || async {
            let unknown = status(&api, &token("other", &key)).await;
            assert!([401, 503].contains(&unknown));
            (state().await == (200, "stale".to_owned())).then_some(())
        })
        .await;
        // Nobody can say whether the key is one; those that are known still are.
        assert_eq!(status(&api, &token("other", &key)).await, 503);
        assert_eq!(status(&api, &token("k", &key)).await, 200);
        let metrics = answer(api.bare("GET", "/metrics")).await;
        assert!(metrics.text().contains("archive_ledger_jwks_up 0"), "{}", metrics.text());
        // A start without any keys is ready for nobody whom the issuer knows.
        server.kill9().await;
        tokio::join!(server.restart(), async {
            eventually("the missing keys", Duration::from_secs(60), || async {
                let ready = api.bare("GET", "/readyz").send().await.ok()?;
                let status = ready.status().as_u16();
                let body: Value = ready.json().await.unwrap();
                (status == 503 && body["jwks"] == "unavailable" && body["store"] == "ok").then_some(())
            })
            .await;
            assert_eq!(status(&api, &token("k", &key)).await, 503);
            assert_eq!(status(&api, &api.admin).await, 200);
            issuer.shows(&[("k", &key)]);
        });
        assert_eq!(state().await, (200, "ok".to_owned()));
        assert_eq!(status(&api, &token("k", &key)).await, 200);
    }
}
