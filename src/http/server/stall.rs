//! Ends connections to clients that have stopped reading.
//!
//! What is under way to a client waits in memory until it is written. hyper has no limit for how long; this is it. A slow
//! client is served for as long as it takes anything at all.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The same once the service stops: a client that reads nothing must not hold up its end.
const STALL_WHEN_STOPPING: Duration = Duration::from_secs(1);

/// A time to wait for, which is shorter once the service stops.
#[derive(Debug)]
pub struct Patience {
    end: Pin<Box<Sleep>>,
    when_stopping: Duration,
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Patience {
    /// From now on for `limit`; for `when_stopping` at the most once `stop` is cancelled.
    pub fn new(limit: Duration, when_stopping: Duration, stop: &CancellationToken) -> Self {
        Self {
            end: Box::pin(tokio::time::sleep(limit)),
            when_stopping,
            stopped: Some(Box::pin(stop.clone().cancelled_owned())),
        }
    }
}

impl Future for Patience {
    type Output = ();

    /// Ready when the time is up.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(stopped) = &mut this.stopped
            && stopped.as_mut().poll(cx).is_ready()
        {
            this.stopped = None;
            let sooner = Instant::now() + this.when_stopping;
            let end = this.end.deadline().min(sooner);
            this.end.as_mut().reset(end);
        }
        this.end.as_mut().poll(cx)
    }
}

/// A connection whose writes fail with [`io::ErrorKind::TimedOut`] after a time without progress.
#[derive(Debug)]
pub struct CutOff<S> {
    inner: S,
    limit: Duration,
    stop: CancellationToken,
    stalled: Option<Patience>,
}

impl<S> CutOff<S> {
    /// Lets writes to `inner` wait for `limit`; for a second at the most once `stop` is cancelled.
    pub const fn new(inner: S, limit: Duration, stop: CancellationToken) -> Self {
        Self {
            inner,
            limit,
            stop,
            stalled: None,
        }
    }

    fn check<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = || Patience::new(self.limit, STALL_WHEN_STOPPING, &self.stop);
        match Pin::new(self.stalled.get_or_insert_with(patience)).poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CutOff<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CutOff<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.check(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMIT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_cut_off() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut ours = CutOff::new(ours, LIMIT, CancellationToken::new());
        let error = ours.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_served_for_as_long_as_it_takes() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = CutOff::new(ours, LIMIT, CancellationToken::new());
        let writing = tokio::spawn(async move { ours.write_all(&[7; 160]).await });
        let mut read = Vec::new();
        let mut piece = [0; 16];
        while read.len() < 160 {
            tokio::time::sleep(LIMIT / 4).await;
            let count = theirs.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..count]);
        }
        assert!(writing.await.unwrap().is_ok());
        assert_eq!(read, [7; 160]);
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_does_not_hold_up_the_end_of_the_service() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let stop = CancellationToken::new();
        let mut ours = CutOff::new(ours, Duration::from_secs(3600), stop.clone());
        let writing = tokio::spawn(async move { ours.write_all(&[0; 100]).await });
        tokio::time::sleep(LIMIT).await;
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), writing).await;
        assert!(ended.unwrap().unwrap().is_err());
    }
}
