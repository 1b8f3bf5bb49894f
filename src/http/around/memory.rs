//! Requests within the memory that they may have together ([`crate::memory_budget`]).

use crate::http::answer::error::ApiError;
use crate::http::request::page::LISTS;
use crate::memory_budget::{self, MemoryBudget, NoRoom, Taken};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::Method;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// When to come again where there was no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a reading of one entity takes at the most: its details, read, opened and written.
const ONE: u64 = 256 * 1024;

/// What an export takes: what it reads ahead, and a group of rows of the longest format.
const EXPORT: u64 = 4 << 20;

/// Routes that answer with as many entities as `limit` says. What the audit's rows take is little beside an entity's details.
const PAGES: [&str; 5] = [
    "/api/admin/archived/{entity_type}",
    "/api/admin/archived/{entity_type}/{id}/history",
    "/api/admin/audit/events",
    "/api/admin/callbacks",
    "/api/admin/purges",
];

/// Routes that go through the log for as long as somebody reads.
const EXPORTS: [&str; 2] = ["/api/admin/audit/export", "/api/admin/audit/export/manifest"];

/// An answer up to here takes no room of its own.
const SHORT: u64 = 32 * 1024;

impl From<NoRoom> for ApiError {
    fn from(error: NoRoom) -> Self {
        Self::TemporaryFailure {
            retry_after: RETRY_AFTER,
            cause: Some(error.into()),
        }
    }
}

/// Around every route that reads or writes the ledger: a reading takes room for what it may answer before it begins, a command for its
/// body once that has come ([`crate::http::api::Api::fields`]), a long answer for itself until it is sent.
///
/// # Errors
/// [`ApiError::TemporaryFailure`] where there is no room within a moment.
pub async fn bounded<A: Future<Output = Response>>(
    budget: &MemoryBudget,
    request: Request,
    route: &str,
    answer: impl FnOnce(Request) -> A,
) -> Result<Response, ApiError> {
    memory_budget::holding(async move {
        if *request.method() == Method::GET {
            memory_budget::hold(budget.work(needed(&request, route)).await?);
        }
        let response = answer(request).await;
        let length = response.body().size_hint().exact().unwrap_or(0);
        if length <= SHORT {
            return Ok(response);
        }
        let leaving = budget.leave(length).await?;
        // Nothing is made beside one that takes more than there is for answers.
        let alone = (length > budget.longest_answer())
            .then(memory_budget::held)
            .flatten();
        let taken = (leaving, alone);
        Ok(response.map(|body| Body::new(Held { body, _taken: taken })))
    })
    .await
}

/// What a reading takes at the most.
fn needed(request: &Request, route: &str) -> u64 {
    if EXPORTS.contains(&route) {
        return EXPORT;
    }
    if !PAGES.contains(&route) {
        return ONE;
    }
    let (usual, max) = (u64::from(LISTS.usual), u64::from(LISTS.max));
    let query = request.uri().query().unwrap_or_default();
    let limit = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "limit");
    let limit = limit.and_then(|(_, limit)| limit.parse().ok()).unwrap_or(usual);
    // What is no limit is refused.
    let limit = if limit == 0 { usual } else { limit.min(max) };
    ONE * limit
}

/// An answer's body, and its room until it is sent.
struct Held {
    body: Body,
    _taken: (Taken, Option<Arc<Taken>>),
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
