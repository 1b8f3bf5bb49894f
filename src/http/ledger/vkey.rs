//! `GET /api/ledger/vkey`: the key that checkpoints are signed with.

use super::current_text;
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use axum::extract::{Request, State};
use axum::response::Response;

/// An auditor asks for it once, by a way that it trusts, and keeps it.
///
/// # Errors
/// [`ApiError`]: 401, 403.
#[utoipa::path(
    get, path = "/api/ledger/vkey", operation_id = "ledgerVerifierKey", tag = "ledger",
    summary = "The key that checkpoints are verified with",
    description = "An auditor asks for it once, by a way that it trusts, and keeps it.",
    responses(
        (status = 200, description = "`<origin>+<key id>+<base64 of the Ed25519 key>`", body = String,
            content_type = "text/plain"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    Ok(current_text(format!("{}\n", api.proofs.identity().verifier())))
}
