//! The audit over HTTP: who did what, what was only attempted, and what an entity was.

use archive_ledger::audit::attempts::ROWS_PER_MINUTE;
use archive_ledger::http::auth::rights::Right;
use archive_ledger::http::auth::rights::token_id_hash;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

use super::{ARCHIVED, ARCHIVES, Api, Grant, answer, configured, new_id};
use crate::harness::{eventually, on_both_backends};

const EVENTS: &str = "/api/admin/audit/events";

const PATIENCE: Duration = Duration::from_secs(60);

/// A walk over all pages; the lines, and the first page.
async fn walk(api: &Api, query: &str) -> (Vec<Value>, Value) {
    let mut page = api.get(&format!("{EVENTS}?{query}")).await.json(200);
    let first = page.clone();
    let mut lines = Vec::new();
    loop {
        lines.extend(page["items"].as_array().unwrap().clone());
        assert_eq!(page["snapshot"], first["snapshot"], "the snapshot moved");
        if page["complete"] == true {
            assert_eq!(page["next_cursor"], Value::Null);
            return (lines, first);
        }
        let cursor = page["next_cursor"].as_str().unwrap();
        page = api
            .get(&format!("{EVENTS}?{query}&cursor={cursor}"))
            .await
            .json(200);
    }
}

/// Waits for the lines of attempts, which are written behind the answers, until they count this many.
async fn counted(api: &Api, query: &str, count: u64) -> Vec<Value> {
    eventually(&format!("{count} of {query}"), PATIENCE, || async {
        let (lines, _) = walk(api, query).await;
        let found: u64 = lines.iter().map(|line| line["count"].as_u64().unwrap()).sum();
        assert!(found <= count, "{found} of {count}: {lines:?}");
        (found == count).then_some(lines)
    })
    .await
}

fn names(lines: &[Value], field: &str) -> Vec<String> {
    let name = |line: &Value| line[field].as_str().unwrap_or("null").to_owned();
    lines.iter().map(name).collect()
}

on_both_backends! {
    async fn an_event_says_who_from_where_with_what_and_why(backend: Backend) {
        let api = Api::shared(backend).await;
        let (id, actor) = (new_id(), format!("actor of {}", new_id()));
        let token = api.token(Grant::default().right(Right::ArchivedWrite).subject(&actor));
        let request = api
            .bare("POST", &format!("{ARCHIVED}/users"))
            .bearer_auth(&token)
            .header("X-Request-Id", format!("request-{id}"))
            .header("X-Reason-Code", "gdpr.art-17")
            // Nobody is believed who says that he speaks for another.
            .header("X-Forwarded-For", "203.0.113.9")
            .header("Forwarded", "for=203.0.113.9")
            .header("User-Agent", "u".repeat(1_000))
            .json(&json!({"id": id, "name": "n", "reason": "in words"}));
        answer(request).await.json(201);
        for query in [
            format!("actor={}", actor.replace(' ', "+")),
            format!("entity_type=users&entity_id={id}"),
            format!("entity_id={}", id.to_uppercase()),
            format!("request_id=request-{id}&ip=127.0.0.1&action=soft_deleted&outcome=allowed"),
        ] {
            let (lines, first) = walk(&api, &query).await;
            assert_eq!(lines.len(), 1, "{query}: {lines:?}");
            let line = &lines[0];
            assert_eq!(line["actor"], actor.as_str());
            assert_eq!(line["ip"], "127.0.0.1");
            assert_eq!(line["user_agent"], "u".repeat(256));
            assert_eq!(line["request_id"], format!("request-{id}"));
            assert_eq!(line["reason"], "gdpr.art-17");
            assert_eq!((&line["outcome"], &line["sequence"]), (&json!("allowed"), &json!(0)));
            assert_eq!((&line["entity_id"], &line["version"]), (&json!(id), &json!(1)));
            assert_eq!(line["token_id_hash"].as_str().unwrap().len(), 64);
            assert!(line["facts"]["deletion_id"].is_string());
            assert!(!line.to_string().contains("in words"), "sealed words are shown");
            assert!(first["snapshot"]["position"].as_u64() >= line["position"].as_u64());
        }
        assert_eq!(token_id_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    async fn a_checkpoint_is_shown_once_it_covers_the_snapshot(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let empty = api.get(EVENTS).await.json(200);
        assert_eq!((&empty["complete"], &empty["checkpoint"]), (&json!(true), &Value::Null));
        api.soft_delete("users", &new_id()).await;
        let note = eventually("a checkpoint that covers the page", PATIENCE, || async {
            let page = api.get(EVENTS).await.json(200);
            let note = page["checkpoint"].as_str()?.to_owned();
            assert_eq!(page["snapshot"]["position"], 1);
            Some(note)
        })
        .await;
        assert_eq!(note.lines().nth(1), Some("1"), "{note}");
    }

    async fn a_walk_has_every_line_once_both_ways_in_pages_of_any_size(backend: Backend) {
        let api = Api::shared(backend).await;
        let actor = new_id();
        let token = api.token(Grant::default().right(Right::ArchivedWrite).subject(&actor));
        for _ in 0..9 {
            let body = json!({"id": new_id(), "name": "n"});
            let request = api.bare("POST", &format!("{ARCHIVED}/users")).bearer_auth(&token).json(&body);
            answer(request).await.json(201);
        }
        let (ascending, _) = walk(&api, &format!("actor={actor}&order=asc&outcome=allowed")).await;
        assert_eq!(ascending.len(), 9);
        for limit in [1, 2, 4, 9, 1_000] {
            let (mut lines, _) = walk(&api, &format!("actor={actor}&limit={limit}&outcome=allowed")).await;
            lines.reverse();
            assert_eq!(lines, ascending, "{limit}");
        }
        let positions: Vec<u64> = ascending.iter().map(|line| line["position"].as_u64().unwrap()).collect();
        let (from, to) = (positions[2], positions[5]);
        let (some, _) = walk(&api, &format!("actor={actor}&order=asc&pos_from={from}&pos_to={to}")).await;
        assert_eq!(some, ascending[2..=5]);
        let time = ascending[4]["recorded_at"].as_str().unwrap();
        let (before, _) = walk(&api, &format!("actor={actor}&order=asc&to={time}")).await;
        let (after, _) = walk(&api, &format!("actor={actor}&order=asc&from={time}")).await;
        assert_eq!([before, after].concat(), ascending);
    }

    async fn a_cursor_of_another_walk_or_of_nobody_is_refused(backend: Backend) {
        let api = Api::shared(backend).await;
        for _ in 0..2 {
            api.soft_delete("users", &new_id()).await;
        }
        let page = api.get(&format!("{EVENTS}?limit=1&action=soft_deleted")).await.json(200);
        let cursor = page["next_cursor"].as_str().unwrap();
        let next = api.get(&format!("{EVENTS}?limit=5&action=soft_deleted&cursor={cursor}")).await;
        assert_eq!(next.json(200)["snapshot"], page["snapshot"]);
        for query in [
            format!("cursor={cursor}"),
            format!("action=restored&cursor={cursor}"),
            format!("action=soft_deleted&order=asc&cursor={cursor}"),
            format!("action=soft_deleted&cursor={}", &cursor[1..]),
            format!("action=soft_deleted&cursor={}A", &cursor[..cursor.len() - 1]),
            "cursor=".to_owned(),
            "cursor=x".to_owned(),
        ] {
            api.get(&format!("{EVENTS}?{query}")).await.bad("badData", "cursor");
        }
    }

    async fn what_is_denied_or_fails_is_in_the_audit_with_its_reason(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let id = new_id();
        api.soft_delete("users", &id).await;
        let nobody = api.token(Grant::default().subject("nobody"));
        let path = format!("{ARCHIVED}/users/{id}/purge");
        for _ in 0..3 {
            answer(api.bare("DELETE", &path).bearer_auth(&nobody)).await.refused(403, "forbidden");
        }
        answer(api.bare("DELETE", &path)).await.refused(401, "unauthorized");
        answer(api.bare("GET", EVENTS).bearer_auth("x.y.z")).await.refused(401, "unauthorized");
        let body = json!({"id": id, "name": "again"});
        api.post(&format!("{ARCHIVED}/users"), &body).await.refused(409, "alreadyExists");
        let stale = api.request("DELETE", &path).header("If-Match", "\"7\"");
        answer(stale).await.refused(412, "preconditionFailed");

        let denied = counted(&api, "outcome=denied&order=asc", 5).await;
        // Alike ones are one line, or two where a minute ends between them.
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &denied {
            *reasons.entry(line["reason"].as_str().unwrap()).or_default() += line["count"].as_u64().unwrap();
        }
        let expected = [("right_missing", 3), ("token_malformed", 1), ("token_missing", 1)];
        assert_eq!(reasons, BTreeMap::from(expected));
        for (reason, actor, action, entity) in [
            ("right_missing", json!("nobody"), "purge_requested", json!(["users", id])),
            ("token_missing", Value::Null, "purge_requested", json!(["users", id])),
            ("token_malformed", Value::Null, "audit_read", json!([null, null])),
        ] {
            let line = denied.iter().find(|line| line["reason"] == reason).unwrap();
            assert_eq!((&line["actor"], &line["action"]), (&actor, &json!(action)));
            assert_eq!((&line["ip"], &line["position"]), (&json!("127.0.0.1"), &json!(1)));
            assert_eq!(json!([line["entity_type"], line["entity_id"]]), entity);
        }
        let failed = counted(&api, &format!("outcome=failed&entity_id={id}&order=asc"), 2).await;
        assert_eq!(names(&failed, "reason"), ["alreadyExists", "preconditionFailed"]);
        assert_eq!(names(&failed, "action"), ["soft_deleted", "purge_requested"]);
        assert!(failed.iter().all(|line| line["actor"] == "tester" && line["sequence"].as_u64() > Some(0)));
        // One name finds what happened and what was attempted.
        let (all, _) = walk(&api, &format!("entity_id={id}&action=soft_deleted&order=asc")).await;
        assert_eq!(names(&all, "outcome"), ["allowed", "failed"]);
        // A restart loses nothing: what was gathered is written before the end.
        answer(api.bare("GET", &format!("{ARCHIVED}/summary"))).await.refused(401, "unauthorized");
        assert_eq!(server.terminate().await, 0);
        server.restart().await;
        let api = Api::of(&server);
        let (lines, _) = walk(&api, "outcome=denied&action=read").await;
        assert_eq!(names(&lines, "reason"), ["token_missing"]);
    }

    async fn every_denied_attempt_on_an_entity_names_it(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let (id, archive, other) = (new_id(), format!("A_{}", new_id()), new_id());
        api.soft_delete_held("users", &id).await;
        api.purge("users", &id).await.json(200);
        api.register(&archive, "theirs").await;
        let shown = api.get(&format!("{ARCHIVED}/users/{id}")).await.json(200);
        let purge_id = shown["purge_id"].as_str().unwrap().to_owned();
        let told = new_id();
        api.soft_delete("backups", &told).await;
        let callback = json!({"deletedCallback": "http://127.0.0.1:9/told"});
        answer(api.request("DELETE", &format!("{ARCHIVED}/backups/{told}/purge")).json(&callback)).await.json(200);
        let delivery = eventually("a callback is owed", PATIENCE, || async {
            let page = api.get("/api/admin/callbacks").await.json(200);
            page["items"][0]["id"].as_str().map(str::to_owned)
        })
        .await;
        let spaces = ["space_manage_datasets", "space_remove_archives", "space_create_archives", "space_view_archives"];
        let nobody = api.token(Grant::default().subject("nobody").space("mine", &spaces));
        let users = ("users", id.clone());
        let archives = ("archives", archive.clone());
        let backups = ("backups", told.clone());
        let none = ("null", "null".to_owned());
        let upper = id.to_uppercase();
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let register = json!({"archiveId": other, "datasetId": "d", "spaceId": "theirs"});
        let attempts = [
            ("DELETE", format!("{ARCHIVED}/users/{id}/purge"), json!({}), "purge_requested", &users),
            ("DELETE", format!("{ARCHIVED}/users/{upper}/purge"), json!({}), "purge_requested", &users),
            ("DELETE", format!("{ARCHIVED}/%75sers/{encoded}/purge"), json!({}), "purge_requested", &users),
            ("POST", format!("{ARCHIVED}/users/{id}/restore"), json!({}), "restored", &users),
            ("GET", format!("{ARCHIVED}/users/{id}"), Value::Null, "read", &users),
            ("GET", format!("{ARCHIVED}/users/{id}/history?diff=0..1"), Value::Null, "read", &users),
            ("GET", format!("{ARCHIVED}/users/{id}/evidence"), Value::Null, "read", &users),
            ("POST", format!("/api/admin/purges/{purge_id}/retry"), json!({}), "purge_retry", &users),
            ("POST", format!("/api/admin/purges/{purge_id}/force"), json!({"reason": "r"}), "purge_forced", &users),
            ("POST", format!("{ARCHIVES}/{archive}/delete"), json!({}), "purge_requested", &archives),
            ("GET", format!("{ARCHIVES}/{archive}"), Value::Null, "read", &archives),
            ("POST", ARCHIVES.to_owned(), register, "registered", &("archives", other.clone())),
            ("POST", format!("/api/admin/callbacks/{delivery}/replay"), json!({}), "callback_replay", &backups),
            ("POST", format!("/api/admin/callbacks/{}/replay", delivery.to_uppercase()), json!({}), "callback_replay", &backups),
            ("GET", format!("/api/admin/callbacks/{delivery}"), Value::Null, "read", &backups),
            ("POST", format!("{ARCHIVED}/users"), json!({"id": id, "name": "n"}), "soft_deleted", &users),
            // Neither the path nor the right is looked at by whoever fills the body in.
            ("POST", format!("{ARCHIVED}/users?x=1"), json!({"id": upper, "anything": 1}), "soft_deleted", &users),
            ("POST", format!("{ARCHIVED}/users"), json!({"name": "n"}), "soft_deleted", &("null", "null".to_owned())),
            ("POST", "/api/admin/callbacks/replay".to_owned(), json!({"dry_run": true, "filter": {"entity_type": "backups", "entity_id": told}}), "callback_replay", &backups),
            ("POST", format!("/api/admin/callbacks/{}/replay", new_id()), json!({}), "callback_replay", &none),
            ("POST", "/api/admin/callbacks/replay".to_owned(), json!({"dry_run": true}), "callback_replay", &none),
            ("GET", "/api/admin/callbacks".to_owned(), Value::Null, "read", &none),
        ];
        let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
        for (method, path, body, action, (entity_type, entity_id)) in &attempts {
            let request = api.bare(method, path).bearer_auth(&nobody);
            let request = if body.is_null() { request } else { request.json(body) };
            answer(request).await.refused(403, "forbidden");
            *expected.entry(((*action).to_owned(), format!("{entity_type}/{entity_id}"))).or_default() += 1;
        }
        // One that may register in no space at all.
        let stranger = api.token(Grant::default().subject("nobody"));
        let body = json!({"archiveId": other, "datasetId": "d", "spaceId": "theirs"});
        answer(api.bare("POST", ARCHIVES).bearer_auth(&stranger).json(&body)).await.refused(403, "forbidden");
        *expected.entry(("registered".to_owned(), format!("archives/{other}"))).or_default() += 1;
        // Whoever does not show who it is may say what it wants: nothing of it is read.
        let forged = api.bare("POST", &format!("{ARCHIVED}/users")).bearer_auth("x.y.z").json(&json!({"id": id, "name": "n"}));
        answer(forged).await.refused(401, "unauthorized");
        let unknown = counted(&api, "outcome=denied&action=soft_deleted", 4).await;
        let unknown: Vec<_> = unknown.iter().filter(|line| line["reason"] == "token_malformed").collect();
        assert!(unknown.len() == 1 && unknown[0]["entity_id"].is_null(), "{unknown:?}");
        let lines = counted(&api, "outcome=denied&actor=nobody", attempts.len() as u64 + 1).await;
        let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
        for line in &lines {
            let text = |field: &str| line[field].as_str().unwrap_or("null").to_owned();
            let entity = format!("{}/{}", text("entity_type"), text("entity_id"));
            *found.entry((text("action"), entity)).or_default() += line["count"].as_u64().unwrap();
        }
        assert_eq!(found, expected);
        // Whoever looks at the entity finds what was tried on it.
        let (tried, _) = walk(&api, &format!("outcome=denied&entity_id={archive}")).await;
        assert_eq!(tried.iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>(), 2);
    }

    async fn a_command_that_fails_for_anything_in_it_names_its_entity(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let id = new_id();
        api.soft_delete_held("users", &id).await;
        api.purge("users", &id).await.json(200);
        let shown = api.get(&format!("{ARCHIVED}/users/{id}")).await.json(200);
        let purge_id = shown["purge_id"].as_str().unwrap().to_owned();
        let list = format!("{ARCHIVED}/users");
        let purge = |what: &str| format!("/api/admin/purges/{purge_id}/{what}");
        let attempts = [
            (list.clone(), None, json!({"id": id}), "soft_deleted"),
            (list.clone(), None, json!({"id": id, "name": "n", "metadata": 1}), "soft_deleted"),
            (format!("{list}?x=1"), None, json!({"id": id, "name": "n"}), "soft_deleted"),
            (list.clone(), Some("Idempotency-Key"), json!({"id": id, "name": "n"}), "soft_deleted"),
            (purge("force"), None, json!({}), "purge_forced"),
            (purge("force"), None, json!({"reason": " "}), "purge_forced"),
            (purge("force?x=1"), None, json!({"reason": "r"}), "purge_forced"),
            (purge("force"), Some("If-Match"), json!({"reason": "r"}), "purge_forced"),
            (purge("force"), Some("Idempotency-Key"), json!({"reason": "r"}), "purge_forced"),
            (purge("retry"), None, json!({"x": 1}), "purge_retry"),
            (purge("retry"), Some("Idempotency-Key"), json!({}), "purge_retry"),
            (ARCHIVES.to_owned(), None, json!({"archiveId": id}), "registered"),
            (format!("{ARCHIVES}?x=1"), None, json!({"archiveId": id, "datasetId": "d", "spaceId": "s"}), "registered"),
        ];
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for (path, header, body, action) in &attempts {
            let request = api.request("POST", path).json(body);
            let request = match header {
                Some(name) => request.header(*name, "no such value"),
                None => request,
            };
            let told = answer(request).await;
            assert!((400..500).contains(&told.status), "{path}: {}", told.text());
            *expected.entry(action).or_default() += 1;
        }
        let lines = counted(&api, &format!("outcome=failed&entity_id={id}"), attempts.len() as u64).await;
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &lines {
            *found.entry(line["action"].as_str().unwrap()).or_default() += line["count"].as_u64().unwrap();
        }
        assert_eq!(found, expected);
    }

    async fn forged_tokens_leave_a_bounded_number_of_lines_and_none_of_their_own_words(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        const FORGED: u64 = 2_000;
        let forge = |number: u64| {
            let api = &api;
            async move {
                // What the claims say is different in each; the signature holds in none.
                let token = format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJldmls{number:08}.AAAA");
                let request = api.bare("GET", EVENTS).bearer_auth(token).header("User-Agent", format!("evil {number}"));
                answer(request).await.refused(401, "unauthorized");
            }
        };
        for start in (0..FORGED).step_by(20) {
            join_all((start..start + 20).map(forge)).await;
        }
        let lines = counted(&api, "outcome=denied", FORGED).await;
        // One line a minute for one address and one reason.
        assert!(lines.len() <= 2 * 3 && lines.len() < ROWS_PER_MINUTE, "{} lines", lines.len());
        assert!(lines.iter().all(|line| line["actor"].is_null() && line["token_issuer"].is_null()));
    }

    async fn reading_the_audit_is_in_the_audit(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let auditor = api.token(Grant::default().right(Right::AuditRead).subject("auditor"));
        for _ in 0..2 {
            let request = api.bare("GET", &format!("{EVENTS}?actor=mallory&ip=192.0.2.1&limit=7")).bearer_auth(&auditor);
            answer(request).await.json(200);
        }
        let lines = counted(&api, "action=audit_read&actor=auditor", 2).await;
        assert!(lines.iter().all(|line| line["detail"] == "actor=mallory&ip=192.0.2.1"), "{lines:?}");
        assert!(lines.iter().all(|line| line["outcome"] == "allowed"));
    }

    async fn an_entity_is_shown_as_it_was_and_erased_once_it_is_purged(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let one = format!("{ARCHIVED}/users/{id}");
        let before = api.probe().await;
        api.soft_delete("users", &id).await;
        api.restore("users", &id).await.json(200);
        let body = json!({"id": id, "name": "another name", "metadata": {}});
        api.post(&format!("{ARCHIVED}/users"), &body).await.json(201);
        let history = api.get(&format!("{one}/history")).await.json(200);
        let at = |index: usize| history["items"][index]["position"].as_u64().unwrap();
        let time = |index: usize| history["items"][index]["recorded_at"].as_str().unwrap().to_owned();
        let past = |point: String| { let (api, one) = (&api, &one); async move {
            api.get(&format!("{one}?as_of={point}")).await
        }};
        past(before.to_string()).await.refused(404, "notFound");
        past("2001-01-01T00:00:00Z".into()).await.refused(404, "notFound");
        let first = past(at(0).to_string()).await.json(200);
        assert_eq!((&first["name"], &first["state"]), (&json!(format!("the name of {id}")), &json!("archived")));
        assert_eq!((&first["version"], &first["as_of"]["erased"]), (&json!(1), &json!(false)));
        assert_eq!(first["as_of"]["position"], at(0));
        assert_eq!(past(time(0)).await.json(200), first);
        let restored = past(at(1).to_string()).await.json(200);
        assert_eq!((&restored["name"], &restored["state"]), (&Value::Null, &json!("live")));
        assert_eq!(past(time(2)).await.json(200)["name"], "another name");
        past("99999999999".into()).await.bad("badValueTooHigh", "as_of");
        past("2999-01-01T00:00:00Z".into()).await.bad("badData", "as_of");
        past("soon".into()).await.bad("badData", "as_of");
        past(String::new()).await.bad("badValueInteger", "as_of");

        let diff = |range: &'static str| { let (api, one) = (&api, &one); async move {
            api.get(&format!("{one}/history?diff={range}")).await
        }};
        let changed = diff("1..3").await.json(200);
        assert_eq!((&changed["from"]["version"], &changed["to"]["state"]), (&json!(1), &json!("archived")));
        let names: Vec<&str> = changed["changes"].as_array().unwrap().iter()
            .map(|change| change["field"].as_str().unwrap()).collect();
        assert_eq!(names, ["deleted_at", "deletion_id", "metadata", "name"]);
        let name = &changed["changes"][3];
        assert_eq!(name["before"], format!("the name of {id}"));
        assert_eq!(name["after"], "another name");
        let from_nothing = diff("0..1").await.json(200);
        assert_eq!(from_nothing["from"], json!({"version": 0, "state": "unknown", "position": null, "recorded_at": null}));
        diff("1..9").await.bad("badValueTooHigh", "diff");
        diff("2..1").await.bad("badData", "diff");
        diff("x").await.bad("badData", "diff");

        let purge = api.request("DELETE", &format!("{one}/purge")).header("X-Reason-Code", "gdpr-17");
        answer(purge).await.json(200);
        let erased = past(at(0).to_string()).await.json(200);
        assert_eq!((&erased["name"], &erased["as_of"]["erased"]), (&Value::Null, &json!(true)));
        assert_eq!((&erased["state"], &erased["deleted_by"]), (&json!("archived"), &json!("tester")));
        assert_eq!(diff("1..3").await.json(200)["erased"], true);
        // Who, when, why-codes and proofs outlive the purge.
        let history = api.get(&format!("{one}/history")).await.json(200);
        let items = history["items"].as_array().unwrap();
        assert_eq!(items.len(), 5);
        assert_eq!(items[3]["reason_code"], "gdpr-17");
        assert_eq!((&items[0]["erased"], &items[0]["actor"]), (&json!(true), &json!("tester")));
        let proof = answer(api.request("GET", items[0]["proof"].as_str().unwrap())).await;
        assert_eq!(proof.status, 200);
        assert_eq!(items[0]["leaf_hash"].as_str().unwrap().len(), 64);
    }

    async fn what_was_is_told_to_those_only_who_may_read_the_audit(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        api.soft_delete("users", &id).await;
        let reader = api.token(Grant::default().right(Right::ArchivedRead));
        let auditor = api.token(Grant::default().right(Right::AuditRead));
        for (path, asked) in [
            (format!("{ARCHIVED}/users/{id}"), "as_of=x"),
            (format!("{ARCHIVED}/users/{id}/history"), "diff=0..1"),
        ] {
            let ask = |path: String, token: &String| answer(api.bare("GET", &path).bearer_auth(token));
            assert_eq!(ask(path.clone(), &reader).await.status, 200);
            ask(path.clone(), &auditor).await.refused(403, "forbidden");
            ask(format!("{path}?{asked}"), &reader).await.refused(403, "forbidden");
            assert_ne!(ask(format!("{path}?{asked}"), &auditor).await.status, 403);
        }
    }
}
