//! Leases and cursors, on both backends.

use crate::harness::postgres::Postgres;
use archive_ledger::store::CoordinationStore;
use archive_ledger::store::postgres::PostgresStore;
use archive_ledger::store::sqlite::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);
/// Long enough for a slow machine to do everything before it ends.
const TTL: Duration = Duration::from_secs(450);

/// A store, and the way to its rows.
struct Place {
    store: Box<dyn CoordinationStore>,
    database: Database,
    _home: TempDir,
}

enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    async fn sqlite() -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ledger.db");
        let store = SqliteStore::open(&file, 2).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            store: Box::new(store),
            database: Database::Sqlite(file),
            _home: home,
        }
    }

    async fn postgres() -> Self {
        let url = Postgres::shared().await.create_database().await;
        let store = PostgresStore::connect(&url, 4).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            store: Box::new(store),
            database: Database::Postgres(url),
            _home: tempfile::tempdir().unwrap(),
        }
    }

    /// Moves the end of a lease, as if so much time had passed.
    async fn let_pass(&self, name: &str, seconds: i64) {
        match &self.database {
            Database::Sqlite(file) => {
                let options = SqliteConnectOptions::new().filename(file);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query("UPDATE leases SET expires_at = expires_at - 1000000 * ?2 WHERE name = ?1")
                    .bind(name)
                    .bind(seconds)
                    .execute(&mut connection)
                    .await
                    .unwrap();
                connection.close().await.unwrap();
            }
            Database::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query(
                    "UPDATE leases SET expires_at = expires_at - $2::bigint * interval '1 s' WHERE name = $1",
                )
                .bind(name)
                .bind(seconds)
                .execute(&mut connection)
                .await
                .unwrap();
            }
        }
    }
}

async fn one_owner_at_a_time_and_the_epoch_grows_with_each_change(place: &Place) {
    let store = &*place.store;
    assert_eq!(store.acquire_lease("l", A, TTL).await.unwrap(), Some(1));
    assert_eq!(store.acquire_lease("l", B, TTL).await.unwrap(), None);
    assert_eq!(store.acquire_lease("other", B, TTL).await.unwrap(), Some(1));

    // Renewed at second 400, it stands at second 600.
    place.let_pass("l", 400).await;
    assert_eq!(store.acquire_lease("l", A, TTL).await.unwrap(), Some(1));
    place.let_pass("l", 200).await;
    assert_eq!(store.acquire_lease("l", B, TTL).await.unwrap(), None);

    place.let_pass("l", 300).await;
    assert_eq!(store.acquire_lease("l", B, TTL).await.unwrap(), Some(2));
    assert_eq!(store.acquire_lease("l", A, TTL).await.unwrap(), None);

    // Only the owner can give it back; then it is free at once.
    store.release_lease("l", A).await.unwrap();
    assert_eq!(store.acquire_lease("l", A, TTL).await.unwrap(), None);
    store.release_lease("l", B).await.unwrap();
    assert_eq!(store.acquire_lease("l", A, TTL).await.unwrap(), Some(3));
    store.release_lease("never taken", A).await.unwrap();
}

async fn a_lease_further_ahead_than_it_is_long_is_over(place: &Place) {
    let store = &*place.store;
    for (round, ahead) in [1, 60, 3_600, 400 * 86_400].into_iter().enumerate() {
        let name = format!("l{round}");
        assert_eq!(store.acquire_lease(&name, A, TTL).await.unwrap(), Some(1));
        place.let_pass(&name, -ahead - 1).await;
        assert_eq!(
            store.acquire_lease(&name, B, TTL).await.unwrap(),
            Some(2),
            "{ahead} s"
        );
        assert_eq!(store.acquire_lease(&name, A, TTL).await.unwrap(), None);
    }
    // By its own length, not by that of who asks.
    assert_eq!(store.acquire_lease("long", A, TTL).await.unwrap(), Some(1));
    let short = Duration::from_secs(5);
    assert_eq!(store.acquire_lease("long", B, short).await.unwrap(), None);
}

async fn of_many_who_ask_at_once_one_gets_the_lease(place: &Place) {
    let store = &*place.store;
    let asked = (1..=20).map(|owner| store.acquire_lease("crowd", Uuid::from_u128(owner), TTL));
    let answers = futures::future::join_all(asked).await;
    let granted: Vec<u64> = answers.into_iter().filter_map(|answer| answer.unwrap()).collect();
    assert_eq!(granted, [1]);
}

async fn a_cursor_never_goes_back(place: &Place) {
    let store = &*place.store;
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
                super::$name(&super::Place::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Place::postgres().await).await;
            })*
        }
    };
}

on_both_stores! {
    one_owner_at_a_time_and_the_epoch_grows_with_each_change,
    a_lease_further_ahead_than_it_is_long_is_over,
    of_many_who_ask_at_once_one_gets_the_lease,
    a_cursor_never_goes_back,
}
