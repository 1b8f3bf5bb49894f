//! A request's body, which belongs to its handler and to whoever reads what the handler left of it.

use super::stall::Patience;
use super::wire::Progress;
use crate::http::request::body::CutShort;
use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a request that has come half may take to come whole once the service stops.
pub(super) const HALF_SENT: Duration = Duration::from_millis(500);

/// How much of what nobody reads is read and dropped for a client that is still sending, in bytes: as much as the largest body
/// that can be configured.
pub(super) const DROPPED_MAX: usize = 64 << 20;

/// How long an answer waits for the rest of its request: what is on its way comes in less, and the connection stays.
const SOON: Duration = Duration::from_millis(100);

/// Longer than any body may take.
const NO_LIMIT: Duration = Duration::from_hours(24);

/// A request's body as far as it was not read yet.
pub(super) struct Leftover(Arc<Mutex<Rest>>);

struct Rest {
    incoming: Incoming,
    /// Whether the client sends its body only when it is asked to, and was not asked yet.
    waits: bool,
    end: Option<End>,
    dropped: usize,
    progress: Arc<Progress>,
    patience: Option<Patience>,
    stop: CancellationToken,
}

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Read,
    Broken,
}

impl Leftover {
    pub(super) fn new(
        incoming: Incoming,
        headers: &HeaderMap,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Mutex::new(Rest {
            incoming,
            waits: headers.contains_key(EXPECT),
            end: None,
            dropped: 0,
            progress,
            patience: None,
            stop,
        })))
    }

    /// The body for the handler.
    pub(super) fn body(&self) -> RequestBody {
        RequestBody(Self(Arc::clone(&self.0)))
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and drops what is left; whether the end was reached before an answer has to wait for it.
    pub(super) async fn is_soon_read(&self) -> bool {
        let reading = poll_fn(|cx| self.rest().poll_drop(cx));
        tokio::time::timeout(SOON, reading).await.unwrap_or(false)
    }
}

impl Rest {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        self.waits = false;
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Some(Ok(frame)),
            Poll::Ready(Some(Err(error))) => Some(Err(CutShort::Broken(error))),
            Poll::Ready(None) => None,
            Poll::Pending => {
                let patience = || Patience::new(NO_LIMIT, HALF_SENT, &self.stop);
                ready!(Pin::new(self.patience.get_or_insert_with(patience)).poll(cx));
                Some(Err(CutShort::Stopping))
            }
        };
        if let Some(Err(_)) = frame {
            self.end = Some(End::Broken);
        } else if frame.is_none() || self.incoming.is_end_stream() {
            self.end = Some(End::Read);
            self.progress.is_read();
        }
        Poll::Ready(frame)
    }

    /// Reads and drops; ready when there is no more to read, or no more is read: whether that is the end.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.end.is_none() {
            // To ask for it in order to drop it would be odd.
            if self.waits || self.dropped > DROPPED_MAX {
                return Poll::Ready(false);
            }
            if let Some(Ok(frame)) = ready!(self.poll_frame(cx)) {
                self.dropped += frame.data_ref().map_or(0, Bytes::len);
            }
        }
        Poll::Ready(self.end == Some(End::Read))
    }
}

/// A request's body as its handler has it.
pub(super) struct RequestBody(Leftover);

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        self.0.rest().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.rest().incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.rest().incoming.size_hint()
    }
}

/// An answer's body. While it is sent, what is left of the request is read and dropped beside it.
pub(super) struct Answer {
    body: Body,
    unread: Option<Leftover>,
    /// Whether the connection ends with it.
    is_last: bool,
    progress: Arc<Progress>,
}

impl Answer {
    pub(super) const fn new(body: Body, unread: Option<Leftover>, progress: Arc<Progress>) -> Self {
        Self {
            body,
            is_last: unread.is_some(),
            unread,
            progress,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.is_last {
            self.progress.is_answered();
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let over = this
            .unread
            .as_ref()
            .is_some_and(|unread| unread.rest().poll_drop(cx).is_ready());
        if over {
            this.unread = None;
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
