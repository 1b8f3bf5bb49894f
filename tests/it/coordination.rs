//! Leases and cursors, on both backends.

use crate::harness::postgres::Postgres;
use archive_ledger::clock::{Clock, SystemClock};
use archive_ledger::store::CoordinationStore;
use archive_ledger::store::postgres::PostgresStore;
use archive_ledger::store::sqlite::SqliteStore;
use chrono::TimeDelta;
use std::time::Duration;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);
const TTL: Duration = Duration::from_secs(5);

async fn one_owner_at_a_time_and_the_epoch_grows_with_each_change(store: &dyn CoordinationStore) {
    let now = SystemClock.now();
    let after = now + TimeDelta::seconds(6);
    assert_eq!(store.acquire_lease("l", A, now, TTL).await.unwrap(), Some(1));
    assert_eq!(store.acquire_lease("l", B, now, TTL).await.unwrap(), None);
    assert_eq!(store.acquire_lease("other", B, now, TTL).await.unwrap(), Some(1));

    // Renewed at second 4, it stands at second 6.
    let renewed = now + TimeDelta::seconds(4);
    assert_eq!(store.acquire_lease("l", A, renewed, TTL).await.unwrap(), Some(1));
    assert_eq!(store.acquire_lease("l", B, after, TTL).await.unwrap(), None);

    let late = now + TimeDelta::seconds(9);
    assert_eq!(store.acquire_lease("l", B, late, TTL).await.unwrap(), Some(2));
    assert_eq!(store.acquire_lease("l", A, late, TTL).await.unwrap(), None);

    // Only the owner can give it back; then it is free at once.
    store.release_lease("l", A).await.unwrap();
    assert_eq!(store.acquire_lease("l", A, late, TTL).await.unwrap(), None);
    store.release_lease("l", B).await.unwrap();
    assert_eq!(store.acquire_lease("l", A, late, TTL).await.unwrap(), Some(3));
    store.release_lease("never taken", A).await.unwrap();
}

async fn of_many_who_ask_at_once_one_gets_the_lease(store: &dyn CoordinationStore) {
    let now = SystemClock.now();
    let asked = (1..=20).map(|owner| store.acquire_lease("crowd", Uuid::from_u128(owner), now, TTL));
    let answers = futures::future::join_all(asked).await;
    let granted: Vec<u64> = answers.into_iter().filter_map(|answer| answer.unwrap()).collect();
    assert_eq!(granted, [1]);
}

async fn a_cursor_never_goes_back(store: &dyn CoordinationStore) {
    assert_eq!(store.cursor("c").await.unwrap(), 0);
    for (to, then) in [(7, 7), (3, 7), (7, 7), (8, 8), (0, 8)] {
        store.advance_cursor("c", to).await.unwrap();
        assert_eq!(store.cursor("c").await.unwrap(), then);
    }
    assert_eq!(store.cursor("other").await.unwrap(), 0);
    assert!(store.advance_cursor("c", u64::MAX).await.is_err());
    let moves = (9..40).map(|to| store.advance_cursor("c", to));
    for moved in futures::future::join_all(moves).await {
        moved.unwrap();
    }
    assert_eq!(store.cursor("c").await.unwrap(), 39);
}

macro_rules! on_both_stores {
    ($($name:ident,)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let home = tempfile::tempdir().unwrap();
                let store = super::SqliteStore::open(&home.path().join("ledger.db"), 2).await.unwrap();
                store.migrate().await.unwrap();
                super::$name(&store).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                let url = super::Postgres::shared().await.create_database().await;
                let store = super::PostgresStore::connect(&url, 4).await.unwrap();
                store.migrate().await.unwrap();
                super::$name(&store).await;
            })*
        }
    };
}

on_both_stores! {
    one_owner_at_a_time_and_the_epoch_grows_with_each_change,
    of_many_who_ask_at_once_one_gets_the_lease,
    a_cursor_never_goes_back,
}
