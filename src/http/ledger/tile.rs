//! `GET /api/ledger/tile/{level}/{number}`: hashes of the tree.

use super::{level_parameter, number_parameter, tile_content};
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::path::{Segments, segments};
use axum::extract::{Request, State};
use axum::response::Response;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

/// `{level}/{number}`.
struct TilePath;

impl IntoParams for TilePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = "The tile's number, in groups of three digits, all but the last behind an `x`, and the width of a partial \
            tile: `x001/234.p/56`";
        vec![level_parameter(), number_parameter(number)]
    }
}

/// A tile is there as soon as the last checkpoint covers it.
///
/// # Errors
/// [`ApiError`]: 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/ledger/tile/{level}/{number}", operation_id = "ledgerTile", tag = "ledger",
    summary = "A tile of hashes",
    description = "A tile is there as soon as the last checkpoint covers it.",
    params(
        TilePath,
    ),
    responses(
        (status = 200, description = "Up to 256 SHA-256 hashes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 404, description = "The last checkpoint does not cover it"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let (level, number) = segments(path)?;
    tile_content(&api, &format!("{level}/{number}")).await
}
