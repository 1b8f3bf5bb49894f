//! Leaders that are killed, paused, or one of two: the stream takes from one of them alone.

use super::*;

/// Ends the leader without any warning at a random moment, `times` times.
async fn kill_leaders(backend: Backend, times: u32) {
    let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
    for _ in 0..times {
        let shutdown = CancellationToken::new();
        let running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
        let killing = async {
            let head = log.head().await;
            // Some die while they wait for the lease of the one before, most while they publish.
            let _ = tokio::time::timeout(
                Duration::from_millis(random(800)),
                stream::holds(&nats.url(), head + 1),
            )
            .await;
            tokio::time::sleep(Duration::from_micros(random(20_000))).await;
            running.abort();
        };
        tokio::join!(log.purge_fresh(100), killing);
    }
    let shutdown = CancellationToken::new();
    let running = relay(&nats.url(), log.access(), log.signal(), &shutdown).await;
    stream::is_the_log(&nats.url(), &log.events().await).await;
    stop(shutdown, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ./test --soak runs it"]
async fn two_hundred_leaders_that_are_killed_mid_batch_leave_no_gap_and_no_duplicate() {
    kill_leaders(Backend::Embedded, 200).await;
}

/// What keeps a woken leader from publishing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fence {
    /// Its lease has run out.
    Lease,
    /// The stream has gone on; by the lease it may publish.
    Stream,
    /// The stream that it knew is gone, and another one holds the same; by the lease it may publish.
    NewStream,
}

/// Stops a leader's whole process, as far as it can tell, while another one publishes, and looks at what it sends when it
/// wakes.
async fn pause_leader(backend: Backend, fence: Fence) {
    let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
    let (stall, stalled_after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // Its connections stop with it.
    let (mut paused, mut access, mut settings) = (log.own_access().await, log.access(), QUICK);
    match fence {
        Fence::Lease => {}
        Fence::Stream | Fence::NewStream => {
            settings.lease = SOON * 100;
            paused.coordination = Arc::new(EverybodyLeads(paused.coordination));
            access.coordination = Arc::new(EverybodyLeads(access.coordination));
        }
    }
    paused.reads = Arc::new(Stalling {
        store: paused.reads,
        stall: stall.clone(),
        stalled_after: stalled_after.clone(),
    });
    let (url, shutdown) = (nats.url(), CancellationToken::new());
    // A runtime of its own on one thread, so that the pause stops its lease, its client and its timers alike.
    let paused = std::thread::spawn({
        let shutdown = shutdown.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let running = relay_with(settings, &url, paused, CommitSignal::polling(), &shutdown).await;
                running.await.unwrap().unwrap();
            });
        }
    });
    log.purge_fresh(10).await;
    stream::holds(&nats.url(), log.head().await).await;
    stall.store(true, Ordering::SeqCst);
    log.purge_fresh(100).await;
    let known = eventually("the leader is paused", SOON, || async {
        Some(stalled_after.load(Ordering::SeqCst)).filter(|after| *after > 0)
    })
    .await;

    let other = relay(&nats.url(), access, log.signal(), &shutdown).await;
    log.purge_fresh(100).await;
    stream::is_the_log(&nats.url(), &log.events().await).await;
    let client = stream::client(&nats.url()).await;
    if fence == Fence::NewStream {
        client.delete_stream(STREAM).await.unwrap();
        log.purge_fresh(1).await;
        stream::is_the_log(&nats.url(), &log.events().await).await;
    }
    // The other one has nothing to send: what is sent now, the woken one sends.
    let mut sent = client.client().subscribe("archive.>").await.unwrap();
    client.client().flush().await.unwrap();
    stall.store(false, Ordering::SeqCst);
    match fence {
        Fence::Lease => {
            let more = tokio::time::timeout(QUICK.lease * 3, sent.next()).await;
            assert!(more.is_err(), "{more:?}");
        }
        Fence::Stream | Fence::NewStream => {
            // It goes on with the page that it read before, behind the sequence that was the last one then.
            let stale = async {
                while let Some(message) = sent.next().await {
                    let event = CloudEvent::decode(&message.payload).unwrap();
                    let headers = message.headers.unwrap();
                    let follows = headers.get("Nats-Expected-Last-Sequence").unwrap().as_str();
                    if event.data.position == known + 1 && follows == known.to_string() {
                        return true;
                    }
                }
                false
            };
            assert!(tokio::time::timeout(SOON, stale).await.unwrap());
        }
    }
    stream::is_the_log(&nats.url(), &log.events().await).await;
    // And both go on.
    log.purge_fresh(100).await;
    stream::is_the_log(&nats.url(), &log.events().await).await;
    stop(shutdown, other).await;
    tokio::task::spawn_blocking(move || paused.join().unwrap())
        .await
        .unwrap();
}

on_both_backends! {
    async fn two_relays_that_both_believe_to_lead_are_kept_in_order_by_the_stream(backend: Backend) {
        let (log, nats) = (TestLog::on(backend).await, Nats::start().await);
        let shutdown = CancellationToken::new();
        let mut running = Vec::new();
        for _ in 0..3 {
            let access = LogAccess {
                coordination: Arc::new(EverybodyLeads(log.store.coordination())),
                ..log.access()
            };
            running.push(relay(&nats.url(), access, log.signal(), &shutdown).await);
        }
        for _ in 0..20 {
            log.purge_fresh(50).await;
        }
        stream::is_the_log(&nats.url(), &log.events().await).await;
        for running in running {
            stop(shutdown.clone(), running).await;
        }
    }

    async fn a_leader_that_is_killed_mid_batch_leaves_no_gap_and_no_duplicate(backend: Backend) {
        kill_leaders(backend, 25).await;
    }

    async fn a_leader_that_is_paused_past_its_lease_stops_by_itself_when_it_wakes(backend: Backend) {
        pause_leader(backend, Fence::Lease).await;
    }

    async fn a_leader_that_is_paused_and_believes_to_lead_is_refused_by_the_stream(backend: Backend) {
        pause_leader(backend, Fence::Stream).await;
    }

    async fn a_leader_that_sleeps_through_the_making_of_a_new_stream_is_refused_by_that_one(backend: Backend) {
        pause_leader(backend, Fence::NewStream).await;
    }
}
