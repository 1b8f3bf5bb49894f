//! One NATS for several ledgers: a stream is one ledger's.

use super::SOON;
use crate::harness::nats::Nats;
use crate::harness::server::{Backend, Builder, Server, run_binary};
use crate::harness::{eventually, fresh_id};
use archive_ledger::bus::nats::STREAM;
use async_nats::jetstream::{self, Context};
use serde_json::json;

fn on(nats: &Nats) -> Builder {
    Server::builder(Backend::Embedded)
        .arg("--nats-url")
        .arg(nats.url())
}

async fn record(server: &Server) {
    let token = server.token(&["--role", "admin"]).await;
    let body = json!({"id": fresh_id(), "name": "n"});
    let answer = server
        .post("/api/admin/archived/users", &token, &body)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 201);
}

async fn watcher(nats: &Nats) -> Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

async fn holds(watcher: &Context, stream: &str, count: u64) {
    eventually("the events are on the stream", SOON, || async {
        let stream = watcher.get_stream(stream).await.ok()?;
        (stream.cached_info().state.messages == count).then_some(())
    })
    .await;
}

async fn description(watcher: &Context) -> String {
    let stream = watcher.get_stream(STREAM).await.unwrap();
    stream
        .cached_info()
        .config
        .description
        .clone()
        .unwrap_or_default()
}

async fn describe(watcher: &Context, description: Option<&str>) {
    let mut config = watcher
        .get_stream(STREAM)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.description = description.map(ToOwned::to_owned);
    watcher.update_stream(config).await.unwrap();
}

/// A fresh ledger does not start on this NATS, and says so by this option in its last line.
async fn refused(nats: &Nats, options: &[&str], option: &str, says: &str) {
    let home = tempfile::tempdir().unwrap();
    let env = [("ARCHIVE_LEDGER_NATS_URL".to_owned(), nats.url())];
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], options].concat();
    let output = run_binary(&arguments, &env, home.path()).await;
    let told = super::said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    let last = told.lines().last().unwrap_or_default();
    assert!(
        last.starts_with(&format!("archive-ledger: {option}: ")) && last.contains(says),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_ledger_is_refused_and_one_of_its_own_is_not() {
    let nats = Nats::start().await;
    let (first, watcher) = (on(&nats).start().await, watcher(&nats).await);
    record(&first).await;
    holds(&watcher, STREAM, 1).await;

    refused(
        &nats,
        &[],
        "--nats-stream",
        "the stream ARCHIVE_LEDGER belongs to another ledger (",
    )
    .await;
    refused(
        &nats,
        &["--nats-stream", "SECOND"],
        "--nats-subject-prefix",
        "archive.>",
    )
    .await;
    refused(
        &nats,
        &["--nats-subject-prefix", "second.archive"],
        "--nats-stream",
        "belongs to another ledger",
    )
    .await;
    for (option, value) in [
        ("--nats-stream", "A.B"),
        ("--nats-stream", ""),
        ("--nats-subject-prefix", "a..b"),
        ("--nats-subject-prefix", "a.>"),
        ("--nats-subject-prefix", "$JS"),
        ("--nats-subject-prefix", "_INBOX"),
    ] {
        refused(&nats, &[option, value], option, "is no ").await;
    }

    let second = on(&nats)
        .arg("--nats-stream=SECOND")
        .arg("--nats-subject-prefix=second.archive")
        .start()
        .await;
    record(&second).await;
    record(&second).await;
    holds(&watcher, "SECOND", 2).await;
    holds(&watcher, STREAM, 1).await;
    let message = watcher
        .get_stream("SECOND")
        .await
        .unwrap()
        .get_raw_message(1)
        .await
        .unwrap();
    assert!(
        message.subject.starts_with("second.archive.users.soft_deleted.")
            || message.subject.starts_with("second.archive.users.registered."),
        "{}",
        message.subject
    );
    let token = second.token(&["--role", "admin"]).await;
    let told: serde_json::Value = second
        .get("/asyncapi.json", &token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&told["x-jetstream"]["name"], &told["x-jetstream"]["subjects"]),
        (&json!("SECOND"), &json!(["second.archive.>"]))
    );
    // It goes on after a restart: it is known by its ledger, not by its process.
    second.restart().await;
    record(&second).await;
    holds(&watcher, "SECOND", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_names_nobody_is_taken_by_the_ledger_whose_events_it_holds() {
    let nats = Nats::start().await;
    let (first, watcher) = (on(&nats).start().await, watcher(&nats).await);
    record(&first).await;
    holds(&watcher, STREAM, 1).await;
    let named = description(&watcher).await;
    assert!(
        named.starts_with("The events of archive-ledger ") && named.len() > 60,
        "{named}"
    );

    // As an older version has made it.
    describe(
        &watcher,
        Some("The events of archive-ledger, in the order of its log"),
    )
    .await;
    refused(&nats, &[], "--nats-stream", "belongs to another ledger:").await;
    first.restart().await;
    assert_eq!(description(&watcher).await, named);

    // What an operator wrote stays.
    describe(&watcher, Some("ask Ada")).await;
    first.restart().await;
    let both = description(&watcher).await;
    assert!(both.starts_with("ask Ada") && both.contains(&named), "{both}");
    record(&first).await;
    holds(&watcher, STREAM, 2).await;

    // An empty one is anybody's.
    first.terminate().await;
    describe(&watcher, None).await;
    watcher.get_stream(STREAM).await.unwrap().purge().await.unwrap();
    let second = on(&nats).start().await;
    record(&second).await;
    holds(&watcher, STREAM, 1).await;
    assert_ne!(description(&watcher).await, named);
}
