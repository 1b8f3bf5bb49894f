//! An instance that stands still (`SIGSTOP`, a machine that is paused or starved) at whatever moment: the others get on.

use super::{SOON, delete, exists, is_put_off, is_ready, records, tells_that_it_is_not_ready, verifies};
use crate::harness::postgres::Postgres;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, fresh_id};
use reqwest::StatusCode;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An instance that stands still holds nobody up for longer. Two seconds is what the service allows it; the rest is for the machine.
const GETS_ON: Duration = Duration::from_secs(6);

const LOCK: &str = "BEGIN; SELECT * FROM ledger_head FOR UPDATE";

async fn count(admin: &mut PgConnection, condition: &str) -> i64 {
    sqlx::query_scalar(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
    ))
    .fetch_one(admin)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_freezes_with_the_head_in_its_hands_holds_nobody_up() {
    let first = Server::start(Backend::Clustered).await;
    let second = first.another().start().await;
    let token = first.token(&["--role", "admin"]).await;
    records(&first, &token).await;
    let url = first.database_url().unwrap();
    let mut helper = PgConnection::connect(url).await.unwrap();
    for round in 0..3 {
        // Of the two, only the first one wants the head.
        second.pause();
        helper.execute(LOCK).await.unwrap();
        let id = fresh_id();
        let asked = delete(&first, &token, id);
        let (answer, ()) = tokio::join!(asked, async {
            eventually("the first one waits for the head", SOON, || async {
                let mut other = PgConnection::connect(url).await.unwrap();
                (count(&mut other, "wait_event_type = 'Lock'").await > 0).then_some(())
            })
            .await;
            first.pause();
            helper.execute("ROLLBACK").await.unwrap();
            eventually("the frozen one has the head, or has lost it", SOON, || async {
                let mut other = PgConnection::connect(url).await.unwrap();
                (count(&mut other, "wait_event_type = 'Lock'").await == 0).then_some(())
            })
            .await;
            second.resume();
            let lasted = records(&second, &token).await;
            assert!(lasted < GETS_ON, "round {round}: {lasted:?}");
            is_ready(&second).await;
            first.resume();
        });
        match answer.0.status() {
            StatusCode::CREATED => assert!(exists(&second, &token, id).await, "acknowledged and lost"),
            other => assert_eq!(other, StatusCode::SERVICE_UNAVAILABLE),
        }
        is_ready(&first).await;
        records(&first, &token).await;
    }
    assert_eq!((first.exit_code(), second.exit_code()), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_freezes_at_any_moment_under_load_holds_nobody_up_and_loses_nothing() {
    let first = Arc::new(Server::start(Backend::Clustered).await);
    let second = Arc::new(first.another().start().await);
    let token = first.token(&["--role", "admin"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = |server: &Arc<Server>| {
        let (server, token, stop) = (Arc::clone(server), token.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let (mut acknowledged, mut slowest) = (Vec::new(), Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let id = fresh_id();
                let (answer, lasted) = delete(&server, &token, id).await;
                slowest = slowest.max(lasted);
                match answer.status() {
                    StatusCode::CREATED => acknowledged.push(id),
                    other => assert_eq!(other, StatusCode::SERVICE_UNAVAILABLE),
                }
            }
            (acknowledged, slowest)
        })
    };
    let (of_first, of_second) = ([load(&first), load(&first)], [load(&second), load(&second)]);
    for round in 0..4_u64 {
        // At another moment of a batch each time.
        tokio::time::sleep(Duration::from_millis(700 + 7 * round)).await;
        first.pause();
        tokio::time::sleep(Duration::from_millis(7_000)).await;
        first.resume();
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for task in of_second {
        let (mine, slowest) = task.await.unwrap();
        assert!(mine.len() > 4, "the second one got on");
        assert!(slowest < GETS_ON, "{slowest:?}");
        acknowledged.extend(mine);
    }
    for task in of_first {
        acknowledged.extend(task.await.unwrap().0);
    }
    is_ready(&first).await;
    for id in acknowledged {
        assert!(exists(&first, &token, id).await, "{id} was acknowledged and lost");
    }
    verifies(&first, &token).await;
}

/// A client that has sent a part of what it has to say, as the wire has it: it has the head, and no limit of the server's ends it.
async fn stands_still_in_the_midst_of_a_message(port: u16, database: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let parameters = format!("user\0postgres\0database\0{database}\0application_name\0archive-ledger\0\0");
    let mut startup = 196_608_u32.to_be_bytes().to_vec();
    startup.extend(parameters.as_bytes());
    let length = u32::try_from(startup.len() + 4).unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    stream.write_all(&startup).await.unwrap();
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    };
    let lock = format!("{LOCK}\0");
    stream.write_all(&message(b'Q', lock.as_bytes())).await.unwrap();
    let mut answer = Vec::new();
    // Ready for the next one, within a transaction.
    while !answer.ends_with(b"Z\0\0\0\x05T") {
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..length]);
    }
    // A statement is prepared, and then nothing.
    stream
        .write_all(&message(b'P', b"\0SELECT 1\0\0\0"))
        .await
        .unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_services_own_that_stands_still_is_ended_and_another_ones_is_not() {
    let postgres = Postgres::shared().await;
    let url = postgres.create_database().await;
    let database = url.rsplit('/').next().unwrap();
    let builder = Server::builder(Backend::Clustered);
    let server = builder.on_database(url.clone()).await.start().await;
    let token = server.token(&["--role", "admin"]).await;
    records(&server, &token).await;

    let own = PgConnectOptions::from_str(&url).unwrap();
    let mut own = own.application_name("archive-ledger").connect().await.unwrap();
    own.execute(LOCK).await.unwrap();
    let lasted = records(&server, &token).await;
    assert!(lasted < GETS_ON, "{lasted:?}");
    assert!(own.execute("COMMIT").await.is_err(), "its session was ended");

    let _stands = stands_still_in_the_midst_of_a_message(postgres.port(), database).await;
    let lasted = records(&server, &token).await;
    assert!(lasted < GETS_ON, "{lasted:?}");

    // Somebody else's is waited for, and callers are told.
    let mut foreign = PgConnection::connect(&url).await.unwrap();
    foreign.execute(LOCK).await.unwrap();
    tokio::join!(is_put_off(&server, &token), is_put_off(&server, &token));
    tells_that_it_is_not_ready(&server, "writer").await;
    foreign.execute("COMMIT").await.unwrap();
    is_ready(&server).await;
    records(&server, &token).await;
}
