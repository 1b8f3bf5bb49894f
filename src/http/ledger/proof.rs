//! `GET /api/ledger/proofs/{event_id}`: the proof that one event is in the log.

use super::{current_text, when_covered};
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::path::{Segments, segments, uuid};
use axum::extract::{Request, State};
use axum::response::Response;

/// The entry goes along as the proof's extra data: whoever checks it hashes it itself.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/ledger/proofs/{event_id}", operation_id = "ledgerProof", tag = "ledger",
    summary = "Prove an event's inclusion",
    description = "The entry goes along as the proof's extra data: whoever checks it hashes it itself.",
    params(("event_id" = Uuid, Path, description = "The event's id")),
    responses(
        (status = 200, description = "A C2SP tlog-proof", body = String, content_type = "text/plain"),
        (status = 400, description = "The id is no UUID"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 404, description = "There is no such event"),
        (status = 503, description = "No checkpoint covers it yet"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let event_id = uuid(&segments(path)?, "event_id")?;
    let proof = when_covered(|| api.proofs.proof(event_id)).await?;
    Ok(current_text(proof.to_string()))
}
