//! Everybody is answered, also where the database or the disk is not.

use super::error::ApiError;
use crate::patience;
use crate::store::StoreError;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use std::time::Duration;

/// A read's answer begins within this time. What the database is asked for has limits of its own, which say what was asked; this is for
/// everything that has none, such as a disk that hangs.
const LIMIT: Duration = Duration::from_secs(9);

/// When to try again: whatever hangs is found out and replaced by then, if it can be.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Ends what takes longer than a caller waits. Requests with a body take as long as their body: what follows it has its own limits.
///
/// # Errors
/// [`ApiError::TemporaryFailure`] when a read is not answered in time.
pub async fn in_time(request: Request, next: Next) -> Result<Response, ApiError> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = patience::for_a_caller(next.run(request));
    if !reads {
        return Ok(answer.await);
    }
    tokio::time::timeout(LIMIT, answer)
        .await
        .map_err(|_| ApiError::TemporaryFailure {
            retry_after: RETRY_AFTER,
            cause: Some(
                StoreError::TimedOut {
                    operation: "answer a read",
                    limit: LIMIT,
                }
                .into(),
            ),
        })
}
