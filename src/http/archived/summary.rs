//! `GET /api/admin/archived/summary` (seed 000): how many entities of each type are archived.

use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use axum::Json;
use axum::extract::{Request, State};
use std::collections::BTreeMap;

/// Exact at all times, and as cheap as there are types.
///
/// # Errors
/// [`ApiError`]: 401, 403, 503.
#[utoipa::path(
    get, path = "/api/admin/archived/summary", operation_id = "archivedSummary", tag = "archived",
    summary = "Count what is archived, by type",
    description = "Exact at all times, and as cheap as there are types.",
    responses(
        (status = 200, description = "Archived entities per type", body = BTreeMap<String, u64>),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:read`"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    request: Request,
) -> Result<Json<BTreeMap<&'static str, u64>>, ApiError> {
    api.admit(RequestHead::of(&request), Right::ArchivedRead).await?;
    let counts = api.ledger.summary().await?;
    Ok(Json(
        counts
            .into_iter()
            .map(|(entity_type, count)| (entity_type.as_str(), count))
            .collect(),
    ))
}
