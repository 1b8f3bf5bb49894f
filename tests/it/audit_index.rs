//! The audit's index of blocks when somebody has changed it: a search misses nothing, and the service builds the index again.

use crate::harness::described::Told as _;
use crate::harness::ledger::change;
use crate::harness::server::Server;
use crate::harness::{eventually, on_both_backends};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Four full blocks, and some.
const EVENTS: usize = 140;

async fn tamper(server: &Server, statement: &str) {
    change(server.database_url(), &server.data_dir(), statement).await;
}

/// How many blocks the index says that it covers, and how many entries it has.
async fn index(server: &Server) -> (i64, i64) {
    let query = "SELECT (SELECT blocks FROM audit_indexed), (SELECT count(*) FROM audit_blocks)";
    match server.database_url() {
        Some(url) => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::query_as(query).fetch_one(&mut connection).await.unwrap()
        }
        None => {
            let options = SqliteConnectOptions::new()
                .filename(server.data_dir().join("ledger.db"))
                .busy_timeout(SOON);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let found = sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            found
        }
    }
}

/// How many events a search finds, over all its pages.
async fn found(server: &Server, token: &str, filter: &str) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/admin/audit/events?{filter}{cursor}");
        let page: Value = server.get(&path, token).told().await.json().await.unwrap();
        count += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}

async fn finds_all(server: &Server, token: &str, when: &str) {
    for filter in [
        "actor=writer",
        "action=soft_deleted",
        "entity_type=users&order=asc",
        "ip=127.0.0.1&action=soft_deleted",
    ] {
        assert_eq!(found(server, token, filter).await, EVENTS, "{when}: {filter}");
    }
}

on_both_backends! {
    async fn a_search_misses_nothing_when_the_index_was_emptied_or_lies_and_the_service_builds_it_again(server: Server) {
        let writer = server.token(&["--role", "admin", "--subject", "writer"]).await;
        let auditor = server.token(&["--role", "auditor", "--subject", "auditor"]).await;
        for _ in 0..EVENTS {
            let body = json!({"id": crate::harness::fresh_id(), "name": "n"});
            let answer = server.post("/api/admin/archived/users", &writer, &body).told().await;
            assert_eq!(answer.status(), 201);
        }
        let whole = eventually("the index covers the log", SOON, || async {
            Some(index(&server).await).filter(|(blocks, _)| *blocks == 4)
        })
        .await;
        assert!(whole.1 >= 4 * 4, "{whole:?}");
        finds_all(&server, &auditor, "whole").await;
        // While it runs: nothing is missed from the very next search on.
        tamper(&server, "DELETE FROM audit_blocks").await;
        finds_all(&server, &auditor, "emptied").await;
        eventually("the index is built again", SOON, || async {
            (index(&server).await == whole).then_some(())
        })
        .await;
        finds_all(&server, &auditor, "built again").await;
        // While it is down: from the very first search on.
        for lie in [
            "DELETE FROM audit_blocks",
            "DELETE FROM audit_blocks WHERE block = 2",
            "DELETE FROM audit_blocks WHERE token = (SELECT min(token) FROM audit_blocks)",
            "UPDATE audit_blocks SET block = block + 50 WHERE block = 1",
            "UPDATE audit_indexed SET blocks = 1000",
            "INSERT INTO audit_blocks VALUES (7, 0), (8, 900)",
        ] {
            server.terminate().await;
            tamper(&server, lie).await;
            server.restart().await;
            finds_all(&server, &auditor, lie).await;
            eventually(&format!("the index is right again after {lie}"), SOON, || async {
                (index(&server).await == whole).then_some(())
            })
            .await;
            finds_all(&server, &auditor, "right again").await;
        }
    }
}
