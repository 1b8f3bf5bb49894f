//! An HTTP server that passes requests on to another one, and meddles with what that one answers.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use std::sync::{Arc, Mutex};

/// What is done to a request that was meddled with.
pub enum Meddling {
    /// It is passed on, and its answer is given as it is.
    Nothing,
    /// It is not passed on; this is the answer.
    Instead(u16, Vec<u8>),
    /// It is passed on, and its answer is replaced by what this makes of its body.
    Edit(Edit),
    /// It is passed on, and its answer gets this header as well.
    Header(&'static str, &'static str),
}

/// Makes another status and body of an answer's body.
pub type Edit = Box<dyn FnOnce(Vec<u8>) -> (u16, Vec<u8>) + Send>;

/// Decides what is done to a request: its method, and its path with the query.
pub type Plan = Box<dyn FnMut(&Method, &str) -> Meddling + Send>;

/// The server in the middle. It lives as long as the test's runtime.
#[derive(Clone)]
pub struct Meddler {
    endpoint: String,
    plan: Arc<Mutex<Option<Plan>>>,
}

#[derive(Clone)]
struct Middle {
    upstream: String,
    client: reqwest::Client,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl Meddler {
    /// Stands before the server at `upstream`, and does nothing yet.
    pub async fn before(upstream: &str) -> Self {
        super::init();
        let plan = Arc::default();
        let middle = Middle {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            plan: Arc::clone(&plan),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(pass).with_state(middle);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { endpoint, plan }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Meddles from now on as `plan` says.
    pub fn meddle(&self, plan: impl FnMut(&Method, &str) -> Meddling + Send + 'static) {
        *self.plan.lock().unwrap() = Some(Box::new(plan));
    }

    /// Does nothing from now on.
    pub fn stop(&self) {
        *self.plan.lock().unwrap() = None;
    }
}

async fn pass(
    State(middle): State<Middle>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let target = uri.path_and_query().unwrap().as_str().to_owned();
    let meddling = match &mut *middle.plan.lock().unwrap() {
        Some(plan) => plan(&method, &target),
        None => Meddling::Nothing,
    };
    if let Meddling::Instead(status, body) = meddling {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    let mut request = middle
        .client
        .request(method, format!("{}{target}", middle.upstream))
        .body(body);
    for (name, value) in headers.iter().filter(|(name, _)| !is_of_the_hop(name)) {
        request = request.header(name, value);
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let (status, kept) = (answer.status(), answer.headers().clone());
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let more = match &meddling {
        Meddling::Header(name, value) => {
            Some((HeaderName::from_static(name), HeaderValue::from_static(value)))
        }
        Meddling::Nothing | Meddling::Instead(..) | Meddling::Edit(_) => None,
    };
    let (status, body) = match meddling {
        Meddling::Edit(edit) => {
            let (status, body) = edit(body.to_vec());
            (StatusCode::from_u16(status).unwrap(), Bytes::from(body))
        }
        Meddling::Nothing | Meddling::Instead(..) | Meddling::Header(..) => (status, body),
    };
    let mut response = (status, body).into_response();
    let kept: Vec<(HeaderName, HeaderValue)> = kept
        .iter()
        .filter(|(name, _)| !is_of_the_hop(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(more)
        .collect();
    response.headers_mut().extend(kept);
    response
}

/// Headers that are said anew by whoever sends.
fn is_of_the_hop(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::DATE,
    ]
    .contains(name)
}
