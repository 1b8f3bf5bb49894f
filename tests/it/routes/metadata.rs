//! Metadata comes back as it was given; what would not is refused.

use serde_json::{Value, json};

use super::{ARCHIVED, Api, answer, new_id};
use crate::harness::on_both_backends;

/// Objects that are written as this service writes them: compactly, keys in order.
const KEPT: [&str; 11] = [
    "{}",
    r#"{"":""}"#,
    r#"{"":{"":[{},[],null,true,false]}}"#,
    r#"{"big":[18446744073709551615,-9223372036854775808,9007199254740993,0]}"#,
    r#"{"float":[1.0,0.1,-0.5,1e+300,5e-324,1.7976931348623157e+308,100.0]}"#,
    r#"{"text":["é","e\u0301","日本","😀","\ud83d\ude00","\u202e","\u007f","\u0001\b\f\n\r\t\"\\/"]}"#,
    r#"{"a":1,"A":2,"á":3,"a\u0301":4}"#,
    r#"{"$ref":"x","__proto__":{},"constructor":1,"{{x}}":"%s","'; DROP TABLE events; --":"<script>"}"#,
    r#"{"null":null,"nested":{"null":null,"list":[null]}}"#,
    r#"{"a":{"b":{"c":{"d":{"e":{"f":{"g":[[[[[[[[1]]]]]]]]}}}}}}}"#,
    r#"{"long":"key","01":1,"1":2}"#,
];

on_both_backends! {
    async fn metadata_comes_back_exactly_as_it_was_given(backend: Backend) {
        let api = Api::shared(backend).await;
        for text in KEPT {
            let id = new_id();
            let given: Value = serde_json::from_str(text).unwrap();
            let body = format!(r#"{{"id":"{id}","name":"n","metadata":{text}}}"#);
            let request = api.request("POST", &format!("{ARCHIVED}/environments"));
            let created = answer(request.header("content-type", "application/json").body(body)).await;
            let item = created.json(201);
            let listed = api.get(&format!("{ARCHIVED}/environments?limit=100")).await;
            let items = listed.json(200)["items"].clone();
            let listed = items.as_array().unwrap().iter().find(|item| item["id"] == json!(id)).unwrap();
            let shown = api.get(&format!("{ARCHIVED}/environments/{id}")).await.json(200);
            let history = api.get(&format!("{ARCHIVED}/environments/{id}/history")).await.json(200);
            for metadata in [&item["metadata"], &listed["metadata"], &shown["metadata"], &history["items"][0]["details"]["metadata"]] {
                assert_eq!(metadata, &given, "{text}");
                // Not only equal: written with the same digits.
                assert_eq!(metadata.to_string(), given.to_string(), "{text}");
            }
            assert!(created.text().contains(&given.to_string()), "{text}: {}", created.text());
        }
    }

    async fn what_would_come_back_changed_is_refused(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        for metadata in [
            r#"{"n":18446744073709551616}"#,
            r#"{"n":-9223372036854775809}"#,
            r#"{"n":[[123456789012345678901234567890]]}"#,
            r#"{"n":1e400}"#,
            r#"{"n":-1e400}"#,
            r#"{"n":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            r#"{"n":1,"n":1}"#,
            r#"{"n":{"a":1,"\u0061":2}}"#,
        ] {
            let body = format!(r#"{{"id":"{id}","name":"n","metadata":{metadata}}}"#);
            let request = api.request("POST", &format!("{ARCHIVED}/environments"));
            let refused = answer(request.header("content-type", "application/json").body(body)).await;
            refused.bad("badData", "metadata");
        }
        assert!(api.events("environments", &id).await.is_empty());
    }

    async fn a_time_is_told_alike_everywhere(backend: Backend) {
        let api = Api::shared(backend).await;
        for (given, told) in [
            ("2024-02-29T12:00:00.123456789Z", "2024-02-29T12:00:00.123456Z"),
            ("1999-12-31T23:59:59.9999999Z", "1999-12-31T23:59:59.999999Z"),
            ("1960-01-01T00:00:00.0000019Z", "1960-01-01T00:00:00.000001Z"),
            ("2024-01-01T02:00:00+02:00", "2024-01-01T00:00:00Z"),
            ("2024-01-01t00:00:00z", "2024-01-01T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2024-01-01T00:00:00.100Z", "2024-01-01T00:00:00.100Z"),
        ] {
            let id = new_id();
            let body = json!({"id": id, "name": "n", "deleted_at": given});
            let item = api.post(&format!("{ARCHIVED}/environments"), &body).await.json(201);
            let shown = api.get(&format!("{ARCHIVED}/environments/{id}")).await.json(200);
            let list = api.get(&format!("{ARCHIVED}/environments?limit=100")).await.json(200);
            let listed = list["items"].as_array().unwrap().iter().find(|item| item["id"] == json!(id)).unwrap();
            for time in [&item["deleted_at"], &shown["deleted_at"], &listed["deleted_at"]] {
                assert_eq!(time, told, "{given}");
            }
        }
    }
}
