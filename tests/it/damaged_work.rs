//! A damaged row of what is still to be done is set aside: everybody else's callbacks arrive and storage is cleaned, and what it stands
//! for is not done.

use crate::harness::described::Told as _;
use crate::harness::ledger::change;
use crate::harness::receiver::Receiver;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const BACKUPS: &str = "/api/admin/archived/backups";
const CALLBACKS: &str = "/api/admin/callbacks";

fn id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

async fn run(server: &Server, statement: String) -> u64 {
    change(server.database_url(), &server.data_dir(), &statement).await
}

async fn delete(server: &Server, token: &str, number: usize, storage: &[String]) {
    let body = json!({"id": id(number), "name": "n", "storage": storage});
    let answer = server.post(BACKUPS, token, &body).told().await;
    assert_eq!(
        answer.status(),
        StatusCode::CREATED,
        "{}",
        answer.text().await.unwrap()
    );
}

async fn purge(server: &Server, token: &str, number: usize, callback: Option<String>) -> Response {
    let path = format!("{BACKUPS}/{}/purge", id(number));
    let body = callback.map_or_else(|| json!({}), |url| json!({"deletedCallback": url}));
    let request = server.request(Method::DELETE, &path, token).json(&body);
    request.told().await
}

async fn get(server: &Server, token: &str, path: &str) -> Value {
    let answer = server.get(path, token).told().await;
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// How many items of a list can be read, and how many cannot; gone through by pages of one.
async fn walked(server: &Server, token: &str, path: &str) -> (usize, usize) {
    let (mut whole, mut damaged, mut cursor) = (0, 0, String::new());
    for _ in 0..100 {
        let page = get(server, token, &format!("{path}?limit=1{cursor}")).await;
        for item in page["items"].as_array().unwrap() {
            let count = if item["unreadable"] == true {
                &mut damaged
            } else {
                &mut whole
            };
            *count += 1;
        }
        let Some(next) = page["next_cursor"].as_str() else {
            return (whole, damaged);
        };
        cursor = format!("&cursor={next}");
    }
    panic!("{path} has no end");
}

/// Puts a column back, as it was in `aside`.
async fn put_back(server: &Server, table: &str, column: &str, keys: &str) {
    let back = format!(
        "UPDATE {table} SET {column} = (SELECT a.{column} FROM aside a WHERE a.{keys} = {table}.{keys} LIMIT 1)
         WHERE {keys} IN (SELECT {keys} FROM aside)"
    );
    assert!(run(server, back).await > 0, "{table}.{column}");
    run(server, "DROP TABLE aside".to_owned()).await;
}

/// A column of a delivery, a value in SQLite and one in PostgreSQL that it is not made for; absent where the database cannot hold one.
const DELIVERIES: &[(&str, Option<&str>, Option<&str>)] = &[
    ("aggregate_id", Some("'nonsense'"), Some("'nonsense'")),
    ("position", Some("'first'"), Some("-1")),
    ("receiver", Some("x'ff'"), None),
    ("host", Some("x'ff'"), None),
    ("url_sealed", Some("7"), None),
    ("dataset_id", Some("x'ff'"), None),
    ("error", Some("x'ff'"), None),
    ("gone", Some("'perhaps'"), None),
    ("attempts", Some("'many'"), Some("-5")),
    ("attempts", Some("-5"), Some("2147483647")),
    ("attempts_before", Some("'many'"), Some("-5")),
    ("created_at", Some("'soon'"), Some("'infinity'")),
    ("created_at", Some("x'00'"), Some("'-infinity'")),
    (
        "created_at",
        Some("9223372036854775807"),
        Some("'294276-12-31 23:59:59.999999Z'"),
    ),
    ("first_due_at", Some("'soon'"), Some("'infinity'")),
    ("first_due_at", Some("-9223372036854775808"), Some("'-infinity'")),
    (
        "next_attempt_at",
        Some("-9223372036854775808"),
        Some("'-infinity'"),
    ),
    ("last_status", Some("'bad'"), Some("-1")),
    ("last_error", Some("x'ff'"), None),
    ("finished_at", Some("'soon'"), Some("'infinity'")),
    ("delivery_id", Some("'nonsense'"), None),
];

on_both_backends! {
    async fn a_damaged_delivery_is_shown_as_such_and_every_other_callback_arrives(backend: Backend) {
        let receiver = Receiver::start().await;
        let server = Server::builder(backend).callbacks_to_loopback().start().await;
        let token = server.token(&["--role", "admin"]).await;
        for number in 0..3 {
            delete(&server, &token, number, &[]).await;
            // Nobody listens there.
            let answer = purge(&server, &token, number, Some("http://127.0.0.1:9/x".to_owned())).await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let tried = format!("{CALLBACKS}?state=due");
        eventually("each was attempted", SOON, || async {
            let page = get(&server, &token, &tried).await;
            let items = page["items"].as_array().unwrap();
            let attempted = items.iter().filter(|item| item["attempt_count"] != 0 && item["under_way"] == false);
            (attempted.count() == 3).then_some(())
        })
        .await;
        let victim = id(1);
        let mut wrong = Vec::new();
        let mut number = 100;
        for (column, embedded, clustered) in DELIVERIES {
            let value = if backend == Backend::Embedded { embedded } else { clustered };
            let Some(value) = value else { continue };
            let one = format!("aggregate_id = 'backups:{victim}'");
            let long_ago = if backend == Backend::Embedded { "0" } else { "'2020-01-01Z'" };
            let later = if backend == Backend::Embedded { "4102444800000000" } else { "'2100-01-01Z'" };
            run(&server, format!("CREATE TABLE aside AS SELECT * FROM callback_deliveries WHERE {one}")).await;
            // The other two wait; this one is due, and is all that is due.
            run(&server, format!("UPDATE callback_deliveries SET next_attempt_at = {later} WHERE state = 'due'")).await;
            let due = format!("UPDATE callback_deliveries SET next_attempt_at = {long_ago}, lease_token = NULL WHERE {one}");
            assert_eq!(run(&server, due).await, 1, "{column}");
            let damage = format!("UPDATE callback_deliveries SET {column} = {value} WHERE {one}");
            assert_eq!(run(&server, damage).await, 1, "{column}");
            let walk = walked(&server, &token, CALLBACKS).await;
            if walk.0 + walk.1 < 3 || walk.1 > 1 {
                wrong.push(format!("{column} = {value}: {walk:?}"));
            }
            number += 1;
            delete(&server, &token, number, &[]).await;
            let answer = purge(&server, &token, number, Some(receiver.url(&format!("/{number}")))).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let arrived = tokio::time::timeout(SOON, async {
                while !receiver.received().iter().any(|request| request.target == format!("/{number}")) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            if arrived.await.is_err() {
                wrong.push(format!("{column} = {value}: the other callback did not arrive"));
            }
            put_back(&server, "callback_deliveries", column, if *column == "delivery_id" { "event_id" } else { "delivery_id" }).await;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let log = server.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.contains("it is set aside"), "{log}");
        // Whole again, it is due as before, and nothing was counted that was not attempted.
        let (whole, damaged) = walked(&server, &token, CALLBACKS).await;
        assert_eq!((whole, damaged), (3 + number - 100, 0));
    }

    async fn a_damaged_cleanup_job_is_set_aside_and_every_other_purge_is_done(backend: Backend) {
        let objects = tempfile::tempdir().unwrap();
        let root = format!("file://{}", objects.path().display());
        let server = Server::builder(backend).storage_root(root.clone()).start().await;
        let token = server.token(&["--role", "admin"]).await;
        // All of them name one folder, so that each purge fails and stays.
        std::fs::create_dir(objects.path().join("shared")).unwrap();
        delete(&server, &token, 0, &[format!("{root}/shared")]).await;
        let (long_ago, none) = if backend == Backend::Embedded { ("0", "x'ff'") } else { ("'2020-01-01Z'", "'\\x00'") };
        let mut number = 100;
        for (table, column, value) in [
            ("cleanup_jobs", "aggregate_id", "'nonsense'"),
            ("cleanup_jobs", "attempts", if backend == Backend::Embedded { "'many'" } else { "5000000000" }),
            ("cleanup_jobs", "begun", if backend == Backend::Embedded { "'many'" } else { "9223372036854775807" }),
            ("cleanup_jobs", "last_error", if backend == Backend::Embedded { "x'ff'" } else { "'some'" }),
            ("cleanup_jobs", "created_at", if backend == Backend::Embedded { "'soon'" } else { "'infinity'" }),
            ("cleanup_jobs", "lease_token", if backend == Backend::Embedded { "x'ff'" } else { "NULL" }),
            ("cleanup_jobs", "begun", if backend == Backend::Embedded { "-5" } else { "-1" }),
            ("cleanup_obligations", "last_error", if backend == Backend::Embedded { "x'ff'" } else { "'some'" }),
            ("cleanup_obligations", "objects", if backend == Backend::Embedded { "'many'" } else { "-1" }),
            ("cleanup_obligations", "bytes", if backend == Backend::Embedded { "'many'" } else { "-1" }),
            ("cleanup_obligations", "storage_hash", none),
            ("cleanup_obligations", "nobody_since", if backend == Backend::Embedded { "'soon'" } else { "'infinity'" }),
        ] {
            // Each time another one: what was damaged is not looked at again for a while.
            number += 1;
            let victim = number + 100;
            delete(&server, &token, victim, &[format!("{root}/shared")]).await;
            assert_eq!(purge(&server, &token, victim, None).await.status(), StatusCode::OK);
            let standing = number - 100;
            eventually("the purge fails", SOON, || async {
                let page = get(&server, &token, "/api/admin/purges?state=failed").await;
                (page["items"].as_array().unwrap().len() == standing).then_some(())
            })
            .await;
            let of = format!("event_id = (SELECT event_id FROM purge_work WHERE aggregate_id = 'backups:{}')", id(victim));
            let owed = format!("UPDATE cleanup_obligations SET state = 'owed' WHERE {of}");
            assert_eq!(run(&server, owed).await, 1);
            run(&server, format!("CREATE TABLE aside AS SELECT * FROM {table} WHERE {of}")).await;
            assert_eq!(run(&server, format!("UPDATE {table} SET {column} = {value} WHERE {of}")).await, 1, "{table}.{column}");
            let due = format!("UPDATE cleanup_jobs SET state = 'due', next_attempt_at = {long_ago}, finished_at = NULL WHERE {of}");
            assert_eq!(run(&server, due).await, 1);
            std::fs::create_dir(objects.path().join(format!("own-{number}"))).unwrap();
            delete(&server, &token, number, &[format!("{root}/own-{number}")]).await;
            assert_eq!(purge(&server, &token, number, None).await.status(), StatusCode::OK);
            eventually(&format!("{table}.{column} = {value}: the other purge is done"), SOON, || async {
                let answer = server.get(&format!("{BACKUPS}/{}", id(number)), &token).told().await;
                (answer.status() == StatusCode::NOT_FOUND).then_some(())
            })
            .await;
            let purges = get(&server, &token, "/api/admin/purges").await;
            let items = purges["items"].as_array().unwrap();
            assert_eq!(items.len(), standing, "{table}.{column} = {value}: never counted as done: {purges}");
            put_back(&server, table, column, "event_id").await;
            // It is not in the way of the next one.
            let over = format!("UPDATE cleanup_jobs SET state = 'failed' WHERE {of}");
            assert_eq!(run(&server, over).await, 1);
        }
        assert!(objects.path().join("shared").exists());
        let log = server.log();
        assert!(log.contains("it is set aside"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }

    async fn a_purge_is_forced_although_what_it_owes_cannot_be_read(backend: Backend) {
        let objects = tempfile::tempdir().unwrap();
        let root = format!("file://{}", objects.path().display());
        let server = Server::builder(backend).storage_root(root.clone()).start().await;
        let token = server.token(&["--role", "admin"]).await;
        std::fs::create_dir(objects.path().join("shared")).unwrap();
        delete(&server, &token, 0, &[format!("{root}/shared")]).await;
        let embedded = backend == Backend::Embedded;
        let damages = [
            ("cleanup_obligations", "objects", if embedded { "'many'" } else { "-1" }, StatusCode::OK),
            ("cleanup_obligations", "storage_hash", if embedded { "x'ff'" } else { "'\\x00'" }, StatusCode::OK),
            ("cleanup_obligations", "nobody_since", if embedded { "'soon'" } else { "'infinity'" }, StatusCode::OK),
            // Not even which obligation it is, or of what purge.
            ("cleanup_obligations", "ordinal", "-1", StatusCode::CONFLICT),
            ("purge_work", "requested_at", if embedded { "'soon'" } else { "'infinity'" }, StatusCode::CONFLICT),
        ];
        for (number, (table, column, value, expected)) in (1..).zip(damages) {
            let what = format!("{table}.{column} = {value}");
            delete(&server, &token, number, &[format!("{root}/own-{number}"), format!("{root}/shared")]).await;
            assert_eq!(purge(&server, &token, number, None).await.status(), StatusCode::OK);
            let entity = id(number);
            let purge_id = eventually("the purge fails", SOON, || async {
                let page = get(&server, &token, "/api/admin/purges?state=failed").await;
                let items = page["items"].as_array().unwrap();
                let found = items.iter().find(|item| item["id"] == entity)?;
                Some(found["purge_id"].as_str().unwrap().to_owned())
            })
            .await;
            let of = format!("event_id = (SELECT event_id FROM purge_work WHERE aggregate_id = 'backups:{entity}')");
            let second = if table == "purge_work" { String::new() } else { " AND ordinal = 2".to_owned() };
            let damage = format!("UPDATE {table} SET {column} = {value} WHERE {of}{second}");
            assert_eq!(run(&server, damage).await, 1, "{what}");
            let force = format!("/api/admin/purges/{purge_id}/force");
            let answer = server.post(&force, &token, &json!({"reason": "given up"})).told().await;
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert_eq!(status, expected, "{what}: {text}");
            if expected == StatusCode::CONFLICT {
                assert!(text.contains("purgeUnreadable"), "{text}");
                continue;
            }
            // What is told is that it is not known, and nothing else was touched.
            let answer = server.get(&format!("{BACKUPS}/{entity}"), &token).told().await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{what}");
            let history = get(&server, &token, &format!("{BACKUPS}/{entity}/history")).await;
            assert!(history.to_string().contains("\"at_least\":true"), "{what}: {history}");
        }
        assert!(objects.path().join("shared").exists());
        assert!(!server.log().contains("panicked"));
    }

    async fn a_walk_through_the_archived_list_goes_on_behind_what_cannot_be_read(backend: Backend) {
        let server = Server::builder(backend).start().await;
        let token = server.token(&["--role", "admin"]).await;
        for number in 0..6 {
            delete(&server, &token, number, &[]).await;
        }
        // Newest first: the second and the third, then the last too, then the first, then all of them.
        for (damaged, numbers) in [(2, "3, 4"), (3, "0"), (4, "5"), (6, "1, 2")] {
            for number in numbers.split(", ") {
                let number: usize = number.parse().unwrap();
                // No event stands there.
                let damage = format!("UPDATE archived_entries SET position = {} WHERE entity_id = '{}'", 100_000 + number, id(number));
                assert_eq!(run(&server, damage).await, 1);
            }
            assert_eq!(walked(&server, &token, BACKUPS).await, (6 - damaged, damaged));
            let mut path = format!("{BACKUPS}?limit=2");
            let mut seen = Vec::new();
            loop {
                let page = get(&server, &token, &path).await;
                seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
                let Some(next) = page["next_cursor"].as_str() else { break };
                path = format!("{BACKUPS}?limit=2&cursor={next}");
            }
            assert_eq!(seen, (0..6).rev().map(|number| json!(id(number))).collect::<Vec<_>>(), "each once, in order");
        }
        // Neither do times that no calendar has stop it, at the beginning or at the end.
        let (first, last) = if backend == Backend::Embedded { ("9223372036854775807", "-9223372036854775808") } else { ("'infinity'", "'-infinity'") };
        for (number, time) in [(2, first), (4, last)] {
            let damage = format!("UPDATE archived_entries SET deleted_at = {time} WHERE entity_id = '{}'", id(number));
            assert_eq!(run(&server, damage).await, 1);
        }
        assert_eq!(walked(&server, &token, BACKUPS).await, (0, 6));
    }

    async fn a_count_that_cannot_be_read_is_counted_again(backend: Backend) {
        let server = Server::builder(backend).start().await;
        let token = server.token(&["--role", "admin"]).await;
        for number in 0..3 {
            delete(&server, &token, number, &[]).await;
        }
        let environments = json!({"id": id(1), "name": "n"});
        let answer = server.post("/api/admin/archived/environments", &token, &environments).told().await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let damages: &[&str] = match backend {
            Backend::Embedded => &["count = 'many'", "count = x'00'", "entity_type = 'nonsense'"],
            Backend::Clustered => &["entity_type = 'nonsense'"],
        };
        let counted = get(&server, &token, "/api/admin/archived/summary").await;
        assert_eq!((&counted["backups"], &counted["environments"]), (&json!(3), &json!(1)));
        for damage in damages {
            run(&server, "CREATE TABLE aside AS SELECT * FROM archived_summary".to_owned()).await;
            assert_eq!(run(&server, format!("UPDATE archived_summary SET {damage} WHERE entity_type = 'backups'")).await, 1);
            let summary = get(&server, &token, "/api/admin/archived/summary").await;
            assert_eq!(summary, counted, "{damage}");
            let list = get(&server, &token, BACKUPS).await;
            assert_eq!((&list["total_count"], list["items"].as_array().unwrap().len()), (&json!(3), 3), "{damage}");
            run(&server, "DELETE FROM archived_summary".to_owned()).await;
            run(&server, "INSERT INTO archived_summary SELECT * FROM aside".to_owned()).await;
            run(&server, "DROP TABLE aside".to_owned()).await;
        }
    }

    async fn an_entity_whose_key_is_damaged_is_purged_and_nothing_else_in_one_clear_way(backend: Backend) {
        let server = Server::builder(backend).start().await;
        let token = server.token(&["--role", "admin"]).await;
        for number in 0..3 {
            delete(&server, &token, number, &[]).await;
        }
        let restore = |number: usize| {
            let path = format!("{BACKUPS}/{}/restore", id(number));
            server.post(&path, &token, &json!({})).send()
        };
        // One was live already when its key was damaged.
        assert_eq!(restore(2).await.unwrap().status(), StatusCode::OK);
        let garbage = if backend == Backend::Embedded { "x'00'" } else { "'\\x00'" };
        assert_eq!(run(&server, format!("UPDATE entities SET wrapped = {garbage} WHERE aggregate_id <> 'backups:{}'", id(1))).await, 2);
        let again = server.post(BACKUPS, &token, &json!({"id": id(2), "name": "n"})).told().await;
        for refused in [restore(0).await.unwrap(), again] {
            assert_eq!(refused.status(), StatusCode::CONFLICT);
            let body: Value = refused.json().await.unwrap();
            assert_eq!(body["error"]["id"], "entityUnreadable", "{body}");
        }
        assert_eq!(restore(1).await.unwrap().status(), StatusCode::OK);
        assert_eq!(purge(&server, &token, 0, None).await.status(), StatusCode::OK);
        eventually("it is gone", SOON, || async {
            let answer = server.get(&format!("{BACKUPS}/{}", id(0)), &token).told().await;
            (answer.status() == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
    }
}

/// PostgreSQL's columns hold nothing there that cannot be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_root_whose_row_cannot_be_read_is_away_until_it_is_repaired_and_the_others_are_there() {
    let home = tempfile::tempdir().unwrap();
    let (lost, known) = (home.path().join("lost"), home.path().join("known"));
    for folder in [lost.join("one"), known.join("two")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let uri = |path: &Path| format!("file://{}", path.display());
    let builder = Server::builder(Backend::Embedded).storage_root(uri(&lost));
    let server = builder.storage_root(uri(&known)).start().await;
    let token = server.token(&["--role", "admin"]).await;
    delete(&server, &token, 0, &[uri(&lost.join("one"))]).await;
    delete(&server, &token, 1, &[uri(&known.join("two"))]).await;
    run(
        &server,
        "CREATE TABLE aside AS SELECT * FROM storage_roots".to_owned(),
    )
    .await;
    let damage = format!(
        "UPDATE storage_roots SET root_id = '{}' WHERE uri = '{}'",
        "x".repeat(36),
        uri(&lost)
    );
    assert_eq!(run(&server, damage).await, 1);
    server.restart().await;
    for number in 0..2 {
        assert_eq!(
            purge(&server, &token, number, None).await.status(),
            StatusCode::OK
        );
    }
    let gone = async |number| {
        let answer = server
            .get(&format!("{BACKUPS}/{}", id(number)), &token)
            .told()
            .await;
        (answer.status() == StatusCode::NOT_FOUND).then_some(())
    };
    eventually("what lies in the other root is purged", SOON, || gone(1)).await;
    let refused = json!({"id": id(2), "name": "n", "storage": [uri(&lost.join("three"))]});
    let answer = server.post(BACKUPS, &token, &refused).told().await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let purges = get(&server, &token, "/api/admin/purges?state=purging").await;
    assert_eq!(purges["items"][0]["id"], id(0), "{purges}");
    assert!(lost.join("one").exists());
    assert!(
        server
            .log()
            .contains("counts as unavailable until its row is repaired")
    );
    put_back(&server, "storage_roots", "root_id", "uri").await;
    eventually("what lies in the lost root is purged", SOON, || gone(0)).await;
    assert!(!lost.join("one").exists());
}
