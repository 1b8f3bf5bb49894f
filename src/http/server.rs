//! Accepts connections, and lets those under way finish when the service stops.

use super::stall::CutOff;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The pause after a failed accept: the process may be out of file descriptors for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a write to a client may make no progress before the connection is ended: what is held for it would be held for
/// ever otherwise.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// Serves until `stop` is cancelled; then connections under way have `grace` to finish.
///
/// A request's head may take `head_timeout` to arrive, so that idle and dripping connections do not pile up.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    head_timeout: Duration,
    stop: CancellationToken,
    grace: Duration,
) {
    let graceful = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        // Answers are small and whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let stream = CutOff::new(stream, WRITE_STALL, stop.clone());
        let routes = routes.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer));
            routes.clone().oneshot(request)
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        // Owned by `graceful`, which waits for it below. How a client ends its connection is its own business.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut off at the end of the shutdown grace");
    }
}
