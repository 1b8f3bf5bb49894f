//! Bad input of every kind on every field of every route: the 4xx that names the field, and nothing changed.

use serde_json::{Map, Value, json};

use super::{ARCHIVED, ARCHIVES, Answer, Api, HELD, answer, configured, new_id};
use crate::harness::on_both_backends;

const ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
const OTHER_ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f09";

/// A field's bad value, and what its refusal says: the error's id and its key.
type Case = (&'static str, Value, &'static str, &'static str);

/// `base` with one field replaced; without it where the value is the text `ABSENT`.
fn with(base: &Value, field: &str, value: &Value) -> Value {
    let mut object: Map<String, Value> = base.as_object().unwrap().clone();
    if value == "ABSENT" {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value.clone());
    }
    Value::Object(object)
}

fn long(length: usize) -> Value {
    json!("x".repeat(length))
}

/// What no text field takes.
fn bad_texts(field: &'static str, most: usize) -> Vec<Case> {
    let mut cases: Vec<Case> = [
        json!(5),
        json!(true),
        json!([]),
        json!({}),
        json!(["x"]),
        json!(1.5),
    ]
    .into_iter()
    .map(|value| (field, value, "badValueString", field))
    .collect();
    cases.push((field, long(most + 1), "badValueTextTooLarge", field));
    let controls = ["a\u{0}", "\u{7}", "a\nb", "\t", "\u{7f}", "\u{85}", "\u{1b}[31m"];
    cases.extend(controls.map(|text| (field, json!(text), "badData", field)));
    cases
}

fn bad_lists(field: &'static str) -> Vec<Case> {
    let mut cases: Vec<Case> = [
        json!("x"),
        json!(5),
        json!({}),
        json!([5]),
        json!([null]),
        json!([["x"]]),
        json!([HELD, true]),
    ]
    .into_iter()
    .map(|value| (field, value, "badValueListOfStrings", field))
    .collect();
    cases.push((field, json!([""]), "badValueEmpty", field));
    cases.push((field, json!([long(2_049)]), "badValueTextTooLarge", field));
    cases.push((field, json!(vec![HELD; 101]), "badData", field));
    cases.push((field, json!(["s3://held/objects/\u{0}"]), "badData", field));
    for uri in [
        "s3://held/objects",
        "s3://held/objects/",
        "s3://held/",
        "s3://held-other/objects/x",
        "s3://held/objects-other/x",
        "s3://held/objects/../x",
        "s3://held/objects/%2e%2e/x",
        "file:///etc/passwd",
        "file:///",
        "ftp://held/objects/x",
        "/objects/x",
        "x",
    ] {
        cases.push((field, json!([HELD, uri]), "badData", "storage[1]"));
    }
    cases
}

fn bad_soft_deletes() -> Vec<Case> {
    let mut cases = bad_texts("id", 256);
    cases.extend(bad_texts("name", 512));
    cases.extend(bad_texts("reason", 2_000));
    cases.extend(bad_lists("storage"));
    cases.extend([
        ("id", json!("ABSENT"), "missingRequiredValue", "id"),
        ("id", Value::Null, "missingRequiredValue", "id"),
        ("id", json!(""), "badValueEmpty", "id"),
        ("name", json!("ABSENT"), "missingRequiredValue", "name"),
        ("name", Value::Null, "missingRequiredValue", "name"),
        ("name", json!(""), "badValueEmpty", "name"),
    ]);
    for id in [
        "x",
        "497f6eca62764993bfeb53cbbbba6f08",
        "{497f6eca-6276-4993-bfeb-53cbbbba6f08}",
        "urn:uuid:497f6eca-6276-4993-bfeb-53cbbbba6f08",
        "497f6eca-6276-4993-bfeb-53cbbbba6f0g",
        " 497f6eca-6276-4993-bfeb-53cbbbba6f08",
        "497f6eca-6276-4993-bfeb-53cbbbba6f08 ",
        "497f6eca-6276-4993-bfeb-53cbbbba6f0８",
    ] {
        cases.push(("id", json!(id), "badValueIdentifier", "id"));
    }
    for metadata in [json!([]), json!("x"), json!(5), json!(true), json!([{}])] {
        cases.push(("metadata", metadata, "badData", "metadata"));
    }
    cases.push((
        "metadata",
        json!({"x": "y".repeat(65_536)}),
        "badData",
        "metadata",
    ));
    cases.push(("metadata", json!({"x": {"y": ["\u{0}"]}}), "badData", "metadata"));
    cases.push(("metadata", json!({"x": {"a\u{0}": 1}}), "badData", "metadata"));
    let mut deep = json!(1);
    for _ in 0..64 {
        deep = json!({ "d": deep });
    }
    cases.push(("metadata", deep, "badData", "metadata"));
    cases.extend([
        ("parent", json!(5), "badValueString", "parent"),
        ("parent", json!([]), "badValueString", "parent"),
        ("parent", json!(""), "badValueEmpty", "parent"),
        ("parent", long(257), "badValueTextTooLarge", "parent"),
        ("parent", json!("a\u{0}"), "badData", "parent"),
        ("parent", json!("ships/x"), "badValueNotAllowed", "parent.type"),
        ("parent", json!("/x"), "badValueNotAllowed", "parent.type"),
        ("parent", json!("projects/x"), "badValueIdentifier", "parent.id"),
        ("parent", json!({}), "missingRequiredValue", "parent.id"),
        ("parent", json!({"id": null}), "missingRequiredValue", "parent.id"),
        ("parent", json!({"id": 5}), "badValueString", "parent.id"),
        (
            "parent",
            json!({"id": ID, "type": 5}),
            "badValueString",
            "parent.type",
        ),
        (
            "parent",
            json!({"id": ID, "type": "ships"}),
            "badValueNotAllowed",
            "parent.type",
        ),
        (
            "parent",
            json!({"id": "x", "type": "projects"}),
            "badValueIdentifier",
            "parent.id",
        ),
        ("parent", json!({"id": ID, "more": 1}), "badData", "parent.more"),
        ("deleted_at", json!(5), "badValueString", "deleted_at"),
        ("deleted_at", json!({}), "badValueString", "deleted_at"),
        ("deleted_at", json!(""), "badValueEmpty", "deleted_at"),
        ("colour", json!("red"), "badData", "colour"),
        ("Name", json!("n"), "badData", "Name"),
        ("", json!(1), "badData", ""),
    ]);
    for time in [
        "yesterday",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-13-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2024-01-01T25:00:00Z",
        "1750762637",
        "0000-12-31T23:59:59Z",
        "0001-01-01T00:00:00+23:00",
        "2999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ] {
        cases.push(("deleted_at", json!(time), "badData", "deleted_at"));
    }
    cases
}

fn bad_callbacks() -> Vec<Case> {
    let mut cases = bad_texts("deletedCallback", 2_048);
    cases.push(("deletedCallback", json!(""), "badValueEmpty", "deletedCallback"));
    for url in [
        "x",
        "abc://hostname.org",
        "htp://hostname.org",
        "http:/hostname.org",
        "http://hostname.org:port",
        "http://",
        "example.org",
        "ftp://example.org/",
        "https://me:secret@example.org/",
        "https://example.org/#here",
        "https://example.org//x",
        "https://localhost/",
        "https://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::1]/",
        "http://0x0a000001/",
    ] {
        cases.push(("deletedCallback", json!(url), "badData", "deletedCallback"));
    }
    cases
}

fn bad_registrations() -> Vec<Case> {
    let mut cases = bad_texts("archiveId", 128);
    cases.extend(bad_texts("datasetId", 128));
    cases.extend(bad_texts("spaceId", 128));
    cases.extend(bad_texts("description", 2_000));
    cases.extend(bad_lists("storage"));
    cases.extend(bad_callbacks());
    for field in ["datasetId", "spaceId"] {
        cases.push((field, json!("ABSENT"), "missingRequiredValue", field));
        cases.push((field, Value::Null, "missingRequiredValue", field));
        cases.push((field, json!(""), "badValueEmpty", field));
    }
    cases.push(("archiveId", json!(""), "badValueEmpty", "archiveId"));
    for id in ["a b", "a/b", "a.b", "é", "a%20b", "../x"] {
        cases.push(("archiveId", json!(id), "badValueIdentifier", "archiveId"));
    }
    cases
}

/// Bodies that are no JSON object, or one that no two parsers read alike.
fn bad_bodies() -> Vec<(Vec<u8>, &'static str, Option<&'static str>)> {
    let deep = |open: &str, close: &str| {
        format!("{{\"name\":{}{}}}", open.repeat(70), close.repeat(70)).into_bytes()
    };
    let mut bodies: Vec<(Vec<u8>, _, _)> = [
        "null",
        "5",
        "\"x\"",
        "[]",
        "[{}]",
        "{",
        "}",
        "{}{}",
        "{} x",
        " ",
        "{'name':1}",
        "{\"name\":1,}",
        "{name:1}",
        "{\"name\":NaN}",
        "{\"name\":01}",
        "{\"name\":\"\\ud800\"}",
        "\u{feff}{}",
        "name=x",
        "{\"name\":\"\n\"}",
    ]
    .map(|text| (text.as_bytes().to_vec(), "malformedData", None))
    .into();
    for bytes in [
        &b"{\"name\":\"\xff\"}"[..],
        b"{\"\xc3\":1}",
        b"{\"name\":\"\xed\xa0\x80\"}",
        b"\xff\xfe{\0}\0",
    ] {
        bodies.push((bytes.to_vec(), "malformedData", None));
    }
    for text in [
        r#"{"name":"a","name":"a"}"#,
        r#"{"name":1,"\u006eame":2}"#,
        r#"{"name":{"a":[{"b":1,"b":1}]}}"#,
        r#"{"name":1e400}"#,
        r#"{"name":18446744073709551616}"#,
        r#"{"name":"\u0000"}"#,
    ] {
        bodies.push((text.into(), "badData", Some("name")));
    }
    bodies.push((deep("[", "]"), "badData", Some("name")));
    bodies.push((deep("{\"a\":", "}").into_iter().collect(), "malformedData", None));
    bodies
}

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

async fn every_header(api: &Api) {
    let tags = [
        "1",
        "\"1",
        "\"1\" \"2\"",
        "\"1 2\"",
        "w/\"1\"",
        "W/1",
        "",
        ",",
        "*, \"1\"",
        "**",
    ];
    let long = "x".repeat(256);
    let keys = ["", "a b", "\u{e9}", "a\tb", long.as_str()];
    for (method, path) in body_routes()
        .into_iter()
        .filter(|(_, path)| !path.contains("callbacks") && !path.ends_with("/retry"))
    {
        let body = if path == ARCHIVES {
            json!({"archiveId": ID, "datasetId": "d", "spaceId": "s"})
        } else if path.ends_with("backups") || path.ends_with("archives") {
            json!({"id": ID, "name": "n"})
        } else if path.ends_with("/force") {
            json!({"reason": "r"})
        } else {
            json!({})
        };
        let codes = ["", "a b", "a/b", "\u{e9}", "a,b", &long[..65]];
        for (header, values) in [
            ("If-Match", &tags[..]),
            ("If-None-Match", &tags[..]),
            ("Idempotency-Key", &keys[..]),
            ("X-Reason-Code", &codes[..]),
        ] {
            for value in values {
                let request = api.request(method, &path).json(&body);
                answer(request.header(header, value.as_bytes()))
                    .await
                    .bad("badData", header);
            }
            let twice = api.request(method, &path).json(&body);
            let twice = twice.header(header, "*").header(header, "\"1\"");
            answer(twice).await.bad("badData", header);
        }
    }
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

async fn every_path_and_query(api: &Api) {
    for entity_type in [
        "ships",
        "Backups",
        "backup",
        "backups%20",
        "%00",
        "backups%2f",
        "%ff",
        "archived",
        "..%2fusers",
    ] {
        for (method, rest) in [
            ("GET", String::new()),
            ("POST", String::new()),
            ("GET", format!("/{ID}")),
            ("GET", format!("/{ID}/history")),
            ("POST", format!("/{ID}/restore")),
            ("DELETE", format!("/{ID}/purge")),
        ] {
            let path = format!("{ARCHIVED}/{entity_type}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueNotAllowed", "entity_type");
        }
    }
    for id in [
        "x",
        "497f6eca62764993bfeb53cbbbba6f08",
        "%00",
        "%ff",
        "a%2fb",
        "497f6eca-6276-4993-bfeb-53cbbbba6f08%20",
        "%7B497f6eca-6276-4993-bfeb-53cbbbba6f08%7D",
    ] {
        for (method, rest) in [
            ("GET", ""),
            ("GET", "/history"),
            ("POST", "/restore"),
            ("DELETE", "/purge"),
        ] {
            let path = format!("{ARCHIVED}/backups/{id}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueIdentifier", "id");
        }
        for (method, rest) in [("GET", ""), ("POST", "/replay")] {
            let path = format!("/api/admin/callbacks/{id}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueIdentifier", "id");
        }
        let retry = api.request("POST", &format!("/api/admin/purges/{id}/retry"));
        answer(retry).await.bad("badValueIdentifier", "purge_id");
        let force = api.request("POST", &format!("/api/admin/purges/{id}/force"));
        answer(force.json(&json!({"reason": "r"})))
            .await
            .bad("badValueIdentifier", "purge_id");
        let proof = api.get(&format!("/api/ledger/proofs/{id}")).await;
        proof.bad("badValueIdentifier", "event_id");
    }
    for (query, id, key) in [
        ("", "missingRequiredValue", "from"),
        ("from=x", "badValueInteger", "from"),
        ("from=-1", "badValueInteger", "from"),
        ("from=99999999999999999999", "badValueInteger", "from"),
        ("from=9999999", "badValueNotInRange", "from"),
        ("from=0&to=9999999", "badValueNotInRange", "to"),
        ("from=0&from=0", "badData", "from"),
        ("from=0&form=1", "badData", "form"),
    ] {
        let path = format!("/api/ledger/consistency?{query}");
        api.get(&path).await.bad(id, key);
    }
    for path in [
        "tile/0/x",
        "tile/0/000.p/0",
        "tile/0/000.p/257",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/00x",
        "tile/entries/..",
        "tile/entries/0",
    ] {
        api.get(&format!("/api/ledger/{path}"))
            .await
            .refused(404, "notFound");
    }
    for (query, id, key) in [
        ("state=done", "badValueNotAllowed", "state"),
        ("limit=101", "badValueNotInRange", "limit"),
        ("cursor=x", "badData", "cursor"),
        ("state=all&state=all", "badData", "state"),
    ] {
        api.get(&format!("/api/admin/purges?{query}")).await.bad(id, key);
    }
    for id in ["a.b", "%00", "%ff", "a%20b", "a%2fb", "%c3%a9", &"x".repeat(129)] {
        for (method, rest) in [("GET", ""), ("POST", "/delete")] {
            let path = format!("{ARCHIVES}/{id}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueIdentifier", "archiveId");
        }
    }
    for (query, id, key) in [
        ("page=x", "badValueInteger", "page"),
        ("page=1.5", "badValueInteger", "page"),
        ("page=", "badValueInteger", "page"),
        ("page=%31%00", "badValueInteger", "page"),
        ("page=-1", "badValueNotInRange", "page"),
        ("page=9223372036854775807", "badValueNotInRange", "page"),
        ("page=99999999999999999999999", "badValueNotInRange", "page"),
        ("page=1&page=1", "badData", "page"),
        ("limit=x", "badValueInteger", "limit"),
        ("limit=-1", "badValueNotInRange", "limit"),
        ("limit=101", "badValueNotInRange", "limit"),
        ("limit=1&limit=2", "badData", "limit"),
        ("cursor=", "badData", "cursor"),
        ("cursor=x", "badData", "cursor"),
        ("cursor=x&page=1", "badData", "cursor"),
        ("cursor=%ff", "badData", "cursor"),
    ] {
        api.get(&format!("{ARCHIVED}/backups?{query}")).await.bad(id, key);
    }
    for (query, id, key) in [
        ("after=x", "badValueInteger", "after"),
        ("after=-1", "badValueInteger", "after"),
        ("after=", "badValueInteger", "after"),
        ("after=99999999999999999999", "badValueInteger", "after"),
        ("after=999999999999", "badValueTooHigh", "after"),
        ("after=0&after=0", "badData", "after"),
        ("entity_type=ships", "badValueNotAllowed", "entity_type"),
        ("event=deleted", "badValueNotAllowed", "event"),
        ("from=0", "badData", "from"),
    ] {
        api.get(&format!("/api/events?{query}")).await.bad(id, key);
    }
    // The ledger's number and a position, as the stream gives them out; a position alone is of another age.
    for last in [
        "",
        "x",
        "-1",
        "1.5",
        "1",
        "999999999999",
        "1-",
        "-1-1",
        "0-1",
        "1-1-1",
    ] {
        let request = api.request("GET", "/api/events").header("Last-Event-ID", last);
        answer(request).await.bad("badData", "Last-Event-ID");
    }
    let backwards = api
        .request("GET", "/api/events?after=2")
        .header("Last-Event-ID", "1-1");
    answer(backwards).await.bad("badData", "Last-Event-ID");
    for (query, id, key) in [
        ("actr=x", "badData", "actr"),
        ("actor=", "badValueEmpty", "actor"),
        ("actor=%00", "badData", "actor"),
        ("action=deleted", "badValueNotAllowed", "action"),
        ("entity_type=ships", "badValueNotAllowed", "entity_type"),
        ("entity_type=users&entity_id=x", "badValueIdentifier", "entity_id"),
        ("outcome=ok", "badValueNotAllowed", "outcome"),
        ("ip=localhost", "badData", "ip"),
        ("from=yesterday", "badData", "from"),
        ("pos_from=-1", "badValueInteger", "pos_from"),
        ("pos_to=99999999999999999999", "badValueInteger", "pos_to"),
        ("limit=1001", "badValueNotInRange", "limit"),
        ("order=newest", "badValueNotAllowed", "order"),
        ("cursor=", "badData", "cursor"),
    ] {
        api.get(&format!("/api/admin/audit/events?{query}"))
            .await
            .bad(id, key);
    }
    for (query, id, key) in [
        ("state=lost", "badValueNotAllowed", "state"),
        (
            "entity_type=ships&entity_id=x",
            "badValueNotAllowed",
            "entity_type",
        ),
        (
            "entity_type=backups&entity_id=x",
            "badValueIdentifier",
            "entity_id",
        ),
        ("entity_type=backups", "missingRequiredValue", "entity_id"),
        ("from=yesterday", "badData", "from"),
        ("limit=101", "badValueNotInRange", "limit"),
        ("cursor=x", "badData", "cursor"),
        ("host=%00", "badData", "host"),
    ] {
        api.get(&format!("/api/admin/callbacks?{query}"))
            .await
            .bad(id, key);
    }
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
