//! Every column of every table: changed behind the ledger's back, `archive-ledger verify` says so; or it is named here with the reason
//! why neither the log nor the keyring implies it.

mod tables;
mod values;

use crate::harness::ledger::change;
use crate::harness::receiver::Receiver;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::foreign_text::harmless;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tables::{IMPLIED, NEVER_EMPTY, NOT_IMPLIED};

const SOON: Duration = Duration::from_secs(120);

/// The columns of the tables, as `table.column`.
async fn columns(server: &Server) -> BTreeSet<String> {
    let named: Vec<String> = match server.database_url() {
        Some(url) => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let columns = "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
                           JOIN information_schema.tables t USING (table_schema, table_name)
                           WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'";
            sqlx::query_scalar(columns)
                .fetch_all(&mut connection)
                .await
                .unwrap()
        }
        None => {
            let options = SqliteConnectOptions::new().filename(server.data_dir().join("ledger.db"));
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let columns =
                "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
                           WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";
            let named = sqlx::query_scalar(columns)
                .fetch_all(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
            named
        }
    };
    let of_ours = |name: &String| !name.starts_with("_sqlx_migrations.");
    named.into_iter().filter(of_ours).collect()
}

async fn post(server: &Server, token: &str, path: &str, body: &Value) -> Value {
    let key = crate::harness::fresh_id().to_string();
    let request = server.post(path, token, body).header("Idempotency-Key", key);
    let answer = request.send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{path}: {}",
        answer.text().await.unwrap()
    );
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_default()
}

/// A deleted entity with a folder of its own or of somebody else's; returns its path.
async fn stored(server: &Server, token: &str, folder: &Path) -> String {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("object"), "some bytes").unwrap();
    let id = crate::harness::fresh_id();
    let storage = format!("file://{}", folder.display());
    let body = json!({"id": id, "name": "n", "storage": [storage]});
    post(server, token, "/api/admin/archived/backups", &body).await;
    format!("/api/admin/archived/backups/{id}")
}

async fn purge(server: &Server, token: &str, entity: &str, body: &Value) {
    let request = server.request(Method::DELETE, &format!("{entity}/purge"), token);
    let answer = request.json(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// The purges that have failed, once there are `count`.
async fn failed(server: &Server, token: &str, count: usize) -> Vec<Value> {
    eventually("purges fail", SOON, || async {
        let page = server
            .get("/api/admin/purges?state=failed", token)
            .send()
            .await
            .unwrap();
        let page: Value = page.json().await.unwrap();
        let items = page["items"].as_array().unwrap().clone();
        (items.len() == count).then_some(items)
    })
    .await
}

/// The first column of a row, as a number.
async fn number(server: &Server, query: &str) -> i64 {
    match server.database_url() {
        Some(url) => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            sqlx::query_scalar(query)
                .fetch_one(&mut connection)
                .await
                .unwrap()
        }
        None => {
            let options = SqliteConnectOptions::new().filename(server.data_dir().join("ledger.db"));
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let number = sqlx::query_scalar(query)
                .fetch_one(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
            number
        }
    }
}

/// Something of everything: entities, purges that are done, have failed and were forced, callbacks of each, claims, answers, attempts,
/// full tiles, a fork.
async fn lived(server: &Server, objects: &Path) {
    let rights = [
        "--role",
        "admin",
        "--privilege",
        "space_manage_datasets",
        "--privilege",
        "space_remove_archives",
    ];
    let token = server.token(&rights).await;
    let receiver = Receiver::start().await;
    let deletions = (0..300).map(|n| {
        let (server, token) = (server, &token);
        let body = json!({"id": uuid::Uuid::from_u128(n), "name": "n", "metadata": {}, "reason": "r"});
        async move { post(server, token, "/api/admin/archived/backups", &body).await }
    });
    futures::future::join_all(deletions).await;
    let archive = json!({"archiveId": "waits", "datasetId": "d", "spaceId": "s", "description": "d",
                         "deletedCallback": receiver.url("/registered")});
    post(server, &token, "/api/v3/oneprovider/archives", &archive).await;
    let done = stored(server, &token, &objects.join("done")).await;
    purge(
        server,
        &token,
        &done,
        &json!({"deletedCallback": receiver.url("/done")}),
    )
    .await;
    receiver.wait_for(1, SOON).await;
    // Somebody else names the same folder, so these purges fail.
    let shared = objects.join("shared");
    let _ = stored(server, &token, &shared).await;
    let forced = stored(server, &token, &shared).await;
    purge(server, &token, &forced, &json!({})).await;
    let purge_id = failed(server, &token, 1).await[0]["purge_id"]
        .as_str()
        .unwrap()
        .to_owned();
    post(
        server,
        &token,
        &format!("/api/admin/purges/{purge_id}/force"),
        &json!({"reason": "r"}),
    )
    .await;
    let open = stored(server, &token, &shared).await;
    purge(
        server,
        &token,
        &open,
        &json!({"deletedCallback": receiver.url("/failed")}),
    )
    .await;
    failed(server, &token, 1).await;
    receiver.wait_for(2, SOON).await;
    let nobody = server
        .client()
        .get(server.url("/api/admin/archived/users"))
        .send()
        .await
        .unwrap();
    assert_eq!(nobody.status(), 401);
    // The callbacks' reader has seen it all.
    let behind = "SELECT (SELECT max(position) FROM events WHERE event_type IN ('purged', 'purge_failed'))
                       - (SELECT coalesce(max(position), 0) FROM cursors WHERE name LIKE '%callbacks')";
    eventually("outcomes are told", SOON, || async {
        (number(server, behind).await <= 0).then_some(())
    })
    .await;
    eventually("blocks are indexed", SOON, || async {
        (number(server, "SELECT blocks FROM audit_indexed").await > 0).then_some(())
    })
    .await;
    assert_eq!(server.terminate().await, 0);
    let forked = server
        .run_command(&["ledger", "fork", "--reason", "a test"])
        .await;
    assert!(
        forked.status.success(),
        "{}",
        String::from_utf8_lossy(&forked.stderr)
    );
    server.restart().await;
    post(
        server,
        &token,
        "/api/admin/archived/backups",
        &json!({"id": uuid::Uuid::from_u128(999), "name": "n"}),
    )
    .await;
    eventually("the fork is signed", SOON, || async {
        let unsigned = "SELECT (SELECT position FROM ledger_head) - (SELECT coalesce(max(size), 0) FROM checkpoints WHERE ledger = 2)";
        (number(server, unsigned).await == 0).then_some(())
    })
    .await;
    assert_eq!(server.terminate().await, 0);
}

/// A statement without what else the database would do because of it.
fn alone(backend: Backend, statement: &str) -> String {
    match backend {
        Backend::Embedded => format!("PRAGMA foreign_keys = off; {statement}"),
        Backend::Clustered => format!("SET session_replication_role = replica; {statement}"),
    }
}

async fn verified(server: &Server, vkey: &str) -> (Option<i32>, String) {
    let output = server.run_command(&["verify", "--vkey", vkey]).await;
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    (output.status.code(), harmless(&said))
}

on_both_backends! {
    async fn every_column_is_compared_or_has_its_reason(backend: Backend) {
        let objects = tempfile::tempdir().unwrap();
        let root = format!("file://{}", objects.path().display());
        let server = Server::builder(backend).storage_root(root).callbacks_to_loopback().start().await;
        let implied = IMPLIED.iter().map(|(table, column, _, _)| format!("{table}.{column}"));
        let excepted = NOT_IMPLIED.iter().flat_map(|(table, columns, _)| columns.iter().map(move |column| format!("{table}.{column}")));
        let known: BTreeSet<String> = implied.chain(excepted).collect();
        let all = columns(&server).await;
        assert_eq!(all.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "columns of which nothing is said here");
        assert_eq!(known.difference(&all).collect::<Vec<_>>(), Vec::<&String>::new(), "columns that there are not");
        lived(&server, objects.path()).await;
        let vkey = server.run_command(&["ledger", "vkey"]).await;
        let vkey = String::from_utf8(vkey.stdout).unwrap().trim().to_owned();
        let (code, said) = verified(&server, &vkey).await;
        assert_eq!(code, Some(0), "{said}");
        let changes = IMPLIED.iter().map(|(table, column, to, rows)| {
            let to = if backend == Backend::Embedded { to.0 } else { to.1 };
            (*table, format!("UPDATE {table} SET {column} = {} WHERE {rows}", to.replace("{}", column)))
        });
        let emptied = NEVER_EMPTY.iter().map(|table| {
            (table.split(' ').next().unwrap(), format!("DELETE FROM {table}"))
        });
        let mut unnoticed = Vec::new();
        for (table, statement) in changes.chain(emptied) {
            let run = |statement: String| {
                let (server, statement) = (&server, alone(backend, &statement));
                async move { change(server.database_url(), &server.data_dir(), &statement).await }
            };
            run(format!("CREATE TABLE aside AS SELECT * FROM {table}")).await;
            if run(statement.clone()).await == 0 {
                unnoticed.push(format!("{statement}: no such row"));
            } else {
                let (code, said) = verified(&server, &vkey).await;
                if code != Some(2) {
                    unnoticed.push(format!("{statement}: {code:?}: {said}"));
                }
            }
            let back = match backend {
                Backend::Embedded => format!("INSERT INTO {table} SELECT * FROM aside"),
                Backend::Clustered => format!("INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM aside"),
            };
            run(format!("DELETE FROM {table}; {back}; DROP TABLE aside")).await;
        }
        assert!(unnoticed.is_empty(), "{} of {}:\n{}", unnoticed.len(), IMPLIED.len() + NEVER_EMPTY.len(), unnoticed.join("\n"));
        let unnoticed = values::unnoticed(&server, backend, &vkey).await;
        assert!(unnoticed.is_empty(), "{} values that the columns cannot have:\n{}", unnoticed.len(), unnoticed.join("\n"));
        let (code, said) = verified(&server, &vkey).await;
        assert_eq!(code, Some(0), "undone: {said}");
    }
}
