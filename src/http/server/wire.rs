//! The socket below the HTTP library: sees how far requests have come, and puts the library's own refusals in our words.

use crate::http::answer::envelope::ErrorContext;
use crate::http::answer::error::ApiError;
use crate::http::answer::request_id::X_REQUEST_ID;
use crate::telemetry;
use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use uuid::Uuid;

/// The longest head that the library writes for an answer of its own.
const BARE_MAX: usize = 256;

/// How far the requests of a connection have come.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// When the last request was answered, in milliseconds since then; 0 where there was none.
    answered: AtomicU64,
    /// Something has come since the last request was read to its end.
    receiving: AtomicBool,
    /// A request's head was read, and it is not answered yet.
    serving: AtomicBool,
    /// There was a request.
    asked: AtomicBool,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            answered: AtomicU64::new(0),
            receiving: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            asked: AtomicBool::new(false),
        }
    }
}

impl Progress {
    /// Something has come.
    pub(super) fn has_come(&self) {
        self.receiving.store(true, Ordering::Relaxed);
    }

    /// A request's head has been read.
    pub(super) fn begins(&self) {
        self.serving.store(true, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
    }

    /// The request has been read to its end.
    pub(super) fn is_read(&self) {
        self.receiving.store(false, Ordering::Relaxed);
    }

    /// The request is answered, and another one may follow.
    pub(super) fn is_answered(&self) {
        let after = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered.store(after, Ordering::Relaxed);
        self.serving.store(false, Ordering::Relaxed);
    }

    /// Nothing is answered any more.
    pub(super) fn is_over(&self) {
        self.serving.store(false, Ordering::Relaxed);
    }

    /// Whether a request is to be answered.
    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    /// Whether there was a request.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether a part of a request has come, and not all of it.
    pub(super) fn is_receiving(&self) -> bool {
        self.receiving.load(Ordering::Relaxed)
    }

    /// For how long the connection has been there.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Since when nothing has come and nothing is to be answered; `None` while something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let busy = self.is_receiving() || self.is_serving();
        let answered = Duration::from_millis(self.answered.load(Ordering::Relaxed));
        (!busy).then(|| self.began + answered)
    }

    /// Whether that is a part of its head.
    pub(super) fn awaits_head(&self) -> bool {
        self.is_receiving() && !self.is_serving()
    }
}

/// A connection as the HTTP library sees it.
pub(super) struct Wire<S> {
    inner: S,
    progress: Arc<Progress>,
    errors: ErrorContext,
    /// Whether what came last begins like a request without a body in its answer.
    head_only: bool,
    /// A refusal in our words, as far as it is not written.
    refusal: Bytes,
    refused: bool,
    /// The client sends no more.
    ended: bool,
}

impl<S> Wire<S> {
    pub(super) fn new(inner: S, progress: Arc<Progress>, errors: ErrorContext) -> Self {
        Self {
            inner,
            progress,
            errors,
            head_only: false,
            refusal: Bytes::new(),
            refused: false,
            ended: false,
        }
    }

    /// Whether its client has said that it sends no more, or has gone.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Answers with `error`, unless something was refused already.
    pub(super) fn refuse(&mut self, error: &ApiError) {
        if std::mem::replace(&mut self.refused, true) {
            return;
        }
        let status = error.describe(Uuid::nil()).status.as_str().to_owned();
        metrics::counter!(
            telemetry::HTTP_REQUESTS_TOTAL,
            "method" => "other", "route" => "unknown", "status" => status
        )
        .increment(1);
        self.refusal = self.errors.message(error, self.head_only).into();
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The error that an answer stands for which the HTTP library made without asking anybody: every answer of ours carries a
/// request's id.
fn bare(answer: &[u8]) -> Option<ApiError> {
    let head = answer
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    let error = match head.get(..4)? {
        b"400 " => ApiError::MalformedData,
        b"414 " => ApiError::UriTooLong,
        b"431 " => ApiError::HeadTooLarge,
        _ => return None,
    };
    let name = X_REQUEST_ID;
    let id = name.as_str().as_bytes();
    let ours = answer.len() > BARE_MAX || answer.windows(id.len()).any(|window| window == id);
    (!ours).then_some(error)
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        let new = &buf.filled()[before..];
        if new.is_empty() {
            this.ended |= read.is_ready() && room > 0;
        } else {
            if !this.progress.is_receiving() {
                this.head_only = new.starts_with(b"HEAD ");
            }
            this.progress.has_come();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        if let Some(error) = bare(bytes) {
            this.refuse(&error);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(error) = first.and_then(|slice| bare(slice)) {
            this.refuse(&error);
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut this.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn an_answer_without_a_requests_id_is_the_librarys() {
        for (head, told) in [
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", 400),
            ("HTTP/1.0 400 Bad Request\r\ncontent-length: 0\r\n\r\n", 400),
            ("HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\n\r\n", 414),
            (
                "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n",
                431,
            ),
        ] {
            let error = bare(head.as_bytes()).unwrap();
            assert_eq!(error.describe(uuid::Uuid::nil()).status.as_u16(), told, "{head}");
        }
        for head in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "400 ",
            "",
        ] {
            assert!(bare(head.as_bytes()).is_none(), "{head}");
        }
    }
}
