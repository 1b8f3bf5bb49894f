//! A row that was damaged concerns whoever needs it: the commands beside it in a batch are recorded, and the writer stays ready.

use crate::harness::ledger::change;
use crate::harness::on_both_backends;
use crate::harness::server::{Backend, Server};
use futures::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

const BACKUPS: &str = "/api/admin/archived/backups";

async fn delete(server: &Server, token: &str, id: &str, key: &str) -> Response {
    let body = json!({"id": id, "name": "n"});
    let request = server.post(BACKUPS, token, &body).header("Idempotency-Key", key);
    request.send().await.unwrap()
}

async fn restore(server: &Server, token: &str, id: &str) -> Response {
    let path = format!("{BACKUPS}/{id}/restore");
    server.post(&path, token, &json!({})).send().await.unwrap()
}

async fn text(server: &Server, path: &str) -> String {
    let answer = server.client().get(server.url(path)).send().await.unwrap();
    answer.text().await.unwrap()
}

/// How often the writer could not record, so far.
async fn failures(server: &Server) -> String {
    let metrics = text(server, "/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("archive_ledger_writer_failures_total"));
    line.unwrap_or("none").to_owned()
}

on_both_backends! {
    async fn a_damaged_row_fails_the_command_that_needs_it_and_no_other_of_its_batch(backend: Backend) {
        let server = Server::builder(backend).start().await;
        let token = server.token(&["--role", "admin"]).await;
        let id = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
        for number in 0..6 {
            let answer = delete(&server, &token, &id(number), &format!("key-{number}")).await;
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
        let (no_event, no_hash) = match backend {
            Backend::Embedded => ("'{'", "x'00'"),
            Backend::Clustered => ("'[]'", "'\\x00'"),
        };
        let of = |number: usize| format!("WHERE aggregate_id = 'backups:{}'", id(number));
        for statement in [
            format!("UPDATE events SET payload = {no_event} {}", of(0)),
            format!("UPDATE events SET leaf = {no_hash} {}", of(1)),
            format!("UPDATE events SET payload = '{{\"a\":1}}' {}", of(2)),
            format!("UPDATE events SET sequence = 7 {}", of(3)),
            format!("UPDATE entity_keys SET wrapped = {no_hash} {}", of(4)),
            format!("UPDATE idempotency_answers SET answer = {no_event}"),
        ] {
            assert!(change(server.database_url(), &server.data_dir(), &statement).await > 0, "{statement}");
        }
        let before = failures(&server).await;
        for round in 0..5 {
            // They arrive together, and are batched as they come.
            let sound = (0..20).map(|number| {
                let (server, token, id) = (&server, &token, id(100 + 20 * round + number));
                async move { delete(server, token, &id, &format!("key-of-{id}")).await.status() }
            });
            let restored = (0..4).map(|number| {
                let (server, token, id) = (&server, &token, id(number));
                async move { restore(server, token, &id).await }
            });
            // Whether it was done before cannot be told, so it is not done.
            let known = id(5);
            let again = delete(&server, &token, &known, "key-5");
            let (sound, restored, again) = tokio::join!(join_all(sound), join_all(restored), again);
            assert_eq!(sound, vec![StatusCode::CREATED; 20]);
            for refused in restored.into_iter().chain([again]) {
                assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
                let body: Value = refused.json().await.unwrap();
                assert_eq!(body["error"]["id"], "internalServerError", "{body}");
            }
            let ready = server.client().get(server.url("/readyz")).send().await.unwrap();
            assert_eq!(ready.status(), StatusCode::OK, "{}", ready.text().await.unwrap());
        }
        // A key that cannot be opened is in the way of what has to be sealed with it, and of nothing else.
        assert_eq!(restore(&server, &token, &id(4)).await.status(), StatusCode::OK);
        let answer = delete(&server, &token, &id(4), "another-key").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(failures(&server).await, before, "the writer was never at fault");
        let log = server.log();
        assert!(log.contains("load the batch found inconsistent data"), "{log}");
        assert!(!log.contains("one by one"), "a batch was taken apart: {log}");
        let purge = server.request(Method::DELETE, &format!("{BACKUPS}/{}/purge", id(100)), &token);
        assert_eq!(purge.send().await.unwrap().status(), StatusCode::OK);
    }
}

/// Times as no calendar of ours has them, or far from all others.
fn times(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::Embedded => &["9223372036854775807", "-9223372036854775808", "'soon'"],
        Backend::Clustered => &[
            "'infinity'",
            "'-infinity'",
            "'294276-12-31 23:59:59.999999Z'",
            "'4713-01-01 BC'",
        ],
    }
}

on_both_backends! {
    async fn a_time_out_of_range_in_any_table_ends_nothing(backend: Backend) {
        let server = Server::builder(backend).callbacks_to_loopback().start().await;
        let token = server.token(&["--role", "admin"]).await;
        let id = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
        for number in 0..3 {
            let answer = delete(&server, &token, &id(number), &format!("key-{number}")).await;
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
        let purge = server.request(Method::DELETE, &format!("{BACKUPS}/{}/purge", id(0)), &token);
        let purge = purge.json(&json!({"deletedCallback": "http://127.0.0.1:9/x"})).send().await.unwrap();
        assert_eq!(purge.status(), StatusCode::OK);
        let nobody = server.client().get(server.url(BACKUPS)).send().await.unwrap();
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
        let reads = [
            BACKUPS.to_owned(),
            format!("{BACKUPS}/{}", id(1)),
            format!("{BACKUPS}/{}/history", id(1)),
            format!("{BACKUPS}/{}?as_of=2020-01-01T00:00:00Z", id(1)),
            "/api/admin/audit/events".to_owned(),
            "/api/admin/audit/events?from=2020-01-01T00:00:00Z&to=2030-01-01T00:00:00Z".to_owned(),
            "/api/admin/audit/export?format=ndjson".to_owned(),
            "/api/admin/callbacks".to_owned(),
            "/api/admin/purges".to_owned(),
            "/api/admin/archived/summary".to_owned(),
            "/api/ledger/checkpoint".to_owned(),
            "/readyz".to_owned(),
        ];
        for (table, column) in [
            ("events", "recorded_at"),
            ("ledger_head", "recorded_at"),
            ("archived_entries", "deleted_at"),
            ("purge_work", "requested_at"),
            ("idempotency_answers", "recorded_at"),
            ("callback_targets", "created_at"),
            ("callback_deliveries", "created_at"),
            ("callback_deliveries", "next_attempt_at"),
            ("callback_attempts", "started_at"),
            ("audit_attempts", "first_at"),
            ("audit_attempts", "last_at"),
            ("leases", "expires_at"),
        ] {
            for time in times(backend) {
                let tampered = |statement: String| {
                    let (server, statement) = (&server, statement);
                    async move { change(server.database_url(), &server.data_dir(), &statement).await }
                };
                tampered(format!("CREATE TABLE aside AS SELECT * FROM {table}")).await;
                tampered(format!("UPDATE {table} SET {column} = {time}")).await;
                for path in &reads {
                    let answer = server.get(path, &token).send().await.unwrap();
                    assert!([200, 404, 500, 503].contains(&answer.status().as_u16()), "{table}.{column} = {time}: {path}: {}", answer.status());
                }
                let written = delete(&server, &token, &id(1), "another").await.status();
                assert!([409, 500, 503].contains(&written.as_u16()), "{table}.{column} = {time}: {written}");
                assert_eq!(server.exit_code(), None, "{table}.{column} = {time}: {}", server.log());
                // What the service wrote meanwhile stays: only the times are brought back.
                let keys = match table {
                    "events" | "archived_entries" => "position",
                    "ledger_head" => "id",
                    "purge_work" => "aggregate_id",
                    "idempotency_answers" => "key",
                    "callback_targets" => "target_id",
                    "callback_deliveries" | "callback_attempts" => "delivery_id",
                    "audit_attempts" => "sequence",
                    _ => "name",
                };
                tampered(format!(
                    "UPDATE {table} SET {column} = (SELECT a.{column} FROM aside a WHERE a.{keys} = {table}.{keys} LIMIT 1)
                     WHERE {keys} IN (SELECT {keys} FROM aside)"
                ))
                .await;
                tampered("DROP TABLE aside".to_owned()).await;
            }
        }
        crate::harness::eventually("it is as before", crate::harness::READY_WITHIN, || async {
            let ready = server.client().get(server.url("/readyz")).send().await.unwrap();
            (ready.status() == 200).then_some(())
        })
        .await;
        assert_eq!(delete(&server, &token, &id(50), "key-50").await.status(), StatusCode::CREATED);
        let metrics = text(&server, "/metrics").await;
        assert!(!metrics.contains("archive_ledger_task_panics_total{"), "{}", server.log());
    }
}
