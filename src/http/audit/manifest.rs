//! `GET /api/admin/audit/export/manifest`: what an export holds, for whoever checks the file.

use super::export::{ExportParameters, begin};
use super::query::FilterParameters;
use crate::audit_export::Manifest;
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CACHE_CONTROL;

/// Takes the export's parameters, goes through the same events, and says what the export comes to. Without `pos_to` it is of the
/// export that would begin now.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/admin/audit/export/manifest", operation_id = "exportManifest", tag = "audit",
    summary = "Get the manifest of an export",
    description = "Takes the export's parameters, goes through the same events, and says what the export comes to. Without `pos_to` it \
        is of the export that would begin now.",
    params(
        ExportParameters,
        FilterParameters,
    ),
    responses(
        (status = 200, description = "Count, positions, SHA-256 and checkpoint", body = Manifest),
        (status = 400, description = "A parameter is wrong or unknown, or no checkpoint covers `pos_to` yet"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 503, description = "Too many exports, or nothing is signed yet"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    let (export, _permit) = begin(&api, request).await?;
    let headers = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Json(export.manifest().await?)).into_response())
}
