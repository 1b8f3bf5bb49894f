//! A machine's clock that moves while the service runs: nothing is dated by it until it is back or accepted.
//!
//! The clock is moved by `libfaketime`.

use crate::harness::described::Told as _;
use crate::harness::eventually;
use crate::harness::ledger::change;
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
    let answer = server.client().get(server.url("/readyz")).told().await;
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
        let audit = server.get("/api/admin/audit/events?action=accept_clock", &token).told().await;
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

    async fn what_is_recorded_behind_a_clock_that_ran_ahead_is_found_by_its_times_on_every_route(backend: Backend) {
        let server = Server::start(backend).await;
        let token = server.token(&["--role", "admin", "--subject", "early"]).await;
        for _ in 0..5 {
            assert_eq!(delete(&server, &token).await, StatusCode::CREATED);
        }
        let id = crate::harness::fresh_id();
        let entity = format!("/api/admin/archived/backups/{id}");
        let body = json!({"id": id, "name": "n"});
        let deleted = server.post("/api/admin/archived/backups", &token, &body).told().await;
        assert_eq!(deleted.status(), StatusCode::CREATED);
        server.terminate().await;
        // As a clock dates them that runs ahead; from here on all is dated as the last event is, for 400 days.
        let ahead = match backend {
            Backend::Embedded => "recorded_at + 400 * 86400 * 1000000",
            Backend::Clustered => "recorded_at + interval '400 days'",
        };
        for table in ["events", "ledger_head"] {
            let statement = format!("UPDATE {table} SET recorded_at = {ahead}");
            assert!(change(server.database_url(), &server.data_dir(), &statement).await > 0);
        }
        server.restart().await;
        let token = server.token(&["--role", "admin", "--subject", "late"]).await;
        let restored = server.post(&format!("{entity}/restore"), &token, &json!({})).told().await;
        assert_eq!(restored.status(), StatusCode::OK);
        for _ in 0..40 {
            assert_eq!(delete(&server, &token).await, StatusCode::CREATED);
        }
        let get = |path: String| {
            let (server, token) = (&server, &token);
            async move {
                let answer = server.get(&path, token).told().await;
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert_eq!(status, StatusCode::OK, "{path}: {text}");
                text
            }
        };
        let events = |query: String| {
            let get = &get;
            async move {
                let (mut found, mut cursor) = (Vec::new(), String::new());
                loop {
                    let page = get(format!("/api/admin/audit/events?outcome=allowed&action=soft_deleted&action=restored&{query}{cursor}")).await;
                    let page: Value = serde_json::from_str(&page).unwrap();
                    found.extend(page["items"].as_array().unwrap().iter().map(|line| line["position"].as_u64().unwrap()));
                    match page["next_cursor"].as_str() {
                        Some(next) => cursor = format!("&cursor={next}"),
                        None => return found,
                    }
                }
            }
        };
        let history: Value = serde_json::from_str(&get(format!("{entity}/history")).await).unwrap();
        let history = history["items"].as_array().unwrap().clone();
        assert_eq!(history.len(), 2, "{history:?}");
        let pinned = history[0]["recorded_at"].as_str().unwrap().to_owned();
        assert_eq!(history[1]["recorded_at"], pinned.as_str(), "{history:?}");
        let all: Vec<u64> = (1..=47).collect();
        let from_pinned: Vec<u64> = (6..=47).collect();
        for (query, expected) in [
            ("".to_owned(), &all[..]),
            (format!("from={pinned}"), &from_pinned),
            (format!("to={pinned}"), &all[..5]),
            (format!("from=2020-01-01T00:00:00Z&to={pinned}"), &all[..5]),
            (format!("from={pinned}&to=9999-01-01T00:00:00Z"), &from_pinned),
            (format!("from={pinned}&actor=late"), &from_pinned[1..]),
            (format!("from={pinned}&to={pinned}"), &[]),
        ] {
            for limit in [3, 50] {
                assert_eq!(events(format!("order=asc&limit={limit}&{query}")).await, expected, "{query}");
                let mut backwards = events(format!("order=desc&limit={limit}&{query}")).await;
                backwards.reverse();
                assert_eq!(backwards, expected, "{query}, newest first");
            }
        }
        // An entity as it was, at a time that is in the log and lies ahead of the clock.
        let as_of = |at: &str| get(format!("{entity}?as_of={at}"));
        let then: Value = serde_json::from_str(&as_of(&pinned).await).unwrap();
        assert_eq!((&then["state"], &then["version"]), (&json!("live"), &json!(2)), "{then}");
        let then: Value = serde_json::from_str(&as_of("6").await).unwrap();
        assert_eq!((&then["state"], &then["version"]), (&json!("archived"), &json!(1)), "{then}");
        let later = server.get(&format!("{entity}?as_of=9000-01-01T00:00:00Z"), &token).told().await;
        assert_eq!(later.status(), StatusCode::BAD_REQUEST, "nobody knows that yet");
        // Exports end at what is signed.
        eventually("the log is signed", SOON, || async {
            let answer = server.get("/api/ledger/checkpoint", &token).told().await;
            (answer.text().await.unwrap().lines().nth(1) == Some("47")).then_some(())
        })
        .await;
        for (query, flags, expected) in [
            (format!("&from={pinned}"), vec!["--from", &pinned], 42),
            (format!("&to={pinned}"), vec!["--to", &pinned], 5),
            (format!("&from={pinned}&to=9999-01-01T00:00:00Z"), vec!["--from", &pinned, "--to", "9999-01-01T00:00:00Z"], 42),
        ] {
            let exported = get(format!("/api/admin/audit/export?format=ndjson{query}")).await;
            assert_eq!(exported.lines().count(), expected, "{query}");
            let output = server.run_command(&[&["export", "--format", "ndjson"], &flags[..]].concat()).await;
            assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), expected, "{flags:?}");
        }
        // Whoever follows the events goes on behind any of them, however many share a time.
        let stream = server.get("/api/events", &token).header("Last-Event-ID", "1-5").told().await;
        assert_eq!(stream.status(), StatusCode::OK);
        let (mut stream, mut text) = (stream, String::new());
        // The first line says where the stream begins.
        let ids = |text: &str| -> Vec<u64> {
            let positions = text.lines().filter_map(|line| line.strip_prefix("id: 1-")?.parse().ok());
            positions.filter(|position| *position > 5).collect()
        };
        while ids(&text).len() < 42 {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().expect("the stream ended")).unwrap());
        }
        assert_eq!(ids(&text), from_pinned);
    }
}
