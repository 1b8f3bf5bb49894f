//! `GET /api/admin/callbacks/{id}`: one delivery with every attempt.

use super::concerned::{admit, named};
use super::delivery::Delivery;
use crate::callbacks::admin::DeliveryView;
use crate::http::answer::error::ApiError;
use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::request::path::{Segments, segments, uuid};
use crate::ledger::LedgerError;
use crate::store::callbacks::AttemptRow;
use crate::store::damaged::put_in_place;
use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryAttempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it was begun, RFC 3339.
    #[schema(format = DateTime, required = true)]
    pub started_at: Option<String>,
    /// `delivered`, `failed`, or `unknown`: under way, or cut off by the end of its instance.
    #[schema(value_type = Option<names::AttemptOutcome>, required = true)]
    pub outcome: Option<&'static str>,
    /// How long it took, in milliseconds.
    #[schema(required = true)]
    pub duration_ms: Option<u64>,
    /// The answer's status.
    #[schema(required = true)]
    pub status: Option<u16>,
    /// What went wrong, as a short class.
    #[schema(required = true)]
    pub error: Option<String>,
    /// The first 16 KiB of the answer; bytes that are no UTF-8 are replaced.
    pub body: String,
    /// Whether the answer was longer, or broke off.
    pub body_truncated: bool,
    /// Only where it is true: the attempt's row cannot be read; all else is empty, null or 0.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
}

impl DeliveryAttempt {
    fn new(row: AttemptRow) -> Self {
        let started_at = timestamp(row.started_at);
        Self {
            number: row.attempt,
            unreadable: started_at.is_none(),
            started_at,
            outcome: Some(row.outcome.as_str()),
            duration_ms: row
                .duration
                .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            status: row.status,
            error: row.error,
            body: String::from_utf8_lossy(&row.body).into_owned(),
            body_truncated: row.body_truncated,
        }
    }

    const fn damaged() -> Self {
        Self {
            number: 0,
            started_at: None,
            outcome: None,
            duration_ms: None,
            status: None,
            error: None,
            body: String::new(),
            body_truncated: false,
            unreadable: true,
        }
    }
}

/// One delivery with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Where it goes: scheme, host and path; `?…` stands for a query. Null when it cannot be read any more.
    #[schema(required = true)]
    pub url: Option<String>,
    /// Every attempt, oldest first.
    pub attempts: Vec<DeliveryAttempt>,
}

/// One delivery with every attempt.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/admin/callbacks/{id}", operation_id = "getCallback", tag = "callbacks",
    summary = "Show one delivery",
    description = "One delivery with every attempt.",
    params(("id" = Uuid, Path, description = "The delivery")),
    responses(
        (status = 200, description = "The delivery", body = DeliveryDetail),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 404, description = "No such delivery"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Json<DeliveryDetail>, ApiError> {
    admit(&api, RequestHead::of(&request), named(&path)).await?;
    let found = api
        .callbacks
        .get(uuid(&segments(path)?, "id")?)
        .await
        .map_err(LedgerError::Store)?;
    let DeliveryView {
        row,
        circuit,
        url,
        attempts,
    } = found.ok_or(ApiError::NotFound)?;
    let mut all = attempts.rows.into_iter().map(DeliveryAttempt::new).collect();
    put_in_place(
        &mut all,
        attempts
            .damaged
            .iter()
            .map(|row| (row.index, DeliveryAttempt::damaged())),
    );
    Ok(Json(DeliveryDetail {
        delivery: match row {
            Ok(row) => Delivery::new(row, circuit, api.ledger.clock().now()),
            Err(damaged) => Delivery::damaged(&damaged),
        },
        url,
        attempts: all,
    }))
}
