//! `POST /api/admin/archived/{entity_type}/{id}/restore` (seed 000): undoes the current deletion.

use crate::http::answer::entity_tag::entity_tag;
use crate::http::answer::error::ApiError;
use crate::http::answer::refusal::refused;
use crate::http::answer::success::{Message, tagged};
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::body::EmptyBody;
use crate::http::request::headers::CommandHeaders;
use crate::http::request::path::{EntityPath, Segments};
use archive_ledger_domain::Action;
use axum::extract::{Request, State};
use axum::response::Response;

/// 200 once the restore is committed.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 409, 412, 503.
#[utoipa::path(
    post, path = "/api/admin/archived/{entity_type}/{id}/restore", operation_id = "restoreArchived", tag = "archived",
    summary = "Restore an entity",
    description = "200 once the restore is committed.",
    params(
        EntityPath,
        CommandHeaders,
    ),
    responses(
        (status = 200, description = "Restored", body = Message,
            headers(("ETag" = String, description = "The entity's version"))),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:write`"),
        (status = 404, description = "Never existed, or purged"),
        (status = 409, description = "Live already, or being purged"),
        (status = 412, description = "Another version"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = api.admit(RequestHead::of(&request), Right::ArchivedWrite).await?;
    let key = EntityPath::read(path)?;
    let context = caller.command()?;
    api.fields(request, EmptyBody::IsEmptyObject)
        .await?
        .finish_strict()?;
    let receipt = api
        .ledger
        .restore(key.clone(), context)
        .await
        .map_err(|error| refused(Action::Restore, error))?;
    let etag = entity_tag(receipt.version)?;
    let message = format!("{key} was restored");
    Ok(tagged(etag, Message { message }))
}
