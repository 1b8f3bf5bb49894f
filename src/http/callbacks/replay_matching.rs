//! `POST /api/admin/callbacks/replay`: every delivery that matches is sent again.

use super::filter::{FILTER_MAX, FilterText, host_schema, read_cursor, write_cursor};
use crate::callbacks::admin::BulkReplay;
use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::answer::success::accepted;
use crate::http::api::SharedApi;
use crate::http::auth::rights::Right;
use crate::http::request::body::EmptyBody;
use crate::http::request::cursor::CursorCodec;
use crate::http::request::fields::{Fields, Text};
use crate::ledger::LedgerError;
use crate::store::callbacks::{DeliveryCursor, DeliveryFilter, DeliveryState, ListStart};
use archive_ledger_domain::{EntityKey, EntityType};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What a bulk replay came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayedDeliveries {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many deliveries are due anew, 10,000 at the most; in a dry run, how many match.
    pub deliveries: u64,
    /// What to give as `cursor` to go on; null when nothing is left.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// What a bulk replay is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Count only. Must be given, so that nothing is sent by oversight.
    pub dry_run: bool,
    /// Which deliveries.
    pub filter: Option<ReplayFilter>,
    /// `next_cursor` of the call before, with the same filter.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,262}$")]
    pub cursor: Option<String>,
}

/// Which deliveries a bulk replay concerns; what is absent does not matter, save for `state`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayFilter {
    /// `dead` (the default) or `delivered`.
    #[schema(value_type = Option<names::ReplayableState>)]
    pub state: Option<String>,
    /// The receiver, `host:port`.
    #[schema(schema_with = host_schema)]
    pub host: Option<String>,
    /// The entity's type, together with `entity_id`.
    #[schema(value_type = Option<names::EntityType>)]
    pub entity_type: Option<String>,
    /// The entity's id, together with `entity_type`.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,128}$")]
    pub entity_id: Option<String>,
    /// Created at this time or later, RFC 3339.
    #[schema(format = DateTime)]
    pub from: Option<String>,
    /// Created before this time, RFC 3339.
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

pub(super) fn bulk(
    mut fields: Fields,
    cursors: &CursorCodec,
) -> Result<(DeliveryFilter, Option<DeliveryCursor>, bool), ApiError> {
    let rule = Text::new(1, FILTER_MAX);
    let dry_run = fields.take_bool("dry_run")?;
    let cursor = fields.take_optional_string("cursor", rule)?;
    let mut text = FilterText::default();
    if let Some(mut filter) = fields.take_optional_fields("filter")? {
        text = FilterText {
            state: filter.take_optional_string("state", rule)?,
            host: filter.take_optional_string("host", rule)?,
            entity_type: filter.take_optional_string("entity_type", rule)?,
            entity_id: filter.take_optional_string("entity_id", rule)?,
            from: filter.take_optional_string("from", rule)?,
            until: filter.take_optional_string("until", rule)?,
        };
        filter.finish_strict()?;
    }
    fields.finish_strict()?;
    let mut filter = text.read(&DeliveryState::REPLAYABLE)?;
    filter.state = filter.state.or(Some(DeliveryState::Dead));
    let start = read_cursor(cursors, &filter, cursor.as_deref())?;
    Ok((filter, start.after, dry_run))
}

/// The entity that a filter names, whatever else is in it.
fn key_of(fields: &Fields) -> Option<EntityKey> {
    let filter = fields.object("filter")?;
    let text = |name| filter.get(name).and_then(Value::as_str);
    let entity_type: EntityType = text("entity_type")?.parse().ok()?;
    EntityKey::new(entity_type, text("entity_id")?).ok()
}

/// Makes every delivery due now that matches: dead ones, unless the filter names delivered ones.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503; calling again goes on where it stopped.
#[utoipa::path(
    post, path = "/api/admin/callbacks/replay", operation_id = "replayCallbacks", tag = "callbacks",
    summary = "Replay deliveries by filter",
    description = "Makes every delivery due now that matches: dead ones, unless the filter names delivered ones.",
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "A dry run: how many match", body = ReplayedDeliveries),
        (status = 202, description = "They are due", body = ReplayedDeliveries),
        (status = 400, description = "A filter or cursor that is none, or no `dry_run`"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    let (caller, request) = api
        .admit_to_named(request, Right::CallbacksManage, key_of)
        .await?;
    let conditions = caller.conditions()?;
    let fields = api.fields(request, EmptyBody::IsRefused).await?;
    if let Some(key) = key_of(&fields) {
        caller.audit.concerns(&key);
    }
    let (filter, after, dry_run) = bulk(fields, &api.cursors)?;
    conditions.on_nothing()?;
    let done = if dry_run {
        let deliveries = api.callbacks.count(&filter).await.map_err(LedgerError::Store)?;
        BulkReplay {
            deliveries,
            next: None,
        }
    } else {
        let done = api.callbacks.replay_matching(&filter, after).await;
        done.map_err(LedgerError::Store)?
    };
    let answer = ReplayedDeliveries {
        dry_run,
        deliveries: done.deliveries,
        next_cursor: done.next.map(|next| {
            let start = ListStart {
                after: Some(next),
                skipped: 0,
            };
            write_cursor(&api.cursors, &filter, start)
        }),
    };
    Ok(if dry_run {
        Json(answer).into_response()
    } else {
        accepted(answer)
    })
}
