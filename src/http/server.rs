//! Accepts connections, and lets those under way finish when the service stops.
//!
//! `server/connection.rs` serves one connection, from its first request to its end; `server/request_body.rs` reads what a
//! handler left of a request; `server/wire.rs` is the socket below the HTTP library.

mod connection;
mod request_body;
mod wire;

use super::envelope::ErrorContext;
use axum::Router;
use connection::Connections;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The pause after a failed accept: the process may be out of file descriptors for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is cancelled; then requests that have been read have `grace` to finish, and those that have come half
/// are closed at once.
///
/// A request's head may take `head_timeout` to arrive, so that idle and dripping connections do not pile up. What is refused
/// before a route sees it is answered as `errors` says.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    errors: ErrorContext,
    head_timeout: Duration,
    stop: CancellationToken,
    grace: Duration,
) {
    let connections = Arc::new(Connections::new(routes, errors, head_timeout, stop.clone()));
    let open = TaskTracker::new();
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
        let connections = Arc::clone(&connections);
        // Owned by `open`, which waits for it below.
        open.spawn(async move { connections.serve(stream, peer).await });
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(grace, open.wait()).await.is_err() {
        tracing::warn!("connections were cut off at the end of the shutdown grace");
    }
}
