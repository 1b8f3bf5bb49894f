//! Servers, networks and instances that are gone without a word: everybody is answered, and everything gets on by itself.

mod clocks;
mod connections;
mod frozen;
mod hanging;
mod silent;

use crate::harness::eventually;
use crate::harness::server::Server;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a passing fault may be felt after it has passed. Nobody waits for it: only a broken service comes near.
const SOON: Duration = Duration::from_secs(60);

/// Within this a command or a read is answered, whatever happens.
const ANSWERED: Duration = Duration::from_secs(10);

/// An answer that a caller waits for, and how long it took.
async fn delete(server: &Server, token: &str, id: uuid::Uuid) -> (Response, Duration) {
    let asked = Instant::now();
    let body = json!({"id": id, "name": "n", "metadata": {}});
    let request = server.post("/api/admin/archived/backups", token, &body);
    let request = request.header("idempotency-key", id.to_string());
    let answer = request.timeout(SOON).send().await.unwrap();
    (answer, asked.elapsed())
}

/// The same where it has to succeed.
async fn records(server: &Server, token: &str) -> Duration {
    let (answer, lasted) = delete(server, token, crate::harness::fresh_id()).await;
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", server.log());
    lasted
}

/// It is not recorded now, and the caller is told so in time.
async fn is_put_off(server: &Server, token: &str) {
    let (answer, lasted) = delete(server, token, crate::harness::fresh_id()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["id"], "temporaryFailure", "{body}");
    assert!(lasted < ANSWERED, "{lasted:?}");
}

async fn exists(server: &Server, token: &str, id: uuid::Uuid) -> bool {
    let path = format!("/api/admin/archived/backups/{id}");
    let answer = server.get(&path, token).send().await.unwrap();
    match answer.status() {
        StatusCode::OK => true,
        StatusCode::NOT_FOUND => false,
        other => panic!("{other}: {}", answer.text().await.unwrap()),
    }
}

async fn readiness(server: &Server) -> (StatusCode, Value) {
    let answer = server.client().get(server.url("/readyz")).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn is_ready(server: &Server) {
    eventually("it is ready again", SOON, || async {
        (readiness(server).await.0 == 200).then_some(())
    })
    .await;
}

async fn tells_that_it_is_not_ready(server: &Server, part: &str) {
    eventually("/readyz says so", SOON, || async {
        let (status, body) = readiness(server).await;
        (status == 503 && body[part] == "unavailable").then_some(())
    })
    .await;
}

/// The log is whole, and is what was signed.
async fn verifies(server: &Server, token: &str) {
    let vkey = server.get("/api/ledger/vkey", token).send().await.unwrap();
    let vkey = vkey.text().await.unwrap();
    let verified = server.run_command(&["verify", "--vkey", vkey.trim()]).await;
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}
