//! `ETag` and `If-Match`: a command goes through on the version that its sender has seen, or not at all.

use serde_json::{Value, json};

use super::{ARCHIVED, ARCHIVES, Answer, Api, Grant, answer, held, new_id};
use crate::harness::on_both_backends;

async fn send(api: &Api, method: &str, path: &str, if_match: &str, body: Option<Value>) -> Answer {
    send_with(api, method, path, "if-match", if_match, body).await
}

async fn send_with(
    api: &Api,
    method: &str,
    path: &str,
    header: &str,
    value: &str,
    body: Option<Value>,
) -> Answer {
    let mut request = api.request(method, path);
    // Several lines of one header.
    for line in value.split('\n') {
        request = request.header(header, line);
    }
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

on_both_backends! {
    async fn every_command_answers_with_the_version_that_the_next_one_may_name(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let one = format!("{ARCHIVED}/backups/{id}");
        let list = format!("{ARCHIVED}/backups");
        let body = || Some(json!({"id": id, "name": "n"}));
        let first = answer(api.request("POST", &list).json(&body().unwrap())).await;
        assert_eq!((first.status, first.header("etag")), (201, Some("\"1\"")));
        assert_eq!(first.header("location"), Some(one.as_str()));
        let shown = api.get(&one).await;
        assert_eq!((shown.header("etag"), &shown.json(200)["version"]), (Some("\"1\""), &json!(1)));

        for wrong in ["\"0\"", "\"2\"", "\"18446744073709551615\""] {
            send(&api, "POST", &format!("{one}/restore"), wrong, None).await.refused(412, "preconditionFailed");
            send(&api, "DELETE", &format!("{one}/purge"), wrong, None).await.refused(412, "preconditionFailed");
            send(&api, "POST", &list, wrong, body()).await.refused(412, "preconditionFailed");
        }
        assert_eq!(api.events("backups", &id).await, ["soft_deleted"]);

        let restored = send(&api, "POST", &format!("{one}/restore"), "\"1\"", None).await;
        assert_eq!((restored.status, restored.header("etag")), (200, Some("\"2\"")));
        let deleted = send(&api, "POST", &list, "\"2\"", body()).await;
        assert_eq!((deleted.status, deleted.header("etag")), (201, Some("\"3\"")));
        let purged = send(&api, "DELETE", &format!("{one}/purge"), "\"3\"", None).await;
        assert_eq!((purged.status, purged.header("etag")), (200, Some("\"5\"")));
    }

    async fn an_asterisk_demands_that_the_entity_exists(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let one = format!("{ARCHIVED}/backups/{id}");
        let body = || Some(json!({"id": id, "name": "n"}));
        let list = format!("{ARCHIVED}/backups");
        send(&api, "POST", &list, "*", body()).await.refused(412, "preconditionFailed");
        send(&api, "POST", &format!("{one}/restore"), "*", None).await.refused(404, "notFound");
        let register = || Some(json!({"archiveId": id, "datasetId": "d", "spaceId": "s"}));
        send(&api, "POST", ARCHIVES, "*", register()).await.refused(412, "preconditionFailed");
        assert!(api.events("backups", &id).await.is_empty() && api.events("archives", &id).await.is_empty());
        // Version 0 is what does not exist yet.
        assert_eq!(send(&api, "POST", &list, "\"0\"", body()).await.status, 201);
        assert_eq!(send(&api, "POST", &format!("{one}/restore"), "*", None).await.status, 200);
        assert_eq!(send(&api, "POST", &list, "*", body()).await.status, 201);
        assert_eq!(send(&api, "DELETE", &format!("{one}/purge"), "*", None).await.status, 200);
    }

    async fn onedatas_delete_takes_conditions_too(backend: Backend) {
        let mut api = Api::shared(backend).await;
        let role = archive_ledger::http::auth::rights::Role::Admin;
        let privileges = ["space_manage_datasets", "space_remove_archives"];
        api.admin = api.token(Grant::default().role(role).privileges(&privileges));
        let id = new_id();
        let body = json!({"archiveId": id, "datasetId": "d", "spaceId": "s", "storage": [held(&id)]});
        api.post(ARCHIVES, &body).await.json(201);
        let delete = format!("{ARCHIVES}/{id}/delete");
        send(&api, "POST", &delete, "\"2\"", None).await.refused(412, "preconditionFailed");
        assert_eq!(send(&api, "POST", &delete, "\"1\"", None).await.status, 204);
        assert_eq!(api.events("archives", &id).await[..2], ["registered", "purge_requested"]);
    }

    async fn of_two_that_saw_the_same_version_one_goes_through(backend: Backend) {
        let api = Api::shared(backend).await;
        for _ in 0..5 {
            let id = new_id();
            api.soft_delete("backups", &id).await;
            let one = format!("{ARCHIVED}/backups/{id}");
            let (restore, purge) = (format!("{one}/restore"), format!("{one}/purge"));
            let (restored, purged) = tokio::join!(
                send(&api, "POST", &restore, "\"1\"", None),
                send(&api, "DELETE", &purge, "\"1\"", None)
            );
            let events = api.events("backups", &id).await;
            match (restored.status, purged.status) {
                (200, 412) => assert_eq!(events, ["soft_deleted", "restored"]),
                (412, 200) => assert_eq!(events, ["soft_deleted", "purge_requested", "purged"]),
                other => panic!("{other:?}: {} {}", restored.text(), purged.text()),
            }
        }
    }

    async fn a_list_of_tags_allows_each_of_them_and_a_weak_one_none(backend: Backend) {
        let api = Api::shared(backend).await;
        // At version 1.
        for (tags, holds) in [
            ("\"1\"", true),
            ("\"7\", \"1\"", true),
            ("\"7\",,\t\"1\" ,", true),
            ("\"7\"\n\"1\"", true),
            ("\"a,b\", \"1\"", true),
            ("*", true),
            ("\"0\"", false),
            ("\"2\", \"3\"", false),
            ("W/\"1\"", false),
            ("W/\"1\", W/\"*\"", false),
            ("\"01\"", false),
            ("\"*\"", false),
            ("\"\"", false),
            ("\"99999999999999999999999\"", false),
            ("\"x\"", false),
            ("\"1-x\"", false),
            ("\"1-\"", false),
            ("\"1-9f86d081884c7d65\"", false),
        ] {
            let id = new_id();
            api.soft_delete("backups", &id).await;
            let restore = format!("{ARCHIVED}/backups/{id}/restore");
            let told = send(&api, "POST", &restore, tags, None).await;
            if holds {
                assert_eq!((told.status, told.header("etag")), (200, Some("\"2\"")), "{tags:?}: {}", told.text());
            } else {
                told.refused(412, "preconditionFailed");
            }
        }
    }

    async fn if_none_match_refuses_what_there_is_and_lets_nothing_in_between(backend: Backend) {
        let api = Api::shared(backend).await;
        let list = format!("{ARCHIVED}/backups");
        let none_match = async |method: &str, path: &str, tags: &str, body: Option<Value>| {
            send_with(&api, method, path, "if-none-match", tags, body).await
        };
        let id = new_id();
        let body = || Some(json!({"id": id, "name": "n"}));
        // Only if it does not exist.
        let first = none_match("POST", &list, "*", body()).await;
        assert_eq!((first.status, first.header("etag")), (201, Some("\"1\"")));
        none_match("POST", &list, "*", body()).await.refused(412, "preconditionFailed");
        let register = || Some(json!({"archiveId": id, "datasetId": "d", "spaceId": "s"}));
        assert_eq!(none_match("POST", ARCHIVES, "*", register()).await.status, 201);
        none_match("POST", ARCHIVES, "*", register()).await.refused(412, "preconditionFailed");
        // Without the condition it is a conflict as ever.
        api.post(&list, &body().unwrap()).await.refused(409, "alreadyExists");
        let one = format!("{list}/{id}");
        for tags in ["*", "\"1\"", "W/\"1\"", "\"7\", \"1\"", "\"7\"\nW/\"1\""] {
            none_match("POST", &format!("{one}/restore"), tags, None).await.refused(412, "preconditionFailed");
            none_match("DELETE", &format!("{one}/purge"), tags, None).await.refused(412, "preconditionFailed");
        }
        assert_eq!(api.events("backups", &id).await, ["soft_deleted"]);
        assert_eq!(none_match("POST", &format!("{one}/restore"), "\"0\", \"2\"", None).await.status, 200);
        // Both must hold.
        let both = api.request("POST", &list).json(&body().unwrap());
        let both = both.header("if-match", "\"2\"").header("if-none-match", "\"2\"");
        answer(both).await.refused(412, "preconditionFailed");
        let both = api.request("POST", &list).json(&body().unwrap());
        let both = both.header("if-match", "\"2\"").header("if-none-match", "\"1\"");
        assert_eq!(answer(both).await.status, 201);
        // Of many that want to be the first, one is.
        let id = new_id();
        let racers = (0..8).map(|number| {
            let body = json!({"id": id, "name": format!("n{number}")});
            none_match("POST", &list, "*", Some(body))
        });
        let mut told: Vec<u16> = futures::future::join_all(racers).await.iter().map(|told| told.status).collect();
        told.sort_unstable();
        assert_eq!(told, [201, 412, 412, 412, 412, 412, 412, 412]);
    }

    async fn what_is_not_there_is_not_found_unless_another_version_of_it_was_seen(backend: Backend) {
        let api = Api::shared(backend).await;
        let (never, purged) = (new_id(), new_id());
        api.soft_delete("backups", &purged).await;
        assert_eq!(api.purge("backups", &purged).await.status, 200);
        for id in [&never, &purged] {
            let one = format!("{ARCHIVED}/backups/{id}");
            for (header, tags) in [("if-match", "*"), ("if-none-match", "*"), ("if-none-match", "\"3\"")] {
                send_with(&api, "POST", &format!("{one}/restore"), header, tags, None).await.refused(404, "notFound");
                send_with(&api, "DELETE", &format!("{one}/purge"), header, tags, None).await.refused(404, "notFound");
                send_with(&api, "GET", &one, header, tags, None).await.refused(404, "notFound");
            }
            send(&api, "POST", &format!("{one}/restore"), "\"1\", \"2\"", None).await.refused(412, "preconditionFailed");
            send(&api, "DELETE", &format!("{one}/purge"), "W/\"1\"", None).await.refused(412, "preconditionFailed");
            send(&api, "GET", &one, "\"1\"", None).await.refused(404, "notFound");
        }
        let again = Some(json!({"id": purged, "name": "n"}));
        for (header, tags) in [("if-match", "\"3\""), ("if-match", "*"), ("if-none-match", "*")] {
            send_with(&api, "POST", &format!("{ARCHIVED}/backups"), header, tags, again.clone())
                .await
                .refused(409, "entityPurged");
        }
    }

    async fn a_read_of_what_is_known_is_304_and_of_another_version_than_is_wanted_412(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        api.register(&id, "s1").await;
        for path in [format!("{ARCHIVED}/archives/{id}"), format!("{ARCHIVES}/{id}")] {
            for method in ["GET", "HEAD"] {
                for tags in ["\"1\"", "W/\"1\"", "\"0\", \"1\"", "\"0\"\nW/\"1\"", "*"] {
                    let known = send_with(&api, method, &path, "if-none-match", tags, None).await;
                    assert_eq!((known.status, known.body.len()), (304, 0), "{method} {path} {tags:?}");
                    assert_eq!(known.header("etag"), Some("\"1\""));
                    assert!(known.header("content-type").is_none() && known.header("x-request-id").is_some());
                }
                for (header, tags) in [("if-none-match", "\"2\", \"01\""), ("if-match", "\"1\""), ("if-match", "*")] {
                    let told = send_with(&api, method, &path, header, tags, None).await;
                    assert_eq!((told.status, told.header("etag")), (200, Some("\"1\"")), "{method} {path} {tags:?}");
                    assert_eq!(told.body.is_empty(), method == "HEAD");
                }
                for tags in ["\"2\"", "W/\"1\"", "\"x\""] {
                    let told = send_with(&api, method, &path, "if-match", tags, None).await;
                    assert_eq!(told.status, 412, "{method} {path} {tags:?}");
                }
            }
            send_with(&api, "GET", &path, "if-none-match", "1", None).await.bad("badData", "If-None-Match");
            send_with(&api, "GET", &path, "if-match", "\"2\"", None).await.refused(412, "preconditionFailed");
            // Whoever may not see it is not told that it is what it was.
            let stranger = api.bare("GET", &path).header("if-none-match", "\"1\"");
            answer(stranger).await.refused(401, "unauthorized");
        }
        // What was has no tag, and what has no tag has no condition.
        let past = api.get(&format!("{ARCHIVED}/archives/{id}/history")).await;
        assert_eq!((past.status, past.header("etag")), (200, None));
        let list = send_with(&api, "GET", &format!("{ARCHIVED}/archives"), "if-none-match", "\"1\"", None).await;
        assert_eq!(list.status, 200);
        api.soft_delete("archives", &id).await;
        let changed = send_with(&api, "GET", &format!("{ARCHIVES}/{id}"), "if-none-match", "\"1\"", None).await;
        assert_eq!((changed.status, changed.header("etag")), (200, Some("\"2\"")));
    }

    async fn what_changes_while_the_version_stays_has_another_tag_and_the_same_version(backend: Backend) {
        let api = Api::shared(backend).await;
        for (entity_type, path) in [("backups", format!("{ARCHIVED}/backups/")), ("archives", format!("{ARCHIVES}/"))] {
            let (id, sharer) = (new_id(), new_id());
            let one = format!("{path}{id}");
            if entity_type == "archives" {
                let body = json!({"archiveId": id, "datasetId": "d1", "spaceId": "s1", "description": "d", "storage": [held(&id)]});
                api.post(ARCHIVES, &body).await.json(201);
            } else {
                api.soft_delete_held(entity_type, &id).await;
            }
            let alone = api.get(&one).await;
            assert_eq!(alone.header("etag"), Some("\"1\""));
            let body = json!({"id": sharer, "name": "n", "storage": [format!("{}below/", held(&id))]});
            api.post(&format!("{ARCHIVED}/servers"), &body).await.json(201);

            let told = send_with(&api, "GET", &one, "if-none-match", "\"1\"", None).await;
            let tag = told.header("etag").unwrap().to_owned();
            assert_eq!(told.json(200)["storage_shared"], true, "{one}");
            assert!(tag.starts_with("\"1-"), "{tag}");
            assert_eq!(send_with(&api, "GET", &one, "if-none-match", &tag, None).await.status, 304);
            // A read is of what it tells, character by character.
            assert_eq!(send_with(&api, "GET", &one, "if-match", &tag, None).await.status, 200);
            let unknown = [
                "\"1-x\"".to_owned(),
                "\"1-\"".to_owned(),
                "\"1-9f86d081884c7d65\"".to_owned(),
                tag.replace("\"1-", "\"1-0"),
                tag.replace("\"1-", "\"2-"),
                format!("W/{tag}"),
            ];
            for tags in unknown.iter().map(String::as_str).chain(["\"1\""]) {
                send_with(&api, "GET", &one, "if-match", tags, None).await.refused(412, "preconditionFailed");
            }
            // What else is told changes again.
            let body = json!({"id": new_id(), "name": "n", "storage": [format!("{}below/", held(&id))]});
            api.post(&format!("{ARCHIVED}/servers"), &body).await.json(201);
            let now = api.get(&one).await.header("etag").unwrap().to_owned();
            assert!(now.starts_with("\"1-") && now != tag, "{now}");
            send_with(&api, "GET", &one, "if-match", &tag, None).await.refused(412, "preconditionFailed");
            // A command is on the version: whatever was told of that is its tag, and what never was is not.
            let command = async |header: &str, tags: &str| match entity_type {
                "archives" => {
                    let body = json!({"id": id, "name": "n"});
                    send_with(&api, "POST", &format!("{ARCHIVED}/archives"), header, tags, Some(body)).await
                }
                _ => send_with(&api, "POST", &format!("{one}/restore"), header, tags, None).await,
            };
            for tags in &unknown {
                command("if-match", tags).await.refused(412, "preconditionFailed");
            }
            command("if-none-match", &tag).await.refused(412, "preconditionFailed");
            let taken = command("if-match", &format!("{}, {tag}", unknown[0])).await;
            assert!(taken.status < 300 && taken.header("etag") == Some("\"2\""), "{}", taken.text());
        }
    }

    async fn a_condition_holds_for_a_purge_that_is_retried_too(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        api.soft_delete_held("backups", &id).await;
        assert_eq!(api.purge("backups", &id).await.status, 200);
        let shown = api.get(&format!("{ARCHIVED}/backups/{id}")).await;
        let tag = shown.header("etag").unwrap().to_owned();
        let purge_id = shown.json(200)["purge_id"].as_str().unwrap().to_owned();
        let retry = format!("/api/admin/purges/{purge_id}/retry");
        let force = format!("/api/admin/purges/{purge_id}/force");
        for (header, tags) in [("if-match", "\"9\""), ("if-match", "W/\"2\""), ("if-none-match", "*"), ("if-none-match", &tag)] {
            send_with(&api, "POST", &retry, header, tags, None).await.refused(412, "preconditionFailed");
            send_with(&api, "POST", &force, header, tags, Some(json!({"reason": "r"}))).await.refused(412, "preconditionFailed");
        }
        assert_eq!(send_with(&api, "POST", &retry, "if-match", &tag, None).await.status, 202);
        assert_eq!(send_with(&api, "POST", &retry, "if-none-match", "\"1\"", None).await.status, 202);
    }

    async fn the_same_key_with_another_condition_is_another_request(backend: Backend) {
        let api = Api::shared(backend).await;
        let (id, key) = (new_id(), new_id());
        let list = format!("{ARCHIVED}/backups");
        let send = async |header: &str, tags: &str| {
            let request = api.request("POST", &list).json(&json!({"id": id, "name": "n"}));
            answer(request.header("idempotency-key", &key).header(header, tags)).await
        };
        assert_eq!(send("if-none-match", "*").await.status, 201);
        // The same answer, whatever exists by now.
        assert_eq!(send("if-none-match", "*").await.status, 201);
        send("if-none-match", "\"1\"").await.refused(422, "idempotencyKeyReused");
        send("if-match", "*").await.refused(422, "idempotencyKeyReused");
    }
}
