//! Which entity a delivery is of, for the audit: its path does not say so.

use crate::http::answer::error::ApiError;
use crate::http::api::Api;
use crate::http::api::audit_context::AuditContext;
use crate::http::api::caller::Caller;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::path::{Segments, uuid};
use crate::ledger::LedgerError;
use crate::store::callbacks::DeliveryFound;
use axum::extract;
use uuid::Uuid;

/// Admits a caller to a delivery. The attempt of one that is refused is told of the entity too, which its path does not name.
pub(super) async fn admit(api: &Api, head: RequestHead, id: Option<Uuid>) -> Result<Caller, ApiError> {
    let audit = head.audit();
    let admitted = api.admit(head, Right::CallbacksManage).await;
    if let (Err(_), Some(id)) = (&admitted, id)
        && audit.is_from_somebody()
        && let Err(error) = concerning(api, id, &audit).await
    {
        tracing::debug!(%error, "the entity of a refused attempt at a delivery cannot be looked up");
    }
    admitted
}

/// The delivery that a path names, if it names one.
pub(super) fn named(path: &Segments<String>) -> Option<Uuid> {
    let extract::Path(text) = path.as_ref().ok()?;
    uuid(text, "id").ok()
}

/// The delivery, if there is one; the audit is told which entity it is of.
pub(super) async fn concerning(
    api: &Api,
    id: Uuid,
    audit: &AuditContext,
) -> Result<Option<DeliveryFound>, ApiError> {
    let found = api.callbacks.find(id).await.map_err(LedgerError::Store)?;
    if let Some(key) = found.as_ref().and_then(DeliveryFound::key) {
        audit.concerns(key);
    }
    Ok(found)
}
