//! What every request leaves behind: an id, and how often and how fast its route answers.

use crate::clock::Clock;
use crate::telemetry::{self, Counters};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use metrics::Histogram;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The header that carries a request's id, in and out.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a client may give its request, in characters.
const REQUEST_ID_MAX: usize = 128;

/// The id of a request: the client's own, or a fresh one. Kept as the answer's header will have it.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that a request names, if it is fit to be one, or a fresh one.
    #[must_use]
    pub fn of(headers: &HeaderMap, clock: &dyn Clock) -> Self {
        let named = headers.get(&X_REQUEST_ID).filter(|value| {
            let id = value.as_bytes();
            (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
        });
        named.map_or_else(|| Self::fresh(clock.new_id()), |named| Self(named.clone()))
    }

    fn fresh(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        let value = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text));
        // Digits, letters and hyphens are always a header's value.
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("")))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The id as a header's value.
    #[must_use]
    pub fn into_header(self) -> HeaderValue {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is counted of one route. Its metrics are looked up once: by name and labels, it costs more than to count.
pub struct RouteMeasure {
    route: Arc<str>,
    seconds: Histogram,
    /// By method and status: as many as the route has kinds of answers.
    answers: Counters<(&'static str, StatusCode)>,
}

impl RouteMeasure {
    /// Of the route of this pattern. Never of a path: paths hold ids and would make a label without bounds.
    #[must_use]
    pub fn of(route: &str) -> Self {
        let route: Arc<str> = Arc::from(route);
        Self {
            seconds: metrics::histogram!(telemetry::HTTP_REQUEST_SECONDS, "route" => Arc::clone(&route)),
            route,
            answers: Counters::default(),
        }
    }

    /// The route's pattern.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Counts one answer, and how long it took.
    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        self.answers.increment((label(method), status), |(method, status)| {
            metrics::counter!(
                telemetry::HTTP_REQUESTS_TOTAL,
                "method" => *method, "route" => Arc::clone(&self.route), "status" => status.as_str().to_owned()
            )
        });
        self.seconds.record(took);
    }
}

impl fmt::Debug for RouteMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteMeasure").field(&self.route).finish()
    }
}

/// A method as metrics name it.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
