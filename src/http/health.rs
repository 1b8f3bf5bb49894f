//! `/healthz`, `/readyz` and `/metrics`: for whoever keeps the service running. They need no token and tell no secret.

use super::envelope::KeepBody;
use crate::bus::health::BusHealth;
use crate::store::ReadStore;
use crate::telemetry::Metrics;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// How long a part may take to say that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the probes look at.
#[derive(Clone)]
pub struct Probes {
    /// The store.
    pub reads: Arc<dyn ReadStore>,
    /// The bus.
    pub bus: BusHealth,
    /// The metrics.
    pub metrics: Metrics,
    /// Cancelled when the service stops: it is not ready for new work then.
    pub stopping: CancellationToken,
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
}

/// What the service needs, part by part.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    pub status: &'static str,
    /// `ok` or `unavailable`.
    pub store: &'static str,
    /// `ok` or `unavailable`. Commands are taken without a bus: what is due waits in the log.
    pub bus: &'static str,
}

/// The process lives; nothing else is asked.
#[utoipa::path(get, path = "/healthz", tag = "operation", operation_id = "healthz",
    summary = "Liveness",
    description = "The process lives; nothing else is asked.",
    responses((status = 200, description = "The process lives", body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the service can take work: the store and the bus answer, and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "readyz",
    summary = "Readiness",
    description = "Whether the service can take work: the store and the bus answer, and it is not stopping.",
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready", body = Readiness)))]
pub async fn readyz(State(probes): State<Probes>) -> Response {
    let store = matches!(
        tokio::time::timeout(PROBE_TIMEOUT, probes.reads.ping()).await,
        Ok(Ok(()))
    );
    let bus = probes.bus.is_up();
    let word = |up| if up { "ok" } else { "unavailable" };
    if store && bus && !probes.stopping.is_cancelled() {
        return Json(Readiness {
            status: "ready",
            store: word(store),
            bus: word(bus),
        })
        .into_response();
    }
    let body = Json(Readiness {
        status: "not ready",
        store: word(store),
        bus: word(bus),
    });
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    response.extensions_mut().insert(KeepBody);
    response
}

/// All metrics in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "metrics",
    summary = "Metrics",
    description = "All metrics in Prometheus's text format.",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn metrics(State(probes): State<Probes>) -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        probes.metrics.render(),
    )
        .into_response()
}
