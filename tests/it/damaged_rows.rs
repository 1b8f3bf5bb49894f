//! A row that was damaged concerns whoever needs it: the commands beside it in a batch are recorded, and the writer stays ready.

use crate::harness::described::Told as _;
use crate::harness::ledger::change;
use crate::harness::server::{Backend, Server};
use crate::harness::{READY_WITHIN, eventually, on_both_backends};
use futures::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

const BACKUPS: &str = "/api/admin/archived/backups";

async fn delete(server: &Server, token: &str, id: &str, key: &str) -> Response {
    let body = json!({"id": id, "name": "n"});
    let request = server.post(BACKUPS, token, &body).header("Idempotency-Key", key);
    request.told().await
}

async fn restore(server: &Server, token: &str, id: &str) -> Response {
    let path = format!("{BACKUPS}/{id}/restore");
    server.post(&path, token, &json!({})).told().await
}

async fn text(server: &Server, path: &str) -> String {
    let answer = server.client().get(server.url(path)).told().await;
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
            format!("UPDATE entities SET wrapped = {no_hash} {}", of(4)),
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
            let ready = server.client().get(server.url("/readyz")).told().await;
            assert_eq!(ready.status(), StatusCode::OK, "{}", ready.text().await.unwrap());
        }
        // A key that cannot be opened is in the way of a restore, which nothing could follow, and of no purge.
        assert_eq!(restore(&server, &token, &id(4)).await.status(), StatusCode::CONFLICT);
        let purge = server.request(Method::DELETE, &format!("{BACKUPS}/{}/purge", id(4)), &token);
        assert_eq!(purge.told().await.status(), StatusCode::OK);
        assert_eq!(failures(&server).await, before, "the writer was never at fault");
        let log = server.log();
        assert!(log.contains("load the batch found inconsistent data"), "{log}");
        assert!(!log.contains("one by one"), "a batch was taken apart: {log}");
        let purge = server.request(Method::DELETE, &format!("{BACKUPS}/{}/purge", id(100)), &token);
        assert_eq!(purge.told().await.status(), StatusCode::OK);
    }
}

on_both_backends! {
    async fn a_row_of_the_list_that_nobody_owns_is_written_over_and_fails_no_batch(backend: Backend) {
        let server = Server::builder(backend).start().await;
        let token = server.token(&["--role", "admin"]).await;
        let id = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
        let (text, stored) = ("2026-11-30T10:00:00.123456Z", match backend {
            Backend::Embedded => "1796032800123456",
            Backend::Clustered => "'2026-11-30 10:00:00.123456Z'",
        });
        for number in [1, 10] {
            let left = format!(
                "INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
                 VALUES ('backups', '{}', {stored}, 999, '{}')",
                id(number), id(77),
            );
            assert_eq!(change(server.database_url(), &server.data_dir(), &left).await, 1);
        }
        // One that comes alone, and one beside others.
        for numbers in [1..2, 2..30] {
            let asked = numbers.clone().map(|number| {
                let body = json!({"id": id(number), "name": "n", "deleted_at": text});
                server.post(BACKUPS, &token, &body).send()
            });
            for answer in join_all(asked).await {
                assert_eq!(answer.unwrap().status(), StatusCode::CREATED);
            }
            for number in numbers {
                assert_eq!(restore(&server, &token, &id(number)).await.status(), StatusCode::OK);
            }
        }
        let rebuilt = server.run_command(&["rebuild", "--check"]).await;
        assert!(rebuilt.status.success(), "{rebuilt:?}");
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
        let purge = purge.json(&json!({"deletedCallback": "http://127.0.0.1:9/x"})).told().await;
        assert_eq!(purge.status(), StatusCode::OK);
        let nobody = server.client().get(server.url(BACKUPS)).told().await;
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
            ("callback_deliveries", "first_due_at"),
            ("callback_deliveries", "next_attempt_at"),
            ("callback_deliveries", "finished_at"),
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
                    let answer = server.get(path, &token).told().await;
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
        eventually("it is as before", READY_WITHIN, || async {
            let ready = server.client().get(server.url("/readyz")).told().await;
            (ready.status() == 200).then_some(())
        })
        .await;
        assert_eq!(delete(&server, &token, &id(50), "key-50").await.status(), StatusCode::CREATED);
        let metrics = text(&server, "/metrics").await;
        let panics = metrics.lines().filter(|line| line.starts_with("archive_ledger_task_panics_total{"));
        assert!(panics.clone().count() > 0 && panics.into_iter().all(|line| line.ends_with(" 0")), "{}", server.log());
        assert!(!server.log().contains("panicked"), "{}", server.log());
    }
}

/// What no column is made for: table, column, a value in SQLite and one in PostgreSQL, and which row. A value that a database cannot hold
/// is absent.
const DAMAGES: &[(&str, &str, Option<&str>, Option<&str>)] = &[
    (
        "archived_entries",
        "deleted_at",
        Some("'soon'"),
        Some("'infinity'"),
    ),
    (
        "archived_entries",
        "deleted_at",
        Some("x'00'"),
        Some("'-infinity'"),
    ),
    ("archived_entries", "position", Some("'first'"), Some("100000")),
    ("archived_entries", "entity_id", Some("''"), Some("''")),
    ("archived_entries", "entity_id", Some("x'ff'"), None),
    ("purge_work", "state", Some("'nonsense'"), Some("'nonsense'")),
    ("purge_work", "requested_at", Some("'soon'"), Some("'infinity'")),
    ("purge_work", "storage_count", Some("'many'"), Some("-1")),
    (
        "purge_work",
        "aggregate_id",
        Some("'nonsense'"),
        Some("'nonsense'"),
    ),
    ("purge_work", "purge_id", Some("x'00'"), None),
    ("cleanup_jobs", "attempts", Some("'many'"), Some("5000000000")),
    (
        "cleanup_jobs",
        "next_attempt_at",
        Some("'soon'"),
        Some("'infinity'"),
    ),
    ("cleanup_obligations", "objects", Some("'many'"), Some("-1")),
    (
        "cleanup_obligations",
        "storage_hash",
        Some("'none'"),
        Some("'\\x00'"),
    ),
    ("events", "payload", Some("'{'"), Some("'[]'")),
    ("events", "metadata", Some("'{'"), Some("'[]'")),
    ("events", "metadata", Some("x'ff'"), Some("'7'")),
    ("events", "recorded_at", Some("'soon'"), Some("'infinity'")),
    (
        "events",
        "recorded_at",
        Some("9223372036854775807"),
        Some("'-infinity'"),
    ),
    ("events", "aggregate_id", Some("'nonsense'"), Some("'nonsense'")),
    ("events", "actor", Some("x'ff'"), None),
    ("events", "sequence", Some("'first'"), None),
    ("events", "command_id", Some("'none'"), None),
    ("audit_attempts", "first_at", Some("'soon'"), Some("'infinity'")),
    ("audit_attempts", "action", Some("'nonsense'"), Some("'nonsense'")),
    ("audit_attempts", "count", Some("'many'"), None),
];

/// How many rows of a page are unreadable, and how many are not.
async fn readable(server: &Server, path: &str, token: &str) -> (usize, usize) {
    let answer = server.get(path, token).told().await;
    let status = answer.status();
    let page: Value = answer.json().await.unwrap();
    assert_eq!(status, StatusCode::OK, "{path}: {page}");
    let items = page["items"].as_array().unwrap();
    let unreadable = items.iter().filter(|item| item["unreadable"] == true).count();
    (unreadable, items.len() - unreadable)
}

/// What an export by HTTP gives, and whether it came to its end.
async fn exported(server: &Server, token: &str) -> (usize, bool) {
    let path = "/api/admin/audit/export?format=ndjson";
    let mut answer = server.get(path, token).told().await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut lines = 0;
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => lines += chunk.iter().filter(|byte| **byte == b'\n').count(),
            Ok(None) => return (lines, true),
            Err(_) => return (lines, false),
        }
    }
}

on_both_backends! {
    async fn an_unreadable_row_is_shown_as_such_and_does_not_take_its_page_with_it(backend: Backend) {
        let objects = tempfile::tempdir().unwrap();
        let root = format!("file://{}", objects.path().display());
        let server = Server::builder(backend).storage_root(root.clone()).start().await;
        let token = server.token(&["--role", "admin"]).await;
        let id = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
        // All name one folder, so that the purges of some fail and stay.
        std::fs::create_dir(objects.path().join("shared")).unwrap();
        for number in 0..6 {
            let body = json!({"id": id(number), "name": "n", "storage": [format!("{root}/shared")]});
            assert_eq!(server.post(BACKUPS, &token, &body).told().await.status(), StatusCode::CREATED);
        }
        for number in 0..3 {
            let purge = server.request(Method::DELETE, &format!("{BACKUPS}/{}/purge", id(number)), &token);
            assert_eq!(purge.told().await.status(), StatusCode::OK);
        }
        let nobody = server.client().get(server.url(BACKUPS)).told().await;
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
        let (list, purges) = (BACKUPS, "/api/admin/purges");
        let (happened, attempted) = ("/api/admin/audit/events?limit=1000", "/api/admin/audit/events?limit=1000&outcome=denied");
        eventually("the purges fail, and the attempt is written", READY_WITHIN, || async {
            let failed = readable(&server, "/api/admin/purges?state=failed", &token).await;
            (failed == (0, 3) && readable(&server, attempted, &token).await == (0, 1)).then_some(())
        })
        .await;
        eventually("everything is signed", READY_WITHIN, || async {
            let manifest = server.get("/api/admin/audit/export/manifest?format=ndjson", &token).told().await;
            let manifest: Value = manifest.json().await.unwrap();
            (manifest["count"] == 12).then_some(())
        })
        .await;
        assert_eq!(exported(&server, &token).await, (12, true));
        let mut wrong = Vec::new();
        for (table, column, embedded, clustered) in DAMAGES {
            let value = if backend == Backend::Embedded { embedded } else { clustered };
            let Some(value) = value else { continue };
            let run = |statement: String| {
                let server = &server;
                async move { change(server.database_url(), &server.data_dir(), &statement).await }
            };
            let (path, rows) = match *table {
                "archived_entries" => (list, 3),
                "events" => (happened, 12),
                "audit_attempts" => (attempted, 1),
                _ => (purges, 3),
            };
            let one = match *table {
                "archived_entries" => format!("entity_id = '{}'", id(4)),
                "events" => "position = 5".to_owned(),
                "audit_attempts" => "outcome = 'denied'".to_owned(),
                "purge_work" => format!("aggregate_id = 'backups:{}'", id(1)),
                _ => format!("event_id = (SELECT event_id FROM purge_work WHERE aggregate_id = 'backups:{}')", id(1)),
            };
            run(format!("CREATE TABLE aside AS SELECT * FROM {table} WHERE {one}")).await;
            assert_eq!(run(format!("UPDATE {table} SET {column} = {value} WHERE {one}")).await, 1, "{table}.{column}");
            // Reads of the audit are in it as well.
            let found = readable(&server, path, &token).await;
            let fits = if path == happened { found.0 == 1 && found.1 >= rows - 1 } else { found == (1, rows - 1) };
            if !fits {
                wrong.push(format!("{table}.{column} = {value}: {path}: {found:?}"));
            }
            // Other texts and other JSON are exported as they stand.
            let as_it_stands = ["aggregate_id", "command_id"].contains(column) || ["'[]'", "'7'"].contains(value);
            if *table == "events" && !as_it_stands {
                let by_http = exported(&server, &token).await;
                let manifest = server.get("/api/admin/audit/export/manifest?format=ndjson", &token).told().await;
                let manifest: Value = manifest.json().await.unwrap();
                let told = (&manifest["unreadable"], &manifest["unreadable_positions"], &manifest["count"]);
                if by_http != (11, false) || told != (&json!(1), &json!([5]), &json!(11)) {
                    wrong.push(format!("{table}.{column} = {value}: exported {by_http:?}, {manifest}"));
                }
                for (args, file) in [
                    (&["export", "--format", "ndjson", "--out", "events.ndjson"][..], "events.ndjson"),
                    (&["export", "--dir", "out", "--payloads", "payloads.ndjson"], "payloads.ndjson"),
                ] {
                    let output = server.run_command(args).await;
                    let error = String::from_utf8_lossy(&output.stderr).into_owned();
                    let written = std::fs::read_to_string(server.home().join(file)).unwrap_or_default();
                    if output.status.code() != Some(1) || !error.contains("position 5") || written.lines().count() != 11 {
                        wrong.push(format!("{table}.{column} = {value}: {args:?}: {:?}, {error}, {} lines", output.status.code(), written.lines().count()));
                    }
                }
            }
            let keys = match *table {
                "archived_entries" => "deletion_id",
                "events" => "position",
                "audit_attempts" => "sequence",
                _ => "event_id",
            };
            let back = format!(
                "UPDATE {table} SET {column} = (SELECT a.{column} FROM aside a WHERE a.{keys} = {table}.{keys} LIMIT 1)
                 WHERE {keys} IN (SELECT {keys} FROM aside)"
            );
            assert_eq!(run(back).await, 1, "{table}.{column}");
            run("DROP TABLE aside".to_owned()).await;
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), DAMAGES.len(), wrong.join("\n"));
        assert_eq!(readable(&server, list, &token).await, (0, 3));
        assert_eq!(readable(&server, purges, &token).await, (0, 3));
        assert_eq!(exported(&server, &token).await, (12, true));
    }
}
