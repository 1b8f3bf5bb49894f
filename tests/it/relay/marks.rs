//! What the stream has of this ledger and the log has not: proof where it bears the ledger's mark, and anybody's word where it does not.

use super::{SOON, stop, stream};
use crate::harness::nats::Nats;
use crate::harness::{eventually, init, on_both_backends};
use crate::test_log::{Running, TestLog};
use archive_ledger::bus::BusError;
use archive_ledger::bus::cloud_event::{CloudEvent, Source};
use archive_ledger::bus::health::RelayState;
use archive_ledger::bus::marks::{self, Marks};
use archive_ledger::bus::nats::{Access, NatsBus, StreamSettings};
use archive_ledger::bus::subjects::Subjects;
use archive_ledger::numbering::Numbering;
use archive_ledger::relay::{Relay, compare};
use archive_ledger::store::{StoreError, StoredEvent};
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SEED: [u8; 32] = [1; 32];

async fn connect(nats: &Nats) -> NatsBus {
    init();
    let servers = Access::to(vec![nats.url().parse().unwrap()]);
    NatsBus::connect(&servers, "test", StreamSettings::default())
        .await
        .unwrap()
}

async fn run(nats: &Nats, log: &TestLog, numbering: &Numbering, shutdown: &CancellationToken) -> Running {
    let relay = Relay::new(
        connect(nats).await,
        log.access(),
        log.signal(),
        Source::new("test", numbering.clone()),
        Marks::new(&SEED),
        super::QUICK,
        RelayState::default(),
    );
    tokio::spawn(relay.run(shutdown.clone()))
}

/// Publishes the whole log.
async fn publish(nats: &Nats, log: &TestLog) {
    let shutdown = CancellationToken::new();
    let running = run(nats, log, &Numbering::default(), &shutdown).await;
    stream::is_the_log(&nats.url(), &log.events().await).await;
    stop(shutdown, running).await;
}

/// What a comparison says before the start.
async fn compared(nats: &Nats, log: &TestLog, numbering: &Numbering) -> Result<(), BusError> {
    let source = Source::new("test", numbering.clone());
    compare(&connect(nats).await, &log.access(), &source, &Marks::new(&SEED)).await
}

fn proven(ended: Result<(), BusError>) -> String {
    match ended {
        Err(BusError::Store(StoreError::Diverged(reason))) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

/// An event of this log as somebody sends it who says that it is the ledger's: even the header that a relay names the sequence in fits.
async fn forge(client: &Context, event: &StoredEvent, source: &str, mark: Option<String>) {
    let stream = client
        .get_stream(archive_ledger::bus::nats::STREAM)
        .await
        .unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", event.event_id.to_string());
    headers.insert("Nats-Expected-Last-Sequence", last.to_string());
    if let Some(mark) = mark {
        headers.insert(marks::HEADER, mark);
    }
    let body = CloudEvent::new(event, source).encode().unwrap();
    let sent = client.publish_with_headers(
        Subjects::default().of(&event.key, event.event.name()),
        headers,
        body.into(),
    );
    sent.await.unwrap().await.unwrap();
}

/// Marks that are not of this event, if any.
const FALSE_MARKS: [fn(u64, Uuid) -> Option<String>; 6] = [
    |_, _| None,
    |_, _| Some("00".to_owned()),
    |position, id| Some(Marks::new(&[2; 32]).of(1, position, id)),
    |position, _| Some(Marks::new(&SEED).of(1, position, Uuid::from_u128(1))),
    |position, id| Some(Marks::new(&SEED).of(1, position + 1, id)),
    |position, id| Some(Marks::new(&SEED).of(2, position, id)),
];

on_both_backends! {
    async fn a_log_that_lacks_what_was_published_is_proven_to_be_another_at_the_start_and_while_it_is_published(backend: Backend) {
        // The log is shorter than what was published, and longer.
        for (count, said) in [(2, "older copy"), (9, "another log")] {
            let (published, nats) = (TestLog::on(backend).await, Nats::start().await);
            published.purge_fresh(5).await;
            publish(&nats, &published).await;
            compared(&nats, &published, &Numbering::default()).await.unwrap();
            let before = stream::messages(&nats.url()).await.len();
            let other = TestLog::on(backend).await;
            other.purge_fresh(count).await;
            let told = proven(compared(&nats, &other, &Numbering::default()).await);
            assert!(told.contains(said) && told.contains("ledger fork --reason"), "{told}");
            let other = TestLog::on(backend).await;
            other.purge_fresh(count).await;
            let running = run(&nats, &other, &Numbering::default(), &CancellationToken::new()).await;
            let told = proven(tokio::time::timeout(SOON, running).await.unwrap().unwrap());
            assert!(told.contains(said), "{told}");
            assert!(other.access().witness.divergence().is_some(), "nothing is acknowledged any more");
            assert_eq!(stream::messages(&nats.url()).await.len(), before, "nothing was published");
        }
    }

    async fn what_comes_to_the_stream_while_there_is_nothing_to_publish_is_seen_as_well(backend: Backend) {
        let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
        log.purge_fresh(2).await;
        let shutdown = CancellationToken::new();
        let running = run(&nats, &log, &Numbering::default(), &shutdown).await;
        stream::is_the_log(&nats.url(), &log.events().await).await;
        let (other, client) = (TestLog::on(backend).await, stream::client(&nats.url()).await);
        other.purge_fresh(3).await;
        let event = other.events().await.pop().unwrap();
        let mark = Marks::new(&SEED).of(1, event.position, event.event_id);
        forge(&client, &event, "/archive-ledger/test/1", Some(mark)).await;
        let told = proven(tokio::time::timeout(SOON, running).await.unwrap().unwrap());
        assert!(told.contains("older copy"), "{told}");
    }

    async fn what_a_stranger_says_under_the_ledgers_name_ends_nothing(backend: Backend) {
        let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
        log.purge_fresh(4).await;
        publish(&nats, &log).await;
        let (other, client) = (TestLog::on(backend).await, stream::client(&nats.url()).await);
        other.purge_fresh(20).await;
        let events = other.events().await;
        // The log is longer, and shorter.
        for event in [&events[2], &events[50]] {
            for make in FALSE_MARKS {
                let event = StoredEvent { event_id: crate::harness::fresh_id(), ..event.clone() };
                forge(&client, &event, "/archive-ledger/test/1", make(event.position, event.event_id)).await;
            }
        }
        compared(&nats, &log, &Numbering::default()).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = run(&nats, &log, &Numbering::default(), &shutdown).await;
        log.purge_fresh(3).await;
        let head = log.head().await;
        eventually("the relay goes on", SOON, || async {
            let messages = stream::messages(&nats.url()).await;
            let own = log.events().await;
            let found = messages.iter().filter(|message| {
                let event = stream::decode(message);
                own.iter().any(|logged| logged.event_id == event.id)
            });
            (found.count() as u64 == head).then_some(())
        })
        .await;
        assert!(log.access().witness.divergence().is_none());
        stop(shutdown, running).await;
    }

    async fn what_a_fork_has_given_up_is_no_loss_and_what_a_later_one_has_recorded_is(backend: Backend) {
        let (published, nats) = (TestLog::on(backend).await, Nats::start().await);
        published.purge_fresh(5).await;
        publish(&nats, &published).await;
        let other = TestLog::on(backend).await;
        other.purge_fresh(2).await;
        // It went on from nothing, and has recorded six events since.
        let forked = Numbering::new([(2, 0)]);
        compared(&nats, &other, &forked).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = run(&nats, &other, &forked, &shutdown).await;
        stream::holds(&nats.url(), 21).await;
        stop(shutdown, running).await;
        // A copy that has never heard of that fork.
        let told = proven(compared(&nats, &published, &Numbering::default()).await);
        assert!(told.contains("another log"), "{told}");
    }
}
