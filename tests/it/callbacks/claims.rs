//! What the store lets a worker claim by URL and endpoint, and what it keeps of circuits.

use super::on_both_stores;
use super::rig::Rig;
use archive_ledger::clock::Clock;
use archive_ledger::store::callbacks::{
    AttemptRecord, Circuit, CircuitChange, ClaimRequest, ClaimedDelivery, DeliveryFilter, Disposition, Lane,
    Replay, endpoint_of,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use std::time::Duration;

const A: &str = "http://127.0.0.1:1001/a?token=secret";
const B: &str = "http://127.0.0.1:1002/b";

on_both_stores! {
    urls_of_one_endpoint_share_its_room_and_have_a_turn_each,
    a_replayed_delivery_is_claimed_as_a_probe_once,
    circuits_are_kept_until_they_are_closed_or_forgotten,
    a_lease_that_no_attempt_can_hold_is_over_and_every_other_one_stands,
}

async fn urls_of_one_endpoint_share_its_room_and_have_a_turn_each(rig: Rig) {
    for url in 0..40 {
        rig.owe(&format!("http://127.0.0.1:1000/{url}"), 3).await;
    }
    for url in [
        "https://127.0.0.1:1000/",
        "http://127.0.0.1:10000/",
        "http://127.0.0.1:99/",
    ] {
        rig.owe(url, 3).await;
    }
    let endpoint = |endpoint: &str, room| [(endpoint.to_owned(), room)];
    let of_endpoint = |claimed: &[ClaimedDelivery], endpoint: &str| {
        let found = claimed
            .iter()
            .filter(|claimed| endpoint_of(&claimed.receiver) == endpoint);
        found.count()
    };
    let crowded = "http://127.0.0.1:1000";
    let claimed = rig
        .claim_of(Lane::First, 100, &[], 1, &endpoint(crowded, 5))
        .await;
    assert_eq!((claimed.len(), of_endpoint(&claimed, crowded)), (8, 5));
    let receivers: HashSet<&str> = claimed.iter().map(|claimed| claimed.receiver.as_str()).collect();
    assert_eq!(receivers.len(), 8, "one each");
    let claimed = rig
        .claim_of(Lane::First, 100, &[], 1, &endpoint(crowded, 0))
        .await;
    assert_eq!((claimed.len(), of_endpoint(&claimed, crowded)), (3, 0));
    let claimed = rig
        .claim_of(Lane::First, 200, &[], 3, &endpoint("https://127.0.0.1:1000", 0))
        .await;
    assert_eq!(of_endpoint(&claimed, "https://127.0.0.1:1000"), 0);
    assert_eq!(of_endpoint(&claimed, "http://127.0.0.1:10000"), 1);
    assert_eq!(claimed.len(), 117);
}

async fn a_replayed_delivery_is_claimed_as_a_probe_once(rig: Rig) {
    for url in [A, A, B] {
        rig.owe(url, 4).await;
    }
    for claimed in rig.claim(Lane::First, 100, &[], 100).await {
        assert!(rig.record(&claimed, Disposition::Dead { gone: false }).await);
    }
    let probes = async |limit| {
        let request = ClaimRequest {
            lane: Lane::Retry,
            now: rig.clock.now(),
            lease_until: rig.clock.now() + TimeDelta::seconds(35),
            token: rig.clock.new_id(),
            limit,
            slots: &[],
            others: 1,
            endpoints: &[],
            per_endpoint: 1,
            after: "",
        };
        rig.store.claim_probes(&request).await.unwrap()
    };
    assert_eq!(probes(100).await, []);
    assert_eq!(rig.store.next_due().await.unwrap().probe, None);
    let one = rig.all().await[0].delivery_id;
    assert_eq!(rig.admin().replay(one).await.unwrap(), Replay::Due);
    assert_eq!(rig.store.next_due().await.unwrap().probe, Some(rig.clock.now()));
    let claimed = probes(100).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (claimed[0].delivery_id, claimed[0].attempt, claimed[0].step),
        (one, 2, 1)
    );
    assert_eq!(probes(100).await, []);
    assert!(rig.record(&claimed[0], Disposition::Delivered).await);
    // Of a replay of many, one of each receiver.
    let done = rig
        .admin()
        .replay_matching(&DeliveryFilter::default(), None)
        .await
        .unwrap();
    assert_eq!(done.deliveries, 12);
    let claimed = probes(100).await;
    let receivers: HashSet<&str> = claimed.iter().map(|claimed| claimed.receiver.as_str()).collect();
    assert_eq!((claimed.len(), receivers.len()), (2, 2));
    assert_eq!(rig.claim(Lane::Retry, 100, &[], 100).await.len(), 10);
}

async fn a_lease_that_no_attempt_can_hold_is_over_and_every_other_one_stands(rig: Rig) {
    let (longest, skew) = (Duration::from_secs(630), Duration::from_secs(15));
    rig.owe(A, 6).await;
    let now = rig.clock.now();
    let claim = async |at: DateTime<Utc>, length: TimeDelta| {
        let request = ClaimRequest {
            lane: Lane::First,
            now: at,
            lease_until: at + length,
            token: rig.clock.new_id(),
            limit: 1,
            slots: &[],
            others: 1,
            endpoints: &[],
            per_endpoint: 1,
            after: "",
        };
        rig.store.claim(&request).await.unwrap().remove(0)
    };
    let usual = TimeDelta::seconds(35);
    // Of an attempt under way, of the longest one that can be configured, of an instance whose clock is a little ahead.
    for (at, length) in [
        (now, usual),
        (now, TimeDelta::seconds(615)),
        (now + TimeDelta::seconds(14), usual),
    ] {
        claim(at, length).await;
    }
    // What waits for its next attempt has no lease.
    let waits = claim(now, usual).await;
    let (at, gone) = (now + TimeDelta::days(1), false);
    assert!(rig.record(&waits, Disposition::RetryAt { at, gone }).await);
    let end = async || {
        let ended = rig.store.end_impossible_leases(rig.clock.now(), longest, skew);
        ended.await.unwrap()
    };
    assert_eq!(end().await, 0);
    // A clock that ran ahead, and a lease that is longer than any attempt.
    let ahead = claim(now + TimeDelta::minutes(2), usual).await;
    let endless = claim(now, TimeDelta::hours(1)).await;
    assert_eq!(end().await, 2);
    assert_eq!(end().await, 0);
    assert_eq!(rig.claim(Lane::First, 100, &[], 100).await, []);
    // Whoever holds such a lease after all is believed until somebody else has it.
    assert!(rig.record(&ahead, Disposition::Delivered).await);
    let again = rig.claim(Lane::Retry, 100, &[], 100).await;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].delivery_id, again[0].attempt), (endless.delivery_id, 2));
    assert!(!rig.record(&endless, Disposition::Delivered).await);
    assert!(rig.record(&again[0], Disposition::Delivered).await);
}

async fn circuits_are_kept_until_they_are_closed_or_forgotten(rig: Rig) {
    let at = |seconds| rig.clock.now() + TimeDelta::seconds(seconds);
    let circuit = |key: &str, open_until, opened| Circuit {
        key: key.to_owned(),
        since: at(0),
        open_until,
        opened,
    };
    let (url, endpoint) = ("http://a.example:80#1", "http://a.example:80");
    let opened = [circuit(url, at(30), 1), circuit(endpoint, at(60), 2)];
    rig.store
        .change_circuits(&opened.clone().map(CircuitChange::Opened))
        .await
        .unwrap();
    assert_eq!(
        rig.store.circuits().await.unwrap(),
        [opened[1].clone(), opened[0].clone()]
    );
    // Another instance that knows less shortens nothing.
    for (until, opened) in [(at(10), 9), (at(90), 3)] {
        let change = CircuitChange::Opened(circuit(url, until, opened));
        rig.store.change_circuits(&[change]).await.unwrap();
    }
    let keys = [url.to_owned(), "http://b.example:80".to_owned()];
    assert_eq!(
        rig.store.circuits_of(&keys).await.unwrap(),
        [circuit(url, at(90), 3)]
    );
    rig.store
        .change_circuits(&[CircuitChange::Closed(url.to_owned())])
        .await
        .unwrap();
    assert_eq!(rig.store.circuits().await.unwrap(), [opened[1].clone()]);
    rig.store.forget_circuits(at(60)).await.unwrap();
    assert_eq!(rig.store.circuits().await.unwrap().len(), 1);
    rig.store.forget_circuits(at(61)).await.unwrap();
    assert_eq!(rig.store.circuits().await.unwrap(), []);
}

/// A table of SQLite's refuses every change of a row that has what its columns do not take, also one that would set the row aside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_can_be_changed_in_nothing_keeps_no_other_one_waiting() {
    let rig = Rig::sqlite().await;
    for url in [A, B] {
        rig.owe(url, 4).await;
    }
    let mut of_a = rig.all().await;
    of_a.retain(|row| row.host == "127.0.0.1:1001");
    of_a.sort_unstable_by_key(|row| row.delivery_id);
    let [unread, read, under_way, whole] = [0, 1, 2, 3].map(|place| of_a[place].delivery_id);
    let damage = async |id, what: &str| {
        let statement = format!("UPDATE callback_deliveries SET {what} WHERE delivery_id = '{id}'");
        rig.change(&statement).await;
    };
    damage(unread, "attempts = 'many', next_attempt_at = 0").await;
    damage(read, "last_error = x'ff', next_attempt_at = 0").await;
    damage(under_way, "next_attempt_at = 1").await;
    // They stand first at a receiver that has room for one.
    let one = [("127.0.0.1:1001".to_owned(), 1)];
    let first = rig.claim(Lane::First, 1, &one, 0).await;
    assert_eq!(
        first
            .iter()
            .map(|claimed| claimed.delivery_id)
            .collect::<Vec<_>>(),
        [under_way]
    );
    let next = rig.claim(Lane::First, 100, &[], 100).await;
    assert_eq!(next.len(), 5, "the others of both");
    assert_eq!(rig.claim(Lane::First, 100, &[], 100).await, []);
    // Nobody is woken for them before they are looked at again, and nothing says that they were attempted.
    let due = rig.store.next_due().await.unwrap();
    assert_eq!(due.first, Some(rig.clock.now() + TimeDelta::seconds(60)));
    for id in [unread, read] {
        let found = rig.store.delivery(id).await.unwrap().unwrap();
        assert!(found.attempts.rows.is_empty(), "{id}");
    }
    // One that is damaged while it is under way takes no other outcome with it.
    damage(under_way, "dataset_id = x'ff'").await;
    let record = |claimed: &ClaimedDelivery| AttemptRecord {
        delivery_id: claimed.delivery_id,
        token: claimed.token,
        attempt: claimed.attempt,
        finished_at: rig.clock.now(),
        duration: Duration::from_millis(7),
        status: Some(500),
        error: None,
        body: Vec::new(),
        body_truncated: false,
        next: Disposition::Dead { gone: false },
    };
    let records: Vec<AttemptRecord> = first.iter().chain(&next).map(record).collect();
    assert_eq!(rig.store.record(&records).await.unwrap(), 5);
    // Neither does one that an operator replays with the others.
    damage(whole, "last_error = x'ff'").await;
    let all = DeliveryFilter::default();
    assert_eq!(
        rig.admin().replay_matching(&all, None).await.unwrap().deliveries,
        4
    );
    // Repaired, they are attempted as if nothing had been.
    damage(unread, "attempts = 0").await;
    damage(read, "last_error = NULL").await;
    rig.clock.advance(TimeDelta::seconds(61));
    let mut again: Vec<_> = rig
        .claim(Lane::First, 100, &[], 100)
        .await
        .iter()
        .map(|claimed| claimed.delivery_id)
        .collect();
    again.sort_unstable();
    assert_eq!(again, [unread, read]);
    assert_eq!(rig.claim(Lane::Retry, 100, &[], 100).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_that_can_be_changed_in_nothing_is_made_anew() {
    let rig = Rig::sqlite().await;
    let circuit = |opened| Circuit {
        key: "http://a.example:80".to_owned(),
        since: rig.clock.now(),
        open_until: rig.clock.now() + TimeDelta::seconds(30),
        opened,
    };
    let open = async |opened| {
        rig.store
            .change_circuits(&[CircuitChange::Opened(circuit(opened))])
            .await
            .unwrap();
    };
    open(1).await;
    rig.change("UPDATE callback_circuits SET since = 'never', open_until = 0")
        .await;
    open(2).await;
    assert_eq!(rig.store.circuits().await.unwrap(), [circuit(2)]);
}
