//! What the store keeps of deliveries.

use super::on_both_stores;
use super::rig::Rig;
use archive_ledger::callbacks::admin::{BulkReplay, REPLAY_MAX};
use archive_ledger::clock::Clock;
use archive_ledger::store::callbacks::{
    AttemptState, DeliveryFilter, DeliveryState, Disposition, Lane, ListStart, NextDue, Replay,
};
use chrono::TimeDelta;
use std::collections::HashSet;
use uuid::Uuid;

pub(super) const A: &str = "http://127.0.0.1:1001/a?token=secret";
const B: &str = "http://127.0.0.1:1002/b";

on_both_stores! {
    the_callback_of_the_purge_is_called_and_the_registered_one_only_without_it,
    a_failed_purge_tells_its_error_to_those_who_asked_before_it,
    an_entity_without_callbacks_owes_none,
    a_callback_that_is_named_by_many_at_once_is_owed_once,
    two_claims_at_once_share_what_is_due,
    a_lost_lease_leaves_an_unknown_attempt_and_the_delivery_is_claimed_again,
    no_backlog_stands_before_another_receiver,
    attempted_deliveries_never_stand_before_new_ones,
    what_is_next_due_is_known_by_lane,
    pages_hold_every_delivery_once_and_filters_only_theirs,
    a_replay_begins_the_schedule_anew_and_never_doubles_an_attempt,
    a_bulk_replay_counts_first_and_leaves_what_is_due_alone,
    an_operator_sees_the_url_without_its_query,
}

async fn the_callback_of_the_purge_is_called_and_the_registered_one_only_without_it(rig: Rig) {
    let cases = [
        ("registered", Some(A), None, Some("127.0.0.1:1001")),
        ("named", None, Some(B), Some("127.0.0.1:1002")),
        ("both", Some(A), Some(B), Some("127.0.0.1:1002")),
        ("same", Some(A), Some(A), Some("127.0.0.1:1001")),
        ("none", None, None, None),
    ];
    for (id, registered, named, _) in cases {
        let key = rig.register(id, registered).await;
        let purge = rig.purge(&key, named).await;
        rig.cleaned(&key, purge, None).await;
    }
    for _ in 0..3 {
        rig.consume().await;
    }
    let all = rig.all().await;
    for (id, _, _, host) in cases {
        let hosts: Vec<&str> = all
            .iter()
            .filter(|row| row.key.id() == id)
            .map(|row| row.host.as_str())
            .collect();
        assert_eq!(hosts, host.into_iter().collect::<Vec<_>>(), "{id}");
    }
    let row = &all[0];
    assert_eq!(row.state, DeliveryState::Due);
    assert_eq!((row.error.as_deref(), row.attempts, row.leased), (None, 0, false));
    assert!(row.dataset_id.as_deref().unwrap().starts_with("data-"));
    assert_eq!(row.created_at, rig.clock.now());
}

async fn a_failed_purge_tells_its_error_to_those_who_asked_before_it(rig: Rig) {
    let key = rig.register("x", Some(A)).await;
    let first = rig.purge(&key, None).await;
    rig.cleaned(&key, first, Some("Object Lock")).await;
    rig.consume().await;
    let all = rig.all().await;
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].host.as_str(), all[0].error.as_deref()),
        ("127.0.0.1:1001", Some("Object Lock"))
    );

    rig.clock.advance(TimeDelta::minutes(1));
    let second = rig.purge(&key, Some(B)).await;
    rig.consume().await;
    assert_eq!(
        rig.all().await.len(),
        1,
        "who asks later does not hear of the earlier failure"
    );
    rig.cleaned(&key, second, None).await;
    rig.consume().await;
    let told: HashSet<(String, Option<String>)> = rig
        .all()
        .await
        .into_iter()
        .map(|row| (row.host, row.error))
        .collect();
    let a = ("127.0.0.1:1001".to_owned(), Some("Object Lock".to_owned()));
    assert_eq!(told, HashSet::from([a, ("127.0.0.1:1002".to_owned(), None)]));
}

async fn an_entity_without_callbacks_owes_none(rig: Rig) {
    let key = rig.register("quiet", None).await;
    let purge = rig.purge(&key, None).await;
    rig.cleaned(&key, purge, None).await;
    rig.consume().await;
    assert_eq!(rig.all().await, []);
    assert_eq!(rig.store.next_due().await.unwrap(), NextDue::default());
}

async fn a_callback_that_is_named_by_many_at_once_is_owed_once(rig: Rig) {
    let key = rig.register("a", Some(A)).await;
    // Together, so that some share a batch.
    let named = [A, A, B, A, A, B, B, A].map(|url| rig.purge(&key, Some(url)));
    let purges = futures::future::join_all(named).await;
    rig.cleaned(&key, purges[0], None).await;
    rig.consume().await;
    let mut hosts: Vec<String> = rig.all().await.into_iter().map(|row| row.host).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["127.0.0.1:1001", "127.0.0.1:1002"]);
}

async fn two_claims_at_once_share_what_is_due(rig: Rig) {
    for port in 1..=20 {
        rig.owe(&format!("http://127.0.0.1:{port}/"), 20).await;
    }
    let claims = futures::future::join_all((0..8).map(|_| rig.claim(Lane::First, 50, &[], 100))).await;
    let ids: Vec<Uuid> = claims
        .iter()
        .flatten()
        .map(|claimed| claimed.delivery_id)
        .collect();
    let distinct: HashSet<&Uuid> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "a delivery was claimed twice");
    let mut all = ids.len();
    while all < 400 {
        let more = rig.claim(Lane::First, 400, &[], 100).await;
        assert!(!more.is_empty(), "{all} of 400 were claimed");
        all += more.len();
    }
    assert_eq!(all, 400);
    assert_eq!(rig.claim(Lane::First, 1, &[], 100).await, []);
}

async fn a_lost_lease_leaves_an_unknown_attempt_and_the_delivery_is_claimed_again(rig: Rig) {
    rig.owe(A, 1).await;
    let [lost] = &rig.claim(Lane::First, 9, &[], 9).await[..] else {
        panic!("one is due")
    };
    assert_eq!((lost.attempt, lost.step), (1, 1));
    let (row, attempts) = rig.delivery(lost.delivery_id).await;
    assert!(row.leased);
    assert_eq!(attempts[0].outcome, AttemptState::Unknown);

    rig.clock.advance(TimeDelta::seconds(34));
    assert_eq!(rig.claim(Lane::Retry, 9, &[], 9).await, [], "the lease holds");
    rig.clock.advance(TimeDelta::seconds(1));
    assert_eq!(
        rig.claim(Lane::First, 9, &[], 9).await,
        [],
        "it was attempted, perhaps"
    );
    let [again] = &rig.claim(Lane::Retry, 9, &[], 9).await[..] else {
        panic!("the lease has ended")
    };
    assert_eq!(
        (again.delivery_id, again.attempt, again.step),
        (lost.delivery_id, 2, 2)
    );

    assert!(
        !rig.record(lost, Disposition::Dead { gone: false }).await,
        "the lease was lost"
    );
    assert!(rig.record(again, Disposition::Delivered).await);
    let (row, attempts) = rig.delivery(lost.delivery_id).await;
    assert_eq!(
        (row.state, row.attempts, row.leased),
        (DeliveryState::Delivered, 2, false)
    );
    assert_eq!(
        (row.last_status, row.finished_at),
        (Some(204), Some(rig.clock.now()))
    );
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptState::Failed, AttemptState::Delivered]);
    assert_eq!(attempts[1].body, b"answer");
    assert!(attempts[1].body_truncated);
    assert_eq!(attempts[1].duration.unwrap().as_millis(), 7);
}

async fn no_backlog_stands_before_another_receiver(rig: Rig) {
    let host = |port: u32| format!("127.0.0.1:{port}");
    rig.owe("http://127.0.0.1:1000/", 3_000).await;
    rig.owe("http://127.0.0.1:2000/", 1).await;
    rig.owe("http://127.0.0.1:3000/", 5).await;
    let hosts = |claimed: &[archive_ledger::store::callbacks::ClaimedDelivery]| -> Vec<String> {
        claimed.iter().map(|claimed| claimed.host.clone()).collect()
    };
    let open = [(host(1000), 0)];
    let claimed = rig.claim(Lane::First, 4, &open, 2).await;
    assert_eq!(hosts(&claimed), [host(2000), host(3000), host(3000)]);
    let claimed = rig.claim(Lane::First, 16, &[(host(3000), 1)], 8).await;
    assert_eq!(hosts(&claimed), [vec![host(1000); 8], vec![host(3000)]].concat());
    // By name only, in the order given, and not more than the limit.
    let named = [(host(3000), 5), (host(1000), 5), (host(9), 5)];
    let claimed = rig.claim(Lane::First, 4, &named, 0).await;
    assert_eq!(hosts(&claimed), [host(3000), host(3000), host(1000), host(1000)]);
}

async fn attempted_deliveries_never_stand_before_new_ones(rig: Rig) {
    rig.owe(A, 2).await;
    for claimed in rig.claim(Lane::First, 2, &[], 9).await {
        let at = rig.clock.now() + TimeDelta::seconds(1);
        assert!(
            rig.record(&claimed, Disposition::RetryAt { at, gone: true })
                .await
        );
    }
    assert!(
        rig.all()
            .await
            .iter()
            .all(|row| row.gone && row.state == DeliveryState::Due)
    );
    rig.clock.advance(TimeDelta::seconds(2));
    rig.owe(A, 1).await;
    let first = rig.claim(Lane::First, 9, &[], 9).await;
    assert_eq!(
        first.iter().map(|claimed| claimed.attempt).collect::<Vec<_>>(),
        [1]
    );
    let retries = rig.claim(Lane::Retry, 9, &[], 9).await;
    assert_eq!(
        retries.iter().map(|claimed| claimed.attempt).collect::<Vec<_>>(),
        [2, 2]
    );
}

async fn what_is_next_due_is_known_by_lane(rig: Rig) {
    let now = rig.clock.now();
    rig.owe(A, 2).await;
    let both = rig.store.next_due().await.unwrap();
    assert_eq!((both.first, both.retry), (Some(now), None));
    let claimed = rig.claim(Lane::First, 1, &[], 9).await;
    let lease = now + TimeDelta::seconds(35);
    let due = rig.store.next_due().await.unwrap();
    assert_eq!((due.first, due.retry), (Some(now), Some(lease)));
    rig.record(&claimed[0], Disposition::Dead { gone: false }).await;
    let due = rig.store.next_due().await.unwrap();
    assert_eq!((due.first, due.retry), (Some(now), None));
    let stats = rig.store.delivery_stats().await.unwrap();
    assert_eq!((stats.due, stats.dead, stats.oldest_due), (1, 1, Some(now)));
}

async fn pages_hold_every_delivery_once_and_filters_only_theirs(rig: Rig) {
    let began = rig.clock.now();
    for url in [A, B, A] {
        rig.owe(url, 7).await;
        rig.clock.advance(TimeDelta::seconds(10));
    }
    for claimed in rig
        .claim(Lane::First, 5, &[("127.0.0.1:1002".into(), 5)], 0)
        .await
    {
        rig.record(&claimed, Disposition::Dead { gone: false }).await;
    }
    let (mut seen, mut start) = (Vec::new(), ListStart::default());
    loop {
        let page = rig
            .store
            .deliveries(&DeliveryFilter::default(), start, 4)
            .await
            .unwrap();
        assert!(page.rows.len() <= 4);
        start = page.next(start);
        seen.extend(page.rows.rows);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen.len(), 21);
    assert!(seen.windows(2).all(|pair| pair[0].cursor() > pair[1].cursor()));

    let all = DeliveryFilter::default;
    let host = Some("127.0.0.1:1002".to_owned());
    let key = Some(seen[0].key.clone());
    let (from, until) = (
        Some(began + TimeDelta::seconds(10)),
        Some(began + TimeDelta::seconds(20)),
    );
    for (filter, expected) in [
        (all(), 21),
        (
            DeliveryFilter {
                state: Some(DeliveryState::Dead),
                ..all()
            },
            5,
        ),
        (
            DeliveryFilter {
                state: Some(DeliveryState::Delivered),
                ..all()
            },
            0,
        ),
        (
            DeliveryFilter {
                host: host.clone(),
                ..all()
            },
            7,
        ),
        (
            DeliveryFilter {
                host,
                state: Some(DeliveryState::Due),
                ..all()
            },
            2,
        ),
        (DeliveryFilter { key, ..all() }, 7),
        (DeliveryFilter { from, ..all() }, 14),
        (DeliveryFilter { until, ..all() }, 14),
        (DeliveryFilter { from, until, ..all() }, 7),
    ] {
        let page = rig
            .store
            .deliveries(&filter, ListStart::default(), 100)
            .await
            .unwrap();
        assert_eq!((page.rows.len(), page.more), (expected, false), "{filter:?}");
        let count = rig.store.count_deliveries(&filter).await.unwrap();
        assert_eq!(count, u64::try_from(expected).unwrap(), "{filter:?}");
    }
}

async fn a_replay_begins_the_schedule_anew_and_never_doubles_an_attempt(rig: Rig) {
    rig.owe(A, 1).await;
    let claimed = rig.claim(Lane::First, 1, &[], 1).await.remove(0);
    let id = claimed.delivery_id;
    let admin = rig.admin();
    assert_eq!(admin.replay(id).await.unwrap(), Replay::UnderWay);
    assert_eq!(admin.replay(Uuid::nil()).await.unwrap(), Replay::Unknown);
    assert!(rig.record(&claimed, Disposition::Dead { gone: true }).await);
    rig.clock.advance(TimeDelta::days(40));
    assert_eq!(admin.replay(id).await.unwrap(), Replay::Due);
    let (row, _) = rig.delivery(id).await;
    assert_eq!(
        (row.state, row.gone, row.finished_at),
        (DeliveryState::Due, false, None)
    );
    assert_eq!(
        (row.first_due_at, row.next_attempt_at),
        (rig.clock.now(), rig.clock.now())
    );
    let again = rig.claim(Lane::Retry, 1, &[], 1).await.remove(0);
    assert_eq!((again.delivery_id, again.attempt, again.step), (id, 2, 1));
    assert_eq!(again.first_due_at, rig.clock.now());
    assert!(rig.record(&again, Disposition::Delivered).await);
    assert_eq!(
        admin.replay(id).await.unwrap(),
        Replay::Due,
        "a delivered one may be sent again"
    );
}

async fn a_bulk_replay_counts_first_and_leaves_what_is_due_alone(rig: Rig) {
    rig.owe(A, 1_203).await;
    rig.owe(B, 3).await;
    for claimed in rig.claim(Lane::First, 5_000, &[], 1_200).await {
        rig.record(&claimed, Disposition::Dead { gone: false }).await;
    }
    let admin = rig.admin();
    let dead = DeliveryFilter {
        state: Some(DeliveryState::Dead),
        host: Some("127.0.0.1:1001".into()),
        ..DeliveryFilter::default()
    };
    assert_eq!(admin.count(&dead).await.unwrap(), 1_200);
    assert_eq!(
        admin.count(&dead).await.unwrap(),
        1_200,
        "counting changes nothing"
    );
    rig.clock.advance(TimeDelta::seconds(5));
    let replayed = admin.replay_matching(&dead, None).await.unwrap();
    assert_eq!(
        replayed,
        BulkReplay {
            deliveries: 1_200,
            next: None
        }
    );
    assert!(replayed.deliveries <= REPLAY_MAX);
    let stats = rig.store.delivery_stats().await.unwrap();
    assert_eq!((stats.due, stats.dead), (1_203, 3));
    assert_eq!(admin.replay_matching(&dead, None).await.unwrap().deliveries, 0);
    let claimed = rig.claim(Lane::First, 10, &[], 10).await;
    assert_eq!(claimed.len(), 3, "those never attempted keep their lane");
}

async fn an_operator_sees_the_url_without_its_query(rig: Rig) {
    rig.owe(A, 1).await;
    let row = rig.all().await.remove(0);
    let view = rig.admin().get(row.delivery_id).await.unwrap().unwrap();
    assert_eq!(view.url.as_deref(), Some("http://127.0.0.1:1001/a?…"));
    assert!(view.attempts.is_empty());
    assert!(rig.admin().get(Uuid::nil()).await.unwrap().is_none());
    assert!(!row.url_sealed.windows(6).any(|bytes| bytes == b"secret"));
}
