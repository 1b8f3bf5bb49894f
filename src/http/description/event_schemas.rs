//! `GET /schemas/events/{event}/{file}`: the JSON Schema of each event, as it is on NATS and in `GET /api/events`.

use crate::bus::cloud_event::{CONTENT_TYPE, CloudEvent, Data, examples};
use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::request::describe::{in_path, text_like, word};
use crate::http::request::path::{Segments, segments};
use archive_ledger_domain::{EntityType, EventName, InvalidId};
use axum::Json;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{PartialSchema, ToSchema};

/// Why the document cannot be made: a defect.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// An example names no entity.
    #[error("an example names no entity")]
    Example(#[from] InvalidId),
    /// A part is no JSON.
    #[error("a part of the document is no JSON")]
    Json(#[from] serde_json::Error),
}

/// What an event's schema is called: `PurgedEvent`.
pub(super) fn title(name: EventName) -> String {
    let words = name.as_str().split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.chain(["Event".to_owned()]).collect()
}

/// What `data` has beside that which every event has; what may be left out has a question mark.
const fn own_fields(name: EventName) -> &'static [&'static str] {
    match name {
        EventName::Registered => &["storage_count"],
        EventName::SoftDeleted => &["deletion_id", "deleted_at", "storage_count"],
        EventName::Restored => &["deletion_id"],
        EventName::PurgeRequested => &["purge_id", "deletion_id?", "storage_count"],
        EventName::Purged => &["purge_id", "objects", "bytes", "forced?", "skipped?", "at_least?"],
        EventName::PurgeFailed => &["purge_id", "objects", "bytes", "at_least?"],
        EventName::PurgeForced => &[
            "purge_id",
            "storage_count",
            "skipped",
            "objects",
            "bytes",
            "at_least?",
        ],
    }
}

/// The schema of the whole message. It stands alone: it refers to nothing else.
///
/// # Errors
/// [`DocumentError`].
pub(super) fn schema(name: EventName) -> Result<Value, DocumentError> {
    let example = examples::example(name, "/archive-ledger/example/1")?;
    let mut event = plain::<CloudEvent>()?;
    let mut data = plain::<Data>()?;
    let known = properties(&data);
    let (mut own, mut required) = (Map::new(), Vec::new());
    let everywhere = [
        "position",
        "entity_type",
        "entity_id",
        "event",
        "version",
        "state",
    ];
    for field in everywhere.iter().chain(own_fields(name)) {
        let plain_name = field.trim_end_matches('?');
        let described = known.get(plain_name).cloned().unwrap_or_default();
        own.insert(plain_name.to_owned(), described);
        if plain_name == *field {
            required.push(json!(field));
        }
    }
    own.insert("entity_type".to_owned(), json!({ "enum": EntityType::ALL }));
    own.insert("event".to_owned(), json!({ "const": name }));
    own.insert("state".to_owned(), json!({ "const": example.data.state }));
    data["properties"] = Value::Object(own);
    data["required"] = Value::Array(required);
    let mut attributes = properties(&event);
    attributes.insert("specversion".to_owned(), json!({ "const": example.specversion }));
    attributes.insert("type".to_owned(), json!({ "const": example.event_type }));
    attributes.insert(
        "datacontenttype".to_owned(),
        json!({ "const": example.datacontenttype }),
    );
    attributes.insert(
        "sequence".to_owned(),
        json!({ "type": "string", "pattern": "^[1-9][0-9]*$" }),
    );
    attributes.insert("data".to_owned(), data);
    event["title"] = json!(title(name));
    event["properties"] = Value::Object(attributes);
    event["contentMediaType"] = json!(CONTENT_TYPE);
    Ok(event)
}

fn plain<T: PartialSchema + ToSchema>() -> Result<Value, serde_json::Error> {
    serde_json::to_value(T::schema())
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema["properties"].as_object().cloned().unwrap_or_default()
}

/// The version in an event's `type`, which is also the file's.
fn version(name: EventName) -> Result<String, DocumentError> {
    let example = examples::example(name, "")?;
    let version = example.event_type.rsplit(".v").next().unwrap_or_default();
    Ok(version.to_owned())
}

/// `{event}/{file}`.
struct SchemaPath;

impl IntoParams for SchemaPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let file = "The version at the end of the event's `type`, without its `v`, and `.json`";
        vec![
            in_path("event", "The event's name", word::<names::EventName>()),
            in_path("file", file, text_like("^[1-9][0-9]{0,3}[.]json$")),
        ]
    }
}

/// The JSON Schema of one event.
///
/// # Errors
/// [`ApiError`]: 404.
#[utoipa::path(
    get, path = "/schemas/events/{event}/{file}", operation_id = "eventSchema", tag = "events",
    summary = "The JSON Schema of an event",
    description = "The JSON Schema (2020-12) of one event, as it is on NATS and in `GET /api/events`: \
        `/schemas/events/purged/1.json` is of `archive.purged.v1`.",
    params(SchemaPath),
    responses(
        (status = 200, description = "The schema", body = Object),
        (status = 404, description = "There is no such event, or none of this version"),
    )
)]
pub async fn handler(path: Segments<(String, String)>) -> Result<Json<Value>, ApiError> {
    let (event, file) = segments(path).map_err(|_| ApiError::NotFound)?;
    let name: EventName = event.parse().map_err(|_| ApiError::NotFound)?;
    let known = version(name).map_err(ApiError::internal)?;
    if file != format!("{known}.json") {
        return Err(ApiError::NotFound);
    }
    let mut schema = schema(name).map_err(ApiError::internal)?;
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["$id"] = json!(format!("/schemas/events/{name}/{file}"));
    Ok(Json(schema))
}
