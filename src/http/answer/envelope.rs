//! Writes the one error body that every route answers with (seed 004, `ErrorJson`), and logs what went wrong.
//!
//! Handlers return an [`ApiError`], which travels in the response's extensions to the layer that [`with_envelope`] puts
//! around the router. There it gets its context, and whatever the framework answered by itself (an unknown route, a wrong
//! method, a body that is too large) gets the same envelope.

mod example;
pub(in crate::http) use example::example;

use super::error::{ApiError, Cause, Description};
use super::request_id::X_REQUEST_ID;
use crate::clock::SharedClock;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderValue, Method, StatusCode, Uri};
use pin_project_lite::pin_project;
use serde::Serialize;
use serde_json::Value;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tower::Service;
use utoipa::ToSchema;
use uuid::Uuid;

/// The revision of onedata-errors that our ids and texts come from (seed 004's example).
const ERRORS_REVISION: &str = "ca3af8cb";

/// Seed 004 asks for a module and a line; ours are constants, so that no source leaks.
const MODULE: &str = "archive_ledger";
const LINE: u32 = 1;

/// How long a client should wait when a failure that we know nothing about is temporary.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Which service an error comes from.
#[derive(Debug, Clone)]
pub struct ServiceInfo {
    /// The instance's id (`serviceId`).
    pub id: String,
    /// The domain that it is reached under (`serviceDomain`).
    pub domain: String,
    /// The release (`serviceReleaseVersion`).
    pub release_version: String,
    /// The build (`serviceBuildVersion`).
    pub build_version: String,
}

impl ServiceInfo {
    /// This build of the service, as the instance `id` under `domain`.
    #[must_use]
    pub fn new(id: impl Into<String>, domain: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            domain: domain.into(),
            release_version: env!("CARGO_PKG_VERSION").to_owned(),
            build_version: option_env!("ARCHIVE_LEDGER_BUILD")
                .unwrap_or("unknown")
                .to_owned(),
        }
    }
}

/// What the envelope needs: the time, fresh references, and who we are.
#[derive(Debug, Clone)]
pub struct ErrorContext {
    clock: SharedClock,
    service: Arc<ServiceInfo>,
}

impl ErrorContext {
    /// Errors of `service`, dated by `clock`.
    #[must_use]
    pub fn new(clock: SharedClock, service: ServiceInfo) -> Self {
        Self {
            clock,
            service: Arc::new(service),
        }
    }
}

/// Marks an answer whose status says "error" but whose body is its own, such as a failed readiness check.
#[derive(Debug, Clone, Copy)]
pub struct KeepBody;

/// Marks a failure that the log has been told of.
#[derive(Debug, Clone, Copy)]
pub struct AlreadyTold;

/// `router` with the envelope around all of it: every failed answer gets the one error body, and each 5xx is logged once.
///
/// To be the outermost layer, around those for panics, timeouts and limits. A layer of the router itself would not do: axum
/// adds the `Allow` header of a wrong method outside of those.
pub fn with_envelope(router: Router, context: ErrorContext) -> Router {
    Router::new().fallback_service(Enveloped { router, context })
}

/// The routes within their envelope.
#[derive(Clone)]
struct Enveloped {
    router: Router,
    context: ErrorContext,
}

impl Service<Request> for Enveloped {
    type Response = Response;
    type Error = Infallible;
    type Future = Rendered<RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Rendered {
            context: self.context.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            answer: self.router.call(request),
        }
    }
}

pin_project! {
    /// An answer on its way, and what is told of its request where it is an error.
    struct Rendered<F> {
        context: ErrorContext,
        method: Method,
        uri: Uri,
        #[pin]
        answer: F,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Rendered<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx))?;
        Poll::Ready(Ok(if is_rendered_here(&response) {
            this.context.render(response, this.method, this.uri.path())
        } else {
            response
        }))
    }
}

/// Whether an answer is to get the one error body.
fn is_rendered_here(response: &Response) -> bool {
    let status = response.status();
    (status.is_client_error() || status.is_server_error())
        && response.extensions().get::<KeepBody>().is_none()
}

/// The error that an answer stands for which no handler of ours made.
fn foreign(status: StatusCode, headers: &http::HeaderMap) -> ApiError {
    match status {
        StatusCode::UNAUTHORIZED => ApiError::Unauthorized(super::error::Challenge::NoToken),
        StatusCode::FORBIDDEN => ApiError::Forbidden,
        StatusCode::NOT_FOUND => ApiError::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed {
            allow: headers
                .get(ALLOW)
                .and_then(|allow| allow.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        },
        StatusCode::REQUEST_TIMEOUT => ApiError::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { limit: None },
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::UnsupportedMediaType,
        StatusCode::TOO_MANY_REQUESTS => ApiError::TooManyRequests {
            retry_after: DEFAULT_RETRY_AFTER,
        },
        StatusCode::SERVICE_UNAVAILABLE => ApiError::TemporaryFailure {
            retry_after: DEFAULT_RETRY_AFTER,
            cause: Some("no cause given".into()),
        },
        other if other.is_client_error() => ApiError::MalformedData,
        other => ApiError::Internal {
            cause: Cause::from(format!("an answer with status {other}")),
        },
    }
}

fn log(error: &ApiError, description: &Description, reference: Uuid, method: &Method, path: &str) {
    if !description.status.is_server_error() {
        return;
    }
    let mut cause = String::new();
    let mut source = error.source();
    while let Some(error) = source {
        if !cause.is_empty() {
            cause.push_str(": ");
        }
        cause.push_str(&error.to_string());
        source = error.source();
    }
    tracing::error!(
        error.id = description.id,
        error.reference = %reference,
        error.cause = cause,
        http.method = %method,
        http.path = path,
        "request failed (reference {reference})",
    );
}

/// What every failed request is answered with (seed 004).
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(in crate::http) struct Envelope<'a> {
    /// What went wrong.
    error: ErrorJson<'a>,
}

/// An error (seed 004, `ErrorJson`).
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorJson)]
struct ErrorJson<'a> {
    /// The error's type. Does not change between error instances.
    id: &'a str,
    /// The error in words.
    description: &'a str,
    /// What a program may want to know; which fields there are is specific to each error type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    details: Option<&'a Value>,
    /// Technical information.
    ctx: ErrorJsonCtx<'a>,
}

/// Where an error comes from (seed 004, `ErrorJsonCtx`).
#[derive(Serialize, ToSchema)]
#[schema(as = ErrorJsonCtx)]
#[serde(rename_all = "camelCase")]
struct ErrorJsonCtx<'a> {
    timestamp: i64,
    service_release_version: &'a str,
    service_id: &'a str,
    service_domain: &'a str,
    service_build_version: &'a str,
    service: &'a str,
    onedata_errors_revision: &'a str,
    module: &'a str,
    line: u32,
}

impl ErrorContext {
    /// A whole answer for the wire, after which the connection is closed: for what is refused before there is a request that
    /// a route could answer. An answer to `HEAD` has no body.
    #[must_use]
    pub fn message(&self, error: &ApiError, head_only: bool) -> Vec<u8> {
        let reference = self.clock.new_id();
        let description = error.describe(reference);
        let body = self.body(&description);
        let status = description.status;
        let mut message = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
        )
        .into_bytes();
        let mut headers = error.headers();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let id = HeaderValue::from_str(&reference.to_string());
        headers.extend(id.ok().map(|id| (X_REQUEST_ID, id)));
        let date = httpdate::fmt_http_date(self.clock.now().into());
        headers.extend(HeaderValue::from_str(&date).ok().map(|date| (DATE, date)));
        for (name, value) in &headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                message.extend_from_slice(part);
            }
        }
        message.extend_from_slice(b"\r\n");
        if !head_only {
            message.extend_from_slice(&body);
        }
        message
    }

    /// An answer that is an error, with the one error body.
    fn render(&self, response: Response, method: &Method, path: &str) -> Response {
        let status = response.status();
        let (mut parts, _) = response.into_parts();
        let error = parts
            .extensions
            .remove::<Arc<ApiError>>()
            .unwrap_or_else(|| Arc::new(foreign(status, &parts.headers)));
        let reference = self.clock.new_id();
        let description = error.describe(reference);
        if parts.extensions.get::<AlreadyTold>().is_none() {
            log(&error, &description, reference, method, path);
        }

        parts.status = description.status;
        parts.headers.extend(error.headers());
        parts.headers.remove(CONTENT_LENGTH);
        parts
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Response::from_parts(parts, self.body(&description).into())
    }

    fn body(&self, description: &Description) -> Vec<u8> {
        let timestamp = self.clock.now().timestamp_millis();
        // Strings and integers only, which always serialize.
        serde_json::to_vec(&Envelope::new(description, &self.service, timestamp)).unwrap_or_default()
    }
}

impl<'a> Envelope<'a> {
    fn new(description: &'a Description, service: &'a ServiceInfo, timestamp: i64) -> Self {
        Self {
            error: ErrorJson {
                id: description.id,
                description: &description.text,
                details: description.details.as_ref(),
                ctx: ErrorJsonCtx {
                    timestamp,
                    service_release_version: &service.release_version,
                    service_id: &service.id,
                    service_domain: &service.domain,
                    service_build_version: &service.build_version,
                    service: "opw",
                    onedata_errors_revision: ERRORS_REVISION,
                    module: MODULE,
                    line: LINE,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests;
