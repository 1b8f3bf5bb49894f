//! `GET /api/admin/audit/events`: who did what, when, why and from where; and what was only attempted.

use super::query::{EventsQuery, FilterParameters, PageParameters};
use crate::http::answer::error::ApiError;
use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::auth::rights::token_id_hash;
use crate::http::request::audit_cursor::AuditCursor;
use crate::ledger::LedgerError;
use crate::store::audit::{self, AuditEvent, AuditQuery, AuditRecord, StoredAttempt, UnreadableRecord};
use archive_ledger_projections::facts;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// One line of the audit. What does not apply or was not recorded is null.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditItem)]
pub struct AuditItem {
    /// The event's place in the log; of an attempt, the last one when it was written.
    pub position: u64,
    /// The attempt's place among those at its position; 0 for an event.
    pub sequence: u64,
    /// `allowed`, `denied` or `failed`.
    #[schema(value_type = Option<names::AuditOutcome>, required = true)]
    pub outcome: Option<&'static str>,
    /// What was done or attempted.
    #[schema(value_type = Option<names::AuditAction>, required = true)]
    pub action: Option<&'static str>,
    /// When it was recorded; of an attempt, the first time. RFC 3339.
    #[schema(format = DateTime, required = true)]
    pub recorded_at: Option<String>,
    /// The last time so far, of an attempt.
    #[schema(format = DateTime, required = true)]
    pub last_at: Option<String>,
    /// How often so far: alike attempts of a minute are one line.
    pub count: u64,
    /// Who acted, as a valid token said.
    #[schema(required = true)]
    pub actor: Option<String>,
    /// The token's issuer.
    #[schema(required = true)]
    pub token_issuer: Option<String>,
    /// The SHA-256 of the token's id, in hexadecimal.
    #[schema(required = true)]
    pub token_id_hash: Option<String>,
    /// The peer's address.
    #[schema(required = true)]
    pub ip: Option<String>,
    /// The peer's program.
    #[schema(required = true)]
    pub user_agent: Option<String>,
    /// The request; of attempts, the first one.
    #[schema(required = true)]
    pub request_id: Option<String>,
    /// Why: the command's `X-Reason-Code`; of an attempt, what it was refused for.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// The entity's type.
    #[schema(value_type = Option<names::EntityType>, required = true)]
    pub entity_type: Option<&'static str>,
    /// The entity's id.
    #[schema(required = true)]
    pub entity_id: Option<String>,
    /// The entity's version after the event.
    #[schema(required = true)]
    pub version: Option<u64>,
    /// The event's id.
    #[schema(required = true)]
    pub event_id: Option<Uuid>,
    /// The command; events of one command share it.
    #[schema(required = true)]
    pub command_id: Option<Uuid>,
    /// The event that made the service issue the command itself.
    #[schema(required = true)]
    pub causation_id: Option<Uuid>,
    /// The event's readable facts.
    #[schema(value_type = Option<Object>, required = true)]
    pub facts: Option<Value>,
    /// More of an attempt, such as the filters of a read.
    #[schema(required = true)]
    pub detail: Option<String>,
    /// Only where it is true: the line cannot be read. Its place is right; what could not be read of it is null.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
}

impl AuditItem {
    /// The line of a record.
    #[must_use]
    pub fn new(record: AuditRecord) -> Self {
        match record {
            AuditRecord::Event(event) => Self::event(*event),
            AuditRecord::Attempt(stored) => Self::attempt(*stored),
            AuditRecord::Unreadable(record) => Self::unreadable(*record),
        }
    }

    fn event(event: AuditEvent) -> Self {
        let (metadata, recorded_at) = (event.metadata, timestamp(event.recorded_at));
        Self {
            position: event.position,
            sequence: 0,
            outcome: Some(audit::Outcome::Allowed.as_str()),
            action: Some(event.event.name().as_str()),
            unreadable: recorded_at.is_none(),
            recorded_at,
            last_at: None,
            count: 1,
            token_id_hash: metadata
                .token_id_hash
                .or_else(|| metadata.token_id.as_deref().map(token_id_hash)),
            actor: Some(metadata.actor),
            token_issuer: metadata.token_issuer,
            ip: metadata.ip,
            user_agent: metadata.user_agent,
            request_id: metadata.request_id,
            reason: metadata.reason_code,
            entity_type: Some(event.key.entity_type().as_str()),
            entity_id: Some(event.key.id().to_owned()),
            version: Some(event.version),
            event_id: Some(event.event_id),
            command_id: Some(event.command_id),
            causation_id: metadata.causation_id,
            facts: Some(facts(&event.event).facts),
            detail: None,
        }
    }

    fn attempt(stored: StoredAttempt) -> Self {
        let attempt = stored.attempt;
        let recorded_at = timestamp(attempt.first_at);
        Self {
            position: stored.place.position,
            sequence: stored.place.sequence,
            outcome: Some(attempt.outcome.as_str()),
            action: Some(attempt.action.as_str()),
            unreadable: recorded_at.is_none(),
            recorded_at,
            last_at: timestamp(attempt.last_at),
            count: attempt.count,
            actor: attempt.actor,
            token_issuer: attempt.token_issuer,
            token_id_hash: attempt.token_id_hash,
            ip: attempt.ip,
            user_agent: attempt.user_agent,
            request_id: attempt.request_id,
            reason: attempt.reason,
            entity_type: attempt.key.as_ref().map(|key| key.entity_type().as_str()),
            entity_id: attempt.key.map(|key| key.id().to_owned()),
            version: None,
            event_id: None,
            command_id: None,
            causation_id: None,
            facts: None,
            detail: attempt.detail,
        }
    }

    fn unreadable(record: UnreadableRecord) -> Self {
        let UnreadableRecord { place, key, event_id } = record;
        let happened = place.sequence == 0;
        Self {
            position: place.position,
            sequence: place.sequence,
            outcome: happened.then_some(audit::Outcome::Allowed.as_str()),
            action: None,
            recorded_at: None,
            last_at: None,
            count: 1,
            actor: None,
            token_issuer: None,
            token_id_hash: None,
            ip: None,
            user_agent: None,
            request_id: None,
            reason: None,
            entity_type: key.as_ref().map(|key| key.entity_type().as_str()),
            entity_id: key.map(|key| key.id().to_owned()),
            version: None,
            event_id,
            command_id: None,
            causation_id: None,
            facts: None,
            detail: None,
            unreadable: true,
        }
    }
}

/// What a walk stays within.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditSnapshot)]
pub struct Snapshot {
    /// The last position of the log.
    pub position: u64,
    /// The last sequence of the attempts.
    pub sequence: u64,
}

/// A page of the audit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditPage)]
pub struct AuditPage {
    /// The lines, by position, then sequence.
    pub items: Vec<AuditItem>,
    /// Whether nothing that matches is left within the snapshot, in this direction. A page ends after a bounded amount of work:
    /// while this is false, go on with `next_cursor`, even where there are few items or none.
    pub complete: bool,
    /// What to give as `cursor` for the next page, with the same filters and order; null when complete.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// What the walk stays within: the first page fixes it.
    pub snapshot: Snapshot,
    /// The last signed checkpoint, if it covers the snapshot's position; it does not cover attempts.
    #[schema(required = true)]
    pub checkpoint: Option<String>,
}

/// Every event and attempt that matches all filters, newest first unless asked otherwise.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/admin/audit/events", operation_id = "auditEvents", tag = "audit",
    summary = "Search the audit",
    description = "Every event and attempt that matches all filters, newest first unless asked otherwise.",
    params(
        FilterParameters,
        PageParameters,
    ),
    responses(
        (status = 200, description = "A page", body = AuditPage),
        (status = 400, description = "A parameter is unknown or wrong, or the cursor belongs to another walk"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    let query = request.uri().query().map(ToOwned::to_owned);
    let caller = api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let EventsQuery {
        filter,
        order,
        limit,
        cursor,
    } = EventsQuery::parse(query.as_deref())?;
    caller.audit.reads(filter.canonical());
    let (store, cursors) = (&*api.audit.store, &api.audit.cursors);
    let now = store.audit_snapshot().await.map_err(LedgerError::Store)?;
    let (snapshot, after) = match cursor {
        None => (now, None),
        Some(text) => {
            let cursor = cursors.open(&filter, order, &text)?;
            // A database that went back has other records at the places that the cursor knows.
            let snapshot = cursor.snapshot;
            if snapshot.position > now.position || snapshot.sequence > now.sequence {
                return Err(ApiError::bad_data("cursor", "not a cursor of this query"));
            }
            (cursor.snapshot, Some(cursor.after))
        }
    };
    let query = AuditQuery {
        filter,
        snapshot,
        order,
        after,
        limit,
    };
    let found = audit::page(store, &query).await.map_err(LedgerError::Store)?;
    let checkpoint = api.proofs.checkpoint().await?;
    let covering = checkpoint.filter(|last| snapshot.position > 0 && last.size >= snapshot.position);
    let page = AuditPage {
        items: found.records.into_iter().map(AuditItem::new).collect(),
        complete: found.next.is_none(),
        next_cursor: found
            .next
            .map(|after| cursors.seal(&query.filter, order, AuditCursor { snapshot, after })),
        snapshot: Snapshot {
            position: snapshot.position,
            sequence: snapshot.sequence,
        },
        checkpoint: covering.map(|last| last.note),
    };
    let headers = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((headers, Json(page)).into_response())
}
