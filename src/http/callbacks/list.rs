//! `GET /api/admin/callbacks`: deliveries of callbacks, newest first.

use super::delivery::Delivery;
use super::filter::{DeliveriesCursor, FILTER_MAX, FilterParameters, FilterText, read_cursor, write_cursor};
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::cursor::CursorCodec;
use crate::http::request::fields::Text;
use crate::http::request::page::LISTS;
use crate::http::request::page::ListLimit;
use crate::ledger::LedgerError;
use crate::store::callbacks::{DeliveryFilter, DeliveryState, ListStart};
use crate::store::damaged::put_in_place;
use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use std::borrow::Cow;
use utoipa::ToSchema;

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    /// The deliveries, newest first.
    pub items: Vec<Delivery>,
    /// Whether there are more behind this page.
    pub has_more: bool,
    /// What to give as `cursor` for the next page; null on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Which deliveries, after which, how many.
pub(super) fn query(
    text: Option<&str>,
    cursors: &CursorCodec,
) -> Result<(DeliveryFilter, ListStart, u32), ApiError> {
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
    let limit = LISTS.read(limit.map(Cow::Owned))?;
    let filter = filter.read(&DeliveryState::ALL)?;
    let start = read_cursor(cursors, &filter, cursor.as_deref())?;
    Ok((filter, start, limit))
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
        FilterParameters,
        ListLimit,
        DeliveriesCursor,
    ),
    responses(
        (status = 200, description = "A page", body = DeliveryPage),
        (status = 400, description = "A filter, limit or cursor that is none"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `callbacks:manage`"),
        (status = 410, description = "The cursor was given out before the ledger was forked"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Json<DeliveryPage>, ApiError> {
    api.admit(RequestHead::of(&request), Right::CallbacksManage)
        .await?;
    let (filter, start, limit) = query(request.uri().query(), &api.cursors)?;
    let (page, circuits) = api
        .callbacks
        .list(&filter, start, limit)
        .await
        .map_err(LedgerError::Store)?;
    let next = page.more.then(|| page.next(start));
    let now = api.ledger.clock().now();
    let rows = page.rows.rows.into_iter().zip(circuits);
    let mut items = rows
        .map(|(row, circuit)| Delivery::new(row, circuit, now))
        .collect();
    let damaged = page.rows.damaged.iter();
    put_in_place(&mut items, damaged.map(|row| (row.index, Delivery::damaged(row))));
    Ok(Json(DeliveryPage {
        items,
        has_more: next.is_some(),
        next_cursor: next.map(|next| write_cursor(&api.cursors, &filter, next)),
    }))
}
