//! A line in the log for each command that was asked for: how it was answered, and never by whom or about what, which the audit tells
//! those who may know.

use crate::http::answer::request_id::RequestId;
use crate::http::api::audit_context::AuditContext;
use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode};
use std::time::Instant;

/// A command under way; dropped before it is answered, its client went away. Reads leave no line.
pub(super) struct Access<'a> {
    command: Option<Command<'a>>,
}

struct Command<'a> {
    began: Instant,
    method: Method,
    route: &'a str,
    request_id: &'a RequestId,
    caller: AuditContext,
}

impl<'a> Access<'a> {
    /// A request to the route of this pattern, of whose caller `caller` is told.
    pub(super) fn new(
        request: &Request,
        route: &'a str,
        request_id: &'a RequestId,
        caller: AuditContext,
    ) -> Self {
        let command = (![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())).then(|| {
            let method = request.method().clone();
            Command {
                began: Instant::now(),
                method,
                route,
                request_id,
                caller,
            }
        });
        Self { command }
    }

    /// It is answered.
    pub(super) fn answered(mut self, response: &Response) {
        if let Some(command) = self.command.take() {
            command.tell(Some(response.status()));
        }
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        if let Some(command) = self.command.take() {
            command.tell(None);
        }
    }
}

impl Command<'_> {
    fn tell(&self, status: Option<StatusCode>) {
        let Self { method, route, .. } = self;
        // Whether anybody vouches for the caller; who it is stands in the audit.
        let caller = if self.caller.is_from_somebody() {
            "subject of a token"
        } else {
            "nobody known"
        };
        let answer = status.map_or("no answer, as its client went away", |status| {
            status.canonical_reason().unwrap_or_default()
        });
        tracing::info!(
            http.method = %method,
            http.route = route,
            http.status = status.map(|status| status.as_u16()),
            http.milliseconds = self.began.elapsed().as_secs_f64() * 1e3,
            request.id = self.request_id.as_str(),
            caller,
            "{method} {route}: {answer}"
        );
    }
}
