//! `/api/admin/purges`: the purges that are owed, what each of them still owes, and another try.

use super::attempts::Trail;
use super::auth::rights::Right;
use super::body::{EmptyBody, Text};
use super::caller::{Api, Caller, Head, Segments, SharedApi, segments, uuid};
use super::conditions::entity_tag;
use super::cursor::{CursorCodec, Walk};
use super::error::ApiError;
use super::ocore::{is_false, timestamp};
use super::page::{DEFAULT_LIMIT, MAX_LIMIT, integer};
use super::refusal::refused;
use super::sharing::{Sharer, in_the_way};
use crate::ledger::LedgerError;
use crate::purge::operator::{PurgeFilter, Retried, RetryError};
use crate::store::cleanup_jobs::{Obligation, PurgeStatus};
use crate::store::damaged::{DamagedRow, put_in_place};
use archive_ledger_domain::{Action, State};
use axum::Json;
use axum::extract::{self, Request};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use http::header::ETAG;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One purge that is owed.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwedPurge {
    /// The purge.
    pub purge_id: Uuid,
    /// The entity's type.
    #[serde(rename = "type")]
    pub entity_type: &'static str,
    /// The entity's id.
    pub id: String,
    /// `purging` or `purge_failed`.
    pub state: &'static str,
    /// When it was requested, RFC 3339.
    pub requested_at: String,
    /// How long ago that is, in seconds.
    pub age_seconds: i64,
    /// How many storage URIs it has to clean.
    pub storage_count: u32,
    /// Attempts so far, whatever ended them: success, an error, a crash or a stop of the service.
    pub attempts: u32,
    /// Whether it is being worked on.
    pub running: bool,
    /// When it is tried next; null when it is being worked on or has failed.
    pub next_attempt_at: Option<String>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What it owes, one by one, in the order in which the storage URIs were given.
    pub obligations: Vec<OwedStorage>,
    /// Of a purge that has failed: others who stand in its way, because they name storage in, around or at the same places and
    /// are not being purged; 20 at the most. Absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage_shared_with: Vec<Sharer>,
    /// Only where it is true: the purge's row, or one of what it owes, cannot be read. What could be read of it is there; ids are nil
    /// and all else is empty where it could not.
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
        let job = purge.job;
        let ended = job.as_ref().is_some_and(|job| job.finished_at.is_some());
        let running = job
            .as_ref()
            .and_then(|job| job.leased_until)
            .is_some_and(|until| until > now);
        let next = job.as_ref().filter(|_| !ended && !running);
        Self {
            purge_id: purge.purge_id,
            entity_type: purge.key.entity_type().as_str(),
            id: purge.key.id().to_owned(),
            state: purge.state.as_str(),
            requested_at: timestamp(purge.requested_at),
            age_seconds: (now - purge.requested_at).num_seconds().max(0),
            storage_count: purge.storage_count,
            attempts: job.as_ref().map_or(0, |job| job.begun),
            running,
            next_attempt_at: next.map(|job| timestamp(job.next_attempt_at)),
            last_error: job.as_ref().and_then(|job| job.last_error.clone()),
            obligations: job
                .map(|job| {
                    let obligations = job.obligations.into_iter();
                    obligations.map(|one| OwedStorage::new(one, places)).collect()
                })
                .unwrap_or_default(),
            storage_shared_with: Vec::new(),
            unreadable: false,
        }
    }

    fn damaged(row: &DamagedRow) -> Self {
        let key = row.key.as_ref();
        Self {
            purge_id: row.id.unwrap_or_default(),
            entity_type: key.map_or("", |key| key.entity_type().as_str()),
            id: key.map(|key| key.id().to_owned()).unwrap_or_default(),
            state: "",
            requested_at: String::new(),
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
pub struct Page {
    /// The purges, oldest request first.
    pub items: Vec<OwedPurge>,
    /// Whether there are more behind this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// What a retry came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Retry {
    /// What was done, for people.
    pub message: &'static str,
    /// The purge that is under way now: another one than before if that had failed.
    pub purge_id: Uuid,
}

/// The longest reason, in characters: as long as that of a soft-delete.
const REASON_MAX: usize = 2_000;

/// Why a purge is forced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ForcePurgeRequest)]
pub struct ForceBody {
    /// Why what is still owed is given up. Kept sealed, and shown in the entity's history.
    #[schema(min_length = 1, max_length = 2_000)]
    pub reason: String,
}

/// A purge that was forced.
#[derive(Debug, Serialize, ToSchema)]
pub struct Forced {
    /// What was done, for people.
    pub message: &'static str,
    /// The purge, which is over.
    pub purge_id: Uuid,
    /// The entity's type.
    #[serde(rename = "type")]
    pub entity_type: &'static str,
    /// The entity's id: its history tells what was given up.
    pub id: String,
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
    let limit = match integer("limit", limit, i64::from(MAX_LIMIT))? {
        0 => DEFAULT_LIMIT,
        // In range, as just checked.
        limit => u32::try_from(limit).unwrap_or(MAX_LIMIT),
    };
    Ok((filter, after, limit))
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
        ("state" = Option<String>, Query, description = "purging, failed or all (the default)"),
        ("limit" = Option<i64>, Query, minimum = 0, maximum = 100, description = "Page size 1 to 100; 0 means 20"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same `state`"),
    ),
    responses(
        (status = 200, description = "A page", body = Page),
        (status = 400, description = "Unknown state, limit or cursor"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:read`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn list(
    extract::State(api): extract::State<SharedApi>,
    request: Request,
) -> Result<Json<Page>, ApiError> {
    api.admit(Head::of(&request), Right::ArchivedRead).await?;
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
    Ok(Json(Page {
        items,
        has_more: next_cursor.is_some(),
        next_cursor,
    }))
}

/// Admits a caller to a purge. The attempt of one that is refused is told of the entity too, which its path does not name.
async fn admit(api: &Api, head: Head, purge_id: Option<Uuid>, right: Right) -> Result<Caller, ApiError> {
    let trail = head.trail();
    let admitted = api.admit(head, right).await;
    if let (Err(_), Some(purge_id)) = (&admitted, purge_id)
        && trail.is_from_somebody()
        && let Err(error) = concerning(api, purge_id, &trail).await
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

/// The purge, if it is owed; the audit is told which entity it is of.
async fn concerning(api: &Api, purge_id: Uuid, trail: &Trail) -> Result<Option<PurgeStatus>, ApiError> {
    let owed = api.purges.find(purge_id).await.map_err(LedgerError::Store)?;
    if let Some(purge) = &owed {
        trail.concerns(&purge.key);
    }
    Ok(owed)
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
        ("If-Match" = Option<String>, Header, description = "The `ETag` that the entity must have, to ask for a failed purge again"),
    ),
    responses(
        (status = 202, description = "The purge is under way", body = Retry),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:purge`"),
        (status = 412, description = "Another version"),
        (status = 404, description = "No purge of this id is owed: it never was, it is done, or another has taken its place"),
    )
)]
pub async fn retry(
    extract::State(api): extract::State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<(StatusCode, Json<Retry>), ApiError> {
    let caller = admit(&api, Head::of(&request), named(&path), Right::ArchivedPurge).await?;
    let trail = caller.trail.clone();
    let purge_id = uuid(&segments(path)?, "purge_id")?;
    let owed = concerning(&api, purge_id, &trail).await?;
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
        Err(RetryError::Jobs(error)) => return Err(LedgerError::Store(error).into()),
        Err(RetryError::Ledger(error)) => return Err(refused(Action::Purge, error)),
    };
    Ok((StatusCode::ACCEPTED, Json(Retry { message, purge_id })))
}

/// Gives up what a purge still owes and ends it: the entity's key and rows go, its objects may stay. 200 once that is
/// committed; its event `purge_forced` holds who, why and what was given up.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 409, 412, 422, 503.
#[utoipa::path(
    post, path = "/api/admin/purges/{purge_id}/force", operation_id = "forcePurge", tag = "purges",
    summary = "Give up what a purge still owes",
    description = "Ends the purge: the entity's key and rows go, its objects may stay. 200 once that is committed; its event `purge_forced` holds who, why and what was given up.",
    params(
        ("purge_id" = Uuid, Path, description = "The purge"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that the entity must have; `*`: it must exist"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat: 1 to 255 visible ASCII characters"),
    ),
    request_body = ForceBody,
    responses(
        (status = 200, description = "The purge is over, and objects may be left", body = Forced,
            headers(("ETag" = String, description = "The entity's version"))),
        (status = 400, description = "The reason is missing, empty or too long"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:purge-force`"),
        (status = 404, description = "No purge of this id is owed: it never was, it is done, or another has taken its place"),
        (status = 409, description = "Every storage URI is clean already: the purge ends by itself"),
        (status = 412, description = "Another version"),
    )
)]
pub async fn force(
    extract::State(api): extract::State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = admit(&api, Head::of(&request), named(&path), Right::ArchivedPurgeForce).await?;
    let trail = caller.trail.clone();
    let purge_id = uuid(&segments(path)?, "purge_id")?;
    concerning(&api, purge_id, &trail).await?;
    let context = caller.command()?;
    let mut fields = api.fields(request, EmptyBody::IsRefused).await?;
    let reason = fields.take_string("reason", Text::new(1, REASON_MAX))?;
    fields.finish_strict()?;
    if reason.trim().is_empty() {
        return Err(ApiError::BadValueEmpty { key: "reason".into() });
    }
    let (key, receipt) = match api.purges.force(purge_id, reason, context).await {
        Ok(forced) => forced,
        Err(RetryError::NotOwed) => return Err(ApiError::NotFound),
        Err(RetryError::Jobs(error)) => return Err(LedgerError::Store(error).into()),
        Err(RetryError::Ledger(error)) => return Err(refused(Action::ForcePurge, error)),
    };
    let etag = entity_tag(receipt.version)?;
    let answer = Forced {
        message: "the purge was forced: what it still owed was given up, and objects may be left",
        purge_id,
        entity_type: key.entity_type().as_str(),
        id: key.id().to_owned(),
    };
    Ok(([(ETAG, etag)], Json(answer)).into_response())
}

#[cfg(test)]
mod tests;
