//! The harness itself: what every other test relies on.

use std::process::Command;
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};

use super::eventually;
use super::nats::Nats;
use super::postgres::Postgres;
use super::process::{Guarded, Spec, free_port};
use super::receiver::{Answer, Receiver};
use super::s3::S3;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn every_test_gets_an_empty_database_of_its_own() {
    let server = Postgres::shared().await;
    let (one, two) = (server.create_database().await, server.create_database().await);
    assert_ne!(one, two);
    for url in [one, two] {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        connection
            .execute("CREATE TABLE t (id bigint primary key)")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_crashed_postgres_comes_back_with_what_it_committed_on_the_same_port() {
    let server = Postgres::start().await;
    let url = server.create_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection
        .execute("CREATE TABLE t (id bigint primary key)")
        .await
        .unwrap();
    connection.execute("INSERT INTO t VALUES (42)").await.unwrap();

    server.crash().await;
    assert!(connection.execute("SELECT 1").await.is_err());
    assert!(PgConnection::connect(&url).await.is_err());

    server.restart().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let id: i64 = sqlx::query_scalar("SELECT id FROM t")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(id, 42);
}

#[tokio::test]
async fn a_restarted_nats_keeps_its_stream_and_its_port() {
    let server = Nats::start().await;
    let url = server.url();
    let config = async_nats::jetstream::stream::Config {
        name: "TEST".to_owned(),
        subjects: vec!["test.>".to_owned()],
        ..Default::default()
    };
    let bus = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    bus.create_stream(config).await.unwrap();
    bus.publish("test.one", "1".into()).await.unwrap().await.unwrap();

    server.stop().await;
    assert!(async_nats::connect(&url).await.is_err());

    server.restart().await;
    let bus = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    assert_eq!(
        bus.get_stream("TEST").await.unwrap().cached_info().state.messages,
        1
    );

    server.kill9().await;
    assert!(async_nats::connect(&url).await.is_err());
}

#[tokio::test]
async fn the_object_store_keeps_versions_and_delete_markers() {
    let store = S3::shared().await;
    let (plain, versioned) = (store.create_bucket().await, store.create_versioned_bucket().await);
    for bucket in [&plain, &versioned] {
        for key in ["a/1", "a/1", "a/./2", "b/3"] {
            store.put(bucket, key, b"x").await;
        }
        store
            .client()
            .delete_object()
            .bucket(bucket)
            .key("a/1")
            .send()
            .await
            .unwrap();
        assert_eq!(store.keys(bucket, "a/").await, ["a/./2"]);
    }
    assert_eq!(store.versions(&plain, "a/").await, 1);
    assert_eq!(store.versions(&versioned, "a/").await, 4);
}

#[tokio::test]
async fn a_stopped_object_store_refuses_connections_until_it_is_restarted() {
    let store = S3::start().await;
    let bucket = store.create_bucket().await;
    store.stop().await;
    assert!(reqwest::get(store.endpoint()).await.is_err());
    store.restart().await;
    assert!(store.client().head_bucket().bucket(&bucket).send().await.is_err());
    assert!(
        store
            .env()
            .contains(&("AWS_ENDPOINT_URL".to_owned(), store.endpoint()))
    );
}

#[tokio::test]
async fn the_receiver_records_the_exact_request_and_answers_by_its_script() {
    let retry = Answer::Full(503, vec![("retry-after", "7".to_owned())], b"later".to_vec());
    let receiver = Receiver::answering([Answer::Status(500), retry, Answer::Hang]).await;
    let client = reqwest::Client::builder()
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let send = || {
        client
            .post(receiver.url("/deleted?x=1"))
            .header("webhook-id", "w1")
            .body(r#"{"a": 1}"#)
            .send()
    };

    assert_eq!(send().await.unwrap().status(), 500);
    let answer = send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"7".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "later");
    assert!(send().await.unwrap_err().is_timeout());
    receiver.then([Answer::After(Duration::from_millis(50), 204)]);
    assert_eq!(send().await.unwrap().status(), 204);
    assert_eq!(send().await.unwrap().status(), 200);

    let received = receiver.wait_for(5, SOON).await;
    assert!(
        received
            .iter()
            .all(|request| request.body == r#"{"a": 1}"# && request.target == "/deleted?x=1")
    );
    assert_eq!(received[0].json()["a"], 1);
    assert_eq!(
        (received[0].method.as_str(), received[0].header("webhook-id")),
        ("POST", Some("w1"))
    );
    assert!(received[1].at <= received[2].at);
    assert_eq!(Receiver::start().await.received().len(), 0);
}

#[tokio::test]
async fn a_process_ends_with_the_signal_it_is_sent() {
    let home = tempfile::tempdir().unwrap();
    let mut process = sleeper(home.path());
    assert_eq!(process.exit_code(), None);
    process.signal("TERM");
    assert_eq!(process.wait(SOON).await, 128 + 15);
    assert!(home.path().exists());
}

#[tokio::test]
async fn no_server_and_no_directory_outlives_a_killed_test_process() {
    let home = tempfile::tempdir().unwrap().keep();
    let mut process = sleeper(&home);
    let pid_file = home.join("pid");
    let pid = eventually("the pid", SOON, || async {
        std::fs::read_to_string(&pid_file)
            .ok()
            .filter(|pid| pid.ends_with('\n'))
    })
    .await;
    // By the shell's own `kill`: not every machine has the program.
    let check = format!("kill -s 0 {pid}");
    let alive = || {
        Command::new("sh")
            .args(["-c", &check])
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(alive());

    process.abandon();
    eventually("the end of it all", SOON, || async {
        (!alive() && !home.exists()).then_some(())
    })
    .await;
}

#[test]
fn no_port_is_handed_out_twice() {
    let mut ports: Vec<u16> = (0..50).map(|_| free_port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
}

fn sleeper(home: &std::path::Path) -> Guarded {
    let script = r#"echo $$ > pid; exec sleep 60"#;
    Guarded::start(&Spec {
        program: std::path::Path::new("sh"),
        args: &["-c", script].map(Into::into),
        env: &[],
        home,
        log: &home.join("log"),
        last_signal: "KILL",
        remove_home: true,
    })
}
