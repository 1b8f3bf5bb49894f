//! Request bodies, read within a limit.

use super::fields::{Fields, parse_object};
use crate::http::answer::error::ApiError;
use crate::memory_budget::{self, MemoryBudget};
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use serde_json::Map;
use std::time::Duration;

/// The largest body that a route takes unless it says otherwise, in bytes.
pub const DEFAULT_LIMIT: usize = 256 * 1024;

/// When to send a request again that the end of the service has cut short.
const STOPPED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Whether a route takes a request without a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyBody {
    /// No body stands for `{}`.
    IsEmptyObject,
    /// There must be a body.
    IsRefused,
}

/// Reads a request's JSON object.
///
/// # Errors
/// As [`read_body`] and [`parse_object`]; [`ApiError::MalformedData`] for an empty body that the route does not take.
pub async fn read_fields(
    request: Request,
    limit: usize,
    empty: EmptyBody,
    memory: &MemoryBudget,
) -> Result<Fields, ApiError> {
    let body = read_body(request, limit, memory).await?;
    match empty {
        EmptyBody::IsEmptyObject if body.is_empty() => Ok(Fields::new(Map::new())),
        EmptyBody::IsEmptyObject | EmptyBody::IsRefused => parse_object(&body).map(Fields::new),
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum CutShort {
    /// The connection broke off, or what came is no body.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    /// The service stops, and the body has come half.
    #[error("the service is stopping")]
    Stopping,
}

/// Reads a request's body of at most `limit` bytes, whether or not its length was announced. What lies beyond it is left to
/// whoever ends the connection.
///
/// # Errors
/// [`ApiError::PayloadTooLarge`] beyond the limit, [`ApiError::UnsupportedMediaType`] for a body that is not declared as
/// uncompressed `application/json` in UTF-8, [`ApiError::MalformedData`] for one that ends before it is complete,
/// [`ApiError::TemporaryFailure`] for one that had not come when the service stopped, and where there is no memory for it.
pub async fn read_body(request: Request, limit: usize, memory: &MemoryBudget) -> Result<Bytes, ApiError> {
    let (parts, mut body) = request.into_parts();
    let too_large = || ApiError::PayloadTooLarge {
        limit: u64::try_from(limit).ok(),
    };
    // A client that waits for "100 Continue" has not begun to send.
    let announced = announced_length(&parts.headers);
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut room = memory.arriving(announced)?;
    let mut read = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(cut_short)?.into_data() else {
            continue;
        };
        if data.len() > limit - read.len() {
            return Err(too_large());
        }
        room.take(data.len())?;
        // Nearly every body comes in one piece, which is not copied.
        read = if read.is_empty() {
            data
        } else {
            joined(read, &data)
        };
    }
    // Held until the request is answered, and by the writer for as long as the command waits for it.
    memory_budget::hold(memory.work_on(read.len()).await?);
    if !read.is_empty() && !is_plain_json(&parts.headers) {
        return Err(ApiError::UnsupportedMediaType);
    }
    Ok(read)
}

/// What has been read, and what follows it; copied no more often than a body doubles.
fn joined(read: Bytes, more: &[u8]) -> Bytes {
    let mut whole = BytesMut::from(read);
    whole.extend_from_slice(more);
    whole.freeze()
}

fn cut_short(error: axum::Error) -> ApiError {
    match error.into_inner().downcast::<CutShort>().map(|cut| *cut) {
        Ok(cut @ CutShort::Stopping) => ApiError::TemporaryFailure {
            retry_after: STOPPED_RETRY_AFTER,
            cause: Some(cut.into()),
        },
        Ok(CutShort::Broken(_)) | Err(_) => ApiError::MalformedData,
    }
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// One `Content-Type: application/json`, in UTF-8 if it names a charset, and no `Content-Encoding`.
fn is_plain_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let encoded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    !encoded && is_utf8_json(content_type)
}

fn is_utf8_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
    {
        return false;
    }
    parts
        .filter_map(|parameter| parameter.split_once('='))
        .all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

#[cfg(test)]
mod tests;
