//! A receiver of callbacks that remembers what it got and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::eventually;

/// How the receiver answers one request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status and an empty body.
    Status(u16),
    /// With this status, these headers and this body, e.g. a `Retry-After`, a `Location`, too long a body.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// With this status, after so long.
    After(Duration, u16),
    /// Never: it reads the request and keeps the connection open.
    Hang,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// When its body had been read.
    pub at: Instant,
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    /// The exact bytes.
    pub body: Bytes,
}

impl Received {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A header's value, or nothing if there is none.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A loopback HTTP server that takes any method on any path; dropping it closes its port.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Answer>>,
    received: Mutex<Vec<Received>>,
}

impl Receiver {
    /// A receiver that answers 200 to everything.
    pub async fn start() -> Self {
        Self::answering([]).await
    }

    /// A receiver that gives these answers, one per request in order, and 200 after them.
    pub async fn answering(script: impl IntoIterator<Item = Answer>) -> Self {
        super::init();
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            ..Shared::default()
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            shared,
            task,
        }
    }

    /// The URL of a path here, e.g. `/deleted`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Adds answers to the end of the script.
    pub fn then(&self, script: impl IntoIterator<Item = Answer>) {
        self.shared.script.lock().unwrap().extend(script);
    }

    /// Everything received so far, in order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits until at least `count` requests have come and returns them all; panics after `within`.
    pub async fn wait_for(&self, count: usize, within: Duration) -> Vec<Received> {
        let what = format!("{count} requests at the receiver");
        eventually(&what, within, || async {
            Some(self.received()).filter(|all| all.len() >= count)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = {
        // Both under one lock, so that the nth request gets the nth answer.
        let mut received = shared.received.lock().unwrap();
        received.push(Received {
            at: Instant::now(),
            method,
            target: uri.to_string(),
            headers,
            body,
        });
        shared
            .script
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Answer::Status(200))
    };
    let status = |code| StatusCode::from_u16(code).unwrap();
    match answer {
        Answer::Status(code) => status(code).into_response(),
        Answer::Full(code, headers, body) => {
            let mut response = (status(code), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Answer::After(pause, code) => {
            tokio::time::sleep(pause).await;
            status(code).into_response()
        }
        Answer::Hang => std::future::pending().await,
    }
}
