//! How often and how fast a route answers.

use crate::telemetry::{self, Counters};
use http::{Method, StatusCode};
use metrics::Histogram;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What asks for the metrics.
const SCRAPED: &str = "/metrics";

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

/// Has the routes' failures appear before the first, so that it is seen as growth; and what a scrape itself leaves.
pub fn appear<'a>(routes: impl Iterator<Item = (&'a str, &'a Method)>) {
    let appear = |method: &Method, route: &str, status: &'static str| {
        metrics::counter!(
            telemetry::HTTP_REQUESTS_TOTAL,
            "method" => label(method), "route" => route.to_owned(), "status" => status
        )
        .increment(0);
    };
    for (route, method) in routes {
        for status in ["500", "503"] {
            appear(method, route, status);
        }
    }
    let _ = RouteMeasure::of(SCRAPED);
    appear(&Method::GET, SCRAPED, "200");
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
