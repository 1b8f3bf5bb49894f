//! `GET /api/ledger/fork`: the statement that the current origin was forked with.

use super::current_text;
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use axum::extract::{Request, State};
use axum::response::Response;

/// Every checkpoint of a forked ledger commits to its statement, which names the last checkpoint before it.
///
/// # Errors
/// [`ApiError`]: 401, 403, 404.
#[utoipa::path(
    get, path = "/api/ledger/fork", operation_id = "ledgerFork", tag = "ledger",
    summary = "A forked ledger's statement",
    description = "Every checkpoint of a forked ledger commits to its statement, which names the last checkpoint before it.",
    responses(
        (status = 200, description = "The statement, a signed note", body = String, content_type = "text/plain"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 404, description = "The ledger was never forked"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let statement = api.proofs.identity().statement().ok_or(ApiError::NotFound)?;
    Ok(current_text(statement.to_owned()))
}
