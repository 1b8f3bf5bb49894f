//! `/metrics`: what is measured.

use super::Probes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// All metrics in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "metrics",
    summary = "Metrics",
    description = "All metrics in Prometheus's text format.",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn handler(State(probes): State<Probes>) -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        probes.metrics.render(),
    )
        .into_response()
}
