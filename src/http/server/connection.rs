//! One connection: its requests one after the other, and an end by which no answer is lost.
//!
//! ```text
//! socket ─▶ wire ─▶ HTTP library ─▶ a request: head, body ─▶ routes ─▶ answer ─▶ … ─▶ end: FIN, then what still comes is dropped
//! ```
//!
//! - What a handler left of a request is read and dropped, within bounds. Where its end is not reached, the answer says
//!   `Connection: close`, and the connection is ended so that a client which is still sending can read the answer: a socket
//!   that is closed with something unread takes the answer back.
//! - Whoever has been answered and still sends is heard out beyond those that are served: its place is for somebody else.
//! - When the service stops, the time to finish is for requests that have been read. One that has come half is closed.

use super::forwarded::TrustedProxies;
use super::places::Place;
use super::request_body::{Answer, DROPPED_MAX, HALF_SENT, Leftover};
use super::stall::{CutOff, Patience};
use super::wire::{Progress, Wire};
use crate::http::answer::envelope::ErrorContext;
use crate::http::answer::error::ApiError;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long a write to a client may make no progress before the connection is ended: what is held for it would be held for
/// ever otherwise.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// How long a client may go on sending after its answer, how long it may be silent meanwhile, and the former once the service
/// stops.
const LINGER: Duration = Duration::from_secs(30);
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_WHEN_STOPPING: Duration = Duration::from_millis(250);

/// When to come again where there was no place.
const NO_PLACE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long the one request of a connection beyond those that are served may take to come, and how long all of it, until its client
/// has heard the answer.
const BEYOND_HEAD: Duration = Duration::from_secs(2);
const BEYOND: Duration = Duration::from_secs(10);

/// What has come before somebody else is to have a connection's place is read: no timer fires before the runtime has looked at its
/// sockets.
const LAST_LOOK: Duration = Duration::from_millis(1);

/// What all connections have in common.
pub(super) struct Connections {
    http: http1::Builder,
    http_beyond: http1::Builder,
    routes: Router,
    /// What those are answered that are beyond the ones that are served.
    beyond: Router,
    errors: ErrorContext,
    proxies: TrustedProxies,
    stop: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        (routes, beyond): (Router, Router),
        errors: ErrorContext,
        proxies: TrustedProxies,
        (head_max, head_timeout): (usize, Duration),
        stop: CancellationToken,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(head_max);
        let mut http_beyond = http.clone();
        http_beyond
            .keep_alive(false)
            .header_read_timeout(head_timeout.min(BEYOND_HEAD));
        Self {
            http,
            http_beyond,
            routes,
            beyond,
            errors,
            proxies,
            stop,
        }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        if !place.is_beyond() {
            self.converse(stream, peer, &place, &self.http).await;
            return;
        }
        let over = async {
            tokio::time::sleep(BEYOND).await;
            // Somebody has left, and it is served.
            if !place.is_beyond() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.converse(stream, peer, &place, &self.http_beyond) => {}
            () = over => tracing::debug!("a connection beyond those that are served was cut off"),
        }
    }

    async fn converse(&self, stream: TcpStream, peer: SocketAddr, place: &Place, http: &http1::Builder) {
        // Answers are small and whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let progress = Arc::clone(&place.progress);
        let stream = CutOff::new(stream, WRITE_STALL, self.stop.clone());
        let wire = Wire::new(stream, Arc::clone(&progress), self.errors.clone());
        let service = hyper::service::service_fn(|request| {
            let routes = if place.is_served() {
                &self.routes
            } else {
                &self.beyond
            };
            Box::pin(answer(
                routes.clone(),
                request,
                (peer, self.proxies.clone()),
                Arc::clone(&progress),
                self.stop.clone(),
            ))
        });
        let mut connection = http.serve_connection(TokioIo::new(wire), service);
        let mut outcome = tokio::select! {
            outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(outcome),
            () = place.give_up.cancelled() => None,
            () = self.stop.cancelled() => None,
        };
        // Somebody else is to have its place among those that were not served anyway.
        let ousted = outcome.is_none() && place.is_beyond() && !self.stop.is_cancelled();
        if outcome.is_none() && !self.stop.is_cancelled() {
            outcome = tokio::select! {
                biased;
                outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(outcome),
                () = tokio::time::sleep(LAST_LOOK) => None,
            };
        }
        if outcome.is_none() {
            if !ousted {
                Pin::new(&mut connection).graceful_shutdown();
            }
            outcome = tokio::select! {
                biased;
                outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => Some(outcome),
                () = nothing_asked(&progress), if ousted => None,
                () = half_sent(&progress), if !ousted => None,
            };
        }
        let timed_out = matches!(&outcome, Some(Err(error)) if error.is_timeout());
        let refusal = match outcome {
            _ if (ousted || timed_out && place.is_beyond()) && !progress.was_asked() => Some(no_place()),
            Some(Ok(())) => None,
            // How a client ends its connection is its own business.
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection ended early");
                refusal(&error, &progress)
            }
            None => {
                tracing::debug!("a connection was closed with half a request");
                None
            }
        };
        let wire = connection.into_parts().io.into_inner();
        self.end(wire, refusal, place, timed_out).await;
    }

    /// Says the last word, and takes what still comes until the client has heard it: beyond those that are served, so that nobody who
    /// wants to be served waits for it. Where there is no room for that, one that has dripped its head is closed.
    async fn end(
        &self,
        mut wire: Wire<CutOff<TcpStream>>,
        refusal: Option<ApiError>,
        place: &Place,
        timed_out: bool,
    ) {
        // Whoever is told something unasked may be about to ask.
        let may_send = place.progress.is_receiving() || refusal.is_some();
        if let Some(error) = refusal {
            wire.refuse(&error);
        }
        if wire.shutdown().await.is_err() || !may_send || wire.has_ended() {
            return;
        }
        place.progress.is_over();
        let aside = place.step_aside();
        if aside.is_none() && timed_out {
            return;
        }
        let give_up = aside.unwrap_or_default();
        let mut patience = Patience::new(LINGER, LINGER_WHEN_STOPPING, &self.stop);
        let mut dropped = vec![0; 16 * 1024];
        let mut left = DROPPED_MAX;
        loop {
            let read = tokio::select! {
                () = &mut patience => return,
                () = give_up.cancelled() => return,
                read = tokio::time::timeout(LINGER_SILENCE, wire.read(&mut dropped)) => read,
            };
            match read {
                Ok(Ok(length)) if length > 0 && length <= left => left -= length,
                Ok(Ok(_) | Err(_)) | Err(_) => return,
            }
        }
    }
}

/// What those are told who find no place.
pub(super) fn no_place() -> ApiError {
    ApiError::TemporaryFailure {
        retry_after: NO_PLACE_RETRY_AFTER,
        cause: Some("all connections are in use (--max-connections)".into()),
    }
}

/// Returns when half a head has come and there was time for the other half; never where there is a request to serve.
async fn half_sent(progress: &Progress) {
    tokio::time::sleep(HALF_SENT).await;
    if !progress.awaits_head() {
        std::future::pending::<()>().await;
    }
}

/// Returns when there was no request; never where there was one, which is answered first.
async fn nothing_asked(progress: &Progress) {
    if progress.was_asked() {
        std::future::pending::<()>().await;
    }
}

/// What to say where the HTTP library has ended a connection without a word.
fn refusal(error: &hyper::Error, progress: &Progress) -> Option<ApiError> {
    if !progress.awaits_head() {
        // Nothing was asked, or it is being answered.
        None
    } else if error.is_timeout() {
        Some(ApiError::RequestTimeout)
    } else {
        error.is_parse().then_some(ApiError::MalformedData)
    }
}

/// Answers one request.
async fn answer(
    routes: Router,
    request: Request<Incoming>,
    (peer, proxies): (SocketAddr, TrustedProxies),
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<http::Response<Answer>, Infallible> {
    progress.begins();
    let (parts, incoming) = request.into_parts();
    let (body, leftover) = if incoming.is_end_stream() {
        progress.is_read();
        (Body::empty(), None)
    } else {
        let leftover = Leftover::new(incoming, &parts.headers, Arc::clone(&progress), stop);
        (Body::new(leftover.body()), Some(leftover))
    };
    let client = proxies.client(peer, &parts.headers);
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(ConnectInfo::<SocketAddr>(client));
    let mut response = routes.oneshot(request).await?;
    let unread = match leftover {
        Some(leftover) if !leftover.is_soon_read().await => Some(leftover),
        Some(_) | None => None,
    };
    if unread.is_some() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Answer::new(body, unread, progress)))
}
