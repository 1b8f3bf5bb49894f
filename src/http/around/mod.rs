//! What stands around every route, in one service.
//!
//! ```text
//! observed: id, span, metrics ─▶ one host ─▶ watched by the audit, told to the log ─▶ panics caught ─▶ conditional reads
//!     ─▶ of the ledger: not another database ─▶ in time ─▶ within the memory budget ─▶ known parameters ─▶ the route
//! ```
//!
//! A layer of the router is cloned and boxed for each request, with all that lies within it, so that ten of them cost ten times as
//! much as one: here is the one. What only some requests need is asked of those alone.

mod access;
mod attempt;
mod database;
mod in_time;
pub mod measure;
mod memory;

use crate::audit::attempts::Attempts;
use crate::clock::SharedClock;
use crate::http::answer::error::ApiError;
use crate::http::answer::request_id::{RequestId, X_REQUEST_ID};
use crate::http::api::head::Observed;
use crate::http::request::conditions;
use crate::http::request::host;
use crate::http::request::parameters::{Declared, refuse_unknown};
use crate::memory_budget::MemoryBudget;
use crate::store::witness::Witness;
use access::Access;
use attempt::UnderWay;
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use database::refuse_another_database;
use futures::FutureExt as _;
use http::Method;
use in_time::in_time;
use measure::RouteMeasure;
use memory::bounded;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument;

/// How a request without a route is counted.
const NO_ROUTE: &str = "unknown";

/// What stands around routes; cheap to clone.
#[derive(Clone)]
pub struct Around {
    /// Gives out ids.
    pub clock: SharedClock,
    /// The parameters of every route.
    pub declared: Arc<Declared>,
    /// Where the audit is told how requests to the API end; `None` where it does not watch.
    pub attempts: Option<Arc<Attempts>>,
    /// For routes that read or write the ledger.
    pub ledger: Option<AroundLedger>,
}

/// What stands around routes that read or write the ledger as well.
#[derive(Clone)]
pub struct AroundLedger {
    /// What this process knows of its database.
    pub witness: Arc<Witness>,
    /// How much memory requests may take together.
    pub memory: MemoryBudget,
}

impl Layer<Route> for Around {
    type Service = AroundRoute;

    fn layer(&self, route: Route) -> AroundRoute {
        AroundRoute(Arc::new(Within {
            around: self.clone(),
            route,
            measure: OnceLock::new(),
        }))
    }
}

/// A route with everything around it; cheap to clone, which is done for each request.
#[derive(Clone)]
pub struct AroundRoute(Arc<Within>);

struct Within {
    around: Around,
    route: Route,
    /// Of the pattern that the first request came by: there is one for each place in the router.
    measure: OnceLock<Arc<RouteMeasure>>,
}

impl Service<Request> for AroundRoute {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let within = Arc::clone(&self.0);
        Box::pin(async move { Ok(within.observe(request).await) })
    }
}

impl Within {
    /// Gives the request its id, measures it, and puts its log lines under one span.
    async fn observe(&self, request: Request) -> Response {
        let started = Instant::now();
        let id = RequestId::of(request.headers(), &*self.around.clock);
        let method = request.method().clone();
        let measure = self.measure(&request);
        let span = tracing::info_span!(
            "request", request.id = %id, http.method = %method, http.route = %measure.route()
        );
        let mut response = self.watch(request, &id, measure.route()).instrument(span).await;
        measure.answered(&method, response.status(), started.elapsed());
        response.headers_mut().insert(X_REQUEST_ID, id.into_header());
        response
    }

    fn measure(&self, request: &Request) -> Arc<RouteMeasure> {
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or(NO_ROUTE, MatchedPath::as_str);
        let known = self.measure.get_or_init(|| Arc::new(RouteMeasure::of(route)));
        if known.route() == route {
            Arc::clone(known)
        } else {
            Arc::new(RouteMeasure::of(route))
        }
    }

    /// Refuses what names no host, and tells the audit how a request ends that it watches.
    async fn watch(&self, mut request: Request, id: &RequestId, route: &str) -> Response {
        if let Err(error) = host::check(request.version(), request.headers()) {
            return error.into_response();
        }
        let watching = self.around.attempts.as_deref();
        let under_way = watching
            .filter(|_| request.uri().path().starts_with("/api/"))
            .map(|attempts| UnderWay::new(attempts, id, route, &request));
        let audit = under_way.as_ref().map(UnderWay::context);
        let access = Access::new(&request, route, id, audit.clone().unwrap_or_default());
        request.extensions_mut().insert(Observed {
            id: id.clone(),
            audit,
            declared: Arc::clone(&self.around.declared),
        });
        let answer = AssertUnwindSafe(self.condition(request, route)).catch_unwind();
        // A panic's message stays out of the log, because it may quote the data that the handler worked on.
        let response = answer
            .await
            .unwrap_or_else(|_| ApiError::internal("a handler panicked").into_response());
        if let Some(under_way) = under_way {
            under_way.answered(&response);
        }
        access.answered(&response);
        response
    }

    /// Looks at the conditions of a read once its answer is there.
    async fn condition(&self, request: Request, route: &str) -> Response {
        match conditions::of_a_read(&request) {
            None => self.admit(request, route).await,
            Some(headers) => conditions::answered(&headers, self.admit(request, route).await),
        }
    }

    /// Answers from the ledger only where that is sound, in time, and within the memory budget.
    async fn admit(&self, request: Request, route: &str) -> Response {
        let Some(ledger) = &self.around.ledger else {
            return self.answer(request, route).await;
        };
        if let Err(error) = refuse_another_database(&ledger.witness) {
            return error.into_response();
        }
        let reads = reads(&request);
        let answer = bounded(&ledger.memory, request, route, |request| {
            self.answer(request, route)
        });
        in_time(reads, answer)
            .await
            .unwrap_or_else(IntoResponse::into_response)
    }

    async fn answer(&self, request: Request, route: &str) -> Response {
        if reads(&request)
            && let Err(error) = refuse_unknown(&self.around.declared, &request, route)
        {
            return error.into_response();
        }
        let answer = self.route.clone().call(request).await;
        answer.unwrap_or_else(|never| match never {})
    }
}

fn reads(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::http::answer::envelope::{ErrorContext, ServiceInfo, with_envelope};
    use crate::http::description;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use chrono::DateTime;
    use http::header::ALLOW;
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    async fn panics() -> &'static str {
        assert!(std::env::args().count() == 0, "a panic that quotes data");
        "unreachable"
    }

    async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> (http::response::Parts, Value) {
        let clock: SharedClock = Arc::new(ManualClock::new(DateTime::UNIX_EPOCH));
        let around = Around {
            clock: Arc::clone(&clock),
            declared: Arc::new(Declared::new(&description::document())),
            attempts: None,
            ledger: None,
        };
        let routes = Router::new()
            .route("/healthz", get(|| async { "fine" }))
            .route("/api/panics", get(panics))
            .with_state(())
            .layer(around);
        let routes = with_envelope(
            routes,
            ErrorContext::new(clock, ServiceInfo::new("1", "example.org")),
        );
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = routes.oneshot(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = answer.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts, serde_json::from_slice(&body).unwrap_or_default())
    }

    const HERE: (&str, &str) = ("host", "here");

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_says_nothing_about_it() {
        let (parts, body) = ask("GET", "/api/panics", &[HERE, ("x-request-id", "r-1")]).await;
        assert_eq!(
            (parts.status.as_u16(), &body["error"]["id"]),
            (500, &"internalServerError".into())
        );
        assert!(!body.to_string().contains("quotes"));
        assert_eq!(parts.headers[X_REQUEST_ID], "r-1");
    }

    #[tokio::test]
    async fn every_answer_has_an_id_which_the_client_may_give() {
        for (path, headers) in [
            ("/healthz", &[HERE][..]),
            ("/nowhere", &[HERE]),
            ("/healthz", &[]),
        ] {
            let (parts, _) = ask("GET", path, headers).await;
            let id = parts.headers[X_REQUEST_ID].to_str().unwrap();
            assert!(uuid::Uuid::try_parse(id).is_ok(), "{path}: {id}");
        }
        let named = |id| async move { ask("GET", "/healthz", &[HERE, ("x-request-id", id)]).await.0 };
        assert_eq!(named("of-mine").await.headers[X_REQUEST_ID], "of-mine");
        for id in ["", "two words", &"x".repeat(129)] {
            assert_ne!(named(id).await.headers[X_REQUEST_ID], id);
        }
    }

    #[tokio::test]
    async fn what_an_open_read_does_not_know_is_refused_and_a_wrong_method_first() {
        let (parts, body) = ask("GET", "/healthz?x=1", &[HERE]).await;
        assert_eq!(
            (parts.status.as_u16(), &body["error"]["details"]["key"]),
            (400, &"x".into())
        );
        assert_eq!(ask("HEAD", "/healthz?x=1", &[HERE]).await.0.status.as_u16(), 400);
        let (parts, _) = ask("POST", "/healthz?x=1", &[HERE]).await;
        assert_eq!(
            (parts.status.as_u16(), &parts.headers[ALLOW]),
            (405, &http::HeaderValue::from_static("GET,HEAD"))
        );
        assert_eq!(ask("GET", "/nowhere?x=1", &[HERE]).await.0.status.as_u16(), 404);
    }
}
