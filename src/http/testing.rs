//! Keys, tokens and a key-set server for the tests of this module.

use crate::clock::ManualClock;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaEncoding,
    RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

/// What the clock shows at first, in seconds.
pub const NOW: i64 = 1_750_000_000;

/// An HS256 secret of the least length.
pub const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// A key pair of each kind, made once, and a second one that nobody trusts.
pub struct Keys {
    pub rsa: RsaKeyPair,
    pub ec: EcdsaKeyPair,
    pub ed: Ed25519KeyPair,
}

impl Keys {
    fn generate() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    pub fn rsa_jwk(&self, kid: &str) -> Value {
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": base64(&public.n), "e": base64(&public.e)})
    }

    pub fn ec_jwk(&self, kid: &str) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": base64(&point[1..33]), "y": base64(&point[33..])})
    }

    pub fn ed_jwk(&self, kid: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64(self.ed.public_key().as_ref())})
    }

    pub fn rsa_sign(&self, message: &[u8]) -> Vec<u8> {
        self.rsa_sign_as(&RSA_PKCS1_SHA256, message)
    }

    pub fn rsa_sign_as(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    }

    pub fn ec_sign(&self, message: &[u8]) -> Vec<u8> {
        self.ec
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec()
    }

    pub fn ed_sign(&self, message: &[u8]) -> Vec<u8> {
        self.ed.sign(message).as_ref().to_vec()
    }
}

/// The pairs whose public halves are in the key sets of the tests.
pub static KEYS: LazyLock<Keys> = LazyLock::new(Keys::generate);

/// Pairs of somebody else.
pub static FOREIGN: LazyLock<Keys> = LazyLock::new(Keys::generate);

pub fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> + '_ {
    |message| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message)
            .as_ref()
            .to_vec()
    }
}

/// A token of exactly these texts.
pub fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64(header.as_bytes()), base64(claims.as_bytes()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64(&signature))
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(DateTime::from_timestamp(NOW, 0).unwrap()))
}

/// Writes a key set into `directory`.
pub fn key_file(directory: &Path, keys: &[Value]) -> PathBuf {
    let path = directory.join("jwks.json");
    std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    path
}

/// A server on loopback that answers every request with the same text, and counts them.
pub struct KeyServer {
    pub url: Url,
    answer: Arc<Mutex<(String, usize)>>,
    task: JoinHandle<()>,
}

impl KeyServer {
    pub async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let answer = Arc::new(Mutex::new((ok(keys), 0)));
        let shared = answer.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let text = {
                    let mut answer = shared.lock().unwrap();
                    answer.1 += 1;
                    answer.0.clone()
                };
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                let _ = connection.write_all(text.as_bytes()).await;
            }
        });
        Self { url, answer, task }
    }

    pub fn serve(&self, keys: &[Value]) {
        self.answer.lock().unwrap().0 = ok(keys);
    }

    pub fn serve_raw(&self, answer: &str) {
        self.answer.lock().unwrap().0 = answer.to_owned();
    }

    pub fn requests(&self) -> usize {
        self.answer.lock().unwrap().1
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn ok(keys: &[Value]) -> String {
    let body = json!({ "keys": keys }).to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
