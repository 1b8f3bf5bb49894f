//! `GET /api/ledger/checkpoint`: the last signed tree head.

use super::{current_text, last_checkpoint};
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use axum::extract::{Request, State};
use axum::response::Response;

/// The signed note that covers every event committed up to half a second ago.
///
/// # Errors
/// [`ApiError`]: 401, 403, 503.
#[utoipa::path(
    get, path = "/api/ledger/checkpoint", operation_id = "ledgerCheckpoint", tag = "ledger",
    summary = "The newest signed checkpoint",
    description = "The signed note that covers every event committed up to half a second ago.",
    responses(
        (status = 200, description = "A C2SP tlog-checkpoint, signed by the ledger's key", body = String,
            content_type = "text/plain"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 503, description = "Nothing is signed yet"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    Ok(current_text(last_checkpoint(&api).await?.note))
}
