//! Another stream in the place of the one that the relay has published to, which takes what comes next: no refusal tells of it.

use super::{SOON, stop, stream};
use crate::harness::nats::Nats;
use crate::harness::{eventually, init};
use crate::test_log::{Running, TestLog};
use archive_ledger::bus::cloud_event::{CloudEvent, Source};
use archive_ledger::bus::health::RelayState;
use archive_ledger::bus::marks::Marks;
use archive_ledger::bus::nats::{Access, NatsBus, STREAM, StreamSettings};
use archive_ledger::numbering::Numbering;
use archive_ledger::relay::{Relay, RelaySettings};
use async_nats::jetstream::stream::Config;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

async fn run(nats: &Nats, log: &TestLog, state: &RelayState, shutdown: &CancellationToken) -> Running {
    init();
    let servers = Access::to(vec![nats.url().parse().unwrap()]);
    let relay = Relay::new(
        NatsBus::connect(&servers, "test", StreamSettings::default())
            .await
            .unwrap(),
        log.access(),
        log.signal(),
        Source::new("test", Numbering::default()),
        Marks::new(&[1; 32]),
        RelaySettings::default(),
        state.clone(),
    );
    tokio::spawn(relay.run(shutdown.clone()))
}

/// Puts a stream with these subjects in the place of the one that is there.
async fn replace(nats: &Nats, subjects: &[&str]) {
    let client = stream::client(&nats.url()).await;
    client.delete_stream(STREAM).await.unwrap();
    let config = Config {
        name: STREAM.to_owned(),
        subjects: subjects.iter().map(ToString::to_string).collect(),
        ..Config::default()
    };
    client.create_stream(config).await.unwrap();
}

async fn holds_the_log(nats: &Nats, log: &TestLog) {
    let head = log.head().await;
    eventually("the whole log is on the stream", SOON, || async {
        let messages = stream::messages(&nats.url()).await;
        let events = messages
            .iter()
            .filter_map(|message| CloudEvent::decode(&message.payload).ok());
        let positions: BTreeSet<u64> = events.map(|event| event.data.position).collect();
        (positions.len() as u64 == head).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_stream_that_takes_events_which_go_alone_gets_those_before_them_as_well() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let (state, shutdown) = (RelayState::default(), CancellationToken::new());
    let running = run(&nats, &log, &state, &shutdown).await;
    log.purge_fresh(2).await;
    holds_the_log(&nats, &log).await;
    // A stranger's message, behind which events go alone.
    let client = stream::client(&nats.url()).await;
    let sent = client.publish("archive.noise", "noise".into()).await.unwrap();
    sent.await.unwrap();
    log.purge_fresh(2).await;
    holds_the_log(&nats, &log).await;
    replace(&nats, &["archive.>"]).await;
    log.purge_fresh(2).await;
    holds_the_log(&nats, &log).await;
    stop(shutdown, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_fit_is_found_although_it_takes_the_first_events() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let (state, shutdown) = (RelayState::default(), CancellationToken::new());
    let running = run(&nats, &log, &state, &shutdown).await;
    // It has found its place, where nothing is yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    replace(&nats, &["archive.>", "other.>"]).await;
    eventually("the relay tells", SOON, || async {
        log.purge_fresh(1).await;
        let stalled = state.stalled()?;
        stalled.cause?.contains("does not fit").then_some(())
    })
    .await;
    stop(shutdown, running).await;
}
