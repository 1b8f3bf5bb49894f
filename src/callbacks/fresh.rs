//! Whether an exchange had a connection of its own, or one that stood idle in the pool.
//!
//! A server may close an idle connection at any time, also at the moment in which a request is written to it. The request then
//! fails without having been read, which says nothing of the receiver: it is made again, on a fresh connection. HTTP clients do
//! not tell which connection they used, so the connector tells when one was made.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::{Layer, Service};

tokio::task_local! {
    static CONNECTED: Cell<bool>;
}

/// Runs an exchange, and says beside its outcome whether a connection was made for it. One that was begun for it and came to
/// another exchange does not count, as the pool finishes it elsewhere.
pub(super) async fn watch<T>(exchange: impl Future<Output = T>) -> (T, bool) {
    CONNECTED
        .scope(Cell::new(false), async {
            let outcome = exchange.await;
            (outcome, CONNECTED.with(Cell::get))
        })
        .await
}

/// Makes a connector tell of the connections that it makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling;

/// A connector that tells.
#[derive(Debug, Clone)]
pub(super) struct TellingConnector<S>(S);

impl<S> Layer<S> for Telling {
    type Service = TellingConnector<S>;

    fn layer(&self, connector: S) -> Self::Service {
        TellingConnector(connector)
    }
}

impl<S, R> Service<R> for TellingConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        Box::pin(async move {
            let connection = connecting.await;
            if connection.is_ok() {
                // Outside of an exchange, the pool finishes what nobody waits for any more.
                CONNECTED.try_with(|connected| connected.set(true)).ok();
            }
            connection
        })
    }
}
