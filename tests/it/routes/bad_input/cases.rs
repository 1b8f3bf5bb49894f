//! Values that no field takes, and what their refusal says.

use super::{HELD, ID};
use serde_json::{Map, Value, json};

/// A field's bad value, and what its refusal says: the error's id and its key.
pub(super) type Case = (&'static str, Value, &'static str, &'static str);

/// `base` with one field replaced; without it where the value is the text `ABSENT`.
pub(super) fn with(base: &Value, field: &str, value: &Value) -> Value {
    let mut object: Map<String, Value> = base.as_object().unwrap().clone();
    if value == "ABSENT" {
        object.remove(field);
    } else {
        object.insert(field.to_owned(), value.clone());
    }
    Value::Object(object)
}

pub(super) fn long(length: usize) -> Value {
    json!("x".repeat(length))
}

/// What no text field takes.
pub(super) fn bad_texts(field: &'static str, most: usize) -> Vec<Case> {
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

pub(super) fn bad_lists(field: &'static str) -> Vec<Case> {
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

pub(super) fn bad_soft_deletes() -> Vec<Case> {
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

pub(super) fn bad_callbacks() -> Vec<Case> {
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

pub(super) fn bad_registrations() -> Vec<Case> {
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
pub(super) fn bad_bodies() -> Vec<(Vec<u8>, &'static str, Option<&'static str>)> {
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
