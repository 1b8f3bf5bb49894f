//! Bad input of every kind on every field of every route: the 4xx that names the field, and nothing changed.

mod cases;
mod places;

use serde_json::json;

use super::{ARCHIVED, ARCHIVES, Answer, Api, HELD, answer, configured, new_id};
use crate::harness::on_both_backends;
use cases::{bad_bodies, bad_callbacks, bad_registrations, bad_soft_deletes, with};
use places::{every_header, every_path_and_query};

const ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
const OTHER_ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f09";

/// The routes that read a body.
fn body_routes() -> [(&'static str, String); 10] {
    [
        ("POST", format!("{ARCHIVED}/backups")),
        ("POST", format!("{ARCHIVED}/backups/{ID}/restore")),
        ("DELETE", format!("{ARCHIVED}/backups/{ID}/purge")),
        ("POST", ARCHIVES.to_owned()),
        ("POST", format!("{ARCHIVES}/{ID}/delete")),
        ("POST", "/api/admin/callbacks/replay".to_owned()),
        ("POST", format!("/api/admin/callbacks/{ID}/replay")),
        ("POST", format!("{ARCHIVED}/archives")),
        ("POST", format!("/api/admin/purges/{ID}/retry")),
        ("POST", format!("/api/admin/purges/{ID}/force")),
    ]
}

/// An administrator who may delete archives in every space too: nothing but the input can be wrong.
fn almighty(api: &mut Api) {
    let grant = super::Grant::default()
        .role(archive_ledger::http::auth::rights::Role::Admin)
        .privileges(&["space_manage_datasets", "space_remove_archives"]);
    api.admin = api.token(grant);
}

#[track_caller]
fn must_refuse(answer: &Answer, id: &str, key: &str, what: &dyn std::fmt::Debug) {
    let told = answer.refused(400, id);
    assert_eq!(told["details"]["key"], key, "{what:?}: {told}");
    assert!(told["description"].as_str().unwrap().contains(key), "{told}");
}

async fn every_field(api: &Api) {
    let soft_delete = json!({
        "id": ID, "name": "n", "metadata": {}, "reason": "r", "parent": ID, "storage": [HELD],
        "deleted_at": "2024-01-01T00:00:00Z",
    });
    for (field, value, id, key) in bad_soft_deletes() {
        let refused = api
            .post(&format!("{ARCHIVED}/backups"), &with(&soft_delete, field, &value))
            .await;
        must_refuse(&refused, id, key, &(field, value));
    }
    for id in ["a b", "a/b", "a.b", &"x".repeat(129)] {
        let refused = api
            .post(
                &format!("{ARCHIVED}/archives"),
                &with(&soft_delete, "id", &json!(id)),
            )
            .await;
        must_refuse(&refused, "badValueIdentifier", "id", &id);
    }
    let register = json!({
        "archiveId": ID, "datasetId": "d", "spaceId": "s", "description": "x", "storage": [HELD], "deletedCallback": "https://example.org/",
    });
    for (field, value, id, key) in bad_registrations() {
        let refused = api.post(ARCHIVES, &with(&register, field, &value)).await;
        must_refuse(&refused, id, key, &(field, value));
    }
    let unknown = format!("{ARCHIVED}/backups/{OTHER_ID}");
    for (field, value, id, key) in bad_callbacks() {
        let body = json!({ field: value });
        let purge = answer(api.request("DELETE", &format!("{unknown}/purge")).json(&body)).await;
        must_refuse(&purge, id, key, &body);
        let delete = api.post(&format!("{ARCHIVES}/{OTHER_ID}/delete"), &body).await;
        must_refuse(&delete, id, key, &body);
    }
    for (method, action) in [("POST", "restore"), ("DELETE", "purge")] {
        let request = api
            .request(method, &format!("{unknown}/{action}"))
            .json(&json!({"force": true}));
        answer(request).await.bad("badData", "force");
    }
    for (field, value, id, key) in [
        ("dry_run", json!("ABSENT"), "missingRequiredValue", "dry_run"),
        ("filter", json!([]), "badData", "filter"),
        ("filter", json!({"state": "due"}), "badValueNotAllowed", "state"),
        ("filter", json!({"colour": "red"}), "badData", "filter.colour"),
        (
            "filter",
            json!({"entity_type": "backups", "entity_id": "x"}),
            "badValueIdentifier",
            "entity_id",
        ),
        ("cursor", json!("x"), "badData", "cursor"),
        ("cursor", json!(5), "badValueString", "cursor"),
        ("colour", json!("red"), "badData", "colour"),
    ] {
        let body = with(&json!({"dry_run": false}), field, &value);
        let refused = api.post("/api/admin/callbacks/replay", &body).await;
        must_refuse(&refused, id, key, &body);
    }
}

async fn every_body(api: &Api) {
    for (method, path) in body_routes() {
        for (body, id, key) in bad_bodies() {
            let request = api
                .request(method, &path)
                .header("content-type", "application/json");
            let refused = answer(request.body(body.clone())).await;
            let told = refused.refused(400, id);
            if let Some(key) = key {
                assert_eq!(
                    told["details"]["key"],
                    key,
                    "{method} {path} {}",
                    String::from_utf8_lossy(&body)
                );
            }
        }
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/json; charset=latin1"),
            Some("application/jsonp"),
            Some("application/cloudevents+json"),
            Some(""),
        ] {
            let mut request = api.request(method, &path).body("{}");
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            answer(request).await.refused(415, "unsupportedMediaType");
        }
        let twice = api
            .request(method, &path)
            .header("content-type", "application/json");
        let twice = twice.header("content-type", "application/json").body("{}");
        answer(twice).await.refused(415, "unsupportedMediaType");
        let zipped = api
            .request(method, &path)
            .json(&json!({}))
            .header("content-encoding", "gzip");
        answer(zipped).await.refused(415, "unsupportedMediaType");
    }
    let empty = api
        .request("POST", &format!("{ARCHIVED}/backups"))
        .header("content-type", "application/json");
    answer(empty).await.refused(400, "malformedData");
}

async fn every_size(api: &Api) {
    let large = vec![b' '; 10 * 1024 * 1024];
    for (method, path) in body_routes() {
        let request = api
            .request(method, &path)
            .header("content-type", "application/json");
        let announced = answer(request.body(large.clone())).await;
        assert_eq!(
            announced.refused(413, "payloadTooLarge")["details"]["limit"],
            262_144
        );

        let mut chunked = api.head(&format!("{method} {path}")).into_bytes();
        chunked.extend_from_slice(b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in large.chunks(1024 * 1024) {
            chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunked.extend_from_slice(piece);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        api.raw(&chunked).await.refused(413, "payloadTooLarge");

        // A client that asks first is told before it sends.
        let waits = api.head(&format!("{method} {path}"))
            + "Content-Type: application/json\r\nContent-Length: 10485760\r\nExpect: 100-continue\r\n\r\n";
        api.raw(waits.as_bytes()).await.refused(413, "payloadTooLarge");
        // So is one that announces more than anybody would read and drop.
        let absurd = api.head(&format!("{method} {path}"))
            + "Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
        api.raw(absurd.as_bytes()).await.refused(413, "payloadTooLarge");
    }
    let broken = api.head(&format!("POST {ARCHIVED}/backups"))
        + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    api.raw(broken.as_bytes()).await.refused(400, "malformedData");
}

async fn every_reason(api: &Api) {
    for (body, id, key) in [
        (json!({}), "missingRequiredValue", "reason"),
        (json!({"reason": null}), "missingRequiredValue", "reason"),
        (json!({"reason": ""}), "badValueEmpty", "reason"),
        (json!({"reason": " \u{a0}"}), "badValueEmpty", "reason"),
        (json!({"reason": 7}), "badValueString", "reason"),
        (json!({"reason": "a\nb"}), "badData", "reason"),
        (
            json!({"reason": "x".repeat(2_001)}),
            "badValueTextTooLarge",
            "reason",
        ),
        (json!({"reason": "r", "force": true}), "badData", "force"),
    ] {
        let path = format!("/api/admin/purges/{ID}/force");
        answer(api.request("POST", &path).json(&body)).await.bad(id, key);
    }
    let path = format!("/api/admin/purges/{ID}/force");
    let longest = json!({"reason": "ö".repeat(2_000)});
    answer(api.request("POST", &path).json(&longest))
        .await
        .refused(404, "notFound");
}

on_both_backends! {
    async fn every_bad_value_is_refused_by_name_and_nothing_has_changed(backend: Backend) {
        let server = configured(backend).start().await;
        let mut api = Api::of(&server);
        almighty(&mut api);
        let before = api.probe().await;
        every_field(&api).await;
        every_body(&api).await;
        every_size(&api).await;
        every_header(&api).await;
        every_path_and_query(&api).await;
        every_reason(&api).await;
        // Positions have no gaps: nothing was recorded in between.
        assert_eq!(api.probe().await, before + 1);
        let summary = api.get(&format!("{ARCHIVED}/summary")).await.json(200);
        let archived: u64 = summary.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(archived, 2, "{summary}");
        assert!(api.events("backups", ID).await.is_empty() && api.events("archives", ID).await.is_empty());
        // What was wrong was the input: it is accepted once it is right.
        api.soft_delete("backups", ID).await;
        api.register(ID, "s1").await;
        let log = server.log();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }

    async fn onedatas_routes_ignore_what_they_do_not_know(backend: Backend) {
        let mut api = Api::shared(backend).await;
        almighty(&mut api);
        let id = new_id();
        let body = json!({
            "archiveId": id, "datasetId": "d", "spaceId": "s", "layout": "bagit", "config": {"includeDip": true},
            "description": null, "storage": null, "deletedCallback": null,
        });
        api.post(ARCHIVES, &body).await.json(201);
        let deleted = api.post(&format!("{ARCHIVES}/{id}/delete"), &json!({"why": ["not"]})).await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    }

    async fn the_longest_values_that_are_allowed_are_kept(backend: Backend) {
        let api = Api::shared(backend).await;
        let (id, name) = (new_id(), "ü".repeat(512));
        // `{"x":""}` takes eight of the 64 KiB.
        let metadata = json!({"x": "y".repeat(65_536 - 8)});
        let body = json!({
            "id": id, "name": name, "metadata": metadata, "reason": "€".repeat(2_000), "parent": "x".repeat(256),
            "storage": vec![HELD; 100], "deleted_at": "0001-01-01T00:00:00Z",
        });
        let item = api.post(&format!("{ARCHIVED}/backups"), &body).await.json(201);
        assert_eq!((&item["name"], &item["metadata"]), (&json!(name), &metadata));
        assert_eq!(item["deleted_at"], "0001-01-01T00:00:00Z");
        let entity = api.get(&format!("{ARCHIVED}/backups/{id}")).await.json(200);
        assert_eq!((&entity["name"], &entity["metadata"]), (&json!(name), &metadata));
        assert_eq!(entity["deleted_at"], "0001-01-01T00:00:00Z");
        assert_eq!(entity["reason"].as_str().unwrap().chars().count(), 2_000);
        assert_eq!(entity["parent"]["id"].as_str().unwrap().len(), 256);
    }
}
