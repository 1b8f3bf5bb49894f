//! A NATS server that stands still, and a stream that somebody has replaced.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use archive_ledger::bus::nats::STREAM;
use async_nats::jetstream::{self, stream::Config};
use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use super::{HEALED_WITHIN, delete, healed, nothing_is_lost, readiness, row};
use crate::harness::eventually;
use crate::harness::server::{Backend, Server};

async fn metric(server: &Server, line: &str) -> bool {
    let answer = server.client().get(server.url("/metrics")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    text.lines().any(|found| found == line)
}

/// How many messages are on the stream once all that was acknowledged is; none of them twice.
async fn on_the_stream(server: &Server, acknowledged: &[Uuid]) {
    let client = async_nats::connect(server.nats().url()).await.unwrap();
    let context = jetstream::new(client);
    eventually("everything is on the stream once", HEALED_WITHIN, || async {
        let stream = context.get_stream(STREAM).await.ok()?;
        let state = &stream.cached_info().state;
        let mut subjects = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            // One that is not there is missed below.
            let message = stream.get_raw_message(sequence).await;
            subjects.extend(message.map(|message| message.subject.to_string()));
        }
        println!("{state:?}: {subjects:?}");
        let once = acknowledged.iter().all(|id| {
            let wanted = format!("archive.backups.soft_deleted.{id}");
            let found = subjects.iter().filter(|subject| **subject == wanted).count();
            assert!(found <= 1, "{id} is there {found} times");
            found == 1
        });
        once.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_that_stands_still_is_seen_within_five_seconds_and_got_over_without_loss_or_double() {
    let server = Server::start(Backend::Clustered).await;
    let token = server.token(&["--role", "admin"]).await;
    let mut acknowledged = vec![healed(&server, &token).await];
    for _ in 0..2 {
        assert!(metric(&server, "archive_ledger_nats_up 1").await);
        server.nats().pause();
        let since = Instant::now();
        // Something is on its way to it at that moment.
        for _ in 0..5 {
            let (id, answered) = delete(&server, &token).await;
            assert_eq!(answered, Some(StatusCode::CREATED));
            acknowledged.push(id);
        }
        eventually("the bus is told to be away", HEALED_WITHIN, || async {
            let (status, said) = readiness(&server).await?;
            (status == StatusCode::SERVICE_UNAVAILABLE && said["bus"] == "unavailable").then_some(())
        })
        .await;
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        assert!(metric(&server, "archive_ledger_nats_up 0").await);
        for _ in 0..5 {
            let (id, answered) = delete(&server, &token).await;
            assert_eq!(answered, Some(StatusCode::CREATED));
            acknowledged.push(id);
        }
        server.nats().resume();
        acknowledged.push(healed(&server, &token).await);
    }
    on_the_stream(&server, &acknowledged).await;
    nothing_is_lost(&server, &token, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_fit_is_told_and_waited_for() {
    let server = Server::start(Backend::Clustered).await;
    let token = server.token(&["--role", "admin"]).await;
    let mut acknowledged = vec![healed(&server, &token).await];
    let context = jetstream::new(async_nats::connect(server.nats().url()).await.unwrap());
    context.delete_stream(STREAM).await.unwrap();
    // Somebody's else, faster than the relay makes its own again.
    let other = || Config {
        name: STREAM.to_owned(),
        subjects: vec!["archive.>".to_owned(), "other.>".to_owned()],
        ..Config::default()
    };
    eventually("the stream is another", HEALED_WITHIN, || async {
        if context.create_stream(other()).await.is_ok() {
            return Some(());
        }
        let _ = context.delete_stream(STREAM).await;
        None
    })
    .await;
    let taken = Mutex::new(Vec::new());
    let told = eventually("/readyz tells", HEALED_WITHIN, || async {
        let (id, answered) = delete(&server, &token).await;
        assert_eq!(answered, Some(StatusCode::CREATED));
        taken.lock().unwrap().push(id);
        let (_, said): (_, Value) = readiness(&server).await?;
        let relay = row(&said, "the relay");
        (relay["state"] == "waiting" && relay["error"].to_string().contains("does not fit"))
            .then(|| said.clone())
    });
    let said = told.await;
    acknowledged.extend(taken.into_inner().unwrap());
    assert!(
        said["warnings"]
            .to_string()
            .contains("the relay does not get on since"),
        "{said}"
    );
    assert!(metric(&server, "archive_ledger_task_up{task=\"the relay\"} 0").await);
    assert_eq!(server.exit_code(), None, "{}", server.log());
    context.delete_stream(STREAM).await.unwrap();
    acknowledged.push(healed(&server, &token).await);
    assert!(metric(&server, "archive_ledger_task_up{task=\"the relay\"} 1").await);
    on_the_stream(&server, &acknowledged).await;
    nothing_is_lost(&server, &token, &acknowledged).await;
}
