//! The relay: the stream is the log, whatever happens to NATS, to the leader and to the stream.

mod cluster;
mod copies;
mod doubles;
mod leaders;
mod marks;
mod proxy;
mod replaced;
mod stream;

use crate::harness::nats::Nats;
use crate::harness::postgres::Postgres;
use crate::harness::server::Backend;
use crate::harness::{eventually, init, on_both_backends};
use crate::test_log::{Running, TestLog};
use archive_ledger::bus::cloud_event::{CloudEvent, Source};
use archive_ledger::bus::health::RelayState;
use archive_ledger::bus::marks::Marks;
use archive_ledger::bus::nats::{Access, NatsBus, STREAM, StreamSettings};
use archive_ledger::bus::{CommitSignal, LogAccess};
use archive_ledger::numbering::Numbering;
use archive_ledger::relay::{Relay, RelaySettings};
use cluster::Cluster;
use doubles::{EverybodyLeads, Stalling};
use futures::StreamExt;
use proxy::Proxy;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

/// Leases that run out while a test waits.
const QUICK: RelaySettings = RelaySettings {
    lease: Duration::from_millis(400),
    renew: Duration::from_millis(100),
    window: 256,
    poll: Duration::from_millis(100),
    patience: Duration::from_secs(2),
};

/// A stream that forgets at once what it has seen: order and uniqueness must not depend on its memory. (A server takes no
/// less.)
const FORGETFUL: Duration = Duration::from_millis(100);

async fn connect(url: &str) -> NatsBus {
    init();
    let settings = StreamSettings {
        duplicate_window: FORGETFUL,
        ..StreamSettings::default()
    };
    NatsBus::connect(&Access::to(vec![url.parse().unwrap()]), "test", settings)
        .await
        .unwrap()
}

/// Starts a relay with a connection of its own.
async fn relay(url: &str, log: LogAccess, signal: CommitSignal, shutdown: &CancellationToken) -> Running {
    relay_with(QUICK, url, log, signal, shutdown).await
}

async fn relay_with(
    settings: RelaySettings,
    url: &str,
    log: LogAccess,
    signal: CommitSignal,
    shutdown: &CancellationToken,
) -> Running {
    let relay = Relay::new(
        connect(url).await,
        log,
        signal,
        Source::new("test", Numbering::default()),
        Marks::new(&[1; 32]),
        settings,
        RelayState::default(),
    );
    tokio::spawn(relay.run(shutdown.clone()))
}

async fn stop(shutdown: CancellationToken, running: Running) {
    shutdown.cancel();
    tokio::time::timeout(SOON, running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

/// A random number below `limit`; a failure does not depend on repeating it.
fn random(limit: u64) -> u64 {
    RandomState::new().hash_one(0) % limit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_the_log_in_order_and_a_new_relay_goes_on_where_it_ends() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    log.purge_fresh(500).await;
    for _ in 0..3 {
        let shutdown = CancellationToken::new();
        let running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
        log.purge_fresh(200).await;
        stream::is_the_log(&nats.url(), &log.events().await).await;
        stop(shutdown, running).await;
        log.purge_fresh(20).await;
    }
    // Most of the pairs that stand in one commit went out together.
    assert!(stream::chained(&nats.url()).await > 500);
    assert_eq!(
        log.access().coordination.cursor("relay").await.unwrap(),
        log.head().await - 60
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_mid_batch_leaves_no_gap() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let proxy = Proxy::to(&nats.url()).await;
    let shutdown = CancellationToken::new();
    let running = relay(&proxy.url(), log.access(), log.signal(), &shutdown).await;
    for _ in 0..20 {
        let breaking = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_micros(random(20_000))).await;
                proxy.cut();
            }
        };
        tokio::join!(log.purge_fresh(200), breaking);
    }
    stream::is_the_log(&nats.url(), &log.events().await).await;
    stop(shutdown, running).await;
}

on_both_backends! {
    async fn nats_may_be_killed_and_stay_away_while_the_log_grows(backend: Backend) {
        let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
        let shutdown = CancellationToken::new();
        let running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
        for round in 0..5 {
            let growing = async {
                for _ in 0..10 {
                    log.purge_fresh(40).await;
                }
            };
            let failing = async {
                tokio::time::sleep(Duration::from_millis(random(300))).await;
                if round % 2 == 0 {
                    nats.kill9().await;
                } else {
                    nats.stop().await;
                }
                tokio::time::sleep(Duration::from_millis(random(1500))).await;
                nats.restart().await;
            };
            tokio::join!(growing, failing);
        }
        stream::is_the_log(&nats.url(), &log.events().await).await;
        stop(shutdown, running).await;
    }

    async fn a_deleted_stream_is_created_again_and_receives_the_whole_log(backend: Backend) {
        let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
        let shutdown = CancellationToken::new();
        let running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
        for somebody_writes in [true, false, true, false] {
            log.purge_fresh(300).await;
            stream::is_the_log(&nats.url(), &log.events().await).await;
            stream::client(&nats.url())
                .await
                .delete_stream(STREAM)
                .await
                .unwrap();
            if somebody_writes {
                log.purge_fresh(1).await;
            }
            stream::is_the_log(&nats.url(), &log.events().await).await;
        }
        stop(shutdown, running).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_crashes_under_the_relay_leaves_no_gap_and_no_duplicate() {
    let (server, nats) = (Postgres::start().await, Nats::start().await);
    let log = TestLog::on_server(&server).await;
    let shutdown = CancellationToken::new();
    // Of two, so that the lease is asked for across the crash as well.
    let first = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
    let second = relay(
        &nats.url(),
        log.own_access().await,
        CommitSignal::polling(),
        &shutdown,
    )
    .await;
    for _ in 0..6 {
        let growing = async {
            for _ in 0..10 {
                log.purge_fresh(40).await;
            }
        };
        let failing = async {
            tokio::time::sleep(Duration::from_millis(random(400))).await;
            server.crash().await;
            tokio::time::sleep(Duration::from_millis(random(1500))).await;
            server.restart().await;
        };
        tokio::join!(growing, failing);
    }
    stream::is_the_log(&nats.url(), &log.events().await).await;
    stop(shutdown.clone(), first).await;
    stop(shutdown, second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_aged_out_of_the_stream_is_not_published_again() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let shutdown = CancellationToken::new();
    let running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
    log.purge_fresh(100).await;
    stream::is_the_log(&nats.url(), &log.events().await).await;
    stop(shutdown, running).await;

    let stream = stream::client(&nats.url())
        .await
        .get_stream(STREAM)
        .await
        .unwrap();
    stream.purge().await.unwrap();
    let shutdown = CancellationToken::new();
    let running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
    log.purge_fresh(10).await;
    stream::holds(&nats.url(), 30).await;
    let positions = stream::messages(&nats.url()).await;
    let positions: Vec<u64> = positions
        .iter()
        .map(|message| stream::decode(message).data.position)
        .collect();
    assert_eq!(positions, (301..=330).collect::<Vec<u64>>());
    stop(shutdown, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_strangers_between_the_events_hold_nothing_up() {
    let (log, nats) = (TestLog::start().await, Nats::start().await);
    let client = stream::client(&nats.url()).await;
    // Here the server's memory of what it has seen matters: with a stranger's copy at its end, a new leader begins early.
    let _stream = NatsBus::connect(
        &Access::to(vec![nats.url().parse().unwrap()]),
        "test",
        StreamSettings::default(),
    )
    .await
    .unwrap();
    // The first message that the stream ever gets is not the ledger's.
    client
        .publish("archive.noise", "noise".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let shutdown = CancellationToken::new();
    let mut running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
    let mut strangers = 1;
    for round in 0..6 {
        let noise = async {
            for _ in 0..20 {
                client
                    .publish("archive.noise", "noise".into())
                    .await
                    .unwrap()
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(random(10))).await;
            }
        };
        tokio::join!(noise, log.purge_fresh(100));
        strangers += 20;
        if round > 0 {
            // A real event again, at the end of the stream, where the next leader looks for its place.
            let message = stream::messages(&nats.url()).await.swap_remove(5);
            client
                .publish("archive.replay", message.payload.clone())
                .await
                .unwrap()
                .await
                .unwrap();
            strangers += 1;
        }
        if round == 3 {
            running.abort();
            running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
        }
        stream::holds(&nats.url(), log.head().await + strangers).await;
    }
    let messages = stream::messages(&nats.url()).await;
    let positions: Vec<u64> = messages
        .iter()
        .filter(|message| message.subject.split('.').count() == 4)
        .map(|message| stream::decode(message).data.position)
        .collect();
    // Whatever stands between them, and even where an event came behind its successors: no entity's own are out of order.
    let mut last_of = HashMap::new();
    for message in messages
        .iter()
        .filter(|message| message.subject.split('.').count() == 4)
    {
        let event = stream::decode(message);
        let before = last_of.insert(event.subject, event.data.position);
        assert!(before < Some(event.data.position));
    }
    let mut sorted = positions.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=log.head().await).collect::<Vec<u64>>());
    stop(shutdown, running).await;
}

/// Kills servers of a cluster of three, one at a time, the stream's leader among them, while the log grows.
async fn kill_nodes(rounds: usize) {
    let (log, mut cluster) = (TestLog::start().await, Cluster::start().await);
    let urls = cluster.urls();
    let servers: Vec<_> = urls.iter().map(|url| url.parse().unwrap()).collect();
    let settings = StreamSettings {
        replicas: 3,
        ..StreamSettings::default()
    };
    let bus = eventually("the cluster takes the stream", SOON, || async {
        NatsBus::connect(&Access::to(servers.clone()), "test", settings.clone())
            .await
            .ok()
    })
    .await;
    let shutdown = CancellationToken::new();
    let relay = Relay::new(
        bus,
        log.access(),
        log.signal(),
        Source::new("test", Numbering::default()),
        Marks::new(&[1; 32]),
        QUICK,
        RelayState::default(),
    );
    let running = tokio::spawn(relay.run(shutdown.clone()));
    for round in 0..rounds {
        let growing = async {
            for _ in 0..20 {
                log.purge_fresh(30).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let killing = async {
            let leader = eventually("the stream has a leader", SOON * 3, || cluster.leader(STREAM)).await;
            let victim = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
            cluster.kill9(victim).await;
            tokio::time::sleep(Duration::from_millis(500 + random(1500))).await;
            cluster.run(victim);
        };
        tokio::join!(growing, killing);
        stream::holds(&urls, log.head().await).await;
    }
    stream::is_the_log(&urls, &log.events().await).await;
    stop(shutdown, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_its_leader_and_a_follower_keeps_the_order() {
    kill_nodes(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./test --soak runs it"]
async fn a_cluster_that_keeps_losing_servers_keeps_the_order() {
    kill_nodes(12).await;
}
