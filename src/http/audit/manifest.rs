//! `GET /api/admin/audit/export/manifest`: what an export holds, for whoever checks the file.

use super::export::begin;
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
        ("format" = String, Query, description = "As the export's"),
        ("details" = Option<bool>, Query, description = "As the export's"),
        ("actor" = Option<Vec<String>>, Query, description = "As the export's"),
        ("action" = Option<Vec<String>>, Query, description = "As the export's"),
        ("entity_type" = Option<Vec<String>>, Query, description = "As the export's"),
        ("entity_id" = Option<Vec<String>>, Query, description = "As the export's"),
        ("outcome" = Option<Vec<String>>, Query, description = "As the export's"),
        ("request_id" = Option<Vec<String>>, Query, description = "As the export's"),
        ("ip" = Option<Vec<String>>, Query, description = "As the export's"),
        ("from" = Option<String>, Query, description = "As the export's"),
        ("to" = Option<String>, Query, description = "As the export's"),
        ("pos_from" = Option<u64>, Query, description = "As the export's"),
        ("pos_to" = Option<u64>, Query, description = "The export's `Archive-Ledger-Snapshot`"),
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
