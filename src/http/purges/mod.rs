//! `/api/admin/purges`: the purges that are owed, what each of them still owes, and another try.

pub mod force;
pub mod list;
pub mod retry;

use crate::http::answer::error::ApiError;
use crate::http::api::Api;
use crate::http::api::audit_context::AuditContext;
use crate::http::api::caller::Caller;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::path::{Segments, uuid};
use crate::ledger::LedgerError;
use crate::store::StoreError;
use crate::store::cleanup_jobs::PurgeStatus;
use crate::telemetry;
use axum::extract;
use uuid::Uuid;

/// Admits a caller to a purge. The attempt of one that is refused is told of the entity too, which its path does not name.
async fn admit(
    api: &Api,
    head: RequestHead,
    purge_id: Option<Uuid>,
    right: Right,
) -> Result<Caller, ApiError> {
    let audit = head.audit();
    let admitted = api.admit(head, right).await;
    if let (Err(_), Some(purge_id)) = (&admitted, purge_id)
        && audit.is_from_somebody()
        && let Err(error) = concerning(api, purge_id, &audit).await
    {
        tracing::debug!(%error, "the entity of a refused attempt at a purge cannot be looked up");
    }
    admitted
}

/// The purge that a path names, if it names one.
fn named(path: &Segments<String>) -> Option<Uuid> {
    let extract::Path(text) = path.as_ref().ok()?;
    uuid(text, "purge_id").ok()
}

/// Why the jobs did not answer: a row of this purge that cannot be read is no failure of the service.
fn jobs(error: StoreError) -> ApiError {
    if error.is_of_one_row() || error.is_refused_by_table() {
        tracing::error!(error = %telemetry::chain(&error), "the rows of a purge cannot be read or changed");
        ApiError::PurgeUnreadable
    } else {
        LedgerError::Store(error).into()
    }
}

/// The purge, if it is owed; the audit is told which entity it is of.
async fn concerning(
    api: &Api,
    purge_id: Uuid,
    audit: &AuditContext,
) -> Result<Option<PurgeStatus>, ApiError> {
    let owed = api.purges.find(purge_id).await.map_err(jobs)?;
    if let Some(purge) = &owed {
        audit.concerns(&purge.key);
    }
    Ok(owed)
}
