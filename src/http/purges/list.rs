//! `GET /api/admin/purges`: what is owed.

use crate::http::answer::error::ApiError;
use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::archived::shared_storage::{Sharer, in_the_way};
use crate::http::auth::rights::Right;
use crate::http::request::cursor::{CursorCodec, Walk};
use crate::http::request::describe::{in_query, word};
use crate::http::request::page::{LISTS, ListLimit, cursor_parameter};
use crate::ledger::LedgerError;
use crate::purge::operator::PurgeFilter;
use crate::store::cleanup_jobs::{Obligation, PurgeStatus};
use crate::store::damaged::{DamagedRow, put_in_place};
use archive_ledger_domain::State;
use axum::Json;
use axum::extract::{self, Request};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// One purge that is owed.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwedPurge {
    /// The purge.
    pub purge_id: Uuid,
    /// The entity's type.
    #[serde(rename = "type")]
    #[schema(value_type = Option<names::EntityType>, required = true)]
    pub entity_type: Option<&'static str>,
    /// The entity's id.
    pub id: String,
    /// `purging` or `purge_failed`.
    #[schema(value_type = Option<names::PurgeState>, required = true)]
    pub state: Option<&'static str>,
    /// When it was requested, RFC 3339.
    #[schema(format = DateTime, required = true)]
    pub requested_at: Option<String>,
    /// How long ago that is, in seconds.
    pub age_seconds: i64,
    /// How many storage URIs it has to clean.
    pub storage_count: u32,
    /// Attempts so far, whatever ended them: success, an error, a crash or a stop of the service.
    pub attempts: u32,
    /// Whether it is being worked on.
    pub running: bool,
    /// When it is tried next; null when it is being worked on or has failed.
    #[schema(format = DateTime, required = true)]
    pub next_attempt_at: Option<String>,
    /// Why the last attempt failed.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// What it owes, one by one, in the order in which the storage URIs were given.
    pub obligations: Vec<OwedStorage>,
    /// Of a purge that has failed: others who stand in its way, because they name storage in, around or at the same places and
    /// are not being purged; 20 at the most. Absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub storage_shared_with: Vec<Sharer>,
    /// Only where it is true: the purge's row, or one of what it owes, cannot be read. What could be read of it is there; ids are nil
    /// or empty, numbers are 0 and all else is null where it could not.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
}

/// One storage URI of a purge. It is named by its number: the URI itself is sealed.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwedStorage {
    /// Which of the URIs, from 1.
    pub storage: u32,
    /// `owed`, `done` or `failed`.
    #[schema(value_type = names::ObligationState)]
    pub state: &'static str,
    /// Objects that were deleted so far.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// True when these are a lower bound: an attempt was cut off before it had counted what it deleted. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub at_least: Option<bool>,
    /// Why the last attempt failed.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// The object or folder that it failed at, or the place where it could not list; without any encoding. Absent when it did not
    /// fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failed_at: Option<String>,
}

impl OwedStorage {
    fn new(obligation: Obligation, places: &[(u32, String)]) -> Self {
        let place = places.iter().find(|(of, _)| *of == obligation.ordinal);
        Self {
            storage: obligation.ordinal,
            state: obligation.state.as_str(),
            objects: obligation.objects,
            bytes: obligation.bytes,
            at_least: obligation.at_least.then_some(true),
            last_error: obligation.last_error,
            failed_at: place.map(|(_, place)| place.clone()),
        }
    }
}

impl OwedPurge {
    fn new(purge: PurgeStatus, places: &[(u32, String)], now: DateTime<Utc>) -> Self {
        let (job, requested_at) = (purge.job, timestamp(purge.requested_at));
        let ended = job.as_ref().is_some_and(|job| job.finished_at.is_some());
        let running = job
            .as_ref()
            .and_then(|job| job.leased_until)
            .is_some_and(|until| until > now);
        let next = job.as_ref().filter(|_| !ended && !running);
        Self {
            purge_id: purge.purge_id,
            entity_type: Some(purge.key.entity_type().as_str()),
            id: purge.key.id().to_owned(),
            state: Some(purge.state.as_str()),
            requested_at: requested_at.clone(),
            age_seconds: (now - purge.requested_at).num_seconds().max(0),
            storage_count: purge.storage_count,
            attempts: job.as_ref().map_or(0, |job| job.begun),
            running,
            next_attempt_at: next.and_then(|job| timestamp(job.next_attempt_at)),
            last_error: job.as_ref().and_then(|job| job.last_error.clone()),
            obligations: job
                .map(|job| {
                    let obligations = job.obligations.into_iter();
                    obligations.map(|one| OwedStorage::new(one, places)).collect()
                })
                .unwrap_or_default(),
            storage_shared_with: Vec::new(),
            unreadable: requested_at.is_none(),
        }
    }

    fn damaged(row: &DamagedRow) -> Self {
        let key = row.key.as_ref();
        Self {
            purge_id: row.id.unwrap_or_default(),
            entity_type: key.map(|key| key.entity_type().as_str()),
            id: key.map(|key| key.id().to_owned()).unwrap_or_default(),
            state: None,
            requested_at: None,
            age_seconds: 0,
            storage_count: 0,
            attempts: 0,
            running: false,
            next_attempt_at: None,
            last_error: None,
            obligations: Vec::new(),
            storage_shared_with: Vec::new(),
            unreadable: true,
        }
    }
}

/// A page of purges.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwedPurgePage {
    /// The purges, oldest request first.
    pub items: Vec<OwedPurge>,
    /// Whether there are more behind this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; null on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// The names of the filters.
const FILTERS: [(&str, PurgeFilter); 3] = [
    ("purging", PurgeFilter::Purging),
    ("failed", PurgeFilter::Failed),
    ("all", PurgeFilter::All),
];

/// What its cursors are given out for.
const CURSORS: &str = "purges";

/// What a cursor goes on with.
fn walk(filter: PurgeFilter) -> Walk {
    let name = FILTERS.into_iter().find(|(_, known)| *known == filter);
    Walk::new(CURSORS, name.map(|(name, _)| name))
}

/// Which purges, after which position, how many.
fn query(text: Option<&str>, cursors: &CursorCodec) -> Result<(PurgeFilter, u64, u32), ApiError> {
    let (mut state, mut limit, mut cursor) = (None, None, None);
    for (name, value) in url::form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
        let (key, slot) = match &*name {
            "state" => ("state", &mut state),
            "limit" => ("limit", &mut limit),
            "cursor" => ("cursor", &mut cursor),
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(ApiError::bad_data(key, "given more than once"));
        }
    }
    let filter = match state {
        None => PurgeFilter::All,
        Some(name) => FILTERS
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, filter)| filter)
            .ok_or_else(|| ApiError::BadValueNotAllowed {
                key: "state".into(),
                allowed: FILTERS.map(|(name, _)| name).to_vec(),
            })?,
    };
    let after = match cursor {
        None => 0,
        Some(text) => cursors.open_place(&walk(filter), &text, |position| Some(*position))?,
    };
    let limit = LISTS.read(limit)?;
    Ok((filter, after, limit))
}

/// Which purges, and where they go on.
struct PurgesParameters;

impl IntoParams for PurgesParameters {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let state = in_query(
            "state",
            "Only these; all when absent",
            word::<names::PurgeFilter>(),
        );
        let mut all = vec![state];
        all.extend(ListLimit::into_params(place));
        all.push(cursor_parameter(
            "`next_cursor` of the page before, with the same `state`",
        ));
        all
    }
}

/// Purges that are under way or have failed, with what each still owes.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/admin/purges", operation_id = "listPurges", tag = "purges",
    summary = "List owed purges",
    description = "Purges that are under way or have failed, with what each still owes.",
    params(
        PurgesParameters,
    ),
    responses(
        (status = 200, description = "A page", body = OwedPurgePage),
        (status = 400, description = "Unknown state, limit or cursor"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:read`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn handler(
    extract::State(api): extract::State<SharedApi>,
    request: Request,
) -> Result<Json<OwedPurgePage>, ApiError> {
    api.admit(RequestHead::of(&request), Right::ArchivedRead).await?;
    let (filter, after, limit) = query(request.uri().query(), &api.cursors)?;
    let mut purges = api
        .purges
        .list(filter, after, limit + 1)
        .await
        .map_err(LedgerError::Store)?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = purges.len() > wanted;
    purges.truncate(wanted);
    // Where the last one cannot be read, it goes on behind the last one that can.
    let whole = purges.rows.iter().map(|purge| purge.position);
    let damaged = purges.damaged.iter().filter_map(|row| row.position);
    let last = whole.chain(damaged).max().filter(|last| *last > after);
    let next_cursor = last
        .filter(|_| has_more)
        .map(|last| api.cursors.seal_place(&walk(filter), last));
    let now = api.ledger.clock().now();
    let mut items = Vec::with_capacity(purges.len());
    for purge in purges.rows {
        let places = api.ledger.failed_places(&purge).await?;
        let others = match purge.state {
            State::PurgeFailed => in_the_way(&api, &purge.key).await?,
            State::Unknown | State::Live | State::Archived | State::Purging | State::Purged => Vec::new(),
        };
        items.push(OwedPurge {
            storage_shared_with: others,
            ..OwedPurge::new(purge, &places, now)
        });
    }
    let damaged = purges.damaged.iter();
    put_in_place(
        &mut items,
        damaged.map(|row| (row.index, OwedPurge::damaged(row))),
    );
    Ok(Json(OwedPurgePage {
        items,
        has_more: next_cursor.is_some(),
        next_cursor,
    }))
}

#[cfg(test)]
mod tests;
