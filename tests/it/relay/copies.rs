//! Events that are on the stream without a relay's doing, and messages that are in its way.

use super::{SOON, stop, stream};
use crate::harness::nats::Nats;
use crate::harness::receiver::Receiver;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, init, on_both_backends};
use crate::test_log::{Running, TestLog};
use archive_ledger::bus::cloud_event::{CloudEvent, Source};
use archive_ledger::bus::health::RelayState;
use archive_ledger::bus::marks::Marks;
use archive_ledger::bus::nats::{Access, NatsBus, STREAM, StreamSettings};
use archive_ledger::bus::subjects::Subjects;
use archive_ledger::numbering::Numbering;
use archive_ledger::relay::{Relay, RelaySettings};
use archive_ledger::store::StoredEvent;
use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::DiscardPolicy;
use futures::TryStreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What the ledger's key is made of.
const SEED: [u8; 32] = [1; 32];

const SOURCE: &str = "/archive-ledger/test/1";

/// Leases that run out while a test waits, and patience that does too.
const SETTINGS: RelaySettings = RelaySettings {
    patience: Duration::from_secs(2),
    ..super::QUICK
};

/// A stream that remembers for so long what it has seen, and the client to tamper with it.
async fn make_stream(nats: &Nats, duplicate_window: Duration) -> (NatsBus, Context) {
    init();
    let settings = StreamSettings {
        duplicate_window,
        ..StreamSettings::default()
    };
    let servers = Access::to(vec![nats.url().parse().unwrap()]);
    let bus = NatsBus::connect(&servers, "test", settings).await.unwrap();
    (bus, stream::client(&nats.url()).await)
}

async fn run(bus: &NatsBus, log: &TestLog, state: &RelayState, shutdown: &CancellationToken) -> Running {
    let source = Source::new("test", Numbering::default());
    let relay = Relay::new(
        bus.clone(),
        log.access(),
        log.signal(),
        source,
        Marks::new(&SEED),
        SETTINGS,
        state.clone(),
    );
    tokio::spawn(relay.run(shutdown.clone()))
}

/// A message as somebody who is no relay sends it: under the event's id, or another one.
struct Copy {
    subject: String,
    id: String,
    body: Vec<u8>,
    extra: bool,
}

impl Copy {
    fn of(event: &StoredEvent) -> Self {
        Self {
            subject: Subjects::default().of(&event.key, event.event.name()),
            id: event.event_id.to_string(),
            body: CloudEvent::new(event, SOURCE).encode().unwrap(),
            extra: false,
        }
    }

    async fn send(self, client: &Context) {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", self.id);
        if self.extra {
            headers.insert("X-Restored-By", "the operator");
        }
        let sent = client
            .publish_with_headers(self.subject, headers, self.body.into())
            .await;
        sent.unwrap().await.unwrap();
    }
}

/// How often each position of the log is on the stream, once every one is.
async fn until_complete(nats: &Nats, log: &TestLog) -> BTreeMap<u64, usize> {
    let head = log.head().await;
    eventually("the whole log is on the stream", SOON, || async {
        let mut times = BTreeMap::new();
        for message in stream::messages(&nats.url()).await {
            if let Ok(event) = CloudEvent::decode(&message.payload) {
                *times.entry(event.data.position).or_default() += 1;
            }
        }
        (1..=head)
            .all(|position| times.contains_key(&position))
            .then_some(times)
    })
    .await
}

/// What somebody puts on a stream that the relay has never seen, of the events of the log.
type Copying = fn(Vec<StoredEvent>) -> Vec<Copy>;

const COPYINGS: [(&str, Copying); 6] = [
    ("all of them", |events| events.iter().map(Copy::of).collect()),
    ("backwards", |events| events.iter().rev().map(Copy::of).collect()),
    ("every third one", |events| {
        events.iter().step_by(3).map(Copy::of).collect()
    }),
    ("the second half", |events| {
        events.iter().skip(events.len() / 2).map(Copy::of).collect()
    }),
    ("with a header of their own", |events| {
        let copies = events.iter().map(Copy::of);
        copies.map(|copy| Copy { extra: true, ..copy }).collect()
    }),
    ("written by another program", |events| {
        let again = |event: &StoredEvent| {
            let copy = Copy::of(event);
            let value: Value = serde_json::from_slice(&copy.body).unwrap();
            Copy {
                body: serde_json::to_vec_pretty(&value).unwrap(),
                ..copy
            }
        };
        events.iter().map(again).collect()
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_operator_copies_to_a_new_stream_counts_as_published_and_holds_nothing_up() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    log.purge_fresh(40).await;
    for (what, copying) in COPYINGS {
        let (bus, client) = make_stream(&nats, Duration::from_hours(1)).await;
        for copy in copying(log.events().await) {
            copy.send(&client).await;
        }
        let (state, shutdown) = (RelayState::default(), CancellationToken::new());
        let running = run(&bus, &log, &state, &shutdown).await;
        log.purge_fresh(10).await;
        let times = until_complete(&nats, &log).await;
        assert!(times.values().all(|times| *times == 1), "{what}: {times:?}");
        assert_eq!(state.stalled(), None, "{what}");
        stop(shutdown, running).await;
        client.delete_stream(STREAM).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_there_before_the_relay_published_it_counts_whether_the_relay_knows_the_stream_or_not()
 {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let (bus, client) = make_stream(&nats, Duration::from_hours(1)).await;
    for restarted in [false, true, false, true] {
        let (state, shutdown) = (RelayState::default(), CancellationToken::new());
        let mut running = run(&bus, &log, &state, &shutdown).await;
        log.purge_fresh(20).await;
        until_complete(&nats, &log).await;
        // Held up, as a relay is whose server is slow; meanwhile somebody who follows the log by another way sends on.
        let known = log.head().await;
        if restarted {
            running.abort();
        } else {
            stop(shutdown.clone(), running).await;
        }
        log.purge_fresh(20).await;
        for event in log
            .events()
            .await
            .iter()
            .skip(usize::try_from(known).unwrap())
            .step_by(2)
        {
            Copy::of(event).send(&client).await;
        }
        let shutdown = CancellationToken::new();
        running = run(&bus, &log, &state, &shutdown).await;
        let times = until_complete(&nats, &log).await;
        assert!(times.values().all(|times| *times == 1), "{times:?}");
        assert_eq!(state.stalled(), None);
        stop(shutdown, running).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_sends_every_event_again_holds_nothing_up() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let (bus, client) = make_stream(&nats, Duration::from_hours(1)).await;
    let (state, shutdown) = (RelayState::default(), CancellationToken::new());
    let running = run(&bus, &log, &state, &shutdown).await;
    let mut heard = client.client().subscribe("archive.>").await.unwrap();
    let echo = tokio::spawn({
        let client = client.clone();
        async move {
            while let Some(message) = futures::StreamExt::next(&mut heard).await {
                // Its own are heard too: under other ids they would never end.
                let Some(headers) = &message.headers else { continue };
                if headers.get("Echo").is_some() {
                    continue;
                }
                let id = headers.get("Nats-Msg-Id").unwrap().to_string();
                for id in [id.clone(), format!("again-{id}")] {
                    let mut headers = HeaderMap::new();
                    headers.insert("Nats-Msg-Id", id);
                    headers.insert("Echo", "1");
                    let again = client.publish_with_headers(
                        message.subject.clone(),
                        headers,
                        message.payload.clone(),
                    );
                    drop(again.await);
                }
            }
        }
    });
    for _ in 0..10 {
        log.purge_fresh(20).await;
    }
    until_complete(&nats, &log).await;
    assert_eq!(state.stalled(), None);
    stop(shutdown, running).await;
    echo.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_who_never_stop_do_not_stop_the_relay() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let (bus, client) = make_stream(&nats, Duration::from_millis(100)).await;
    let (state, shutdown) = (RelayState::default(), CancellationToken::new());
    let watcher = client.clone();
    let noise = tokio::spawn(async move {
        loop {
            let sent = client.publish("archive.noise", "noise".into()).await.unwrap();
            sent.await.unwrap();
        }
    });
    let running = run(&bus, &log, &state, &shutdown).await;
    for _ in 0..5 {
        log.purge_fresh(20).await;
        let head = log.head().await;
        let began = Instant::now();
        eventually("the relay is at the end of the log", 3 * SOON, || async {
            let stream = watcher.get_stream(STREAM).await.unwrap();
            let own = stream.info_with_subjects("archive.backups.>").await.unwrap();
            let subjects: Vec<(String, usize)> = own.try_collect().await.unwrap();
            (subjects.len() as u64 == head).then_some(())
        })
        .await;
        println!("{head} after {:?}", began.elapsed());
    }
    noise.abort();
    stop(shutdown, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_message_under_an_events_id_is_not_taken_for_it_and_is_told_until_the_server_has_forgotten_it()
 {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let (bus, client) = make_stream(&nats, Duration::from_secs(8)).await;
    let (state, shutdown) = (RelayState::default(), CancellationToken::new());
    log.purge_fresh(3).await;
    let events = log.events().await;
    // Other facts; another subject.
    let mut other = CloudEvent::new(&events[4], SOURCE);
    other.data.objects = Some(7);
    let changed = Copy {
        body: other.encode().unwrap(),
        ..Copy::of(&events[4])
    };
    changed.send(&client).await;
    let moved = Copy {
        subject: "archive.elsewhere".to_owned(),
        ..Copy::of(&events[6])
    };
    moved.send(&client).await;
    let running = run(&bus, &log, &state, &shutdown).await;
    let stall = eventually("the relay stalls", SOON, || async { state.stalled() }).await;
    assert_eq!(stall.waiting, 5, "the first four are published");
    assert!(stall.cause.unwrap().contains("the id of event 5"));
    // The server forgets, and what comes then is the event.
    eventually("the relay goes on", SOON, || async {
        state.stalled().is_none().then_some(())
    })
    .await;
    let times = eventually("both are published", SOON, || async {
        let times = until_complete(&nats, &log).await;
        (times[&5] == 2 && times[&7] == 2).then_some(times)
    })
    .await;
    assert!(
        times
            .iter()
            .all(|(position, times)| *times == 1 || [5, 7].contains(position)),
        "{times:?}"
    );
    let same = stream::messages(&nats.url()).await;
    let same = same
        .iter()
        .filter(|message| message.payload.as_ref() == Copy::of(&events[4]).body)
        .count();
    assert_eq!(same, 1);
    stop(shutdown, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_from_the_stream_right_after_a_crash_of_the_relay_holds_nothing_up() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let (bus, client) = make_stream(&nats, Duration::from_hours(1)).await;
    for _ in 0..3 {
        let (state, shutdown) = (RelayState::default(), CancellationToken::new());
        let running = run(&bus, &log, &state, &shutdown).await;
        log.purge_fresh(20).await;
        eventually("all is published", SOON, || async {
            let info = client.get_stream(STREAM).await.unwrap();
            let head = log.head().await;
            (info.cached_info().state.last_sequence >= head).then_some(())
        })
        .await;
        // Before it has written down how far it is.
        running.abort();
        client.get_stream(STREAM).await.unwrap().purge().await.unwrap();
        let running = run(&bus, &log, &state, &shutdown).await;
        let known = log.head().await;
        log.purge_fresh(5).await;
        let head = log.head().await;
        eventually("what is new is on the stream", SOON, || async {
            let last = stream::messages(&nats.url()).await.pop()?;
            (stream::decode(&last).data.position == head).then_some(())
        })
        .await;
        for message in stream::messages(&nats.url()).await {
            assert!(stream::decode(&message).data.position > known);
        }
        stop(shutdown, running).await;
    }
}

on_both_backends! {
    /// An upgrade: what is on the stream has no number in its source, and what comes has one.
    async fn what_was_published_before_sources_had_numbers_is_not_published_again(backend: Backend) {
        let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
        let (bus, client) = make_stream(&nats, Duration::from_hours(1)).await;
        log.purge_fresh(10).await;
        for (event, sequence) in log.events().await.iter().zip(0..) {
            let body = CloudEvent::new(event, "/archive-ledger/test").encode().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", event.event_id.to_string());
            // The first half as a relay published it, the other as a copy.
            if sequence < 15 {
                headers.insert("Nats-Expected-Last-Sequence", sequence.to_string());
            }
            let sent = client.publish_with_headers(Subjects::default().of(&event.key, event.event.name()), headers, body.into()).await;
            sent.unwrap().await.unwrap();
        }
        let (state, shutdown) = (RelayState::default(), CancellationToken::new());
        let running = run(&bus, &log, &state, &shutdown).await;
        log.purge_fresh(10).await;
        let times = until_complete(&nats, &log).await;
        assert!(times.values().all(|times| *times == 1), "{times:?}");
        stop(shutdown, running).await;
    }
}

async fn metric(server: &Server, name: &str) -> f64 {
    let text = server
        .get("/metrics", "none")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

async fn readiness(server: &Server) -> (u16, Value) {
    let answer = server.client().get(server.url("/readyz")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_takes_nothing_more_is_told_everywhere_and_callbacks_are_sent_all_the_same() {
    let receiver = Receiver::start().await;
    let server = Server::builder(Backend::Clustered)
        .callbacks_to_loopback()
        .start()
        .await;
    let token = server
        .token(&[
            "--role",
            "admin",
            "--privilege",
            "space_manage_datasets",
            "--privilege",
            "space_remove_archives",
        ])
        .await;
    let client = stream::client(&server.nats().url()).await;
    let stream = client.get_stream(STREAM).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    (config.max_messages, config.discard) = (1, DiscardPolicy::New);
    client.update_stream(&config).await.unwrap();
    for id in ["one", "two"] {
        let archive = json!({"archiveId": id, "datasetId": "d", "spaceId": "s", "description": "d"});
        let answer = server
            .post("/api/v3/oneprovider/archives", &token, &archive)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201);
        let body = json!({"deletedCallback": receiver.url("/done")});
        let path = format!("/api/v3/oneprovider/archives/{id}/delete");
        let answer = server.post(&path, &token, &body).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
    receiver.wait_for(2, Duration::from_secs(60)).await;
    let (status, body) = eventually("the service is not ready", SOON, || async {
        Some(readiness(&server).await).filter(|(status, _)| *status != 200)
    })
    .await;
    assert_eq!(
        (status, &body["bus"], &body["store"]),
        (503, &json!("stalled"), &json!("ok"))
    );
    eventually("the gauge shows it", SOON, || async {
        (metric(&server, "archive_ledger_relay_stalled_seconds").await >= 10.0).then_some(())
    })
    .await;
    assert!(metric(&server, "archive_ledger_relay_lag_positions").await >= 5.0);
    // The sweeps over the log have come to its end without the bus.
    for consumer in ["callbacks", "storage-cleanup"] {
        let shown =
            format!("archive_ledger_consumer_lag_positions{{consumer=\"{consumer}\",via=\"redrive\"}} 0");
        eventually("the sweep is at the log's end", SOON, || async {
            let metrics = server
                .get("/metrics", "none")
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            metrics.lines().any(|line| line == shown).then_some(())
        })
        .await;
    }
    let told = server.log();
    let told: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("the relay publishes nothing"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    (config.max_messages, config.discard) = (-1, DiscardPolicy::Old);
    client.update_stream(&config).await.unwrap();
    eventually("the service is ready again", SOON, || async {
        (readiness(&server).await.0 == 200).then_some(())
    })
    .await;
    assert!(server.log().contains("the relay publishes again"));
    eventually("the gauge falls", SOON, || async {
        (metric(&server, "archive_ledger_relay_stalled_seconds").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 2, "nobody is called twice");
}
