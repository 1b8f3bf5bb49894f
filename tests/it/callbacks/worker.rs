//! What receivers see of the worker.

use super::on_both_stores;
use super::rig::{Rig, SECRET, SOON};
use crate::harness::postgres::Postgres;
use crate::harness::receiver::{Answer, Receiver};
use archive_ledger::callbacks::receivers::ReceiverLimits;
use archive_ledger::callbacks::worker::WorkerOptions;
use archive_ledger::clock::Clock;
use archive_ledger::store::callbacks::{AttemptState, DeliveryRow, DeliveryState, Lane, Replay};
use chrono::TimeDelta;
use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(20);

on_both_stores! {
    a_purge_is_told_as_the_contract_says,
    a_receiver_that_never_recovers_is_tried_to_day_30_then_dead_then_replayed,
    gone_is_flagged_and_a_retry_after_is_waited_for,
    silent_receivers_do_not_delay_the_others,
    two_workers_send_every_delivery_once,
    a_killed_worker_leaves_nothing_unsent,
    a_stopped_worker_lets_attempts_end,
    a_receiver_that_does_not_answer_is_left_alone_without_costing_attempts,
    a_lease_of_a_clock_that_ran_ahead_keeps_no_callback_waiting,
}

fn delivered(all: &[DeliveryRow]) -> usize {
    let done = |row: &&DeliveryRow| row.state == DeliveryState::Delivered;
    all.iter().filter(done).count()
}

async fn a_purge_is_told_as_the_contract_says(rig: Rig) {
    let receiver = Receiver::answering([Answer::Status(500)]).await;
    let key = rig.register("arch-1", None).await;
    let purge = rig.purge(&key, Some(&receiver.url("/done?key=1"))).await;
    rig.cleaned(&key, purge, None).await;
    let worker = rig.work(WorkerOptions::default(), TIMEOUT);
    rig.consume().await;
    receiver.wait_for(1, SOON).await;
    let rows = rig
        .until("the attempt is recorded", |all| all[0].last_status.is_some())
        .await;
    assert_eq!(
        (rows[0].state, rows[0].last_status),
        (DeliveryState::Due, Some(500))
    );
    rig.go_to(rows[0].next_attempt_at);
    let received = receiver.wait_for(2, SOON).await;
    rig.until("it is delivered", |all| delivered(all) == 1).await;
    worker.stop().await;
    let body = r#"{"archiveId":"arch-1","datasetId":"data-arch-1","error":null}"#;
    for (number, request) in ["1", "2"].into_iter().zip(&received) {
        assert_eq!(request.method, "POST");
        assert_eq!(request.target, "/done?key=1");
        assert_eq!(request.body, body);
        assert_eq!(request.header("archive-ledger-attempt"), Some(number));
        assert_eq!(
            request.header("webhook-id"),
            Some(rows[0].delivery_id.to_string().as_str())
        );
        let signed = |at: i64| {
            let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
            webhook
                .sign(&rows[0].delivery_id.to_string(), at, body.as_bytes())
                .unwrap()
        };
        let at = request.header("webhook-timestamp").unwrap().parse().unwrap();
        assert_eq!(request.header("webhook-signature"), Some(signed(at).as_str()));
    }
    let (_, attempts) = rig.delivery(rows[0].delivery_id).await;
    let outcomes: Vec<_> = attempts
        .iter()
        .map(|attempt| (attempt.outcome, attempt.status))
        .collect();
    assert_eq!(
        outcomes,
        [
            (AttemptState::Failed, Some(500)),
            (AttemptState::Delivered, Some(200))
        ]
    );
}

async fn a_receiver_that_never_recovers_is_tried_to_day_30_then_dead_then_replayed(rig: Rig) {
    let receiver = Receiver::answering(vec![Answer::Status(503); 60]).await;
    let begin = rig.clock.now();
    rig.owe(&receiver.url("/"), 1).await;
    let worker = rig.work(WorkerOptions::default(), TIMEOUT);
    let mut waits = Vec::new();
    let dead = loop {
        let made = u32::try_from(waits.len()).unwrap() + 1;
        let row = rig
            .until("an attempt is made", |all| {
                all[0].attempts == made && !all[0].leased
            })
            .await
            .remove(0);
        if row.state == DeliveryState::Dead {
            break row;
        }
        waits.push((row.next_attempt_at - rig.clock.now()).num_seconds());
        rig.go_to(row.next_attempt_at);
    };
    let design = [1, 5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000];
    for (wait, planned) in waits
        .iter()
        .zip(design.into_iter().chain(std::iter::repeat(86_400)))
    {
        assert!(
            (planned * 8 / 10 - 1..=planned * 12 / 10).contains(wait),
            "{wait} for {planned}"
        );
    }
    assert!(
        rig.clock.now() <= begin + TimeDelta::days(30),
        "nothing is tried after day 30"
    );
    assert!(
        rig.clock.now() > begin + TimeDelta::days(28),
        "it is tried until day 30"
    );
    assert_eq!(rig.store.delivery_stats().await.unwrap().dead, 1);

    rig.clock.advance(TimeDelta::days(9));
    let tried = receiver.received().len();
    receiver.then(vec![]);
    let admin = rig.admin();
    assert_eq!(admin.replay(dead.delivery_id).await.unwrap(), Replay::Due);
    let row = rig
        .until("the replay is attempted", |all| {
            all[0].attempts > dead.attempts && !all[0].leased
        })
        .await
        .remove(0);
    assert_eq!(row.state, DeliveryState::Due, "the schedule begins anew");
    assert!(row.next_attempt_at - rig.clock.now() < TimeDelta::seconds(2));
    assert_eq!(receiver.received().len(), tried + 1);
    worker.stop().await;
}

async fn gone_is_flagged_and_a_retry_after_is_waited_for(rig: Rig) {
    let gone = Receiver::answering([Answer::Status(410)]).await;
    let busy = Receiver::answering([Answer::Full(
        503,
        vec![("retry-after", "3600".into())],
        b"later".into(),
    )])
    .await;
    rig.owe(&gone.url("/"), 1).await;
    rig.owe(&busy.url("/"), 1).await;
    let worker = rig.work(WorkerOptions::default(), TIMEOUT);
    let rows = rig
        .until("both are tried", |all| {
            all.iter().all(|row| row.last_status.is_some())
        })
        .await;
    let wait = |row: &DeliveryRow| (row.next_attempt_at - rig.clock.now()).num_seconds();
    for row in rows {
        match row.last_status {
            Some(410) => assert!(row.gone && wait(&row) > 69_000, "{row:?}"),
            Some(503) => assert!(!row.gone && wait(&row) == 3_600, "{row:?}"),
            other => panic!("{other:?}"),
        }
    }
    worker.stop().await;
}

/// Receivers that take connections and never say a word.
fn silent(count: usize) -> Vec<(TcpListener, String)> {
    (0..count)
        .map(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            (listener, url)
        })
        .collect()
}

async fn silent_receivers_do_not_delay_the_others(rig: Rig) {
    // Twice as many silent receivers as there are turns, each with a backlog, and few that answer.
    let black_holes = silent(90);
    for (_, url) in &black_holes {
        rig.owe(url, 20).await;
    }
    let mut healthy = Vec::new();
    for _ in 0..10 {
        let receiver = Receiver::start().await;
        rig.owe(&receiver.url("/"), 20).await;
        healthy.push(receiver);
    }
    let options = WorkerOptions {
        concurrency: 48,
        stalled: 200,
        ..WorkerOptions::default()
    };
    let began = Instant::now();
    let worker = rig.work(options, TIMEOUT);
    let rows = rig
        .until("every receiver that answers has all", |all| delivered(all) == 200)
        .await;
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(15),
        "{took:?}: less than one silent attempt takes"
    );
    let under_way = rows.iter().filter(|row| row.leased).count();
    assert!(
        under_way <= 90,
        "one attempt for each that never answered, not {under_way}"
    );

    // Now that the worker knows who answers, new callbacks to them are sent at once.
    for receiver in &healthy {
        let (before, began) = (receiver.received().len(), Instant::now());
        rig.owe(&receiver.url("/"), 1).await;
        receiver.wait_for(before + 1, SOON).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    worker.kill().await;
}

async fn two_workers_send_every_delivery_once(rig: Rig) {
    let receivers = [Receiver::start().await, Receiver::start().await];
    for receiver in &receivers {
        receiver.then(vec![Answer::After(Duration::from_millis(15), 200); 300]);
        rig.owe(&receiver.url("/"), 150).await;
    }
    let options = || WorkerOptions {
        poll: Duration::from_millis(50),
        ..WorkerOptions::default()
    };
    let (one, two) = (rig.work(options(), TIMEOUT), rig.work(options(), TIMEOUT));
    rig.until("all are delivered", |all| delivered(all) == 300).await;
    one.stop().await;
    two.stop().await;
    let mut ids = HashSet::new();
    for request in receivers.iter().flat_map(Receiver::received) {
        assert_eq!(request.header("archive-ledger-attempt"), Some("1"));
        assert!(
            ids.insert(request.header("webhook-id").unwrap().to_owned()),
            "sent twice"
        );
    }
    assert_eq!(ids.len(), 300);
}

async fn a_killed_worker_leaves_nothing_unsent(rig: Rig) {
    let receiver = Receiver::start().await;
    receiver.then(vec![Answer::After(Duration::from_millis(20), 200); 1_000]);
    rig.owe(&receiver.url("/"), 120).await;
    for kill in 1..=5 {
        let worker = rig.work(WorkerOptions::default(), TIMEOUT);
        receiver.wait_for(kill * 8, SOON).await;
        worker.kill().await;
        rig.clock.advance(TimeDelta::seconds(36));
    }
    let worker = rig.work(WorkerOptions::default(), TIMEOUT);
    rig.until("all are delivered", |all| delivered(all) == 120).await;
    worker.stop().await;
    let mut times: HashMap<String, usize> = HashMap::new();
    for request in receiver.received() {
        *times
            .entry(request.header("webhook-id").unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(times.len(), 120, "every callback arrived");
    let repeated = times.values().sum::<usize>() - 120;
    let mut unknown = 0;
    for row in rig.all().await {
        let (_, attempts) = rig.delivery(row.delivery_id).await;
        assert_eq!(attempts.len(), usize::try_from(row.attempts).unwrap());
        unknown += attempts
            .iter()
            .filter(|attempt| attempt.outcome == AttemptState::Unknown)
            .count();
    }
    // What is sent again was under way at a kill, or answered and not recorded yet: each such attempt is known as unknown.
    assert!(
        unknown >= repeated,
        "every attempt stands in the log: {unknown} unknown, {repeated} repeated"
    );
}

async fn a_stopped_worker_lets_attempts_end(rig: Rig) {
    let receiver = Receiver::answering(vec![Answer::After(Duration::from_millis(400), 200); 2]).await;
    rig.owe(&receiver.url("/"), 1).await;
    let worker = rig.work(WorkerOptions::default(), TIMEOUT);
    receiver.wait_for(1, SOON).await;
    rig.owe(&receiver.url("/"), 1).await;
    worker.stop().await;
    let all = rig.all().await;
    assert_eq!(delivered(&all), 1);
    assert_eq!(
        all.iter().map(|row| row.attempts).sum::<u32>(),
        1,
        "nothing new is begun"
    );

    let impatient = WorkerOptions {
        grace: Duration::from_millis(50),
        ..WorkerOptions::default()
    };
    let worker = rig.work(impatient, TIMEOUT);
    receiver.wait_for(2, SOON).await;
    let began = Instant::now();
    worker.stop().await;
    assert!(began.elapsed() < Duration::from_millis(350), "the grace is kept");
    assert_eq!(
        delivered(&rig.all().await),
        1,
        "what was cut off is not recorded as done"
    );
}

async fn a_receiver_that_does_not_answer_is_left_alone_without_costing_attempts(rig: Rig) {
    let (listener, url) = silent(1).remove(0);
    drop(listener);
    rig.owe(&url, 30).await;
    let options = WorkerOptions {
        poll: Duration::from_millis(20),
        receivers: ReceiverLimits::default(),
        ..WorkerOptions::default()
    };
    let worker = rig.work(options, TIMEOUT);
    let made = |all: &[DeliveryRow]| all.iter().map(|row| row.attempts).sum::<u32>();
    rig.until("five attempts fail", |all| {
        made(all) == 5 && all.iter().all(|row| !row.leased)
    })
    .await;
    // The waits of the five pass, and many polls: the circuit is open for half a minute.
    rig.clock.advance(TimeDelta::seconds(29));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(made(&rig.all().await), 5);
    rig.clock.advance(TimeDelta::seconds(1));
    rig.until("one probe is made", |all| {
        made(all) == 6 && all.iter().all(|row| !row.leased)
    })
    .await;
    rig.clock.advance(TimeDelta::seconds(59));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(made(&rig.all().await), 6, "a probe that fails doubles the pause");
    worker.stop().await;
}

async fn a_lease_of_a_clock_that_ran_ahead_keeps_no_callback_waiting(rig: Rig) {
    let receiver = Receiver::start().await;
    rig.owe(&receiver.url("/"), 2).await;
    for jump in [TimeDelta::minutes(5), TimeDelta::hours(1)] {
        rig.clock.advance(jump);
        assert_eq!(rig.claim(Lane::First, 1, &[], 1).await.len(), 1);
        rig.clock.advance(-jump);
    }
    let worker = rig.work(WorkerOptions::default(), TIMEOUT);
    rig.until("both are delivered", |all| delivered(all) == 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_and_returns_loses_no_callback() {
    let server = Postgres::start().await;
    let rig = Rig::postgres_at(&server.create_database().await).await;
    let receiver = Receiver::start().await;
    receiver.then(vec![Answer::After(Duration::from_millis(20), 200); 400]);
    rig.owe(&receiver.url("/"), 200).await;
    let worker = rig.work(WorkerOptions::default(), TIMEOUT);
    receiver.wait_for(20, SOON).await;
    server.crash().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.restart().await;
    receiver.wait_for(60, SOON).await;
    // Whatever was claimed in a transaction whose answer was lost waits for its lease.
    rig.clock.advance(TimeDelta::seconds(36));
    rig.until("all are delivered", |all| delivered(all) == 200).await;
    worker.stop().await;
    let received = receiver.received();
    let ids: HashSet<_> = received
        .iter()
        .map(|request| request.header("webhook-id"))
        .collect();
    assert_eq!(ids.len(), 200);
    assert!(received.len() <= 200 + 8, "sent again: {}", received.len() - 200);
}
