//! What a fork has lost is told, nobody passes over what comes after it, and nobody works for what is lost.

use crate::harness::ledger::change;
use crate::harness::postgres::Postgres;
use crate::harness::receiver::Receiver;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::bus::cloud_event::CloudEvent;
use archive_ledger::bus::nats::STREAM;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Config;
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);

async fn admin(server: &Server) -> String {
    let rights = [
        "--role",
        "admin",
        "--privilege",
        "space_manage_datasets",
        "--privilege",
        "space_remove_archives",
    ];
    server.token(&rights).await
}

async fn delete(server: &Server, token: &str, id: u128) {
    let body = json!({"id": Uuid::from_u128(id), "name": "n", "metadata": {}});
    let answer = server
        .post("/api/admin/archived/backups", token, &body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
}

async fn purge(server: &Server, token: &str, id: u128) {
    let path = format!("/api/admin/archived/backups/{}/purge", Uuid::from_u128(id));
    let answer = server.delete(&path, token).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// Registers an archive and purges it, so that its callback is due.
async fn purge_archive(server: &Server, token: &str, id: &str, callback: &str) {
    let archive = json!({"archiveId": id, "datasetId": "d", "spaceId": "s", "description": "d"});
    let answer = server
        .post("/api/v3/oneprovider/archives", token, &archive)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let path = format!("/api/v3/oneprovider/archives/{id}/delete");
    let body = json!({"deletedCallback": callback});
    let answer = server.post(&path, token, &body).send().await.unwrap();
    assert_eq!(answer.status(), 204);
}

async fn run(server: &Server, args: &[&str]) -> String {
    let output = server.run_command(args).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(output.stderr));
    text(output.stdout)
}

async fn run_json(server: &Server, args: &[&str]) -> Value {
    serde_json::from_str(&run(server, args).await).unwrap()
}

/// What a start says that must be refused.
async fn refusal(server: &Server) -> String {
    let output = server.run_command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    error
}

/// Everything that a durable consumer gets up to an event of this source and position, as it comes.
async fn follow(consumer: &PullConsumer, source: &str, position: u64) -> Vec<CloudEvent> {
    let mut messages = consumer.messages().await.unwrap();
    let mut got = Vec::new();
    loop {
        let message = tokio::time::timeout(SOON, messages.next()).await;
        let message = message.expect("an event is missing").unwrap().unwrap();
        message.ack().await.unwrap();
        let event = CloudEvent::decode(&message.payload).unwrap();
        let last = event.source.ends_with(source) && event.data.position == position;
        got.push(event);
        if last {
            return got;
        }
    }
}

/// The positions of a ledger's events, in the order in which they came; each but once by source and id.
fn positions(events: &[CloudEvent], source: &str) -> Vec<u64> {
    let of_source = events.iter().filter(|event| event.source.ends_with(source));
    let mut known = BTreeSet::new();
    of_source
        .filter(|event| known.insert(event.id))
        .map(|event| event.data.position)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_tells_the_purges_of_the_lost_part_and_subscribers_see_all_that_comes_after_it() {
    let (postgres, receiver) = (Postgres::start().await, Receiver::start().await);
    let server = Server::builder(Backend::Clustered)
        .on_database(postgres.create_database().await)
        .await
        .callbacks_to_loopback()
        .start()
        .await;
    let token = admin(&server).await;
    for id in 1..=5 {
        delete(&server, &token, id).await;
    }
    // 6 and 7.
    purge(&server, &token, 1).await;
    let client = async_nats::connect(server.nats().url()).await.unwrap();
    let stream = async_nats::jetstream::new(client)
        .get_stream(STREAM)
        .await
        .unwrap();
    let durable = Config {
        durable_name: Some("subscriber".to_owned()),
        ..Config::default()
    };
    let consumer = stream.create_consumer(durable).await.unwrap();
    follow(&consumer, "/1", 7).await;
    assert_eq!(server.terminate().await, 0);
    postgres.stop().await;
    postgres.keep_copy("older");
    postgres.restart().await;
    server.restart().await;
    // 8; 9 and 10; 11 to 13.
    delete(&server, &token, 6).await;
    purge(&server, &token, 2).await;
    purge_archive(&server, &token, "lost", &receiver.url("/lost")).await;
    let before = follow(&consumer, "/1", 13).await;
    assert_eq!(positions(&before, "/1"), (8..=13).collect::<Vec<_>>());
    receiver.wait_for(1, SOON).await;
    assert_eq!(server.terminate().await, 0);
    postgres.stop().await;
    postgres.bring_back("older");
    postgres.restart().await;
    let told = refusal(&server).await;
    assert!(told.contains("older copy"), "{told}");

    let forked = run_json(&server, &["ledger", "fork", "--reason", "a test", "--json"]).await;
    let losses = &forked["losses"];
    assert!(
        forked["verifier_key"].as_str().unwrap().contains("/ledger/2+"),
        "{forked}"
    );
    for (field, value) in [
        ("ledger", json!(2)),
        ("size", json!(7)),
        ("reached", json!(13)),
        ("lost", json!(6)),
        ("unaccounted", json!(0)),
        ("stream", json!("read")),
    ] {
        assert_eq!(losses[field], value, "{field}: {losses}");
    }
    let purges = losses["purges"].as_array().unwrap();
    let found: Vec<_> = purges
        .iter()
        .map(|purge| (&purge["event"], &purge["entity_id"], &purge["position"]))
        .collect();
    let second = json!(Uuid::from_u128(2));
    assert_eq!(
        found,
        [
            (&json!("purged"), &second, &json!(10)),
            (&json!("purged"), &json!("lost"), &json!(13))
        ]
    );
    assert_eq!(run_json(&server, &["ledger", "losses", "--json"]).await, *losses);
    let text = run(&server, &["ledger", "losses"]).await;
    assert!(
        text.contains(&Uuid::from_u128(2).to_string())
            && text.contains("archives/lost")
            && text.contains("1-10"),
        "{text}"
    );

    // What comes is seen once by source and id, by others' consumers and by the service's own.
    server.restart().await;
    delete(&server, &token, 7).await;
    purge(&server, &token, 2).await;
    purge_archive(&server, &token, "new", &receiver.url("/new")).await;
    let after = follow(&consumer, "/2", 13).await;
    assert_eq!(positions(&after, "/2"), (8..=13).collect::<Vec<_>>());
    assert!(positions(&after, "/1").iter().all(|position| *position <= 7));
    let calls = receiver.wait_for(2, SOON).await;
    assert_eq!(calls[1].json()["archiveId"], "new");
    let out = server.home().join("events.ndjson");
    run(
        &server,
        &["export", "--format", "ndjson", "--out", out.to_str().unwrap()],
    )
    .await;
    let manifest = std::fs::read(server.home().join("events.ndjson.manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["ledger"], 2);
    assert_eq!(server.terminate().await, 0);

    // A copy that has never heard of the fork: its number is taken.
    postgres.stop().await;
    postgres.bring_back("older");
    postgres.restart().await;
    let told = refusal(&server).await;
    assert!(
        told.contains("older than that fork") && told.contains("/ledger/2"),
        "{told}"
    );
    let guard = server.data_dir().join("checkpoint.guard");
    let kept = std::fs::read(&guard).unwrap();
    std::fs::remove_file(&guard).unwrap();
    let told = refusal(&server).await;
    assert!(told.contains("older than that fork"), "{told}");
    // Not even the guard and the mark are needed for it: the stream knows the number.
    std::fs::remove_file(server.data_dir().join("ledger.key.used")).unwrap();
    let again = run_json(&server, &["ledger", "fork", "--reason", "another", "--json"]).await;
    assert!(
        again["verifier_key"].as_str().unwrap().contains("/ledger/3+"),
        "{again}"
    );
    assert!(
        again["former_verifier_key"]
            .as_str()
            .unwrap()
            .contains("/ledger/2+"),
        "{again}"
    );
    let losses = &again["losses"];
    assert_eq!(
        (&losses["ledger"], &losses["unaccounted"]),
        (&json!(3), &json!(0))
    );
    let found: Vec<_> = losses["purges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|purge| &purge["ledger"])
        .collect();
    assert_eq!(found, [1, 1, 2, 2], "{losses}");
    server.restart().await;
    delete(&server, &token, 8).await;
    let newest = follow(&consumer, "/3", 8).await;
    assert_eq!(positions(&newest, "/3"), [8]);
    // What was signed in the ledger between is still refused as such.
    assert_eq!(server.terminate().await, 0);
    std::fs::write(&guard, kept).unwrap();
    server.restart().await;
    assert!(
        server.log().contains("before the ledger was forked"),
        "{}",
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_tell_of_the_lost_part_is_said_to_be_unknown_until_somebody_can() {
    let (postgres, server) = (Postgres::start().await, Server::builder(Backend::Clustered));
    let server = server
        .on_database(postgres.create_database().await)
        .await
        .start()
        .await;
    let token = admin(&server).await;
    delete(&server, &token, 1).await;
    assert_eq!(server.terminate().await, 0);
    postgres.stop().await;
    postgres.keep_copy("older");
    postgres.restart().await;
    server.restart().await;
    for id in 2..=4 {
        delete(&server, &token, id).await;
    }
    purge(&server, &token, 1).await;
    eventually("everything is published", SOON, || async {
        let client = async_nats::connect(server.nats().url()).await.ok()?;
        let stream = async_nats::jetstream::new(client).get_stream(STREAM).await.ok()?;
        (stream.cached_info().state.messages == 6).then_some(())
    })
    .await;
    assert_eq!(server.terminate().await, 0);
    postgres.stop().await;
    postgres.bring_back("older");
    postgres.restart().await;
    server.nats().stop().await;
    let forked = run_json(&server, &["ledger", "fork", "--reason", "a test", "--json"]).await;
    let losses = &forked["losses"];
    assert_eq!(
        (
            &losses["stream"],
            &losses["lost"],
            &losses["unaccounted"],
            &losses["purges"]
        ),
        (&json!("away"), &json!(5), &json!(5), &json!([]))
    );
    let text = run(&server, &["ledger", "losses"]).await;
    assert!(
        text.contains("5 are unaccounted for") && text.contains("could not be asked"),
        "{text}"
    );
    server.nats().restart().await;
    // Two of them have aged out.
    let client = async_nats::connect(server.nats().url()).await.unwrap();
    let stream = async_nats::jetstream::new(client)
        .get_stream(STREAM)
        .await
        .unwrap();
    stream.purge().sequence(4).await.unwrap();
    let losses = run_json(&server, &["ledger", "losses", "--json"]).await;
    assert_eq!(
        (&losses["stream"], &losses["lost"], &losses["unaccounted"]),
        (&json!("read"), &json!(5), &json!(2))
    );
    assert_eq!(losses["purges"][0]["entity_id"], json!(Uuid::from_u128(1)));
}

on_both_backends! {
    async fn what_names_what_is_lost_is_taken_back_by_a_fork(backend: Backend) {
        let receiver = Receiver::start().await;
        let server = Server::builder(backend).callbacks_to_loopback().start().await;
        let token = admin(&server).await;
        for id in 1..=5 {
            delete(&server, &token, id).await;
        }
        assert_eq!(server.terminate().await, 0);
        let data = server.data_dir();
        let change = async |sql: &str| change(server.database_url(), &data, sql).await;
        let (time, bytes, no) = match backend {
            Backend::Embedded => ("1700000000000000", "x'00'", "0"),
            Backend::Clustered => ("'2026-01-01T00:00:00Z'", "'\\x00'", "false"),
        };
        let key = format!("backups:{}", Uuid::from_u128(1));
        let lost = Uuid::from_u128(99);
        let cursors = ["relay", "cleanup", "callbacks", "redrive:cleanup", "redrive:callbacks", "redrive:storage-cleanup", "storage-cleanup"];
        for name in cursors {
            change(&format!(
                "INSERT INTO cursors (name, position) VALUES ('{name}', 900) ON CONFLICT (name) DO UPDATE SET position = 900"
            )).await;
        }
        for sql in [
            "UPDATE ledger_head SET claims_position = 900".to_owned(),
            format!("INSERT INTO storage_claims (position, ordinal, place) VALUES (900, 1, {bytes})"),
            format!("INSERT INTO tree_hashes (level, place, hash) VALUES (1, 0, {bytes}), (2, 7, {bytes})"),
            "INSERT INTO audit_blocks (token, block) VALUES (1, 0), (1, 20)".to_owned(),
            "UPDATE audit_indexed SET blocks = 21".to_owned(),
            format!("INSERT INTO purge_work (aggregate_id, purge_id, position, event_id, requested_at, storage_count, state)
                     VALUES ('{key}', '{lost}', 900, '{lost}', {time}, 1, 'purging')"),
            format!("INSERT INTO cleanup_jobs (event_id, position, aggregate_id, purge_id, state, attempts, next_attempt_at, created_at)
                     VALUES ('{lost}', 900, '{key}', '{lost}', 'due', 0, {time}, {time})"),
            format!("INSERT INTO cleanup_obligations (event_id, ordinal, state, updated_at) VALUES ('{lost}', 1, 'owed', {time})"),
            format!("INSERT INTO callback_deliveries (delivery_id, event_id, target_id, position, aggregate_id, host, url_sealed, state,
                         retry, gone, attempts, attempts_before, created_at, first_due_at, next_attempt_at)
                     VALUES ('{lost}', '{lost}', '{lost}', 900, '{key}', 'h', {bytes}, 'due', {no}, {no}, 0, 0, {time}, {time}, {time})"),
            format!("INSERT INTO callback_attempts (delivery_id, attempt, started_at, outcome, body_truncated)
                     VALUES ('{lost}', 1, {time}, 'failed', {no})"),
        ] {
            assert!(change(&sql).await > 0, "{sql}");
        }
        let forked = run(&server, &["ledger", "fork", "--reason", "a test"]).await;
        assert!(forked.lines().next().unwrap().contains("/ledger/2+"), "{forked}");
        if backend == Backend::Embedded {
            assert!(forked.contains("There is no stream") && forked.contains("unaccounted for"), "{forked}");
        }
        for (table, behind) in [
            ("cursors", "position > 5"),
            ("ledger_head", "claims_position > 5"),
            ("storage_claims", "position > 5"),
            ("tree_hashes", "place >= 0"),
            ("audit_blocks", "block >= 0"),
            ("audit_indexed", "blocks > 0"),
            ("audit_attempts", "position > 5"),
            ("purge_work", "position > 5"),
            ("cleanup_jobs", "position > 5"),
            ("cleanup_obligations", "ordinal > 0"),
            ("callback_deliveries", "position > 5"),
            ("callback_attempts", "attempt > 0"),
        ] {
            assert_eq!(change(&format!("DELETE FROM {table} WHERE {behind}")).await, 0, "{table}");
        }
        // Whoever follows the log takes up what comes.
        server.restart().await;
        purge_archive(&server, &token, "new", &receiver.url("/new")).await;
        let calls = receiver.wait_for(1, SOON).await;
        assert_eq!(calls[0].json()["archiveId"], "new");
    }

    async fn an_instance_that_sleeps_through_a_fork_records_nothing_more(server: Server) {
        let token = admin(&server).await;
        delete(&server, &token, 1).await;
        delete(&server, &token, 2).await;
        eventually("nothing is under way", SOON, || async {
            let text = std::fs::read_to_string(server.data_dir().join("checkpoint.guard")).ok()?;
            (text.lines().nth(1) == Some("2")).then_some(())
        })
        .await;
        server.pause();
        let forked = run(&server, &["ledger", "fork", "--reason", "a test"]).await;
        assert!(forked.contains("/ledger/2+"), "{forked}");
        server.resume();
        let body = json!({"id": Uuid::from_u128(3), "name": "n", "metadata": {}});
        let code = eventually("the end of the service", SOON, || async {
            let asked = server.post("/api/admin/archived/backups", &token, &body).send().await;
            if let Ok(answer) = asked {
                assert_eq!(answer.status(), 503);
            }
            server.exit_code()
        })
        .await;
        assert_eq!(code, 2, "{}", server.log());
        assert!(server.log().contains("was forked while this process ran"), "{}", server.log());
        server.restart().await;
        delete(&server, &token, 3).await;
    }
}
