//! `POST /api/admin/archived/{entity_type}`: records that the platform deleted an entity.

use super::ArchivedItem;
use crate::http::answer::entity_tag::entity_tag;
use crate::http::answer::error::{ApiError, Key};
use crate::http::answer::names;
use crate::http::answer::refusal::refused;
use crate::http::answer::success::created;
use crate::http::api::SharedApi;
use crate::http::auth::rights::Right;
use crate::http::request::body::EmptyBody;
use crate::http::request::describe::or_null;
use crate::http::request::fields::{Fields, Text};
use crate::http::request::headers::CommandHeaders;
use crate::http::request::json;
use crate::http::request::path::{Segments, TypePath};
use crate::ledger::SoftDelete;
use archive_ledger_domain::{Action, EntityKey, EntityType, Parent};
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, Object, ObjectBuilder, Type};

/// An id of its own or of its parent, as it is read before it is looked at as one.
const ID: Text = Text::new(1, 256);

/// A name.
const NAME: Text = Text::new(1, 512);

/// The largest metadata, in bytes of JSON.
const METADATA_MAX: usize = 64 * 1024;

/// A reason.
pub const REASON: Text = Text::new(0, 2_000);

/// The most storage URIs of one entity.
pub const STORAGE_ITEMS_MAX: usize = 100;

/// A storage URI.
pub const STORAGE_URI: Text = Text::new(1, 2_048);

fn name_schema() -> Object {
    NAME.schema("Its name")
}

fn reason_schema() -> Object {
    REASON.optional_schema("Why it was deleted")
}

fn metadata_schema() -> Object {
    let description = format!(
        "Its metadata: any object of at most {} KiB, at most {} levels deep. It comes back as it was given; what would not (a \
         duplicate key, an integer beyond 64 bits, a number beyond a double, U+0000) is refused. Numbers with a fraction or an \
         exponent are doubles.",
        METADATA_MAX / 1024,
        json::MAX_DEPTH
    );
    let object = ObjectBuilder::new().schema_type(or_null(Type::Object));
    object.description(Some(description)).build()
}

/// Storage URIs, as the API's description shows them.
pub fn storage_schema() -> Array {
    let description =
        format!("Where its objects are: at most {STORAGE_ITEMS_MAX} URIs below a storage root.");
    let uri = ObjectBuilder::new().schema_type(Type::String);
    ArrayBuilder::new()
        .schema_type(or_null(Type::Array))
        .items(
            uri.min_length(Some(STORAGE_URI.min))
                .max_length(Some(STORAGE_URI.max))
                .build(),
        )
        .max_items(Some(STORAGE_ITEMS_MAX))
        .description(Some(description))
        .build()
}

/// The body, as the API page shows it. It is read by [`parse`], which names the field that is wrong.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SoftDeleteRequest)]
pub struct SoftDeleteBody {
    /// The entity's id: a UUID, except for archives.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,128}$")]
    pub id: String,
    /// Its name.
    #[schema(schema_with = name_schema)]
    pub name: String,
    /// Its metadata.
    #[schema(schema_with = metadata_schema)]
    pub metadata: Option<Map<String, Value>>,
    /// Why it was deleted.
    #[schema(schema_with = reason_schema)]
    pub reason: Option<String>,
    /// What it belonged to: an id, `type/id`, or an object with `type` and `id`.
    #[schema(value_type = Option<ParentField>)]
    pub parent: Option<Value>,
    /// Where its objects are.
    #[schema(schema_with = storage_schema)]
    pub storage: Option<Vec<String>>,
    /// When it was deleted, RFC 3339; now when absent. Kept to the microsecond.
    #[schema(format = DateTime)]
    pub deleted_at: Option<String>,
}

/// What an entity belonged to, as requests name it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Parent)]
pub enum ParentField {
    /// `id` or `type/id`.
    Text(String),
    /// The parts by themselves.
    Typed(TypedParent),
}

/// What an entity belonged to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TypedParent {
    /// The parent's type.
    #[serde(rename = "type")]
    #[schema(value_type = Option<names::EntityType>, nullable = false)]
    pub entity_type: Option<String>,
    /// The parent's id.
    #[schema(min_length = 1, max_length = 256)]
    pub id: String,
}

/// Reads the fields of a soft-delete of `entity_type`, and refuses any other.
///
/// # Errors
/// [`ApiError`] naming the field.
pub fn parse(entity_type: EntityType, mut fields: Fields) -> Result<SoftDelete, ApiError> {
    let id = fields.take_string("id", ID)?;
    let key = EntityKey::new(entity_type, &id)
        .map_err(|_| ApiError::BadValueIdentifier { key: Key::from("id") })?;
    let request = SoftDelete {
        key,
        name: fields.take_string("name", NAME)?,
        metadata: fields
            .take_optional_object("metadata", METADATA_MAX)?
            .unwrap_or_default(),
        reason: fields.take_optional_string("reason", REASON)?,
        parent: parent(&mut fields)?,
        storage: fields.take_string_list("storage", STORAGE_URI, STORAGE_ITEMS_MAX)?,
        deleted_at: fields.take_optional_time("deleted_at")?,
    };
    fields.finish_strict()?;
    Ok(request)
}

/// The entity that a body names, whatever else is in it.
fn key_of(entity_type: EntityType, fields: &Fields) -> Option<EntityKey> {
    EntityKey::new(entity_type, fields.text("id")?).ok()
}

/// `"id"`, `"type/id"` or `{"type","id"}`.
fn parent(fields: &mut Fields) -> Result<Option<Parent>, ApiError> {
    if fields.holds_object("parent")
        && let Some(mut nested) = fields.take_optional_fields("parent")?
    {
        let type_name = nested.take_optional_string("type", ID)?;
        let id = nested.take_string("id", ID)?;
        nested.finish_strict()?;
        return typed_parent(type_name.as_deref(), &id).map(Some);
    }
    let Some(text) = fields.take_optional_string("parent", ID)? else {
        return Ok(None);
    };
    match text.split_once('/') {
        Some((type_name, id)) => typed_parent(Some(type_name), id).map(Some),
        None => Ok(Some(Parent {
            entity_type: None,
            id: text,
        })),
    }
}

fn typed_parent(type_name: Option<&str>, id: &str) -> Result<Parent, ApiError> {
    let Some(type_name) = type_name else {
        return Ok(Parent {
            entity_type: None,
            id: id.to_owned(),
        });
    };
    let entity_type = type_name.parse().map_err(|_| ApiError::BadValueNotAllowed {
        key: Key::from("parent.type"),
        allowed: EntityType::ALL.into_iter().map(EntityType::as_str).collect(),
    })?;
    let key = EntityKey::new(entity_type, id).map_err(|_| ApiError::BadValueIdentifier {
        key: Key::from("parent.id"),
    })?;
    Ok(Parent {
        entity_type: Some(entity_type),
        id: key.id().to_owned(),
    })
}

/// 201 with the list item once the deletion is committed.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 409, 412, 413, 415, 422, 503.
#[utoipa::path(
    post, path = "/api/admin/archived/{entity_type}", operation_id = "softDelete", tag = "archived",
    summary = "Soft-delete an entity",
    description = "201 with the list item once the deletion is committed.",
    params(
        TypePath,
        CommandHeaders,
    ),
    request_body = SoftDeleteBody,
    responses(
        (status = 201, description = "The deletion is recorded", body = ArchivedItem,
            headers(("ETag" = String, description = "The entity's version"), ("Location" = String, description = "The entity"))),
        (status = 400, description = "A field is wrong; the error names it"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:write`"),
        (status = 409, description = "Already archived, being purged, or purged"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let entity_type = TypePath::read(path);
    let named = |fields: &Fields| key_of(*entity_type.as_ref().ok()?, fields);
    let (caller, request) = api.admit_to_named(request, Right::ArchivedWrite, named).await?;
    let entity_type = entity_type?;
    let audit = caller.audit.clone();
    let context = match caller.command() {
        Ok(context) => context,
        Err(error) => {
            api.tell_named(request, &audit, |fields| key_of(entity_type, fields))
                .await;
            return Err(error);
        }
    };
    let fields = api.fields(request, EmptyBody::IsRefused).await?;
    if let Some(key) = key_of(entity_type, &fields) {
        audit.concerns(&key);
    }
    let body = parse(entity_type, fields)?;
    let (key, name, metadata) = (body.key.clone(), body.name.clone(), body.metadata.clone());
    let receipt = api
        .ledger
        .soft_delete(body, context)
        .await
        .map_err(|error| refused(Action::SoftDelete, error))?;
    let deleted_at = receipt.deleted_at.unwrap_or(receipt.recorded_at);
    let etag = entity_tag(receipt.version)?;
    let location = format!("/api/admin/archived/{key}");
    let item = ArchivedItem::new(&key, deleted_at, Some(name), metadata);
    Ok(created(location, Some(etag), item))
}
