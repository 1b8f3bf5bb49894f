//! `GET /api/admin/archived/{entity_type}/{id}/history`: everything that happened to one entity.

use super::diff::{Diff, diff};
use super::right_to_read;
use crate::http::answer::error::ApiError;
use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::request::describe::{in_query, text_like};
use crate::http::request::path::{EntityPath, Segments};
use crate::http::request::query::parameter;
use crate::ledger::HistoryItem;
use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// One event of an entity.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryEvent)]
pub struct Event {
    /// Its place in the log.
    pub position: u64,
    /// Its id.
    pub event_id: Uuid,
    /// Its name: `registered`, `soft_deleted`, `restored`, `purge_requested`, `purged`, `purge_failed` or
    /// `purge_forced`.
    #[schema(value_type = names::EventName)]
    pub event: &'static str,
    /// The entity's version after it.
    pub version: u64,
    /// The entity's state after it.
    #[schema(value_type = names::EntityState)]
    pub state: &'static str,
    /// When it was recorded; null only where `unreadable` is true.
    #[schema(format = DateTime, required = true)]
    pub recorded_at: Option<String>,
    /// Who acted.
    pub actor: String,
    /// The request that carried the command.
    #[schema(required = true)]
    pub request_id: Option<String>,
    /// The command; events of one command share it.
    pub command_id: Uuid,
    /// Its readable facts.
    #[schema(value_type = Object)]
    pub facts: Value,
    /// What was sealed with it; null when nothing was, or when it is erased.
    #[schema(value_type = Option<Object>, required = true)]
    pub details: Option<Value>,
    /// Whether what was sealed with it is gone for good.
    pub erased: bool,
    /// Only where it is true: something is sealed with it that cannot be opened, or its time is none.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
    /// Why, as a code (`X-Reason-Code`): it outlives a purge.
    #[schema(required = true)]
    pub reason_code: Option<String>,
    /// Its leaf of the log's Merkle tree (RFC 6962), in hexadecimal: what the proof proves.
    pub leaf_hash: String,
    /// Where its proof is.
    pub proof: String,
}

/// The events of one entity.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    /// The events, oldest first.
    pub items: Vec<Event>,
    /// How many there are.
    pub total_count: usize,
}

/// The history, or what `diff` asks for instead.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum HistoryOrDiff {
    /// Without `diff`.
    History(History),
    /// With `diff`.
    Diff(Diff),
}

/// `diff`.
struct DiffParameter;

impl IntoParams for DiffParameter {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Instead, what changed between two of its versions, as in `3..5`; 0 is before the ledger heard of it. \
            Needs `audit:read` instead; gives `from`, `to`, `changes`, `erased`";
        let pattern = "^[0-9]{1,18}[.][.][0-9]{1,18}$";
        vec![in_query("diff", description, text_like(pattern))]
    }
}

/// A purged entity keeps its history; what was sealed in it is gone.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/admin/archived/{entity_type}/{id}/history", operation_id = "entityHistory", tag = "archived",
    summary = "An entity's history",
    description = "A purged entity keeps its history; what was sealed in it is gone.",
    params(
        EntityPath,
        DiffParameter,
    ),
    responses(
        (status = 200, description = "Every event of the entity, oldest first; with `diff`, what changed",
            body = HistoryOrDiff),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:read`"),
        (status = 404, description = "Never existed"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<(String, String)>,
    request: Request,
) -> Result<Json<HistoryOrDiff>, ApiError> {
    let query = request.uri().query().map(ToOwned::to_owned);
    let right = right_to_read(query.as_deref(), "diff");
    let caller = api.admit(RequestHead::of(&request), right).await?;
    let key = EntityPath::read(path)?;
    if let Some(text) = parameter(query.as_deref(), "diff")? {
        let found = diff(&api, &key, &text).await?;
        caller.audit.reads(format!("diff={text}"));
        return Ok(Json(HistoryOrDiff::Diff(found)));
    }
    let history = api.ledger.history(&key).await?.ok_or(ApiError::NotFound)?;
    let items = history.into_iter().map(event).collect::<Result<Vec<_>, _>>()?;
    let history = History {
        total_count: items.len(),
        items,
    };
    Ok(Json(HistoryOrDiff::History(history)))
}

fn event(item: HistoryItem) -> Result<Event, ApiError> {
    let details = item
        .details
        .map(serde_json::to_value)
        .transpose()
        .map_err(ApiError::internal)?;
    let recorded_at = timestamp(item.stored.recorded_at);
    Ok(Event {
        position: item.stored.position,
        event_id: item.stored.event_id,
        event: item.stored.event.name().as_str(),
        version: item.stored.sequence,
        state: item.state.as_str(),
        reason_code: item.stored.metadata.reason_code,
        leaf_hash: hex::encode(item.stored.leaf),
        proof: format!("/api/ledger/proofs/{}", item.stored.event_id),
        actor: item.stored.metadata.actor,
        request_id: item.stored.metadata.request_id,
        command_id: item.stored.command_id,
        facts: item.facts,
        details,
        erased: item.erased,
        unreadable: item.unreadable || recorded_at.is_none(),
        recorded_at,
    })
}
