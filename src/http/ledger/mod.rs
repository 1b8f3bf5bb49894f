//! What an auditor asks for: signed checkpoints, tiles, proofs and evidence (`docs/API.md`, "Proofs").
//!
//! `/api/ledger` is the prefix of a tiled log ([c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles)). Everything here needs the
//! right `audit:read`.

pub mod checkpoint;
pub mod consistency;
pub mod entries;
pub mod evidence;
pub mod fork;
pub mod proof;
pub mod tile;
pub mod vkey;

use crate::http::answer::error::ApiError;
use crate::http::api::Api;
use crate::http::request::describe::{in_path, text_like, whole_number};
use crate::merkle::tiles::{HIGHEST, Tile};
use crate::proofs::{Answer, ProofError};
use crate::store::proofs::StoredCheckpoint;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::future::Future;
use std::time::Duration;
use utoipa::openapi::path::Parameter;

/// How long a request waits for the checkpoint over an event that was just committed.
const COVERED_WITHIN: Duration = Duration::from_secs(2);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When to try again after that.
pub(in crate::http) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A tile's level in a path, as the API's description shows it.
fn level_parameter() -> Parameter {
    let level = whole_number(0, i64::from(HIGHEST));
    in_path("level", "The tile's level; 0 holds the leaf hashes", level)
}

/// A tile's number in a path.
fn number_parameter(description: &str) -> Parameter {
    let number = text_like("^(x[0-9]{3}/){0,6}[0-9]{3}([.]p/[1-9][0-9]{0,2})?$");
    in_path("number", description, number)
}

/// A text that changes with the log.
fn current_text(text: String) -> Response {
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, text).into_response()
}

/// The last checkpoint.
async fn last_checkpoint(api: &Api) -> Result<StoredCheckpoint, ApiError> {
    api.proofs.checkpoint().await?.ok_or(ApiError::TemporaryFailure {
        retry_after: RETRY_AFTER,
        cause: Some("the first checkpoint is not signed yet".into()),
    })
}

/// Asks until a checkpoint covers the answer.
async fn when_covered<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<Answer<T>, ProofError>>,
{
    let asking = async {
        loop {
            match ask().await? {
                Answer::Found(found) => return Ok(found),
                Answer::Unknown => return Err(ApiError::NotFound),
                Answer::NotYet => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    };
    tokio::time::timeout(COVERED_WITHIN, asking)
        .await
        .unwrap_or(Err(ApiError::TemporaryFailure {
            retry_after: RETRY_AFTER,
            cause: Some("no checkpoint covers the event yet".into()),
        }))
}

/// A tile that the last checkpoint covers. What it holds never changes; a partial one is replaced by a wider one some day.
async fn tile_content(api: &Api, path: &str) -> Result<Response, ApiError> {
    let tile = Tile::parse(path).ok_or(ApiError::NotFound)?;
    let size = last_checkpoint(api).await?.size;
    let content = api.proofs.tile(tile, size).await?.ok_or(ApiError::NotFound)?;
    // Private: a shared cache does not know who may read the log.
    let caching = if tile.is_full() {
        "private, max-age=31536000, immutable"
    } else {
        "private, max-age=3600"
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CACHE_CONTROL, HeaderValue::from_static(caching)),
    ];
    Ok((headers, content).into_response())
}
