//! `POST /api/admin/purges/{purge_id}/retry`: another try, at once.

use super::{admit, concerning, jobs, named};
use crate::http::answer::error::ApiError;
use crate::http::answer::refusal::refused;
use crate::http::answer::success::accepted;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::body::EmptyBody;
use crate::http::request::headers::ConditionHeaders;
use crate::http::request::path::{Segments, segments, uuid};
use crate::purge::operator::{Retried, RetryError};
use archive_ledger_domain::{Action, State};
use axum::extract::{self, Request};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a retry came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetriedPurge {
    /// What was done, for people.
    pub message: &'static str,
    /// The purge that is under way now: another one than before if that had failed.
    pub purge_id: Uuid,
}

/// Tries a purge again at once. One that has failed is asked for again, which gives it another id.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 412, 503.
#[utoipa::path(
    post, path = "/api/admin/purges/{purge_id}/retry", operation_id = "retryPurge", tag = "purges",
    summary = "Retry a purge",
    description = "Tries a purge again at once. One that has failed is asked for again, which gives it another id.",
    params(
        ("purge_id" = Uuid, Path, description = "The purge"),
        ConditionHeaders,
    ),
    responses(
        (status = 202, description = "The purge is under way", body = RetriedPurge),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:purge`"),
        (status = 412, description = "Another version"),
        (status = 404, description = "No purge of this id is owed: it never was, it is done, or another has taken its place"),
    )
)]
pub async fn handler(
    extract::State(api): extract::State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = admit(
        &api,
        RequestHead::of(&request),
        named(&path),
        Right::ArchivedPurge,
    )
    .await?;
    let audit = caller.audit.clone();
    let purge_id = uuid(&segments(path)?, "purge_id")?;
    let owed = concerning(&api, purge_id, &audit).await?;
    let mut context = caller.command()?;
    // The purge's id makes a retry happen once: repeated, it names no purge that is owed.
    context.idempotency_key = None;
    api.fields(request, EmptyBody::IsEmptyObject)
        .await?
        .finish_strict()?;
    let owed = owed.ok_or(ApiError::NotFound)?;
    if let (State::Purging, Some(condition)) = (owed.state, &context.expected_version) {
        // Nothing is recorded of it, so nobody else looks at the condition.
        let (_, version) = api.ledger.load(&owed.key).await?;
        if !condition.holds(version) {
            return Err(ApiError::PreconditionFailed);
        }
    }
    let (message, purge_id) = match api.purges.retry(purge_id, context).await {
        Ok(Retried::RequestedAgain(receipt)) => (
            "the purge had failed and was requested again",
            receipt.purge_id.unwrap_or(purge_id),
        ),
        Ok(Retried::Hastened) => ("the purge is tried now", purge_id),
        Ok(Retried::UnderWay) => ("the purge is under way", purge_id),
        Err(RetryError::NotOwed) => return Err(ApiError::NotFound),
        Err(RetryError::Jobs(error)) => return Err(jobs(error)),
        Err(RetryError::Ledger(error)) => return Err(refused(Action::Purge, error)),
    };
    Ok(accepted(RetriedPurge { message, purge_id }))
}
