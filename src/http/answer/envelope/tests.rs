//! The envelope, around routes that fail in every way.

use super::*;
use crate::clock::ManualClock;
use axum::routing::get;
use chrono::DateTime;
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

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
            get(|| async { ApiError::Unauthorized(crate::http::answer::error::Challenge::NoToken) }),
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
        .route("/bare", get(|| async { (StatusCode::IM_A_TEAPOT, "tea") }));
    with_envelope(router, context)
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
