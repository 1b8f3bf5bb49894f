//! Writes the one error body that every route answers with (seed 004, `ErrorJson`), and logs what went wrong.
//!
//! Handlers return an [`ApiError`], which travels in the response's extensions to the layer that [`with_envelope`] puts
//! around the router. There it gets its context, and whatever the framework answered by itself (an unknown route, a wrong
//! method, a body that is too large) gets the same envelope.

use super::error::{ApiError, Cause, Description};
use super::observe::X_REQUEST_ID;
use crate::clock::SharedClock;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use std::any::Any;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tower::Layer;
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

/// `router` with the envelope around all of it: every failed answer gets the one error body, and each 5xx is logged once.
///
/// To be the outermost layer, around those for panics, timeouts and limits. A layer of the router itself would not do: axum
/// adds the `Allow` header of a wrong method outside of those.
pub fn with_envelope(router: Router, context: ErrorContext) -> Router {
    let layer = axum::middleware::from_fn_with_state(context, render_errors);
    Router::new().fallback_service(layer.layer(router))
}

async fn render_errors(State(context): State<ErrorContext>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || response.extensions().get::<KeepBody>().is_some()
    {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let error = parts
        .extensions
        .remove::<Arc<ApiError>>()
        .unwrap_or_else(|| Arc::new(foreign(status, &parts.headers)));
    let reference = context.clock.new_id();
    let description = error.describe(reference);
    log(&error, &description, reference, &method, &path);

    parts.status = description.status;
    parts.headers.extend(error.headers());
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, context.body(&description).into())
}

/// The answer to a handler that panicked, for `tower_http::catch_panic::CatchPanicLayer::custom`.
///
/// The panic's message stays out of the log, because it may quote the data that the handler worked on.
#[must_use]
pub fn panic_response(_panic: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::internal("a handler panicked").into_response()
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
pub(super) struct Envelope<'a> {
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

    fn body(&self, description: &Description) -> Vec<u8> {
        let envelope = Envelope {
            error: ErrorJson {
                id: description.id,
                description: &description.text,
                details: description.details.as_ref(),
                ctx: ErrorJsonCtx {
                    timestamp: self.clock.now().timestamp_millis(),
                    service_release_version: &self.service.release_version,
                    service_id: &self.service.id,
                    service_domain: &self.service.domain,
                    service_build_version: &self.service.build_version,
                    service: "opw",
                    onedata_errors_revision: ERRORS_REVISION,
                    module: MODULE,
                    line: LINE,
                },
            },
        };
        // Strings and integers only, which always serialize.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use axum::routing::get;
    use chrono::DateTime;
    use http_body_util::BodyExt;
    use serde_json::json;
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    fn app() -> Router {
        let clock = Arc::new(ManualClock::new(
            DateTime::from_timestamp_millis(1_750_762_637_248).unwrap(),
        ));
        let context = ErrorContext::new(clock, ServiceInfo::new("instance-1", "ledger.example.org"));
        let router = Router::new()
            .route("/fine", get(|| async { "fine" }))
            .route(
                "/missing",
                get(|| async { ApiError::MissingRequiredValue { key: "name".into() } }),
            )
            .route(
                "/broken",
                get(|| async { ApiError::internal(std::io::Error::other("the disk is gone")) }),
            )
            .route(
                "/token",
                get(|| async { ApiError::Unauthorized(crate::http::error::Challenge::NoToken) }),
            )
            .route(
                "/unready",
                get(|| async {
                    (
                        StatusCode::SERVICE_UNAVAILABLE,
                        axum::Extension(KeepBody),
                        "store",
                    )
                }),
            )
            .route("/bare", get(|| async { (StatusCode::IM_A_TEAPOT, "tea") }))
            .route("/panics", get(panics))
            .layer(CatchPanicLayer::custom(panic_response));
        with_envelope(router, context)
    }

    async fn panics() -> &'static str {
        assert!(std::env::args().count() == 0, "a panic that quotes data");
        "unreachable"
    }

    async fn ask(method: Method, path: &str) -> (http::response::Parts, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let (parts, body) = app().oneshot(request).await.unwrap().into_parts();
        (
            parts,
            String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        )
    }

    async fn error_of(method: Method, path: &str) -> (u16, Value) {
        let (parts, body) = ask(method, path).await;
        assert_eq!(parts.headers[CONTENT_TYPE], "application/json");
        (parts.status.as_u16(), serde_json::from_str(&body).unwrap())
    }

    #[tokio::test]
    async fn an_error_has_exactly_the_keys_and_types_of_seed_004() {
        let (status, body) = error_of(Method::GET, "/missing").await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            json!({"error": {
                "id": "missingRequiredValue",
                "description": "Missing required value: name.",
                "details": {"key": "name"},
                "ctx": {
                    "timestamp": 1_750_762_637_248_i64,
                    "serviceReleaseVersion": env!("CARGO_PKG_VERSION"),
                    "serviceId": "instance-1",
                    "serviceDomain": "ledger.example.org",
                    "serviceBuildVersion": option_env!("ARCHIVE_LEDGER_BUILD").unwrap_or("unknown"),
                    "service": "opw",
                    "onedataErrorsRevision": "ca3af8cb",
                    "module": "archive_ledger",
                    "line": 1,
                },
            }})
        );
    }

    #[tokio::test]
    async fn an_error_without_details_has_no_details_key() {
        let (status, body) = error_of(Method::GET, "/nowhere").await;
        assert_eq!((status, &body["error"]["id"]), (404, &json!("notFound")));
        assert!(body["error"].get("details").is_none());
    }

    #[tokio::test]
    async fn a_wrong_method_gets_the_envelope_and_keeps_the_allowed_methods() {
        let (parts, body) = ask(Method::DELETE, "/fine").await;
        assert_eq!(parts.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(
            parts.headers.get_all(ALLOW).iter().collect::<Vec<_>>(),
            ["GET,HEAD"]
        );
        assert!(body.contains("methodNotAllowed"));
    }

    #[tokio::test]
    async fn an_internal_error_gives_a_reference_and_nothing_else() {
        let (status, body) = error_of(Method::GET, "/broken").await;
        let reference = body["error"]["details"]["reference"].as_str().unwrap();
        assert_eq!(status, 500);
        assert!(Uuid::try_parse(reference).is_ok());
        assert!(body["error"]["description"].as_str().unwrap().contains(reference));
        assert!(!body.to_string().contains("disk"));
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_says_nothing_about_it() {
        let (status, body) = error_of(Method::GET, "/panics").await;
        assert_eq!(
            (status, &body["error"]["id"]),
            (500, &json!("internalServerError"))
        );
        assert!(!body.to_string().contains("quotes"));
    }

    #[tokio::test]
    async fn a_challenge_survives_the_envelope() {
        let (parts, _) = ask(Method::GET, "/token").await;
        assert_eq!(
            parts.headers["www-authenticate"],
            "Bearer realm=\"archive-ledger\""
        );
    }

    #[tokio::test]
    async fn a_marked_answer_keeps_its_body_and_any_other_error_does_not() {
        let (parts, body) = ask(Method::GET, "/unready").await;
        assert_eq!((parts.status.as_u16(), body.as_str()), (503, "store"));
        let (status, body) = error_of(Method::GET, "/bare").await;
        assert_eq!((status, &body["error"]["id"]), (400, &json!("malformedData")));
    }

    #[tokio::test]
    async fn an_answer_that_is_no_error_passes_untouched() {
        let (parts, body) = ask(Method::GET, "/fine").await;
        assert_eq!((parts.status.as_u16(), body.as_str()), (200, "fine"));
    }

    /// Where the log of a test goes.
    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_server_error_is_logged_once_with_its_cause_and_reference_and_a_client_error_never() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        error_of(Method::GET, "/missing").await;
        let (_, body) = error_of(Method::GET, "/broken").await;
        let reference = body["error"]["details"]["reference"].as_str().unwrap().to_owned();
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in [
            reference.as_str(),
            "the disk is gone",
            "/broken",
            "internalServerError",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
