//! How a request ended, for whoever watches it.

use super::error::ApiError;
use axum::response::Response;
use http::StatusCode;
use std::sync::Arc;
use uuid::Uuid;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was not allowed: nobody was authenticated, or the token does not grant it.
    Denied,
    /// It failed in another way: the error's id.
    Failed(&'static str),
    /// It did what it asked for.
    Succeeded,
    /// Its client knew the answer already, or was sent elsewhere.
    Neither,
}

impl Ending {
    /// The ending that an answer tells of.
    #[must_use]
    pub fn of(response: &Response) -> Self {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            Self::Denied
        } else if status.is_client_error() || status.is_server_error() {
            let error = response.extensions().get::<Arc<ApiError>>();
            Self::Failed(error.map_or("unknown", |error| error.describe(Uuid::nil()).id))
        } else if status.is_success() {
            Self::Succeeded
        } else {
            Self::Neither
        }
    }
}
