//! `GET /api/admin/archived/{entity_type}` (seed 000): a page of the archived entities of one type.

use super::ArchivedItem;
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::cursor::{CursorCodec, ListCursor};
use crate::http::request::page::{Behind, ListLimit, PageNumber, PageQuery, Start, cursor_parameter, walk};
use crate::http::request::path::{Segments, TypePath};
use crate::ledger::ArchivedList;
use crate::store::ListPage;
use crate::store::damaged::{damaged_at_end, put_in_place};
use archive_ledger_domain::{EntityKey, EntityType};
use axum::Json;
use axum::extract::{Request, State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};

/// A page: the seed's two fields, and where it goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArchivedPage {
    /// The entities, newest deletion first, then by id.
    pub items: Vec<ArchivedItem>,
    /// How many archived entities of the type there are.
    pub total_count: u64,
    /// Whether there are more behind this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; null on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// `cursor` of this list.
struct ListCursorText;

impl IntoParams for ListCursorText {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![cursor_parameter(
            "`next_cursor` of the page before; not together with `page`",
        )]
    }
}

/// Deep cursor pages cost what the first one costs.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/admin/archived/{entity_type}", operation_id = "listArchived", tag = "archived",
    summary = "List what is archived",
    description = "Deep cursor pages cost what the first one costs.",
    params(
        TypePath,
        PageNumber,
        ListLimit,
        ListCursorText,
    ),
    responses(
        (status = 200, description = "A page", body = ArchivedPage),
        (status = 400, description = "Unknown type, page, limit or cursor"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:read`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Json<ArchivedPage>, ApiError> {
    api.admit(RequestHead::of(&request), Right::ArchivedRead).await?;
    let entity_type = TypePath::read(path)?;
    let query = PageQuery::parse(request.uri().query(), entity_type, &api.cursors)?;
    let page = page(&query.start)?;
    let list = api.ledger.list(entity_type, &page, query.limit).await?;
    let next_cursor = list
        .more
        .then(|| next_cursor(&api.cursors, entity_type, &query.start, &list));
    let items = list.items.into_iter();
    let mut items: Vec<ArchivedItem> = items
        .map(|item| ArchivedItem::new(&item.key, item.deleted_at, item.name, item.metadata))
        .collect();
    let damaged = list.damaged.iter();
    put_in_place(
        &mut items,
        damaged.map(|row| (row.index, ArchivedItem::damaged(entity_type, row))),
    );
    Ok(Json(ArchivedPage {
        items,
        total_count: list.total,
        has_more: list.more,
        next_cursor,
    }))
}

fn page(start: &Start) -> Result<ListPage, ApiError> {
    Ok(match start {
        Start::Offset(offset) => ListPage::Offset(u64::try_from(*offset).unwrap_or(0)),
        Start::After(cursor) => ListPage::After(cursor.deleted_at, cursor.key.id().to_owned()),
        Start::Behind(Behind { after: None, skipped }) => ListPage::Offset(*skipped),
        Start::Behind(Behind {
            after: Some((deleted_at, id)),
            skipped,
        }) => {
            let deleted_at = DateTime::from_timestamp_micros(*deleted_at)
                .ok_or_else(|| ApiError::bad_data("cursor", "not a cursor of this list"))?;
            ListPage::Behind(deleted_at, id.clone(), *skipped)
        }
    })
}

/// Where the page goes on: behind its last item that can be read, and as many behind that as cannot.
fn next_cursor(cursors: &CursorCodec, entity_type: EntityType, began: &Start, list: &ArchivedList) -> String {
    let length = list.items.len() + list.damaged.len();
    let place = |deleted_at: DateTime<Utc>, key: &EntityKey| {
        Some((deleted_at.timestamp_micros(), key.id().to_owned()))
    };
    let (after, before, damaged) = match (list.items.last(), began) {
        (Some(last), _) => {
            let damaged = damaged_at_end(&list.damaged, length);
            if damaged == 0 {
                return cursors.seal(&ListCursor {
                    key: last.key.clone(),
                    deleted_at: last.deleted_at,
                });
            }
            (place(last.deleted_at, &last.key), 0, damaged)
        }
        // None of them says where it stands.
        (None, Start::Offset(offset)) => (None, u64::try_from(*offset).unwrap_or(0), length),
        (None, Start::After(cursor)) => (place(cursor.deleted_at, &cursor.key), 0, length),
        (None, Start::Behind(behind)) => (behind.after.clone(), behind.skipped, length),
    };
    let skipped = before.saturating_add(u64::try_from(damaged).unwrap_or(u64::MAX));
    cursors.seal_place(&walk(entity_type), Behind { after, skipped })
}
