//! `DELETE /api/admin/archived/{entity_type}/{id}/purge` (seed 000): removes an entity for good.

use crate::callbacks::target::URL_MAX;
use crate::http::answer::entity_tag::entity_tag;
use crate::http::answer::error::ApiError;
use crate::http::answer::refusal::refused;
use crate::http::answer::success::{Message, tagged};
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::body::EmptyBody;
use crate::http::request::fields::Text;
use crate::http::request::headers::CommandHeaders;
use crate::http::request::path::{EntityPath, Segments};
use crate::ledger::Purge;
use archive_ledger_domain::{Action, State as EntityState};
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

/// Whom to call when a purge has ended.
pub const CALLBACK: Text = Text::new(1, URL_MAX);

fn callback_schema() -> Object {
    CALLBACK.optional_schema("Called with `{\"archiveId\",\"datasetId\",\"error\"}` when the purge has ended")
}

/// The body, which may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PurgeRequest)]
pub struct PurgeBody {
    /// Called with `{"archiveId","datasetId","error"}` when the purge has ended.
    #[serde(rename = "deletedCallback")]
    #[schema(schema_with = callback_schema)]
    pub deleted_callback: Option<String>,
}

/// 200 once the purge is committed to: from then on nothing can restore the entity. Its objects are removed from storage
/// behind the answer.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 409, 412, 503.
#[utoipa::path(
    delete, path = "/api/admin/archived/{entity_type}/{id}/purge", operation_id = "purgeArchived", tag = "archived",
    summary = "Purge an entity for good",
    description = "200 once the purge is committed to: from then on nothing can restore the entity. Its objects are removed from storage behind the answer.",
    params(
        EntityPath,
        CommandHeaders,
    ),
    request_body = Option<PurgeBody>,
    responses(
        (status = 200, description = "Purged, or being purged", body = Message,
            headers(("ETag" = String, description = "The entity's version"))),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:purge`"),
        (status = 404, description = "Never existed, or purged already"),
        (status = 409, description = "Not archived, or being purged already"),
        (status = 412, description = "Another version"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = api.admit(RequestHead::of(&request), Right::ArchivedPurge).await?;
    let key = EntityPath::read(path)?;
    let context = caller.command()?;
    let mut fields = api.fields(request, EmptyBody::IsEmptyObject).await?;
    let callback = fields.take_optional_string("deletedCallback", CALLBACK)?;
    fields.finish_strict()?;
    let receipt = api
        .ledger
        .purge(
            key.clone(),
            Purge {
                callback,
                join: false,
            },
            context,
        )
        .await
        .map_err(|error| refused(Action::Purge, error))?;
    let etag = entity_tag(receipt.version)?;
    let message = if receipt.state == EntityState::Purged {
        format!("{key} was purged")
    } else {
        format!("{key} is being purged: its storage is being cleaned")
    };
    Ok(tagged(etag, Message { message }))
}
