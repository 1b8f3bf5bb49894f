//! Everybody is answered, also where the database or the disk is not.

use crate::http::answer::error::ApiError;
use crate::patience;
use crate::store::StoreError;
use axum::response::Response;
use std::future::Future;
use std::time::Duration;

/// A read's answer begins within this time. What the database is asked for has limits of its own, which say what was asked; this is for
/// everything that has none, such as a disk that hangs.
const LIMIT: Duration = Duration::from_secs(9);

/// When to try again: whatever hangs is found out and replaced by then, if it can be.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Ends what takes longer than a caller waits. Requests with a body take as long as their body: what follows it has its own limits.
///
/// # Errors
/// [`ApiError::TemporaryFailure`] when a read is not answered in time; what the answer fails with.
pub async fn in_time(
    reads: bool,
    answer: impl Future<Output = Result<Response, ApiError>>,
) -> Result<Response, ApiError> {
    let answer = patience::for_a_caller(answer);
    if !reads {
        return answer.await;
    }
    tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| {
        Err(ApiError::TemporaryFailure {
            retry_after: RETRY_AFTER,
            cause: Some(
                StoreError::TimedOut {
                    operation: "answer a read",
                    limit: LIMIT,
                }
                .into(),
            ),
        })
    })
}
