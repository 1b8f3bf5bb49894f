//! A database server that has too few connections: it is told before, and while it lasts.

use super::{SOON, is_ready, readiness, records};
use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Backend, Server};
use reqwest::StatusCode;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;

/// A database and its owner, who has so many connections.
async fn limited(postgres: &Postgres, connections: u32) -> String {
    let url = postgres.create_database().await;
    let name = url.rsplit('/').next().unwrap();
    let sql = format!(
        "CREATE ROLE {name}_few LOGIN CONNECTION LIMIT {connections}; ALTER DATABASE {name} OWNER TO {name}_few;
         GRANT ALL ON SCHEMA public TO {name}_few"
    );
    postgres.run_sql(name, &sql).await;
    url.replace("postgres://postgres@", &format!("postgres://{name}_few@"))
}

async fn warnings(server: &Server) -> String {
    readiness(server).await.1["warnings"].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_too_few_connections_is_told_at_the_start() {
    let postgres = Postgres::shared().await;
    // 8 for everything, 4 for callbacks, the writer's and the summary's.
    for (limit, few) in [(9, true), (13, true), (14, false)] {
        let url = limited(postgres, limit).await;
        let server = Server::builder(Backend::Clustered)
            .on_database(url)
            .await
            .start()
            .await;
        let told = format!(
            "this instance may open 14 connections to the database, and the role (CONNECTION LIMIT) allows {limit}"
        );
        assert_eq!(warnings(&server).await.contains(&told), few, "{limit}");
        assert_eq!(server.log().contains(&told), few, "{limit}");
        assert!(
            server
                .log()
                .contains("this instance opens up to 14 connections to the database")
        );
    }
    let server = Server::builder(Backend::Clustered)
        .arg("--database-connections")
        .arg("500")
        .start()
        .await;
    assert!(
        warnings(&server)
            .await
            .contains("the server (max_connections) allows 300")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_says_when_it_has_no_connection_left_is_what_is_told() {
    let postgres = Postgres::shared().await;
    let url = limited(postgres, 14).await;
    let server = Server::builder(Backend::Clustered)
        .on_database(url.clone())
        .await
        .start()
        .await;
    let token = server.token(&["--role", "admin"]).await;
    records(&server, &token).await;
    let taken = Mutex::new(Vec::new());
    let name = url.rsplit('/').next().unwrap();
    eventually("the refusal is told", SOON, || async {
        // What the service has goes to somebody else, who has come before it reconnects or will the next time.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'archive-ledger'";
        postgres.run_sql(name, end).await;
        let mut taken = taken.lock().await;
        while let Ok(connection) = PgConnection::connect(&url).await {
            taken.push(connection);
        }
        let reads = (0..12).map(|_| {
            server
                .get("/api/admin/archived/backups", &token)
                .timeout(SOON)
                .send()
        });
        for answer in futures::future::join_all(reads).await {
            let status = answer.unwrap().status();
            assert!(
                [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status),
                "{status}"
            );
        }
        warnings(&server).await.contains("53300").then_some(())
    })
    .await;
    assert!(
        server
            .log()
            .contains("the database server refuses connections (53300)"),
        "{}",
        server.log()
    );
    for connection in taken.into_inner() {
        connection.close().await.unwrap();
    }
    is_ready(&server).await;
    records(&server, &token).await;
}
