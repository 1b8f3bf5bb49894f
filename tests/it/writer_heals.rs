//! What a database may do to the writer's session at any moment: cancel it, refuse it, let it wait, take no writes. While it lasts
//! commands are told to come again; afterwards the service is as before, without anybody's help.

use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Backend, Server};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

async fn delete(server: &Server, token: &str) -> Response {
    let body = json!({"id": crate::harness::fresh_id(), "name": "n", "metadata": {}});
    let asked = server.post("/api/admin/archived/backups", token, &body);
    asked.timeout(SOON).send().await.unwrap()
}

async fn readiness(server: &Server) -> (StatusCode, Value) {
    let answer = server.client().get(server.url("/readyz")).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn metric(server: &Server, name: &str) -> f64 {
    let text = server.client().get(server.url("/metrics")).send().await.unwrap();
    let text = text.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Every command is told to come again, and `/readyz` and the metrics say why: `code`.
async fn takes_nothing(server: &Server, token: &str, code: &str) {
    for _ in 0..2 {
        let refused = delete(server, token).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
    }
    let body = eventually("/readyz says that nothing can be recorded", SOON, || async {
        let (status, body) = readiness(server).await;
        (status == 503 && body["reasons"].to_string().contains(code)).then_some(body)
    })
    .await;
    assert_eq!(body["writer"], "unavailable", "{body}");
    assert!((metric(server, "archive_ledger_writer_up").await - 0.0).abs() < 0.1);
    assert!(metric(server, "archive_ledger_writer_failures_total").await > 0.5);
}

/// Nobody asks it anything, and it is ready again; then it records.
async fn is_as_before(server: &Server, token: &str) {
    eventually("it is ready again", SOON, || async {
        (readiness(server).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(delete(server, token).await.status(), StatusCode::CREATED);
    assert!((metric(server, "archive_ledger_writer_up").await - 1.0).abs() < 0.1);
    assert_eq!(server.exit_code(), None);
    let audited = server.get("/api/admin/audit/events?limit=1", token).send().await;
    assert_eq!(audited.unwrap().status(), StatusCode::OK);
}

async fn run(admin: &mut PgConnection, statement: &str) {
    admin.execute(statement).await.unwrap();
}

/// Ends every session of the service, so that it opens new ones.
const END_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()";

async fn clustered(postgres: &Postgres) -> (Server, String, PgConnection, String) {
    let url = postgres.create_database().await;
    let builder = Server::builder(Backend::Clustered);
    let server = builder.on_database(url.clone()).await.start().await;
    let token = server.token(&["--role", "admin"]).await;
    assert_eq!(delete(&server, &token).await.status(), StatusCode::CREATED);
    let admin = PgConnection::connect(&url).await.unwrap();
    let database = url.rsplit('/').next().unwrap().to_owned();
    (server, token, admin, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_lock_that_is_cancelled_again_and_again_is_taken_once_it_can_be() {
    let (server, token, mut admin, _) = clustered(Postgres::shared().await).await;
    for round in 0..3 {
        run(&mut admin, "BEGIN; SELECT * FROM ledger_head FOR UPDATE").await;
        let asked = delete(&server, &token);
        let cancelled = async {
            for _ in 0..3 {
                eventually("a writer that waits is cancelled", SOON, || async {
                    let mut other = PgConnection::connect(server.database_url().unwrap())
                        .await
                        .unwrap();
                    let cancelled: i64 = sqlx::query_scalar(
                        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'",
                    )
                    .fetch_one(&mut other)
                    .await
                    .unwrap();
                    (cancelled > 0).then_some(())
                })
                .await;
            }
            run(&mut admin, "ROLLBACK").await;
        };
        let (answer, ()) = tokio::join!(asked, cancelled);
        assert_eq!(answer.status(), StatusCode::CREATED, "round {round}");
    }
    is_as_before(&server, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_for_a_while_is_waited_for() {
    let (server, token, mut admin, database) = clustered(Postgres::shared().await).await;
    // For new sessions only: those that are opened meanwhile keep it.
    let read_only = "default_transaction_read_only";
    run(
        &mut admin,
        &format!("ALTER DATABASE {database} SET {read_only} = on"),
    )
    .await;
    run(&mut admin, END_SESSIONS).await;
    takes_nothing(&server, &token, "25006").await;
    let listed = server.get("/api/admin/archived/backups", &token).send().await;
    assert_eq!(listed.unwrap().status(), StatusCode::OK, "reads go on");
    run(
        &mut admin,
        &format!("ALTER DATABASE {database} RESET {read_only}"),
    )
    .await;
    is_as_before(&server, &token).await;

    // For all sessions at once, and back.
    let postgres = Postgres::start().await;
    let (server, token, mut admin, _) = clustered(&postgres).await;
    run(&mut admin, &format!("ALTER SYSTEM SET {read_only} = on")).await;
    run(&mut admin, "SELECT pg_reload_conf()").await;
    takes_nothing(&server, &token, "25006").await;
    run(&mut admin, &format!("ALTER SYSTEM RESET {read_only}")).await;
    run(&mut admin, "SELECT pg_reload_conf()").await;
    is_as_before(&server, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_are_set_for_the_database_do_not_reach_the_services_sessions() {
    let (server, token, mut admin, database) = clustered(Postgres::shared().await).await;
    for setting in [
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
    ] {
        run(&mut admin, &format!("ALTER DATABASE {database} SET {setting}")).await;
        run(&mut admin, END_SESSIONS).await;
        is_as_before(&server, &token).await;
        // Somebody holds the head for longer than that.
        run(&mut admin, "BEGIN; SELECT * FROM ledger_head FOR UPDATE").await;
        let waited = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            run(&mut admin, "ROLLBACK").await;
        };
        let (answer, ()) = tokio::join!(delete(&server, &token), waited);
        assert_eq!(answer.status(), StatusCode::CREATED, "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_taken_away_or_a_table_that_is_gone_for_a_while_is_waited_for() {
    let (server, token, mut admin, _) = clustered(Postgres::shared().await).await;
    run(&mut admin, "ALTER TABLE ledger_head RENAME TO ledger_head_kept").await;
    takes_nothing(&server, &token, "ledger").await;
    run(&mut admin, "ALTER TABLE ledger_head_kept RENAME TO ledger_head").await;
    is_as_before(&server, &token).await;
    run(&mut admin, "ALTER TABLE events RENAME TO events_kept").await;
    takes_nothing(&server, &token, "ledger").await;
    run(&mut admin, "ALTER TABLE events_kept RENAME TO events").await;
    is_as_before(&server, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_damaged_is_told_as_what_it_is() {
    let (server, token, mut admin, _) = clustered(Postgres::shared().await).await;
    for (damage, repair, said) in [
        (
            "CREATE TABLE kept AS SELECT * FROM ledger_head; DELETE FROM ledger_head",
            "INSERT INTO ledger_head SELECT * FROM kept; DROP TABLE kept",
            "the table ledger_head has no row",
        ),
        (
            "ALTER TABLE ledger_head DROP CONSTRAINT ledger_head_position_check, ALTER COLUMN position TYPE text",
            "ALTER TABLE ledger_head ALTER COLUMN position TYPE bigint USING position::bigint,
                 ADD CONSTRAINT ledger_head_position_check CHECK (position >= 0)",
            "the column position cannot be read",
        ),
    ] {
        run(&mut admin, damage).await;
        run(&mut admin, END_SESSIONS).await;
        let refused = eventually("readers are told", SOON, || async {
            let (status, body) = readiness(&server).await;
            let why = "connections to the database are refused: ";
            (status == 503 && body["reasons"].to_string().contains(why)).then_some(body)
        })
        .await;
        assert!(refused["reasons"].to_string().contains(said), "{refused}");
        let listed = server.get("/api/admin/archived/backups", &token).send().await;
        assert_eq!(listed.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        run(&mut admin, repair).await;
        is_as_before(&server, &token).await;
    }
}

/// What several callers at once are answered who read each path.
async fn read_by_many(server: &Server, token: &str, paths: &[String]) -> Vec<StatusCode> {
    let asked = (0..4)
        .flat_map(|_| paths)
        .map(|path| server.get(path, token).send());
    let answers = futures::future::join_all(asked).await;
    answers
        .into_iter()
        .map(|answer| answer.unwrap().status())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_gets_another_type_fails_no_session_for_longer_than_once() {
    let (server, token, mut admin, _) = clustered(Postgres::shared().await).await;
    let id = crate::harness::fresh_id();
    let body = json!({"id": id, "name": "n", "metadata": {}});
    let created = server.post("/api/admin/archived/backups", &token, &body).send();
    assert_eq!(created.await.unwrap().status(), StatusCode::CREATED);
    let paths = [
        "/api/admin/archived/summary".to_owned(),
        "/api/admin/archived/backups".to_owned(),
        format!("/api/admin/archived/backups/{id}"),
        "/api/admin/audit/events?limit=1".to_owned(),
    ];
    // PostgreSQL changes no column that a view has.
    let view: String = sqlx::query_scalar("SELECT pg_get_viewdef('entity_events')")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    let of_events = |to| {
        format!(
            "DROP VIEW entity_events; ALTER TABLE events ALTER COLUMN actor TYPE {to}; CREATE VIEW entity_events AS {view}"
        )
    };
    for altered in [
        of_events("varchar"),
        "ALTER TABLE entities ALTER COLUMN kek_id TYPE varchar".to_owned(),
        "ALTER TABLE archived_summary ALTER COLUMN entity_type TYPE varchar COLLATE \"C\"".to_owned(),
        of_events("text"),
    ] {
        // Every session has prepared what it reads with.
        for _ in 0..3 {
            let answers = read_by_many(&server, &token, &paths).await;
            assert!(
                answers.iter().all(|status| *status == StatusCode::OK),
                "{answers:?}"
            );
        }
        run(&mut admin, &altered).await;
        eventually("all reads are answered again", SOON, || async {
            let answers = read_by_many(&server, &token, &paths).await;
            for status in &answers {
                let told = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(status);
                assert!(told, "{altered}: {answers:?}");
            }
            answers
                .iter()
                .all(|status| *status == StatusCode::OK)
                .then_some(())
        })
        .await;
        is_as_before(&server, &token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_that_another_process_holds_locked_is_waited_for() {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    assert_eq!(delete(&server, &token).await.status(), StatusCode::CREATED);
    let options = SqliteConnectOptions::new().filename(server.data_dir().join("ledger.db"));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let released = async {
        // Longer than the writer waits for a lock.
        eventually("/readyz says that nothing can be recorded", SOON, || async {
            let (status, body) = readiness(&server).await;
            (status == 503 && body["reasons"].to_string().contains("(5)")).then_some(())
        })
        .await;
        other.execute("ROLLBACK").await.unwrap();
    };
    let (answer, ()) = tokio::join!(delete(&server, &token), released);
    assert!(
        [StatusCode::CREATED, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status()),
        "{answer:?}"
    );
    is_as_before(&server, &token).await;
}
