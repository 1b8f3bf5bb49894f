//! The bus: one contract on the log and on JetStream, and what JetStream may never do.

use crate::harness::nats::Nats;
use crate::harness::server::Backend;
use crate::harness::{eventually, init, on_both_backends};
use crate::test_log::{Running, TestLog};
use archive_ledger::bus::Handler;
use archive_ledger::bus::cloud_event::{CloudEvent, Source};
use archive_ledger::bus::contract::{self, BusUnderTest, Recorder, archives, purge_all, stop};
use archive_ledger::bus::health::RelayState;
use archive_ledger::bus::local::{LogConsumer, Redrive};
use archive_ledger::bus::marks::Marks;
use archive_ledger::bus::nats::{Access, NatsBus, NatsConsumer, NatsError, STREAM, StreamSettings};
use archive_ledger::bus::subjects::Subjects;
use archive_ledger::numbering::Numbering;
use archive_ledger::relay::{Relay, RelaySettings};
use archive_ledger_domain::{Command, EntityKey, EventName};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);

struct Local(TestLog);

#[async_trait]
impl BusUnderTest for Local {
    async fn submit(&self, key: EntityKey, command: Command) {
        self.0.submit(key, command).await;
    }

    fn start(&self, handler: Arc<dyn Handler>, shutdown: CancellationToken) -> Running {
        self.0.follow(handler, shutdown)
    }
}

/// A log, its relay, and a NATS server between it and its consumers.
struct Clustered {
    log: TestLog,
    nats: Nats,
    bus: NatsBus,
    _relay: DropGuard,
}

impl Clustered {
    async fn on(backend: Backend) -> Self {
        let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
        let bus = connect(&nats).await;
        let relay = Relay::new(
            bus.clone(),
            log.access(),
            log.signal(),
            Source::new("test", Numbering::default()),
            Marks::new(&[1; 32]),
            RelaySettings::default(),
            RelayState::default(),
        );
        let stop = CancellationToken::new();
        tokio::spawn(relay.run(stop.clone()));
        Self {
            log,
            nats,
            bus,
            _relay: stop.drop_guard(),
        }
    }
}

#[async_trait]
impl BusUnderTest for Clustered {
    async fn submit(&self, key: EntityKey, command: Command) {
        self.log.submit(key, command).await;
    }

    fn start(&self, handler: Arc<dyn Handler>, shutdown: CancellationToken) -> Running {
        let consumer = NatsConsumer::new(self.bus.clone(), handler, self.log.store.reads());
        tokio::spawn(consumer.run(shutdown))
    }
}

async fn connect(nats: &Nats) -> NatsBus {
    init();
    let servers = Access::to(vec![nats.url().parse().unwrap()]);
    NatsBus::connect(&servers, "test", StreamSettings::default())
        .await
        .unwrap()
}

macro_rules! contracts {
    ($($name:ident,)*) => {
        /// As in a service alone: SQLite, and the log itself.
        mod local {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                contract::$name(&Local(TestLog::start().await)).await;
            })*
        }

        /// As in a cluster: PostgreSQL, the relay, and JetStream.
        mod nats {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                contract::$name(&Clustered::on(Backend::Clustered).await).await;
            })*
        }
    };
}

contracts! {
    a_consumer_gets_every_event_that_it_asks_for_in_order_and_no_other,
    a_stopped_consumer_goes_on_where_it_was,
    an_event_that_has_to_wait_comes_again,
    a_poison_event_is_parked_and_holds_nothing_up,
    consumers_do_not_depend_on_each_other,
}

on_both_backends! {
    async fn a_message_that_the_log_does_not_confirm_is_never_acted_upon(backend: Backend) {
        let bus = Clustered::on(backend).await;
        let keys = archives(2, "real");
        purge_all(&bus, &keys).await;
        let recorder = Recorder::new("forged", &[EventName::PurgeRequested, EventName::Purged]);
        let shutdown = CancellationToken::new();
        let running = bus.start(recorder.clone(), shutdown.clone());
        recorder.wait_for(4).await;

        let requested = bus.log.events().await.remove(1);
        assert_eq!(requested.event.name(), EventName::PurgeRequested);
        let real = CloudEvent::new(&requested, "/archive-ledger/test/1");
        let victim = EntityKey::new(keys[0].entity_type(), "victim").unwrap();
        let forged_subject = Subjects::default().of(&victim, EventName::PurgeRequested);

        // Another entity under a real event's id and position; a position beyond the log; an id that is not the log's; another
        // event's position; text that is no event at all.
        let mut other_entity = real.clone();
        other_entity.data.entity_id = "victim".to_owned();
        let mut beyond = other_entity.clone();
        (beyond.data.position, beyond.sequence) = (u64::MAX, u64::MAX.to_string());
        let mut other_id = real.clone();
        other_id.id = Uuid::from_u128(7);
        let mut other_position = real.clone();
        (other_position.data.position, other_position.sequence) = (1, "1".to_owned());
        let mut nowhere = real.clone();
        (nowhere.data.position, nowhere.sequence) = (0, "0".to_owned());
        let client = async_nats::jetstream::new(async_nats::connect(bus.nats.url()).await.unwrap());
        let mut forged = Vec::new();
        for message in [&other_entity, &beyond, &other_id, &other_position, &nowhere] {
            forged.push(message.encode().unwrap());
        }
        forged.extend([b"{}".to_vec(), b"\xff\xfe".to_vec(), Vec::new()]);
        for body in forged {
            let ack = client.publish(forged_subject.clone(), body.into()).await.unwrap();
            ack.await.unwrap();
        }

        // What comes after them is handled, so they were dealt with.
        purge_all(&bus, &archives(1, "later")).await;
        recorder.wait_for(6).await;
        let stream = client.get_stream(STREAM).await.unwrap();
        eventually("every message is settled", SOON, || async {
            let info = stream.consumer_info("forged-purge_requested").await.unwrap();
            (info.num_ack_pending == 0 && info.num_pending == 0).then_some(())
        })
        .await;
        stop(shutdown, running).await;
        let seen = recorder.seen();
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert!(seen.iter().all(|event| event.key.id() != "victim"));
    }

    async fn a_deleted_stream_or_consumer_comes_back_and_loses_nothing(backend: Backend) {
        let bus = Clustered::on(backend).await;
        let recorder = Recorder::new("resilient", &[EventName::Purged]);
        let shutdown = CancellationToken::new();
        let running = bus.start(recorder.clone(), shutdown.clone());
        purge_all(&bus, &archives(5, "one")).await;
        recorder.wait_for(5).await;

        let client = async_nats::jetstream::new(async_nats::connect(bus.nats.url()).await.unwrap());
        let stream = client.get_stream(STREAM).await.unwrap();
        stream.delete_consumer("resilient-purged").await.unwrap();
        purge_all(&bus, &archives(5, "two")).await;
        recorder.wait_for(10).await;

        client.delete_stream(STREAM).await.unwrap();
        purge_all(&bus, &archives(5, "three")).await;
        recorder.wait_for(15).await;

        bus.nats.kill9().await;
        purge_all(&bus, &archives(5, "four")).await;
        bus.nats.restart().await;
        recorder.wait_for(20).await;
        stop(shutdown, running).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_stream_never_delivered_is_driven_from_the_log_once_it_is_old_enough() {
    let log = TestLog::start().await;
    let recorder = Recorder::new("redriven", &[EventName::PurgeRequested]);
    log.purge_fresh(300).await;
    let redrive = Redrive {
        every: Duration::from_millis(50),
        delay: Duration::from_secs(2),
    };
    let shutdown = CancellationToken::new();
    let started = std::time::Instant::now();
    let consumer = LogConsumer::redriver(recorder.clone(), log.access(), redrive);
    let running = tokio::spawn(consumer.run(shutdown.clone()));
    recorder.wait_for(300).await;
    assert!(started.elapsed() > Duration::from_secs(1));
    let deadline = log.head().await;
    eventually("the cursor is at the end", SOON, || async {
        (log.access()
            .coordination
            .cursor("redrive:redriven")
            .await
            .unwrap()
            == deadline)
            .then_some(())
    })
    .await;
    stop(shutdown, running).await;

    let again = Recorder::new("redriven", &[EventName::PurgeRequested]);
    let shutdown = CancellationToken::new();
    let consumer = LogConsumer::redriver(again.clone(), log.access(), redrive);
    let running = tokio::spawn(consumer.run(shutdown.clone()));
    log.purge_fresh(1).await;
    again.wait_for(1).await;
    stop(shutdown, running).await;
    assert_eq!(again.seen().len(), 1);
}

#[tokio::test]
async fn a_stream_that_cannot_hold_the_log_is_an_error_at_start() {
    let nats = Nats::start().await;
    let client = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let config = async_nats::jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["archive.backups.>".to_owned()],
        ..Default::default()
    };
    client.create_stream(config).await.unwrap();
    let servers = Access::to(vec![nats.url().parse().unwrap()]);
    let error = NatsBus::connect(&servers, "test", StreamSettings::default())
        .await
        .unwrap_err();
    assert!(matches!(error, NatsError::StreamMismatch { .. }), "{error}");
    assert!(error.brief().contains("does not fit"), "{}", error.brief());
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_without_its_password() {
    init();
    let servers = Access::to(vec![
        "nats://user:hunter2@127.0.0.1:1".parse().unwrap(),
        "nats://user:hunter2@127.0.0.1:2".parse().unwrap(),
    ]);
    let error = NatsBus::connect(&servers, "test", StreamSettings::default())
        .await
        .unwrap_err();
    let line = archive_ledger::telemetry::chain(&error);
    assert!(line.contains("nats://***@127.0.0.1:1"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}
