//! `/asyncapi.json`: what is on the JetStream stream, as an AsyncAPI 3.0 document.
//!
//! Made from the code that publishes: the subjects, the messages' schema, an example of each event and the stream's settings
//! all come from [`crate::bus`].

use super::event_schemas::{self, DocumentError};
use crate::bus::cloud_event::{CONTENT_TYPE, examples};
use crate::bus::marks;
use crate::bus::nats::{self, StreamSettings};
use crate::bus::subjects::Subjects;
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use archive_ledger_domain::{EntityType, EventName};
use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

/// The AsyncAPI document of this service.
///
/// # Errors
/// [`ApiError`]: none that a request causes.
#[utoipa::path(
    get, path = "/asyncapi.json", operation_id = "asyncapi", tag = "events",
    summary = "The AsyncAPI document",
    description = "The AsyncAPI document of this service.",
    responses((status = 200, description = "The AsyncAPI 3.0 document", body = Object))
)]
pub async fn handler(State(api): State<SharedApi>) -> Result<Json<Value>, ApiError> {
    document(&api.events.source().current(), &api.events.on_nats)
        .map(Json)
        .map_err(ApiError::internal)
}

/// The document of the service that publishes as `source` ([`crate::bus::cloud_event::Source`]) on a stream of these settings.
///
/// # Errors
/// [`DocumentError`].
pub fn document(source: &str, settings: &StreamSettings) -> Result<Value, DocumentError> {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    let mut schemas = Map::new();
    schemas.insert("Headers".to_owned(), headers());
    for name in EventName::ALL {
        let key = name.as_str();
        let reference = json!({ "$ref": format!("#/channels/{key}/messages/{key}") });
        channels.insert(key.to_owned(), channel(name, &settings.subjects));
        operations.insert(
            format!("publish_{key}"),
            json!({
                "action": "send",
                "channel": { "$ref": format!("#/channels/{key}") },
                "messages": [reference],
            }),
        );
        messages.insert(key.to_owned(), message(name, source)?);
        schemas.insert(event_schemas::title(name), event_schemas::schema(name)?);
    }
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "archive-ledger",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every event of the ledger, in the order of its log, on one JetStream stream; over HTTP the same \
                messages come from `GET /api/events`. Nothing that is sealed is in a message. Delivery is at least once: \
                drop what you have seen by `id`, or by `sequence`.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
        },
        "x-jetstream": stream(settings)?,
    }))
}

fn channel(name: EventName, subjects: &Subjects) -> Value {
    json!({
        "title": format!("{name} events"),
        "address": subjects.with("{entity_type}", name, "{entity_id}"),
        "description": format!("To subscribe to all of them: `{}`.", subjects.one_event(name)),
        "parameters": {
            "entity_type": {
                "description": "The entity's type.",
                "enum": EntityType::ALL.map(EntityType::as_str),
            },
            "entity_id": { "description": "The entity's id: a UUID, or 1 to 128 of `A-Za-z0-9_-`." },
        },
        "messages": { name.as_str(): { "$ref": format!("#/components/messages/{name}") } },
    })
}

fn message(name: EventName, source: &str) -> Result<Value, DocumentError> {
    let example = examples::example(name, source)?;
    let headers = json!({ "Nats-Msg-Id": example.id, "Content-Type": CONTENT_TYPE });
    Ok(json!({
        "name": example.event_type,
        "title": name,
        "summary": summary(name),
        "contentType": CONTENT_TYPE,
        "headers": { "$ref": "#/components/schemas/Headers" },
        "payload": { "$ref": format!("#/components/schemas/{}", event_schemas::title(name)) },
        "examples": [{ "name": name, "headers": headers, "payload": example }],
    }))
}

const fn summary(name: EventName) -> &'static str {
    match name {
        EventName::Registered => "A live archive was taken up.",
        EventName::SoftDeleted => "An entity was deleted, reversibly.",
        EventName::Restored => "A deletion was undone.",
        EventName::PurgeRequested => "The point of no return: the entity's storage is being cleaned.",
        EventName::Purged => "Objects, key and rows are gone; with `forced`, objects may be left.",
        EventName::PurgeFailed => "The storage cleanup gave up; the purge can be asked for again.",
        EventName::PurgeForced => "Somebody gave up what a purge still owed; its end follows.",
    }
}

fn headers() -> Value {
    json!({
        "type": "object",
        "required": ["Nats-Msg-Id", "Content-Type"],
        "properties": {
            "Nats-Msg-Id": { "type": "string", "format": "uuid", "description": "The event's id." },
            "Content-Type": { "const": CONTENT_TYPE },
            marks::HEADER: {
                "type": "string",
                "description": "Tells the ledger its own messages from others'. It says nothing to anybody else.",
            },
        },
    })
}

/// The stream as this service creates it, in the words of NATS' own API. Times are in nanoseconds.
fn stream(settings: &StreamSettings) -> Result<Value, serde_json::Error> {
    let mut config = serde_json::to_value(nats::stream_config(settings))?;
    if let Value::Object(fields) = &mut config {
        fields.retain(|name, _| {
            matches!(
                name.as_str(),
                "name"
                    | "description"
                    | "subjects"
                    | "retention"
                    | "storage"
                    | "num_replicas"
                    | "max_age"
                    | "max_bytes"
                    | "max_msgs"
                    | "duplicate_window"
            )
        });
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::cloud_event::CloudEvent;
    use archive_ledger_domain::EntityKey;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(target) if name == "$ref" => found.push(target.clone()),
                        other => references(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn settings() -> StreamSettings {
        StreamSettings {
            name: "OURS".into(),
            subjects: Subjects::below("ours.archive"),
            ..StreamSettings::default()
        }
    }

    /// Every field is described, and every field that must be there is.
    fn fits(value: &Value, schema: &Value) {
        let fields = value.as_object().unwrap();
        for name in fields.keys() {
            assert!(
                schema["properties"].get(name).is_some(),
                "{name} is not described"
            );
        }
        for name in schema["required"].as_array().unwrap() {
            assert!(fields.contains_key(name.as_str().unwrap()), "{name} is missing");
        }
    }

    #[test]
    fn every_event_has_a_channel_and_an_example_that_is_an_event() {
        let document = document("/archive-ledger/one", &settings()).unwrap();
        let schemas = &document["components"]["schemas"];
        assert_eq!(
            document["channels"].as_object().unwrap().len(),
            EventName::ALL.len()
        );
        for name in EventName::ALL {
            let message = &document["components"]["messages"][name.as_str()];
            let example = &message["examples"][0];
            let event = CloudEvent::decode(example["payload"].to_string().as_bytes()).unwrap();
            assert_eq!(event.data.event, name);
            assert_eq!(event.source, "/archive-ledger/one");
            assert_eq!(message["name"], json!(event.event_type));
            assert_eq!(example["headers"]["Nats-Msg-Id"], json!(event.id));
            let reference = message["payload"]["$ref"].as_str().unwrap();
            let schema = &schemas[reference.rsplit('/').next().unwrap()];
            fits(&example["payload"], schema);
            fits(&example["payload"]["data"], &schema["properties"]["data"]);
            let key = EntityKey::new(event.data.entity_type, &event.data.entity_id).unwrap();
            let address = document["channels"][name.as_str()]["address"].as_str().unwrap();
            let subject = address
                .replace("{entity_type}", key.entity_type().as_str())
                .replace("{entity_id}", key.id());
            assert_eq!(subject, settings().subjects.of(&key, name));
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document("/s", &settings()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 3 * EventName::ALL.len());
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn the_stream_is_described_as_it_is_created() {
        let stream = &document("/s", &settings()).unwrap()["x-jetstream"];
        assert_eq!(stream["name"], "OURS");
        assert_eq!(stream["subjects"], json!(["ours.archive.>"]));
        assert_eq!(stream["retention"], "limits");
        assert_eq!(stream["storage"], "file");
        assert_eq!(stream["duplicate_window"], json!(3_600_000_000_000_u64));
    }
}
