//! What the store keeps of deliveries whose outcome is overtaken, or that are over.

use super::deliveries::A;
use super::on_both_stores;
use super::rig::Rig;
use archive_ledger::clock::Clock;
use archive_ledger::store::callbacks::{
    AttemptState, DeliveryFilter, DeliveryRow, DeliveryState, Disposition, Lane, PurgeOutcome,
};
use chrono::TimeDelta;
use uuid::Uuid;

on_both_stores! {
    a_failure_is_not_told_after_the_success,
    a_failure_that_is_heard_of_late_is_superseded_at_once,
    a_success_waits_for_the_failure_that_is_under_way,
    finished_deliveries_go_and_what_is_owed_stays,
}

/// An entity that was purged at the second try, with the callback registered first; the failure is not told yet.
async fn purged_at_last(rig: &Rig, id: &str) {
    let key = rig.register(id, Some(A)).await;
    let first = rig.purge(&key, None).await;
    rig.cleaned(&key, first, Some("Object Lock")).await;
    rig.consume().await;
    rig.clock.advance(TimeDelta::minutes(1));
    let second = rig.purge(&key, None).await;
    rig.cleaned(&key, second, None).await;
}

async fn a_failure_is_not_told_after_the_success(rig: Rig) {
    for end in ["due", "dead", "delivered"] {
        let key = rig.register(end, Some(A)).await;
        let first = rig.purge(&key, None).await;
        rig.cleaned(&key, first, Some("Object Lock")).await;
        rig.consume().await;
        let claimed = rig.claim(Lane::First, 1, &[], 1).await.pop().unwrap();
        let at = rig.clock.now() + TimeDelta::hours(5);
        let next = match end {
            "due" => Disposition::RetryAt { at, gone: false },
            "dead" => Disposition::Dead { gone: false },
            _ => Disposition::Delivered,
        };
        assert!(rig.record(&claimed, next).await);
        rig.clock.advance(TimeDelta::minutes(1));
        let second = rig.purge(&key, None).await;
        rig.cleaned(&key, second, None).await;
        for _ in 0..2 {
            rig.consume().await;
        }
        let rows = rig.all().await;
        let of_entity = |error: Option<&str>| {
            let mut found = rows
                .iter()
                .filter(|row| row.key == key && row.error.as_deref() == error);
            let row = found.next().unwrap();
            assert!(found.next().is_none());
            row.clone()
        };
        let (failure, success) = (of_entity(Some("Object Lock")), of_entity(None));
        let expected = if end == "delivered" {
            DeliveryState::Delivered
        } else {
            DeliveryState::Superseded
        };
        assert_eq!(failure.state, expected, "{end}");
        assert!(failure.finished_at.is_some());
        assert_eq!(
            (success.state, success.next_attempt_at),
            (DeliveryState::Due, rig.clock.now())
        );
        // Only the success is left to send, however much time passes.
        rig.clock.advance(TimeDelta::days(1));
        let left = rig.claim(Lane::First, 10, &[], 10).await;
        assert_eq!(
            left.iter().map(|claimed| claimed.delivery_id).collect::<Vec<_>>(),
            [success.delivery_id]
        );
        assert!(rig.record(&left[0], Disposition::Delivered).await);
        assert_eq!(rig.claim(Lane::Retry, 10, &[], 10).await, []);
    }
    let state = |state| DeliveryFilter {
        state: Some(state),
        ..DeliveryFilter::default()
    };
    assert_eq!(
        rig.store
            .count_deliveries(&state(DeliveryState::Superseded))
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        rig.store
            .count_deliveries(&state(DeliveryState::Dead))
            .await
            .unwrap(),
        0
    );
}

async fn a_failure_that_is_heard_of_late_is_superseded_at_once(rig: Rig) {
    // The last word is a success, or that the purge was forced.
    for (number, last_word) in [(1, None), (2, Some("forced"))] {
        let key = rig.register(&format!("x{number}"), Some(A)).await;
        let outcome = |position, error: Option<&str>, over| PurgeOutcome {
            event_id: Uuid::from_u128(u128::from(position) * 100 + number),
            position,
            key: key.clone(),
            recorded_at: rig.clock.now(),
            error: error.map(str::to_owned),
            over,
        };
        let tell = async |outcome| {
            rig.store
                .create_deliveries(&[outcome], &*rig.clock)
                .await
                .unwrap()
        };
        assert_eq!(tell(outcome(9, last_word, true)).await, 1);
        assert_eq!(tell(outcome(5, Some("Object Lock"), false)).await, 1);
        let rows: Vec<DeliveryRow> = rig.all().await.into_iter().filter(|row| row.key == key).collect();
        assert_eq!(rows.len(), 2);
        for row in rows {
            let state = if row.position == 9 {
                DeliveryState::Due
            } else {
                DeliveryState::Superseded
            };
            assert_eq!(row.state, state, "{row:?}");
        }
        // Once it is told, nothing of the entity is kept.
        let claimed = rig.claim(Lane::First, 9, &[], 9).await.pop().unwrap();
        assert!(rig.record(&claimed, Disposition::Delivered).await);
        let later = rig.clock.now() + TimeDelta::days(1);
        assert_eq!(rig.retention.prune_deliveries(later).await.unwrap(), 1);
        assert_eq!(rig.all().await, []);
    }
}

async fn a_success_waits_for_the_failure_that_is_under_way(rig: Rig) {
    for (late, disposition) in [
        (false, Disposition::Delivered),
        (
            true,
            Disposition::RetryAt {
                at: rig.clock.now(),
                gone: false,
            },
        ),
    ] {
        let id = format!("late-{late}");
        let key = rig.register(&id, Some(A)).await;
        let first = rig.purge(&key, None).await;
        rig.cleaned(&key, first, Some("Object Lock")).await;
        rig.consume().await;
        let under_way = rig.claim(Lane::First, 1, &[], 1).await.pop().unwrap();
        let lease_until = rig.clock.now() + TimeDelta::seconds(35);
        rig.clock.advance(TimeDelta::seconds(20));
        let second = rig.purge(&key, None).await;
        rig.cleaned(&key, second, None).await;
        rig.consume().await;
        assert_eq!(rig.claim(Lane::First, 10, &[], 10).await, []);
        // What came of it is in the log, and brings nothing back.
        assert!(!rig.record(&under_way, disposition).await);
        let (failure, attempts) = rig.delivery(under_way.delivery_id).await;
        assert_eq!(failure.state, DeliveryState::Superseded);
        assert_ne!(attempts[0].outcome, AttemptState::Unknown);
        rig.clock.advance(lease_until - rig.clock.now());
        let told = rig.claim(Lane::First, 10, &[], 10).await;
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].error.as_deref(), &told[0].key), (None, &key));
        assert!(rig.record(&told[0], Disposition::Delivered).await);
    }
}

async fn finished_deliveries_go_and_what_is_owed_stays(rig: Rig) {
    let told = async |id: &str, disposition| {
        let key = rig.register(id, Some(A)).await;
        let purge = rig.purge(&key, None).await;
        rig.cleaned(&key, purge, None).await;
        rig.consume().await;
        let claimed = rig.claim(Lane::First, 1, &[], 1).await.pop().unwrap();
        assert!(rig.record(&claimed, disposition).await);
    };
    let at = rig.clock.now() + TimeDelta::days(2_000);
    told("delivered", Disposition::Delivered).await;
    told("dead", Disposition::Dead { gone: false }).await;
    told("due", Disposition::RetryAt { at, gone: false }).await;
    // The purge of this one failed, was told, and may be asked for again.
    let failed = rig.register("failed", Some(A)).await;
    let purge = rig.purge(&failed, None).await;
    rig.cleaned(&failed, purge, Some("Object Lock")).await;
    rig.consume().await;
    let claimed = rig.claim(Lane::First, 1, &[], 1).await.pop().unwrap();
    assert!(rig.record(&claimed, Disposition::Delivered).await);
    // Superseded, then delivered.
    purged_at_last(&rig, "twice").await;
    rig.consume().await;
    let claimed = rig.claim(Lane::First, 1, &[], 1).await.pop().unwrap();
    assert!(rig.record(&claimed, Disposition::Delivered).await);
    let long_after = rig.clock.now() + TimeDelta::seconds(1);
    rig.clock.advance(TimeDelta::days(1_000));
    told("lately", Disposition::Delivered).await;

    let ids = async || {
        let mut ids: Vec<String> = rig
            .all()
            .await
            .into_iter()
            .map(|row| row.key.id().to_owned())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(
        ids().await,
        ["dead", "delivered", "due", "failed", "lately", "twice", "twice"]
    );
    assert_eq!(
        rig.retention
            .prune_deliveries(long_after - TimeDelta::days(1))
            .await
            .unwrap(),
        0
    );
    assert_eq!(rig.retention.prune_deliveries(long_after).await.unwrap(), 2);
    let left = ["dead", "due", "failed", "lately"];
    assert_eq!(ids().await, left);
    assert_eq!(rig.retention.prune_deliveries(long_after).await.unwrap(), 0);
    // An outcome that is told again, by a bus that has forgotten how far it was, makes no delivery anew.
    rig.consume().await;
    assert_eq!(ids().await, left);
    // A dead letter goes once it was replayed and has arrived, and the second try of what failed is told.
    rig.admin()
        .replay_matching(
            &DeliveryFilter {
                state: Some(DeliveryState::Dead),
                ..DeliveryFilter::default()
            },
            None,
        )
        .await
        .unwrap();
    assert_eq!(
        rig.retention
            .prune_deliveries(rig.clock.now() + TimeDelta::days(1))
            .await
            .unwrap(),
        1
    );
    assert_eq!(ids().await, ["dead", "due", "failed"]);
    let claimed = rig.claim(Lane::Retry, 1, &[], 1).await.pop().unwrap();
    assert!(rig.record(&claimed, Disposition::Delivered).await);
    assert_eq!(
        rig.retention
            .prune_deliveries(rig.clock.now() + TimeDelta::days(1))
            .await
            .unwrap(),
        1
    );
    let second = rig.purge(&failed, None).await;
    rig.cleaned(&failed, second, None).await;
    rig.consume().await;
    assert_eq!(ids().await, ["due", "failed", "failed"]);
}
