//! `GET /api/admin/archived/{entity_type}/{id}/evidence`: an entity's whole story, to be checked offline.

use super::when_covered;
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::path::{EntityPath, Segments};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CACHE_CONTROL;

/// The bundle that `archive-ledger verify --bundle` checks: entries, what they commit to, inclusion proofs, checkpoint. What a
/// purge erased is not in it.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/admin/archived/{entity_type}/{id}/evidence", operation_id = "entityEvidence", tag = "ledger",
    summary = "Evidence of one entity, for checking offline",
    description = "The bundle that `archive-ledger verify --bundle` checks: entries, what they commit to, inclusion proofs, checkpoint. What a purge erased is not in it.",
    params(
        EntityPath,
    ),
    responses(
        (status = 200, description = "The bundle, of format `archive-ledger/evidence/v1`", body = Object),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 404, description = "Never existed"),
        (status = 503, description = "No checkpoint covers its last event yet"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let key = EntityPath::read(path)?;
    let (reads, keyring) = (api.ledger.reads(), api.ledger.keyring());
    let bundle = when_covered(|| api.proofs.evidence(&**reads, keyring, &key)).await?;
    let headers = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Json(bundle)).into_response())
}
