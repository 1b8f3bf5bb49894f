//! `GET /schemas/events/{event}/{file}`: what it says of an event is what the event is.

use std::path::Path;

use archive_ledger_domain::EventName;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::{ARCHIVED, Api, answer, keys, new_id};
use crate::harness::on_both_backends;

async fn served(api: &Api, event: &str) -> Value {
    let request = api.bare("GET", &format!("/schemas/events/{event}/1.json"));
    answer(request).await.json(200)
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .unwrap()
}

/// The golden messages of an event.
fn golden(event: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bus");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.file_name().unwrap().to_str().unwrap().split('.').next() == Some(event))
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect()
}

on_both_backends! {
    async fn every_golden_event_fits_the_schema_that_is_served_and_nothing_less_does(backend: Backend) {
        let api = Api::shared(backend).await;
        let asyncapi = answer(api.bare("GET", "/asyncapi.json")).await.json(200);
        for event in EventName::ALL.map(EventName::as_str) {
            let schema = served(&api, event).await;
            assert_eq!(schema["$id"], format!("/schemas/events/{event}/1.json"));
            let validator = validator(&schema);
            let golden = golden(event);
            assert!(!golden.is_empty(), "{event}");
            for message in golden {
                assert!(validator.is_valid(&message), "{event}: {:?}", validator.validate(&message));
                for place in ["", "/data"] {
                    let described = schema.pointer(&format!("/properties{place}")).unwrap();
                    let required = if place.is_empty() { &schema["required"] } else { &described["required"] };
                    for field in required.as_array().unwrap() {
                        let mut less = message.clone();
                        let fields = less.pointer_mut(place).unwrap().as_object_mut().unwrap();
                        assert!(fields.remove(field.as_str().unwrap()).is_some(), "{event}: no {field}");
                        assert!(!validator.is_valid(&less), "{event} without {field}");
                    }
                }
                for (place, other) in [
                    ("/type", json!("archive.other.v1")),
                    ("/specversion", json!("0.3")),
                    ("/time", json!("yesterday")),
                    ("/data/event", json!("other")),
                    ("/data/state", json!("unknown")),
                    ("/data/entity_type", json!("ships")),
                    ("/data/position", json!(0)),
                ] {
                    let mut wrong = message.clone();
                    *wrong.pointer_mut(place).unwrap() = other;
                    assert!(!validator.is_valid(&wrong), "{event}: {wrong}");
                }
                // What is described is all that there is.
                for field in keys(&message["data"]) {
                    assert!(schema["properties"]["data"]["properties"][field].is_object(), "{event}: {field}");
                }
            }
            let payload = &asyncapi["components"]["messages"][event]["payload"];
            let named = payload["$ref"].as_str().unwrap().trim_start_matches('#').to_owned();
            let named = asyncapi.pointer(&named).unwrap();
            assert_eq!(named["properties"], schema["properties"], "{event}");
            assert_eq!(named["title"], schema["title"], "{event}");
        }
        for path in ["/schemas/events/purged/2.json", "/schemas/events/purged/1", "/schemas/events/lost/1.json"] {
            answer(api.bare("GET", path)).await.refused(404, "notFound");
        }
    }

    async fn what_a_subscriber_is_told_fits_it_too(backend: Backend) {
        let api = Api::shared(backend).await;
        let (id, before) = (new_id(), api.probe().await);
        api.soft_delete("domains", &id).await;
        assert_eq!(api.restore("domains", &id).await.status, 200);
        api.soft_delete_held("domains", &id).await;
        assert_eq!(api.purge("domains", &id).await.status, 200);
        let path = format!("/api/events?after={before}&entity_type=domains");
        let mut stream = api.request("GET", &path).send().await.unwrap();
        let mut text = String::new();
        let mut seen = Vec::new();
        while seen.len() < 4 {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
            let messages = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let messages = messages.map(|data| serde_json::from_str::<Value>(data).unwrap());
            seen = messages.filter(|message| message["data"]["entity_id"] == id).collect();
        }
        for message in seen {
            let event = message["data"]["event"].as_str().unwrap();
            let validator = validator(&served(&api, event).await);
            assert!(validator.is_valid(&message), "{event}: {:?}", validator.validate(&message));
        }
        let history = api.get(&format!("{ARCHIVED}/domains/{id}/history")).await.json(200);
        assert_eq!(history["total_count"], 4);
    }
}
