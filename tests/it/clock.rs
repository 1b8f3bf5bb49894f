//! A machine's clock that moves while the service runs: nothing is dated by it until it is back or accepted.
//!
//! The clock is moved by `libfaketime`.

use crate::harness::eventually;
use crate::harness::on_both_backends;
use crate::harness::server::{Backend, Server};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// The library that moves clocks.
pub fn library() -> String {
    let folders = [
        "/usr/lib/x86_64-linux-gnu/faketime",
        "/usr/lib/aarch64-linux-gnu/faketime",
        "/usr/lib/faketime",
    ];
    let mut paths = folders.iter().map(|folder| format!("{folder}/libfaketime.so.1"));
    paths
        .find(|path| Path::new(path).exists())
        .expect("libfaketime is not installed: run ./test, which installs what the tests need")
}

/// A service whose clock is off by what the file says.
async fn under(backend: Backend, file: &Path) -> Server {
    Server::builder(backend)
        .env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", file.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
        .await
}

async fn delete(server: &Server, token: &str) -> StatusCode {
    let body = json!({"id": crate::harness::fresh_id(), "name": "n", "metadata": {}});
    let answer = server
        .post("/api/admin/archived/backups", token, &body)
        .send()
        .await;
    answer.unwrap().status()
}

async fn readiness(server: &Server) -> (StatusCode, Value) {
    let answer = server.client().get(server.url("/readyz")).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn is_ready(server: &Server, token: &str) {
    eventually("it is ready again", SOON, || async {
        (readiness(server).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(delete(server, token).await, StatusCode::CREATED);
}

async fn takes_nothing(server: &Server, token: &str) {
    assert_eq!(delete(server, token).await, StatusCode::SERVICE_UNAVAILABLE);
    let (status, body) = readiness(server).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["reasons"].to_string().contains("clock shows"), "{body}");
    assert_eq!(body["clock"], "moved");
    let listed = server.get("/api/admin/archived/backups", token).send().await;
    assert_eq!(listed.unwrap().status(), StatusCode::OK, "reads go on");
}

on_both_backends! {
    async fn a_clock_that_jumps_stops_commands_until_it_is_back_or_accepted(backend: Backend) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("time");
        let set = |offset: &str| std::fs::write(&file, format!("{offset}\n")).unwrap();
        set("+0");
        let server = under(backend, &file).await;
        let token = server.token(&["--role", "admin", "--ttl", "24h"]).await;
        assert_eq!(delete(&server, &token).await, StatusCode::CREATED);
        // Clocks are corrected all the time.
        for offset in ["+1800", "-1800", "+0"] {
            set(offset);
            assert_eq!(delete(&server, &token).await, StatusCode::CREATED, "{offset}");
        }
        for offset in ["+400d", "-2h", "+2h"] {
            set(offset);
            takes_nothing(&server, &token).await;
            eventually("the log says so", SOON, || async {
                server.log().contains("no command is recorded").then_some(())
            })
            .await;
            set("+0");
            is_ready(&server, &token).await;
        }
        set("+3h");
        takes_nothing(&server, &token).await;
        let accepted = server.run_command(&["ledger", "accept-clock", "--reason", "summer time, by hand"]).await;
        let said = String::from_utf8_lossy(&accepted.stdout).into_owned();
        assert!(accepted.status.success(), "{}", String::from_utf8_lossy(&accepted.stderr));
        assert!(said.contains("Accepted: the machine's clock shows"), "{said}");
        is_ready(&server, &token).await;
        let audit = server.get("/api/admin/audit/events?action=accept_clock", &token).send().await.unwrap();
        let audit = audit.text().await.unwrap();
        assert!(audit.contains("summer time, by hand"), "{audit}");
        let again = server.run_command(&["ledger", "accept-clock", "--reason", "x"]).await;
        assert_eq!(again.status.code(), Some(2), "nobody waits any more");

        // In a cluster the database's time is what is recorded, whatever was accepted; alone, the last event is dated three hours
        // ahead of the clock that the next start finds.
        let alone = backend == Backend::Embedded;
        server.terminate().await;
        set("+0");
        server.restart().await;
        assert_eq!(server.log().contains("ahead of the machine's clock"), alone, "{}", server.log());
        let (status, body) = readiness(&server).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["warnings"].to_string().contains("ahead of the clock"), alone, "{body}");
        assert_eq!(delete(&server, &token).await, StatusCode::CREATED);
    }
}
