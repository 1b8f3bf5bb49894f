//! `/metrics`: what is measured.

use super::Probes;
use crate::store::PoolState;
use crate::telemetry::{DATABASE_CONNECTIONS, DATABASE_CONNECTIONS_MAX, DATABASE_WAITS_TOTAL};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use metrics::{counter, gauge};

/// All metrics in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "metrics",
    summary = "Metrics",
    description = "All metrics in Prometheus's text format.",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn handler(State(probes): State<Probes>) -> Response {
    for pool in probes.reads.pools() {
        show(&pool);
    }
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        probes.metrics.render(),
    )
        .into_response()
}

/// How a pool is in the moment that somebody asks.
fn show(pool: &PoolState) {
    let name = pool.pool;
    gauge!(DATABASE_CONNECTIONS, "pool" => name, "state" => "idle").set(f64::from(pool.idle));
    gauge!(DATABASE_CONNECTIONS, "pool" => name, "state" => "in_use").set(f64::from(pool.in_use));
    gauge!(DATABASE_CONNECTIONS_MAX, "pool" => name).set(f64::from(pool.most));
    counter!(DATABASE_WAITS_TOTAL, "pool" => name).absolute(pool.waits);
}
