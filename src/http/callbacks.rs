//! `/api/admin/callbacks`: the delivery log of callbacks, and replay.

use super::audit;
use super::body::{EmptyBody, Fields, Text};
use super::caller::{Head, Segments, SharedApi, entity_type, segments, uuid};
use super::error::ApiError;
use super::ocore::timestamp;
use super::page::{DEFAULT_LIMIT, MAX_LIMIT, integer, of_this_ledger};
use super::rights::Right;
use crate::callbacks::admin::{BulkReplay, DeliveryView};
use crate::ledger::LedgerError;
use crate::numbering::Numbering;
use crate::store::callbacks::{
    AttemptRow, DeliveryCursor, DeliveryFilter, DeliveryRow, DeliveryState, Replay,
};
use archive_ledger_domain::EntityKey;
use axum::Json;
use axum::extract::{Request, State};
use chrono::{DateTime, Datelike, Utc};
use http::StatusCode;
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest filter value, in characters: a host name and a port.
const FILTER_MAX: usize = 262;
/// The states that a bulk replay may name.
const REPLAYABLE: [DeliveryState; 2] = [DeliveryState::Dead, DeliveryState::Delivered];

/// One delivery.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    /// Its id, which the receiver sees as `webhook-id`.
    pub id: Uuid,
    /// `due` (now or later), `delivered`, `dead`: given up, until it is replayed, or `superseded`: a failure that was not
    /// told before the purge succeeded, and is not told any more.
    pub state: &'static str,
    /// Whether an attempt is under way.
    pub under_way: bool,
    /// Whether the receiver answered 410 Gone.
    pub gone: bool,
    /// The receiver, `host:port`.
    pub host: String,
    /// The entity's type.
    pub entity_type: &'static str,
    /// The entity's id.
    pub entity_id: String,
    /// The data set that the callback names.
    pub dataset_id: Option<String>,
    /// The error that the callback tells: null after a purge, the cause after one that failed.
    pub error: Option<String>,
    /// The event that it tells of.
    pub event_id: Uuid,
    /// That event's place in the log.
    pub position: u64,
    /// How many attempts were begun.
    pub attempt_count: u32,
    /// The last answer's status.
    pub last_status: Option<u16>,
    /// What went wrong last, as a short class.
    pub last_error: Option<String>,
    /// When it was created, RFC 3339.
    pub created_at: String,
    /// When it is attempted next; null when it is finished or under way.
    pub next_attempt_at: Option<String>,
    /// When it was delivered, given up or superseded.
    pub finished_at: Option<String>,
}

impl Delivery {
    fn new(row: DeliveryRow, now: DateTime<Utc>) -> Self {
        let under_way = row.leased && row.next_attempt_at > now;
        let waits = row.state == DeliveryState::Due && !under_way;
        Self {
            id: row.delivery_id,
            state: row.state.as_str(),
            under_way,
            gone: row.gone,
            host: row.host,
            entity_type: row.key.entity_type().as_str(),
            entity_id: row.key.id().to_owned(),
            dataset_id: row.dataset_id,
            error: row.error,
            event_id: row.event_id,
            position: row.position,
            attempt_count: row.attempts,
            last_status: row.last_status,
            last_error: row.last_error,
            created_at: timestamp(row.created_at),
            next_attempt_at: waits.then(|| timestamp(row.next_attempt_at)),
            finished_at: row.finished_at.map(timestamp),
        }
    }
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it was begun, RFC 3339.
    pub started_at: String,
    /// `delivered`, `failed`, or `unknown`: under way, or cut off by the end of its instance.
    pub outcome: &'static str,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// The answer's status.
    pub status: Option<u16>,
    /// What went wrong, as a short class.
    pub error: Option<String>,
    /// The first 16 KiB of the answer; bytes that are no UTF-8 are replaced.
    pub body: String,
    /// Whether the answer was longer, or broke off.
    pub body_truncated: bool,
}

impl Attempt {
    fn new(row: AttemptRow) -> Self {
        Self {
            number: row.attempt,
            started_at: timestamp(row.started_at),
            outcome: row.outcome.as_str(),
            duration_ms: row
                .duration
                .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            status: row.status,
            error: row.error,
            body: String::from_utf8_lossy(&row.body).into_owned(),
            body_truncated: row.body_truncated,
        }
    }
}

/// One delivery with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Where it goes: scheme, host and path; `?…` stands for a query. Null when it cannot be read any more.
    pub url: Option<String>,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page {
    /// The deliveries, newest first.
    pub items: Vec<Delivery>,
    /// Whether there are more behind this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// What a replay came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replayed {
    /// What was done, for people.
    pub message: &'static str,
    /// Whether the delivery is due anew; false while an attempt is under way.
    pub replayed: bool,
}

/// What a bulk replay came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkReplayed {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many deliveries are due anew, 10,000 at the most; in a dry run, how many match.
    pub deliveries: u64,
    /// What to give as `cursor` to go on; null when nothing is left.
    pub next_cursor: Option<String>,
}

/// What a bulk replay is asked for.
#[derive(Debug, ToSchema)]
pub struct BulkRequest {
    /// Count only. Must be given, so that nothing is sent by oversight.
    pub dry_run: bool,
    /// Which deliveries.
    pub filter: Option<BulkFilter>,
    /// `next_cursor` of the call before.
    pub cursor: Option<String>,
}

/// Which deliveries a bulk replay concerns; what is absent does not matter, save for `state`.
#[derive(Debug, ToSchema)]
pub struct BulkFilter {
    /// `dead` (the default) or `delivered`.
    pub state: Option<String>,
    /// The receiver, `host:port`.
    pub host: Option<String>,
    /// The entity's type, together with `entity_id`.
    pub entity_type: Option<String>,
    /// The entity's id, together with `entity_type`.
    pub entity_id: Option<String>,
    /// Created at this time or later, RFC 3339.
    pub from: Option<String>,
    /// Created before this time, RFC 3339.
    pub until: Option<String>,
}

/// A filter as a client writes it.
#[derive(Debug, Default)]
struct FilterText {
    state: Option<String>,
    host: Option<String>,
    entity_type: Option<String>,
    entity_id: Option<String>,
    from: Option<String>,
    until: Option<String>,
}

impl FilterText {
    fn read(self, states: &[DeliveryState]) -> Result<DeliveryFilter, ApiError> {
        let state = match self.state {
            None => None,
            Some(text) => Some(
                text.parse()
                    .ok()
                    .filter(|state| states.contains(state))
                    .ok_or_else(|| ApiError::BadValueNotAllowed {
                        key: "state".into(),
                        allowed: states.iter().map(|state| state.as_str()).collect(),
                    })?,
            ),
        };
        let key = match (self.entity_type, self.entity_id) {
            (None, None) => None,
            (Some(entity_type), Some(id)) => {
                let key = EntityKey::new(self::entity_type(&entity_type)?, &id);
                Some(key.map_err(|_| ApiError::BadValueIdentifier {
                    key: "entity_id".into(),
                })?)
            }
            (None, Some(_)) => {
                return Err(ApiError::MissingRequiredValue {
                    key: "entity_type".into(),
                });
            }
            (Some(_), None) => {
                return Err(ApiError::MissingRequiredValue {
                    key: "entity_id".into(),
                });
            }
        };
        Ok(DeliveryFilter {
            state,
            host: self.host,
            key,
            from: time("from", self.from)?,
            until: time("until", self.until)?,
        })
    }
}

fn time(key: &'static str, text: Option<String>) -> Result<Option<DateTime<Utc>>, ApiError> {
    text.map(|text| audit::query::bound(key, &text)).transpose()
}

/// With the ledger's number in front.
fn write_cursor(numbering: &Numbering, (created_at, delivery_id): DeliveryCursor) -> String {
    let (ledger, micros) = (numbering.current(), created_at.timestamp_micros());
    format!("{ledger}.{micros}.{}", delivery_id.simple())
}

fn read_cursor(numbering: &Numbering, text: Option<&str>) -> Result<Option<DeliveryCursor>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let read = || {
        let (ledger, place) = text.split_once('.')?;
        let (micros, id) = place.split_once('.')?;
        // Beyond these years no delivery was ever created, and no database holds the time.
        let created_at = DateTime::from_timestamp_micros(micros.parse().ok()?)
            .filter(|time| (1..=9_999).contains(&time.year()))?;
        let ledger: u64 = ledger.parse().ok()?;
        Some((ledger, (created_at, Uuid::try_parse(id).ok()?)))
    };
    let (ledger, cursor) = read().ok_or_else(|| ApiError::bad_data("cursor", "not a cursor of this list"))?;
    of_this_ledger(numbering, "cursor", ledger, None)?;
    Ok(Some(cursor))
}

/// Which deliveries, after which, how many.
fn query(
    text: Option<&str>,
    numbering: &Numbering,
) -> Result<(DeliveryFilter, Option<DeliveryCursor>, u32), ApiError> {
    let mut filter = FilterText::default();
    let (mut limit, mut cursor) = (None, None);
    for (name, value) in url::form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
        let (key, slot) = match &*name {
            "state" => ("state", &mut filter.state),
            "host" => ("host", &mut filter.host),
            "entity_type" => ("entity_type", &mut filter.entity_type),
            "entity_id" => ("entity_id", &mut filter.entity_id),
            "from" => ("from", &mut filter.from),
            "until" => ("until", &mut filter.until),
            "limit" => ("limit", &mut limit),
            "cursor" => ("cursor", &mut cursor),
            _ => continue,
        };
        let value = Text::new(1, FILTER_MAX).check(key, value.into_owned())?;
        if slot.replace(value).is_some() {
            return Err(ApiError::bad_data(key, "given more than once"));
        }
    }
    let limit = match integer("limit", limit.map(Cow::Owned), i64::from(MAX_LIMIT))? {
        0 => DEFAULT_LIMIT,
        // In range, as just checked.
        limit => u32::try_from(limit).unwrap_or(MAX_LIMIT),
    };
    let states = [
        DeliveryState::Due,
        DeliveryState::Delivered,
        DeliveryState::Dead,
        DeliveryState::Superseded,
    ];
    let after = read_cursor(numbering, cursor.as_deref())?;
    Ok((filter.read(&states)?, after, limit))
}

fn bulk(
    mut fields: Fields,
    numbering: &Numbering,
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
    let mut filter = text.read(&REPLAYABLE)?;
    filter.state = filter.state.or(Some(DeliveryState::Dead));
    Ok((filter, read_cursor(numbering, cursor.as_deref())?, dry_run))
}

/// Deliveries of callbacks, newest first.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/admin/callbacks", operation_id = "listCallbacks", tag = "callbacks",
    summary = "List callback deliveries",
    description = "Deliveries of callbacks, newest first.",
    params(
        ("state" = Option<String>, Query, description = "due, delivered, dead or superseded"),
        ("host" = Option<String>, Query, description = "The receiver, `host:port`"),
        ("entity_type" = Option<String>, Query, description = "The entity's type, together with `entity_id`"),
        ("entity_id" = Option<String>, Query, description = "The entity's id, together with `entity_type`"),
        ("from" = Option<String>, Query, description = "Created at this time or later, RFC 3339"),
        ("until" = Option<String>, Query, description = "Created before this time, RFC 3339"),
        ("limit" = Option<i64>, Query, description = "Page size 1 to 100; 0 means 20"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = Page),
        (status = 400, description = "A filter, limit or cursor that is none"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn list(State(api): State<SharedApi>, request: Request) -> Result<Json<Page>, ApiError> {
    api.admit(Head::of(&request), Right::CallbacksManage).await?;
    let numbering = api.cursors.numbering();
    let (filter, after, limit) = query(request.uri().query(), numbering)?;
    let page = api
        .callbacks
        .list(&filter, after, limit)
        .await
        .map_err(LedgerError::Store)?;
    let last = page.rows.last().map(DeliveryRow::cursor);
    let now = api.ledger.clock().now();
    Ok(Json(Page {
        items: page.rows.into_iter().map(|row| Delivery::new(row, now)).collect(),
        has_more: page.more,
        next_cursor: last
            .filter(|_| page.more)
            .map(|last| write_cursor(numbering, last)),
    }))
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
        (status = 200, description = "The delivery", body = Detail),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 404, description = "No such delivery"),
    )
)]
pub async fn get(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Json<Detail>, ApiError> {
    api.admit(Head::of(&request), Right::CallbacksManage).await?;
    let found = api
        .callbacks
        .get(uuid(&segments(path)?, "id")?)
        .await
        .map_err(LedgerError::Store)?;
    let DeliveryView { row, url, attempts } = found.ok_or(ApiError::NotFound)?;
    Ok(Json(Detail {
        delivery: Delivery::new(row, api.ledger.clock().now()),
        url,
        attempts: attempts.into_iter().map(Attempt::new).collect(),
    }))
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
        (status = 202, description = "It is due, or under way already", body = Replayed),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 404, description = "No such delivery"),
    )
)]
pub async fn replay(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<(StatusCode, Json<Replayed>), ApiError> {
    let caller = api.admit(Head::of(&request), Right::CallbacksManage).await?;
    let id = uuid(&segments(path)?, "id")?;
    let conditions = caller.conditions()?;
    api.fields(request, EmptyBody::IsEmptyObject)
        .await?
        .finish_strict()?;
    if conditions.without_tag().is_err() {
        let found = api.callbacks.get(id).await.map_err(LedgerError::Store)?;
        return Err(found.map_or(ApiError::NotFound, |_| ApiError::PreconditionFailed));
    }
    let (message, replayed) = match api.callbacks.replay(id).await.map_err(LedgerError::Store)? {
        Replay::Due => ("the callback is sent now", true),
        Replay::UnderWay => ("an attempt is under way", false),
        Replay::Unknown => return Err(ApiError::NotFound),
    };
    Ok((StatusCode::ACCEPTED, Json(Replayed { message, replayed })))
}

/// Makes every delivery due now that matches: dead ones, unless the filter names delivered ones.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503; calling again goes on where it stopped.
#[utoipa::path(
    post, path = "/api/admin/callbacks/replay", operation_id = "replayCallbacks", tag = "callbacks",
    summary = "Replay deliveries by filter",
    description = "Makes every delivery due now that matches: dead ones, unless the filter names delivered ones.",
    request_body = BulkRequest,
    responses(
        (status = 200, description = "A dry run: how many match", body = BulkReplayed),
        (status = 202, description = "They are due", body = BulkReplayed),
        (status = 400, description = "A filter or cursor that is none, or no `dry_run`"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn replay_matching(
    State(api): State<SharedApi>,
    request: Request,
) -> Result<(StatusCode, Json<BulkReplayed>), ApiError> {
    let caller = api.admit(Head::of(&request), Right::CallbacksManage).await?;
    let conditions = caller.conditions()?;
    let fields = api.fields(request, EmptyBody::IsRefused).await?;
    let (filter, after, dry_run) = bulk(fields, api.cursors.numbering())?;
    conditions.on_nothing()?;
    let (status, done) = if dry_run {
        let deliveries = api.callbacks.count(&filter).await.map_err(LedgerError::Store)?;
        (
            StatusCode::OK,
            BulkReplay {
                deliveries,
                next: None,
            },
        )
    } else {
        let done = api.callbacks.replay_matching(&filter, after).await;
        (StatusCode::ACCEPTED, done.map_err(LedgerError::Store)?)
    };
    let answer = BulkReplayed {
        dry_run,
        deliveries: done.deliveries,
        next_cursor: done.next.map(|next| write_cursor(api.cursors.numbering(), next)),
    };
    Ok((status, Json(answer)))
}

#[cfg(test)]
mod tests;
