//! `POST /api/v3/oneprovider/archives/{aid}/delete` (seed 004): starts the purge of an archive.

use super::DELETE_PRIVILEGES;
use crate::http::answer::error::ApiError;
use crate::http::answer::refusal::refused;
use crate::http::answer::success::no_content;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::archived::purge::CALLBACK;
use crate::http::request::body::EmptyBody;
use crate::http::request::headers::CommandHeaders;
use crate::http::request::path::{ArchivePath, Segments};
use crate::ledger::Purge;
use archive_ledger_domain::Action;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

fn callback_schema() -> Object {
    CALLBACK.optional_schema(
        "Called with `{\"archiveId\",\"datasetId\",\"error\"}` when the purge has ended, until it answers with any 2xx",
    )
}

/// The body, which may be left out. Fields that are not named here are ignored, as Onedata does.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = DeleteArchiveRequest)]
pub struct DeleteBody {
    /// Called with `{"archiveId","datasetId","error"}` when the purge has ended, until it answers with any 2xx.
    #[serde(rename = "deletedCallback")]
    #[schema(schema_with = callback_schema)]
    pub deleted_callback: Option<String>,
}

/// 204 once the purge is committed to. Asked again while it is under way, it is 204 again, and the purge stays one.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    post, path = "/api/v3/oneprovider/archives/{aid}/delete", operation_id = "deleteArchive", tag = "archives",
    summary = "Delete an archive",
    description = "204 once the purge is committed to. Asked again while it is under way, it is 204 again, and the purge stays one.",
    params(
        ArchivePath,
        CommandHeaders,
    ),
    request_body = Option<DeleteBody>,
    responses(
        (status = 204, description = "The request has been accepted and the process of purging an archive has started"),
        (status = 400, description = "Invalid request"), (status = 401, description = "No valid token"),
        (status = 403, description = "The privileges space_manage_datasets and space_remove_archives are needed"),
        (status = 404, description = "Archive not found"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut caller = api.identify(RequestHead::of(&request), true).await?;
    if !caller.principal.any_space_with(&DELETE_PRIVILEGES) {
        return Err(ApiError::Forbidden);
    }
    caller.knows_parameters()?;
    let key = ArchivePath::read(path)?;
    // Whether it exists is told only to whom may delete it: an unknown archive is in no space.
    let (archive, _) = api.ledger.load(&key).await?;
    let allowed = DELETE_PRIVILEGES
        .iter()
        .all(|name| caller.principal.has_privilege(archive.space_id(), name));
    if !allowed {
        return Err(ApiError::Forbidden);
    }
    let context = caller.command()?;
    let mut fields = api.fields(request, EmptyBody::IsEmptyObject).await?;
    let callback = fields.take_optional_string("deletedCallback", CALLBACK)?;
    fields.finish_lenient();
    api.ledger
        .purge(key, Purge { callback, join: true }, context)
        .await
        .map_err(|error| refused(Action::Purge, error))?;
    Ok(no_content())
}
