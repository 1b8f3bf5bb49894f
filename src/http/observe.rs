//! What every request leaves behind: an id, a metric, a span.

use crate::clock::SharedClock;
use crate::telemetry;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use std::time::Instant;
use tracing::Instrument;

/// The header that carries a request's id, in and out.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a client may give its request, in characters.
const REQUEST_ID_MAX: usize = 128;

/// The id of a request: the client's own, or a fresh one.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Gives the request its id, measures it, and puts its log lines under one span.
pub async fn observe(State(clock): State<SharedClock>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request
        .headers()
        .get(&X_REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        })
        .map_or_else(|| clock.new_id().to_string(), ToOwned::to_owned);
    let method = request.method().clone();
    // The pattern, never the path: paths hold ids and would make a label without bounds.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = tracing::info_span!("request", request.id = %id, http.method = %method, http.route = %route);
    let mut response = next.run(request).instrument(span).await;
    let status = response.status().as_u16();
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    metrics::counter!(
        telemetry::HTTP_REQUESTS_TOTAL,
        "method" => method, "route" => route.clone(), "status" => status.to_string()
    )
    .increment(1);
    metrics::histogram!(telemetry::HTTP_REQUEST_SECONDS, "route" => route).record(started.elapsed());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}
