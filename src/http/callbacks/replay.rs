//! `POST /api/admin/callbacks/{id}/replay`: one delivery is sent again.

use super::concerned::{admit, concerning, named};
use crate::http::answer::error::ApiError;
use crate::http::answer::success::accepted;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::request::body::EmptyBody;
use crate::http::request::path::{Segments, segments, uuid};
use crate::ledger::LedgerError;
use crate::store::callbacks::Replay;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

/// What a replay came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayedDelivery {
    /// What was done, for people.
    pub message: &'static str,
    /// Whether the delivery is due anew; false while an attempt is under way.
    pub replayed: bool,
}

/// Makes a delivery due now, whatever became of it before. Its id stays, its schedule begins anew.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    post, path = "/api/admin/callbacks/{id}/replay", operation_id = "replayCallback", tag = "callbacks",
    summary = "Replay one delivery",
    description = "Makes a delivery due now, whatever became of it before. Its id stays, its schedule begins anew.",
    params(("id" = Uuid, Path, description = "The delivery")),
    responses(
        (status = 202, description = "It is due, or under way already", body = ReplayedDelivery),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 404, description = "No such delivery"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = admit(&api, RequestHead::of(&request), named(&path)).await?;
    let id = uuid(&segments(path)?, "id")?;
    let audit = caller.audit.clone();
    let found = concerning(&api, id, &audit).await?;
    let conditions = caller.conditions()?;
    api.fields(request, EmptyBody::IsEmptyObject)
        .await?
        .finish_strict()?;
    if conditions.without_tag().is_err() {
        return Err(found.map_or(ApiError::NotFound, |_| ApiError::PreconditionFailed));
    }
    let (message, replayed) = match api.callbacks.replay(id).await.map_err(LedgerError::Store)? {
        Replay::Due => ("the callback is sent now", true),
        Replay::UnderWay => ("an attempt is under way", false),
        Replay::Unknown => return Err(ApiError::NotFound),
    };
    Ok(accepted(ReplayedDelivery { message, replayed }))
}
