//! Instances whose machines' clocks differ: the database's time decides, and the difference is told.
//!
//! The clocks are set by `libfaketime`.

use super::{SOON, readiness, records};
use crate::clock::library;
use crate::harness::receiver::Receiver;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, fresh_id};
use archive_ledger::clock::{Clock as _, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::collections::BTreeMap;

/// How far a time may be from the true one: what receivers of callbacks tolerate is minutes.
const NEAR: TimeDelta = TimeDelta::seconds(30);

fn set_to(offset: &str, library: &str) -> [(String, String); 3] {
    [
        ("LD_PRELOAD".to_owned(), library.to_owned()),
        ("FAKETIME".to_owned(), offset.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]
}

fn near(time: DateTime<Utc>) -> bool {
    (time - SystemClock.now()).abs() < NEAR
}

async fn skew(server: &Server) -> f64 {
    let text = server.client().get(server.url("/metrics")).send().await.unwrap();
    let text = text.text().await.unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("archive_ledger_clock_skew_seconds "));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_time_decides_whatever_the_instances_clocks_say() {
    let library = library();
    let receiver = Receiver::start().await;
    let builder = Server::builder(Backend::Clustered).callbacks_to_loopback();
    let right = builder.start().await;
    let fast = right.another().envs(set_to("+60s", &library)).start().await;
    let slow = right.another().envs(set_to("-10m", &library)).start().await;
    let rights = [
        "--privilege",
        "space_manage_datasets",
        "--privilege",
        "space_remove_archives",
    ];
    let token = right.token(&[&["--role", "admin"][..], &rights].concat()).await;

    for (server, off, side) in [(&fast, 60.0, "ahead of"), (&slow, -600.0, "behind")] {
        eventually("the difference is told", SOON, || async {
            let (status, body) = readiness(server).await;
            let told = body["warnings"]
                .to_string()
                .contains(&format!("s {side} the database's"));
            (status == 200 && told && (skew(server).await - off).abs() < 5.0).then_some(())
        })
        .await;
        assert!(
            server.log().contains(&format!("s {side} the database's")),
            "{}",
            server.log()
        );
    }
    assert!(
        !readiness(&right).await.1["warnings"]
            .to_string()
            .contains("the database's")
    );
    assert!(skew(&right).await.abs() < 5.0);

    // Whoever records, cleans and calls back.
    let ids: Vec<String> = (0..24).map(|number| format!("archive-{number}")).collect();
    for (number, id) in ids.iter().enumerate() {
        let server = [&right, &fast, &slow][number % 3];
        let archive = json!({"archiveId": id, "datasetId": "d", "spaceId": "s", "description": "d"});
        let registered = server
            .post("/api/v3/oneprovider/archives", &token, &archive)
            .send()
            .await;
        assert_eq!(registered.unwrap().status(), 201);
        let path = format!("/api/v3/oneprovider/archives/{id}/delete");
        let body = json!({"deletedCallback": receiver.url("/done")});
        let deleted = server.post(&path, &token, &body).send().await;
        assert_eq!(deleted.unwrap().status(), 204);
    }
    let received = receiver.wait_for(ids.len(), SOON).await;
    for request in &received {
        let sent = request.header("webhook-timestamp").unwrap().parse().unwrap();
        assert!(near(DateTime::from_timestamp(sent, 0).unwrap()), "{sent}");
    }
    for server in [&right, &fast, &slow] {
        records(server, &token).await;
        let id = fresh_id();
        super::delete(server, &token, id).await;
        let shown = server
            .get(&format!("/api/admin/archived/backups/{id}"), &token)
            .send()
            .await;
        let shown: Value = shown.unwrap().json().await.unwrap();
        assert!(
            near(shown["deleted_at"].as_str().unwrap().parse().unwrap()),
            "{shown}"
        );
    }
    let mut database = PgConnection::connect(right.database_url().unwrap())
        .await
        .unwrap();
    for column in [
        "recorded_at FROM events",
        "created_at FROM checkpoints",
        "created_at FROM callback_deliveries",
        "started_at FROM callback_attempts",
        "expires_at FROM leases WHERE expires_at > to_timestamp(0)",
    ] {
        let times: Vec<DateTime<Utc>> = sqlx::query_scalar(&format!("SELECT {column}"))
            .fetch_all(&mut database)
            .await
            .unwrap();
        assert!(!times.is_empty(), "{column}");
        // The tests may be slow; no clock here is off by so little.
        let wrong = times.iter().find(|time| {
            !(-TimeDelta::minutes(4)..TimeDelta::seconds(40)).contains(&(**time - SystemClock.now()))
        });
        assert_eq!(wrong, None, "{column}");
    }
    let sent = receiver.received();
    let mut by_archive: BTreeMap<String, usize> = BTreeMap::new();
    for request in &sent {
        *by_archive
            .entry(request.json()["archiveId"].to_string())
            .or_default() += 1;
    }
    assert_eq!(by_archive.len(), ids.len());
    assert_eq!(
        by_archive.values().find(|count| **count > 1),
        None,
        "{by_archive:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_clock_jumps_holds_no_lease_beyond_its_end() {
    let library = library();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("time");
    std::fs::write(&file, "+0\n").unwrap();
    let receiver = Receiver::start().await;
    let first = Server::builder(Backend::Clustered)
        .callbacks_to_loopback()
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", file.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
        .await;
    let rights = [
        "--privilege",
        "space_manage_datasets",
        "--privilege",
        "space_remove_archives",
    ];
    let token = first.token(&[&["--role", "admin"][..], &rights].concat()).await;
    records(&first, &token).await;
    let second = first.another().env("LD_PRELOAD", "").start().await;
    // Within what a clock may be corrected by.
    std::fs::write(&file, "+3000\n").unwrap();
    for _ in 0..10 {
        records(&first, &token).await;
    }
    first.kill9().await;
    let archive = json!({"archiveId": "a", "datasetId": "d", "spaceId": "s", "description": "d"});
    let registered = second
        .post("/api/v3/oneprovider/archives", &token, &archive)
        .send()
        .await;
    assert_eq!(registered.unwrap().status(), 201);
    let body = json!({"deletedCallback": receiver.url("/done")});
    let deleted = second
        .post("/api/v3/oneprovider/archives/a/delete", &token, &body)
        .send()
        .await;
    assert_eq!(deleted.unwrap().status(), 204);
    let received = receiver.wait_for(1, SOON).await;
    let sent = received[0].header("webhook-timestamp").unwrap().parse().unwrap();
    assert!(near(DateTime::from_timestamp(sent, 0).unwrap()), "{sent}");
    eventually("the second one publishes the log to its end", SOON, || async {
        let text = second.client().get(second.url("/metrics")).send().await.unwrap();
        let text = text.text().await.unwrap();
        let shows = |line: &str| text.lines().any(|one| one == line);
        (shows("archive_ledger_relay_leader 1") && shows("archive_ledger_relay_lag_positions 0"))
            .then_some(())
    })
    .await;
}
