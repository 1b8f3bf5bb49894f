//! `GET /api/admin/archived/{entity_type}/{id}`: one entity, whatever its state.

use super::soft_delete::TypedParent;
use super::{entity_tag, timestamp};
use crate::http::caller::{Head, Segments, SharedApi, entity_key, segments};
use crate::http::error::ApiError;
use crate::http::rights::Right;
use archive_ledger_domain::Parent;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::ETAG;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

/// One entity: the list item's fields, and everything else that the ledger knows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entity {
    /// The entity's id.
    pub id: String,
    /// The entity's type.
    #[serde(rename = "type")]
    pub entity_type: &'static str,
    /// `live`, `archived`, `purging` or `purge_failed`.
    pub state: &'static str,
    /// The entity's version, which is also its `ETag`.
    pub version: u64,
    /// Its name, as of the deletion that stands.
    pub name: Option<String>,
    /// Its metadata, as of the deletion that stands.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// When it was deleted.
    pub deleted_at: Option<String>,
    /// Who recorded the deletion.
    pub deleted_by: Option<String>,
    /// The deletion that stands.
    pub deletion_id: Option<Uuid>,
    /// Why it was deleted.
    pub reason: Option<String>,
    /// What it belonged to.
    #[schema(value_type = Option<TypedParent>)]
    pub parent: Option<Parent>,
    /// Where its objects are.
    pub storage: Vec<String>,
    /// The latest purge.
    pub purge_id: Option<Uuid>,
    /// When the ledger first recorded it.
    pub created_at: String,
    /// When the ledger last recorded something of it.
    pub updated_at: String,
}

/// 404 for what never existed and for what was purged alike.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/admin/archived/{entity_type}/{id}", operation_id = "getArchived", tag = "archived",
    summary = "Show one entity",
    description = "404 for what never existed and for what was purged alike.",
    params(
        ("entity_type" = String, Path, description = "The entity's type"),
        ("id" = String, Path, description = "The entity's id"),
    ),
    responses(
        (status = 200, description = "The entity, with its version as `ETag`", body = Entity,
            headers(("ETag" = String, description = "The entity's version"))),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:read`"),
        (status = 404, description = "Never existed, or purged"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    api.admit(Head::of(&request), Right::ArchivedRead).await?;
    let (type_name, id) = segments(path)?;
    let key = entity_key(&type_name, &id)?;
    let view = api.ledger.entity(&key).await?.ok_or(ApiError::NotFound)?;
    let etag = entity_tag(view.version).map_err(ApiError::internal)?;
    let entity = Entity {
        id: view.key.id().to_owned(),
        entity_type: view.key.entity_type().as_str(),
        state: view.state.as_str(),
        version: view.version,
        name: view.details.name,
        metadata: view.details.metadata,
        deleted_at: view.deleted_at.map(timestamp),
        deleted_by: view.deleted_by,
        deletion_id: view.deletion_id,
        reason: view.details.reason,
        parent: view.parent,
        storage: view.details.storage,
        purge_id: view.purge_id,
        created_at: timestamp(view.created_at),
        updated_at: timestamp(view.updated_at),
    };
    Ok(([(ETAG, etag)], Json(entity)).into_response())
}
