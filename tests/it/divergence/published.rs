//! An older copy without a guard that knows better: the guard was lost with the machine, or restored with the database. The stream
//! still has what subscribers have seen.

use super::{SOON, ask, delete, five_guarded, refusal};
use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Backend, Server};
use archive_ledger::bus::marks;
use archive_ledger::bus::nats::STREAM;
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::message::StreamMessage;
use reqwest::StatusCode;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};

async fn client(server: &Server) -> Context {
    async_nats::jetstream::new(async_nats::connect(server.nats().url()).await.unwrap())
}

/// Every message of the stream, once it has so many.
async fn published(server: &Server, count: u64) -> Vec<StreamMessage> {
    let client = client(server).await;
    eventually("everything is published", SOON, || async {
        let stream = client.get_stream(STREAM).await.ok()?;
        let mut messages = Vec::new();
        for sequence in 1..=count {
            messages.push(stream.get_raw_message(sequence).await.ok()?);
        }
        Some(messages)
    })
    .await
}

/// Some of a message's headers; what it had to follow would not fit any more.
fn kept(message: &StreamMessage, names: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in names {
        headers.insert(*name, message.headers.get(*name).unwrap().as_str());
    }
    headers
}

/// A cluster that has ended, whose database is an older copy: it has five events of the ten that were published. The guard is gone.
async fn restored() -> (Postgres, Server, String, Vec<StreamMessage>) {
    let (postgres, server, token) = five_guarded().await;
    assert_eq!(server.terminate().await, 0);
    postgres.stop().await;
    postgres.keep_copy("older");
    postgres.restart().await;
    server.restart().await;
    delete(&server, &token, 5).await;
    let messages = published(&server, 10).await;
    assert_eq!(server.terminate().await, 0);
    postgres.stop().await;
    postgres.bring_back("older");
    postgres.restart().await;
    std::fs::remove_file(server.data_dir().join("checkpoint.guard")).unwrap();
    (postgres, server, token, messages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_without_its_guard_is_refused_by_what_the_stream_has_until_it_is_forked() {
    let (_postgres, server, token, _) = restored().await;
    let told = refusal(&server).await;
    let last = told.lines().last().unwrap();
    assert!(
        last.starts_with("archive-ledger: --database-url: the ledger refuses to append")
            && last.contains("older copy")
            && last.contains("the stream has the event at position 10")
            && last.contains("ledger fork --reason"),
        "{told}"
    );
    // Nothing was signed either.
    assert!(!server.data_dir().join("checkpoint.guard").exists());
    let forked = server
        .run_command(&["ledger", "fork", "--reason", "a test"])
        .await;
    assert!(
        forked.status.success(),
        "{}",
        String::from_utf8_lossy(&forked.stderr)
    );
    server.restart().await;
    delete(&server, &token, 7).await;
    published(&server, 17).await;
    assert_eq!(server.terminate().await, 0);
    // What was lost before the fork is no reason.
    server.restart().await;
    delete(&server, &token, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_finds_on_the_stream_what_its_database_lacks_ends_and_says_why() {
    let (_postgres, server, token, messages) = restored().await;
    let client = client(&server).await;
    // The stream is brought back later than the database.
    client.delete_stream(STREAM).await.unwrap();
    server.restart().await;
    delete(&server, &token, 2).await;
    published(&server, 7).await;
    for message in &messages {
        let headers = kept(message, &["Nats-Msg-Id", marks::HEADER]);
        let sent = client.publish_with_headers(message.subject.clone(), headers, message.payload.clone());
        sent.await.unwrap().await.unwrap();
    }
    let told = AtomicBool::new(false);
    let code = eventually("the end of the service", SOON, || async {
        let answer = server.client().get(server.url("/readyz")).send().await;
        if let Ok(answer) = answer {
            let status = answer.status();
            let body: Value = answer.json().await.unwrap();
            if body["reasons"]
                .to_string()
                .contains("the stream has the event at position 10")
            {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                told.store(true, Ordering::Relaxed);
                let answered = ask(&server, &token).await;
                assert!(
                    matches!(answered, None | Some(StatusCode::SERVICE_UNAVAILABLE)),
                    "{answered:?}"
                );
            }
        }
        server.exit_code()
    })
    .await;
    assert_eq!(code, 2, "{}", server.log());
    assert!(
        told.load(Ordering::Relaxed),
        "/readyz never said why:\n{}",
        server.log()
    );
    let last = server.log();
    let last = last.lines().last().unwrap();
    assert!(
        last.contains("refuses to append") && last.contains("older copy"),
        "{last}"
    );
    // By now the guard knows of what was recorded meanwhile; the stream still knows better.
    let told = refusal(&server).await;
    assert!(told.contains("refuses to append"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_publish_under_the_ledgers_name_ends_no_service_and_keeps_none_from_starting() {
    let server = Server::start(Backend::Clustered).await;
    let token = server.token(&["--role", "admin"]).await;
    delete(&server, &token, 3).await;
    let client = client(&server).await;
    for message in published(&server, 3).await {
        let mut event: Value = serde_json::from_slice(&message.payload).unwrap();
        let position = event["data"]["position"].as_u64().unwrap() + 1_000;
        let id = crate::harness::fresh_id();
        event["data"]["position"] = position.into();
        event["sequence"] = position.to_string().into();
        event["id"] = id.to_string().into();
        let mut headers = kept(&message, &[marks::HEADER]);
        headers.insert("Nats-Msg-Id", id.to_string());
        let body = serde_json::to_vec(&event).unwrap();
        let sent = client.publish_with_headers(message.subject, headers, body.into());
        sent.await.unwrap().await.unwrap();
        delete(&server, &token, 1).await;
    }
    published(&server, 9).await;
    assert_eq!(server.terminate().await, 0, "{}", server.log());
    server.restart().await;
    assert!(
        server.log().contains("it has no mark of this ledger"),
        "{}",
        server.log()
    );
    delete(&server, &token, 1).await;
    published(&server, 10).await;
}
