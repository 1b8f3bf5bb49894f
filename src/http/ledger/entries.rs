//! `GET /api/ledger/tile/entries/{number}`: the entries of the log.

use super::{number_parameter, tile_content};
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::path::{Segments, segments};
use axum::extract::{Request, State};
use axum::response::Response;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

/// `{number}`.
struct BundlePath;

impl IntoParams for BundlePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![number_parameter(
            "The bundle's number, as that of the tile of level 0",
        )]
    }
}

/// Entries hold pseudonyms and commitments, and no personal data.
///
/// # Errors
/// [`ApiError`]: 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/ledger/tile/entries/{number}", operation_id = "ledgerEntries", tag = "ledger",
    summary = "A bundle of entries",
    description = "Entries hold pseudonyms and commitments, and no personal data.",
    params(BundlePath),
    responses(
        (status = 200, description = "Up to 256 entries, each behind its length in two bytes", body = Vec<u8>,
            content_type = "application/octet-stream"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 404, description = "The last checkpoint does not cover it"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let number = segments(path)?;
    tile_content(&api, &format!("entries/{number}")).await
}
