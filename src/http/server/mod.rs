//! Accepts connections, and lets those under way finish when the service stops.
//!
//! `server/places.rs` says who has a place; `server/connection.rs` serves one connection, from its first request to its end;
//! `server/request_body.rs` reads what a handler left of a request; `server/wire.rs` is the socket below the HTTP library.

mod connection;
mod crowd;
pub mod forwarded;
mod places;
mod request_body;
mod stall;
mod wire;

pub use places::Places;

use crate::http::answer::envelope::{AlreadyTold, ErrorContext};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use connection::Connections;
use crowd::Crowd;
use forwarded::TrustedProxies;
use places::Open;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections may wait to be accepted; the system may allow fewer (`net.core.somaxconn`). Whoever comes beyond them is
/// not heard for a second or more.
const BACKLOG: u32 = 4096;

/// The pause after a failed accept: the process may be out of file descriptors for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The pause where there is no place for a caller, not even to be told so: those that are being ended leave theirs meanwhile.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// Listens at an address.
///
/// # Errors
/// [`io::Error`], what the system says.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A service that is started again need not wait for its last connections' ends.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The answer to a caller for whom there is no place. The log is told how many there are, once a second.
#[must_use]
pub fn no_place() -> Response {
    static CROWD: Crowd = Crowd::new();
    if let Some(callers) = CROWD.note() {
        tracing::error!(
            callers,
            "all connections are in use (--max-connections): {callers} requests found no place since this was said last"
        );
    }
    (Extension(AlreadyTold), connection::no_place()).into_response()
}

/// What a server serves, and within which bounds.
#[derive(Debug)]
pub struct Service {
    /// The routes.
    pub routes: Router,
    /// What those are answered for whom there is no place.
    pub beyond: Router,
    /// How many there are.
    pub places: Places,
    /// How what is refused before a route sees it is answered.
    pub errors: ErrorContext,
    /// Who may say for whom it asks.
    pub proxies: TrustedProxies,
    /// The longest head of a request, in bytes, 8 KiB at the least: as much as a connection keeps for what comes.
    pub head_max: usize,
    /// How long a request's head may take to arrive, so that idle and dripping connections do not pile up.
    pub head_timeout: Duration,
}

/// Serves until `stop` is cancelled; then requests that have been read have `grace` to finish, and those that have come half
/// are closed at once. A connection that cannot be accepted ends nothing.
pub async fn serve(listener: TcpListener, service: Service, stop: CancellationToken, grace: Duration) {
    let routes = (service.routes, service.beyond);
    let connections = Arc::new(Connections::new(
        routes,
        service.errors,
        service.proxies,
        (service.head_max, service.head_timeout),
        stop.clone(),
    ));
    let (open, running) = (Open::new(service.places), TaskTracker::new());
    let mut failing = false;
    'accepting: loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer): (TcpStream, SocketAddr) = match accepted {
            Ok(accepted) => {
                failing = false;
                accepted
            }
            // The caller has gone: the next one may be there.
            Err(error) if is_the_callers(&error) => continue,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                failing = true;
                open.end_one();
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                    () = stop.cancelled() => break,
                }
            }
        };
        let place = loop {
            if let Some(place) = open.take() {
                break place;
            }
            tokio::select! {
                () = tokio::time::sleep(FULL_PAUSE) => {}
                () = stop.cancelled() => break 'accepting,
            }
        };
        let connections = Arc::clone(&connections);
        // Owned by `running`, which is waited for below.
        running.spawn(async move { connections.serve(stream, peer, place).await });
    }
    drop(listener);
    running.close();
    if tokio::time::timeout(grace, running.wait()).await.is_err() {
        tracing::warn!("connections were cut off at the end of the shutdown grace");
    }
}

/// Whether a failed accept says something of one caller, and nothing of the next.
fn is_the_callers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
    )
}
