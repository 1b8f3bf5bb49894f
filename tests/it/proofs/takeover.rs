//! Instances that sign beside each other: one is killed, paused, or overtaken by a fork.

use crate::harness::server::{Backend, Server};
use crate::harness::{READY_WITHIN, eventually};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How old the oldest event is that no checkpoint covers, in seconds.
const AGE: &str =
    "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(recorded_at)), 0)::float8 FROM events
                   WHERE position > (SELECT coalesce(max(size), 0) FROM checkpoints)";

const HELD: &str = "SELECT epoch FROM leases WHERE name = 'checkpointer' AND expires_at > clock_timestamp()";

async fn database(server: &Server) -> PgConnection {
    PgConnection::connect(server.database_url().unwrap())
        .await
        .unwrap()
}

async fn one<T>(connection: &mut PgConnection, query: &'static str) -> Option<T>
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query_scalar(query)
        .fetch_optional(connection)
        .await
        .unwrap()
}

/// Deletes new entities, one after the other, until told to stop; an instance that is gone makes no difference.
async fn load(server: &Server, token: &str, ids: &AtomicU64, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let id = Uuid::from_u128(ids.fetch_add(1, Ordering::Relaxed).into());
        let body = json!({"id": id, "name": "n", "metadata": {}});
        let sent = server.post("/api/admin/archived/backups", token, &body).send();
        tokio::select! {
            () = stop.cancelled() => {}
            answer = sent => if answer.is_err() { tokio::time::sleep(Duration::from_millis(20)).await; }
        }
    }
}

/// The whole database, its checkpoints among it, is what was signed.
async fn verify(server: &Server, token: &str) {
    let vkey = server.home().join("vkey");
    let key = server.get("/api/ledger/vkey", token).send().await.unwrap();
    std::fs::write(&vkey, key.text().await.unwrap()).unwrap();
    let verified = server
        .run_command(&["verify", "--vkey", &vkey.display().to_string()])
        .await;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(
        verified.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_instance_that_signs_is_killed_another_signs_before_its_lease_has_ended() {
    let first = Server::start(Backend::Clustered).await;
    let mut connection = database(&first).await;
    let mut probe = database(&first).await;
    // The one that started first signs: it has the lease before there is another.
    let epoch: i64 = eventually("the lease", READY_WITHIN, || {
        let held = sqlx::query_scalar(HELD).fetch_optional(&mut probe);
        let held = futures::executor::block_on(held);
        std::future::ready(held.unwrap())
    })
    .await;
    let second = first.another().start().await;
    let token = first.token(&["--role", "admin"]).await;
    let (ids, stop) = (AtomicU64::new(1), CancellationToken::new());
    let mut oldest: f64 = 0.0;
    let watched = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.kill9().await;
        let killed = Instant::now();
        while killed.elapsed() < Duration::from_secs(3) {
            oldest = oldest.max(one(&mut connection, AGE).await.unwrap());
            let holder: Option<i64> = one(&mut connection, HELD).await;
            assert_eq!(
                holder,
                Some(epoch),
                "the dead instance's lease was to stand meanwhile"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    tokio::join!(
        watched,
        load(&second, &token, &ids, &stop),
        load(&second, &token, &ids, &stop)
    );
    println!("the oldest event without a checkpoint was {oldest:.3} s old");
    assert!(ids.load(Ordering::Relaxed) > 50, "there was to be load");
    assert!(oldest < 2.0, "an event stayed unsigned for {oldest} s");
    verify(&second, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_was_paused_while_it_signed_publishes_no_other_root() {
    let first = Server::start(Backend::Clustered).await;
    let second = first.another().start().await;
    let token = first.token(&["--role", "admin"]).await;
    let (ids, stop) = (AtomicU64::new(1), CancellationToken::new());
    let paused = async {
        // Short pauses at many moments of its work, and one beyond its lease.
        for round in 0..20u64 {
            first.pause();
            tokio::time::sleep(Duration::from_millis(250 + 17 * round)).await;
            first.resume();
            tokio::time::sleep(Duration::from_millis(60 + 13 * round)).await;
        }
        first.pause();
        tokio::time::sleep(Duration::from_millis(7500)).await;
        first.resume();
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.cancel();
    };
    tokio::join!(
        paused,
        load(&first, &token, &ids, &stop),
        load(&second, &token, &ids, &stop)
    );
    assert_eq!((first.exit_code(), second.exit_code()), (None, None));
    verify(&first, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_a_fork_overtook_signs_nothing_more_under_the_old_origin_and_ends() {
    let server = Server::start(Backend::Clustered).await;
    let token = server.token(&["--role", "admin"]).await;
    let (ids, stop) = (AtomicU64::new(1), CancellationToken::new());
    let mut connection = database(&server).await;
    let overtaken = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.pause();
        // The fork waits until the lease of the paused instance has ended.
        let forked = server
            .run_command(&["ledger", "fork", "--reason", "it did not answer"])
            .await;
        let said = String::from_utf8_lossy(&forked.stderr).into_owned();
        assert!(forked.status.success(), "{said}");
        let before: i64 = one(
            &mut connection,
            "SELECT max(size) FROM checkpoints WHERE ledger = 1",
        )
        .await
        .unwrap();
        server.resume();
        eventually("the end of the instance", READY_WITHIN, || {
            std::future::ready(server.exit_code())
        })
        .await;
        stop.cancel();
        before
    };
    let (before, ()) = tokio::join!(overtaken, load(&server, &token, &ids, &stop));
    let after: i64 = one(
        &mut connection,
        "SELECT max(size) FROM checkpoints WHERE ledger = 1",
    )
    .await
    .unwrap();
    assert_eq!(after, before);
    assert!(server.log().contains("the ledger was forked"), "{}", server.log());
    server.restart().await;
    verify(&server, &token).await;
}
