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
use crate::merkle::tiles::Tile;
use crate::proofs::{Answer, ProofError};
use crate::store::proofs::StoredCheckpoint;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use std::future::Future;
use std::time::Duration;

/// How long a request waits for the checkpoint over an event that was just committed.
const COVERED_WITHIN: Duration = Duration::from_secs(2);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// When to try again after that.
pub(in crate::http) const RETRY_AFTER: Duration = Duration::from_secs(1);

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
