//! `GET /api/admin/archived/{entity_type}/{id}`: one entity, whatever its state.

use super::purge_progress::{PurgeSoFar, so_far};
use super::right_to_read;
use super::shared_storage::{NAMED_OTHERS, Shared, Sharer, sharing};
use super::soft_delete::TypedParent;
use crate::http::answer::entity_tag::{entity_tag, tag_with};
use crate::http::answer::error::ApiError;
use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::http::answer::success::tagged;
use crate::http::api::head::RequestHead;
use crate::http::api::{Api, SharedApi};
use crate::http::request::describe::{in_query, text_like};
use crate::http::request::path::{EntityPath, Segments};
use crate::http::request::query::parameter;
use crate::http::request::query::{position, time};
use crate::ledger::{AsOf, EntityView, LedgerError};
use archive_ledger_domain::Parent;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// One entity: the list item's fields, and everything else that the ledger knows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entity {
    /// The entity's id.
    pub id: String,
    /// The entity's type.
    #[serde(rename = "type")]
    #[schema(value_type = names::EntityType)]
    pub entity_type: &'static str,
    /// `live`, `archived`, `purging` or `purge_failed`; `purged` only as of a point in the past.
    #[schema(value_type = names::EntityState)]
    pub state: &'static str,
    /// The entity's version; its `ETag` begins with it.
    pub version: u64,
    /// Its name, as of the deletion that stands.
    #[schema(required = true)]
    pub name: Option<String>,
    /// Its metadata, as of the deletion that stands.
    #[schema(value_type = Option<Object>, required = true)]
    pub metadata: Option<Map<String, Value>>,
    /// When it was deleted.
    #[schema(format = DateTime, required = true)]
    pub deleted_at: Option<String>,
    /// Who recorded the deletion.
    #[schema(required = true)]
    pub deleted_by: Option<String>,
    /// The deletion that stands.
    #[schema(required = true)]
    pub deletion_id: Option<Uuid>,
    /// Why it was deleted.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// What it belonged to.
    #[schema(value_type = Option<TypedParent>, required = true)]
    pub parent: Option<Parent>,
    /// Where its objects are.
    pub storage: Vec<String>,
    /// True when others who are not purged name storage in, around or at the same places: it is not deleted as long as any of
    /// them is not being purged too. Absent when nobody does, and as of a point in the past; null while that is still being
    /// found out after an upgrade.
    #[serde(skip_serializing_if = "Shared::is_no")]
    #[schema(value_type = Option<bool>)]
    pub storage_shared: Shared,
    /// Some of those others, 20 at the most; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub storage_shared_with: Vec<Sharer>,
    /// The latest purge.
    #[schema(required = true)]
    pub purge_id: Option<Uuid>,
    /// What has become of it so far, while it is owed (`purging`, `purge_failed`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub purge: Option<PurgeSoFar>,
    /// When the ledger first recorded it; null only where `unreadable` is true.
    #[schema(format = DateTime, required = true)]
    pub created_at: Option<String>,
    /// When the ledger last recorded something of it; null only where `unreadable` is true.
    #[schema(format = DateTime, required = true)]
    pub updated_at: Option<String>,
    /// Only where it is true: something sealed of it cannot be opened, or a time of it is none, and is left out.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
    /// With `as_of` only: which point this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Point>,
}

/// A point in the past.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AsOf)]
pub struct Point {
    /// The position of the entity's last event up to it.
    pub position: u64,
    /// Whether name, metadata, reason and storage are gone for good: the entity was purged since.
    pub erased: bool,
}

impl Entity {
    /// What is shown of an entity.
    #[must_use]
    pub fn new(view: EntityView) -> Self {
        let (created_at, updated_at) = (timestamp(view.created_at), timestamp(view.updated_at));
        let unreadable = view.unreadable || created_at.is_none() || updated_at.is_none();
        Self {
            id: view.key.id().to_owned(),
            entity_type: view.key.entity_type().as_str(),
            state: view.state.as_str(),
            version: view.version,
            name: view.details.name,
            metadata: view.details.metadata,
            deleted_at: view.deleted_at.and_then(timestamp),
            deleted_by: view.deleted_by,
            deletion_id: view.deletion_id,
            reason: view.details.reason,
            parent: view.parent,
            storage: view.details.storage,
            storage_shared: Shared::No,
            storage_shared_with: Vec::new(),
            purge_id: view.purge_id,
            purge: None,
            created_at,
            updated_at,
            unreadable,
            as_of: None,
        }
    }

    /// The tag of all that it tells.
    fn tag(&self) -> Result<HeaderValue, ApiError> {
        let beside = (
            &self.storage_shared,
            &self.storage_shared_with,
            &self.purge,
            self.unreadable,
        );
        let nothing = self.storage_shared.is_no() && self.storage_shared_with.is_empty();
        if nothing && self.purge.is_none() && !self.unreadable {
            return entity_tag(self.version);
        }
        tag_with(self.version, &beside)
    }
}

/// `as_of`.
struct AsOfParameter;

impl IntoParams for AsOfParameter {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "As it was after this position, or at this time (RFC 3339), whatever became of it; needs `audit:read` \
            instead, and gives no `ETag`";
        let pattern = "^([0-9]{1,18}|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2}))$";
        vec![in_query("as_of", description, text_like(pattern))]
    }
}

/// A position, or a time as in RFC 3339; not in the future, which may still turn out otherwise.
async fn as_of(api: &Api, text: &str) -> Result<AsOf, ApiError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let at = position("as_of", text)?;
        let head = api.ledger.reads().head().await.map_err(LedgerError::Store)?;
        if at > head.position {
            return Err(ApiError::BadValueTooHigh {
                key: "as_of".into(),
                limit: i64::try_from(head.position).unwrap_or(i64::MAX),
            });
        }
        return Ok(AsOf::Position(at));
    }
    let at = time("as_of", text)
        .map_err(|_| ApiError::bad_data("as_of", "must be a position, or a time as in RFC 3339"))?;
    // Where a clock once ran ahead, the log is dated ahead of it: what is recorded is not in the future.
    let head = api.ledger.reads().head().await.map_err(LedgerError::Store)?;
    let now = api.ledger.clock().now();
    if at > head.recorded_at.map_or(now, |last| last.max(now)) {
        return Err(ApiError::bad_data("as_of", "lies in the future"));
    }
    Ok(AsOf::Time(at))
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
        EntityPath,
        AsOfParameter,
    ),
    responses(
        (status = 200, description = "The entity, with its version as `ETag`", body = Entity,
            headers(("ETag" = String, description = "The entity's version; where more is told than that implies, followed by a \
                hyphen and a digest of it"))),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:read`"),
        (status = 404, description = "Never existed, or purged; with `as_of`: not recorded yet then"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = request.uri().query().map(ToOwned::to_owned);
    let right = right_to_read(query.as_deref(), "as_of");
    let caller = api.admit(RequestHead::of(&request), right).await?;
    let key = EntityPath::read(path)?;
    if let Some(text) = parameter(query.as_deref(), "as_of")? {
        let as_of = as_of(&api, &text).await?;
        caller.audit.reads(format!("as_of={text}"));
        let found = api.ledger.entity_as_of(&key, as_of).await?;
        let found = found.ok_or(ApiError::NotFound)?;
        let point = Point {
            position: found.position,
            erased: found.erased,
        };
        let entity = Entity {
            as_of: Some(point),
            ..Entity::new(found.view)
        };
        // No tag: a command is not to be made to depend on what was.
        return Ok(Json(entity).into_response());
    }
    let view = api.ledger.entity(&key).await?.ok_or(ApiError::NotFound)?;
    let sharing = sharing(&api, &key, &view.details.storage, NAMED_OTHERS).await?;
    let entity = Entity {
        storage_shared: sharing.shared,
        storage_shared_with: sharing.others.iter().map(Sharer::from).collect(),
        purge: so_far(&api, &view).await?,
        ..Entity::new(view)
    };
    let etag = entity.tag()?;
    Ok(tagged(etag, entity))
}
