//! What a request is answered that did what it asks for.

use super::envelope::KeepBody;
use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// The answer of a command: what was done, for people.
#[derive(Debug, Serialize, ToSchema)]
pub struct Message {
    /// What was done.
    pub message: String,
}

/// 200, with the tag of what it shows or has changed.
pub fn tagged(etag: HeaderValue, body: impl Serialize) -> Response {
    ([(ETAG, etag)], Json(body)).into_response()
}

/// 201: something is recorded that `location` shows, with its tag where it has one.
pub fn created(location: String, etag: Option<HeaderValue>, body: impl Serialize) -> Response {
    let mut response = (StatusCode::CREATED, [(LOCATION, location)], Json(body)).into_response();
    response.headers_mut().extend(etag.map(|etag| (ETAG, etag)));
    response
}

/// 202: it is ordered, and done behind the answer.
pub fn accepted(body: impl Serialize) -> Response {
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

/// 204: it is done, and there is nothing to say.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 503 of a probe, which says why in a body of its own.
pub fn unavailable(body: impl Serialize) -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response();
    response.extensions_mut().insert(KeepBody);
    response
}

/// Whether an answer shows what a read asked for, as a whole.
#[must_use]
pub fn shows_all(response: &Response) -> bool {
    response.status() == StatusCode::OK
}

/// 304 in the place of an answer that its client has already.
#[must_use]
pub fn not_modified(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(CONTENT_TYPE);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::empty())
}
