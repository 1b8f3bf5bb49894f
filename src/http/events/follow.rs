//! `GET /api/events`: the log as Server-Sent Events, for subscribers without NATS (`docs/EVENTS.md`).

use super::feed::{Feed, FeedParts, Filter};
use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::cursor::{of_this_ledger, read_numbered};
use crate::http::request::describe::{in_header, in_query, several, text_like, word};
use crate::ledger::LedgerError;
use crate::numbering::Numbering;
use crate::store::Position;
use crate::telemetry;
use archive_ledger_domain::{EntityType, EventName};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::gauge;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

/// When to try again while there are too many.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Where a subscriber goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// As errors name it.
const LAST_EVENT_ID_KEY: &str = "Last-Event-ID";

/// Keeps nginx from holding events back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One of the streams that are served at a time, for as long as its connection lives.
struct Open {
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        gauge!(telemetry::EVENT_STREAMS).increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(telemetry::EVENT_STREAMS).decrement(1.0);
    }
}

/// Where to begin, and which events.
struct FollowParameters;

impl IntoParams for FollowParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let after = "The position to begin after; 0 is the beginning. An `id` will do too. The current head when neither this nor \
            `Last-Event-ID` is given";
        let last = "The last `id` that was received. Goes before `after`, and is never less";
        let types = several(word::<names::EntityType>(), EntityType::ALL.len());
        let names = several(word::<names::EventName>(), EventName::ALL.len());
        vec![
            in_query(
                "after",
                after,
                text_like("^([1-9][0-9]{0,17}-)?(0|[1-9][0-9]{0,17})$"),
            ),
            in_query("entity_type", "Only entities of this type; repeatable", types),
            in_query("event", "Only events of this name; repeatable", names),
            in_header(
                LAST_EVENT_ID_KEY,
                last,
                text_like("^[1-9][0-9]{0,17}-(0|[1-9][0-9]{0,17})$"),
            ),
        ]
    }
}

/// Every event after a position, as it is on NATS, and those to come.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/events", operation_id = "streamEvents", tag = "events",
    summary = "Follow the events (Server-Sent Events)",
    description = "Every event after a position, as it is on NATS, and those to come.",
    params(
        FollowParameters,
    ),
    responses(
        (status = 200, description = "Server-Sent Events: `id` names the position, `event` the event's name, `data` a CloudEvent \
            (`/asyncapi.json`). Ends with the token and with the service", body = String,
            content_type = "text/event-stream"),
        (status = 400, description = "A position or filter that is none, or a position that the log has not reached"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 410, description = "The `id` was given out before the ledger was forked; `details.position` is where to go on"),
        (status = 503, description = "Too many streams, or the log cannot be read"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    let query = request.uri().query().map(ToOwned::to_owned);
    let last = request.headers().clone();
    let caller = api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let numbering = api.events.source.numbering();
    let last = last_event_id(&last, numbering)?;
    let (after, filter) = read_query(query.as_deref(), numbering)?;
    let key = if last.is_some() {
        LAST_EVENT_ID_KEY
    } else {
        "after"
    };
    let after = start(after, last)?;
    let streams = Arc::clone(&api.events.streams);
    let permit = streams
        .try_acquire_owned()
        .map_err(|_| ApiError::TemporaryFailure {
            retry_after: RETRY_AFTER,
            cause: Some("too many streams of events".into()),
        })?;
    // The signal before the head: a commit in between is looked for twice rather than never.
    let committed = api.ledger.committed();
    let head = api
        .ledger
        .reads()
        .head()
        .await
        .map_err(LedgerError::Store)?
        .position;
    let feed = Feed::new(FeedParts {
        reads: Arc::clone(api.ledger.reads()),
        committed,
        clock: Arc::clone(api.ledger.clock()),
        source: Arc::clone(&api.events.source),
        stopping: api.events.stopping.clone(),
        pages: Arc::clone(&api.events.pages),
        filter,
        after: within(key, after, head)?,
        valid_until: caller.principal.valid_until,
    });
    let blocks = stream::unfold((feed, Open::new(permit)), |(mut feed, open)| async move {
        let block = feed.next().await?;
        Some((Ok::<_, Infallible>(block), (feed, open)))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(blocks)).into_response())
}

/// The position that a subscriber begins after, when it names one. A client that connects again sends both: the address that
/// it was given, and how far it has come since.
fn start(after: Option<Position>, last: Option<Position>) -> Result<Option<Position>, ApiError> {
    if let (Some(after), Some(last)) = (after, last)
        && last < after
    {
        return Err(ApiError::bad_data(LAST_EVENT_ID_KEY, "lies before \"after\""));
    }
    Ok(last.or(after))
}

/// A position that the log has reached: one beyond it belongs to another log, and waiting there would hide it.
fn within(key: &'static str, after: Option<Position>, head: Position) -> Result<Position, ApiError> {
    match after {
        Some(after) if after > head => Err(ApiError::BadValueTooHigh {
            key: key.into(),
            limit: i64::try_from(head).unwrap_or(i64::MAX),
        }),
        Some(after) => Ok(after),
        None => Ok(head),
    }
}

fn position(key: &'static str, text: &str) -> Result<Position, ApiError> {
    Some(text)
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or(ApiError::BadValueInteger { key: key.into() })
}

/// The position that an `id` of this ledger names.
fn id(key: &'static str, text: &str, numbering: &Numbering) -> Result<Position, ApiError> {
    let (ledger, position) = read_numbered(text)
        .filter(|(ledger, _)| *ledger > 0)
        .ok_or_else(|| ApiError::bad_data(key, "no id of this stream"))?;
    of_this_ledger(numbering, key, ledger, Some(position))?;
    Ok(position)
}

fn last_event_id(headers: &HeaderMap, numbering: &Numbering) -> Result<Option<Position>, ApiError> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => id(LAST_EVENT_ID_KEY, value.to_str().unwrap_or_default(), numbering).map(Some),
        (Some(_), Some(_)) => Err(ApiError::bad_data(LAST_EVENT_ID_KEY, "given more than once")),
    }
}

/// Where to begin, and which events. An unknown parameter is an error: a misspelt filter would give everything.
fn read_query(query: Option<&str>, numbering: &Numbering) -> Result<(Option<Position>, Filter), ApiError> {
    let mut after = None;
    let mut filter = Filter::default();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "after" => {
                let begin = if value.contains('-') && !value.starts_with('-') {
                    id("after", &value, numbering)?
                } else {
                    position("after", &value)?
                };
                if after.replace(begin).is_some() {
                    return Err(ApiError::bad_data("after", "given more than once"));
                }
            }
            "entity_type" => {
                let wanted = crate::http::request::path::entity_type(&value)?;
                if !filter.entity_types.contains(&wanted) {
                    filter.entity_types.push(wanted);
                }
            }
            "event" => {
                let wanted: EventName = value.parse().map_err(|_| ApiError::BadValueNotAllowed {
                    key: "event".into(),
                    allowed: EventName::ALL.into_iter().map(EventName::as_str).collect(),
                })?;
                if !filter.names.contains(&wanted) {
                    filter.names.push(wanted);
                }
            }
            other => {
                let key: String = other.chars().take(64).collect();
                return Err(ApiError::bad_data(key, "unknown parameter"));
            }
        }
    }
    Ok((after, filter))
}
