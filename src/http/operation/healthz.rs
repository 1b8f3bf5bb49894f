//! `/healthz`: whether the process lives.

use crate::http::answer::names;
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    #[schema(value_type = names::Liveness)]
    pub status: &'static str,
}

/// The process lives; nothing else is asked.
#[utoipa::path(get, path = "/healthz", tag = "operation", operation_id = "healthz",
    summary = "Liveness",
    description = "The process lives; nothing else is asked.",
    responses((status = 200, description = "The process lives", body = Health)))]
pub async fn handler() -> Json<Health> {
    Json(Health { status: "ok" })
}
