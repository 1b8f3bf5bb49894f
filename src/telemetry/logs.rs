//! Log lines to standard error: best effort, whatever becomes of them.
//!
//! A log that is full, closed or read by nobody must not stop what it tells of. Lines go through a bounded queue to a thread of
//! their own, so that a pipe that nobody reads delays nothing; those that the queue or the stream cannot take are counted
//! ([`LOG_LINES_LOST_TOTAL`]) and forgotten.

use super::{LOG_LINES_LOST_TOTAL, TelemetryError};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Logging.
#[derive(Debug, Clone)]
pub struct Log {
    /// A filter that `tracing_subscriber::EnvFilter` accepts.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Lines that wait for a slow standard error, at the most: some megabytes.
const QUEUED_LINES: usize = 8_192;

/// Lines that standard error did not take.
static REFUSED: AtomicU64 = AtomicU64::new(0);
/// Lines that found the queue full.
static OVERFLOWN: OnceLock<ErrorCounter> = OnceLock::new();

/// How long the end of the process waits for the lines that are queued.
const WRITTEN_OUT: Duration = Duration::from_millis(1_500);

/// Writes out the lines that wait when it is dropped, unless that takes longer than a second and a half.
#[must_use = "log lines are lost when it is dropped"]
#[derive(Debug)]
pub struct LogGuard(Option<WorkerGuard>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        let (tell, told) = mpsc::channel();
        // Where the queue stays full, the library says so on standard output, which may be the pipe that nobody reads.
        let ending = thread::Builder::new().spawn(move || {
            drop(guard);
            let _ = tell.send(());
        });
        if ending.is_ok() {
            let _ = told.recv_timeout(WRITTEN_OUT);
        }
    }
}

/// Sends the process's logs to standard error; once per process.
///
/// # Errors
/// [`TelemetryError::Filter`], [`TelemetryError::Subscriber`].
pub fn init_logs(log: &Log) -> Result<LogGuard, TelemetryError> {
    let mut filter = EnvFilter::try_new(&log.filter).map_err(TelemetryError::Filter)?;
    // It would tell at each attempt of each waiting task what the service tells once.
    if !log.filter.contains("sqlx_core")
        && let Ok(quiet) = "sqlx_core::pool=off".parse()
    {
        filter = filter.add_directive(quiet);
    }
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUED_LINES)
        .thread_name("log")
        .finish(Lenient(io::stderr()));
    let _ = OVERFLOWN.set(lines.error_counter());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        // It would print to standard error that standard error cannot be printed to, and panic at that.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).finish().try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(TelemetryError::Subscriber)?;
    Ok(LogGuard(Some(guard)))
}

/// Brings the counter of lost lines up to date.
pub(super) fn count_lost() {
    let overflown = OVERFLOWN.get().map_or(0, ErrorCounter::dropped_lines);
    let overflown = u64::try_from(overflown).unwrap_or(u64::MAX);
    let refused = REFUSED.load(Ordering::Relaxed);
    metrics::counter!(LOG_LINES_LOST_TOTAL).absolute(refused.saturating_add(overflown));
}

/// A stream whose errors are counted instead of told: the thread that writes would end at the first.
struct Lenient<W>(W);

impl<W: Write> Write for Lenient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line is handed over whole. Of one that was begun the rest is lost with it.
        if self.0.write_all(line).is_err() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_takes_nothing_is_no_error_and_its_lines_are_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let before = REFUSED.load(Ordering::Relaxed);
        let mut stream = Lenient(Full);
        assert_eq!(stream.write(b"one line\n").unwrap(), 9);
        stream.flush().unwrap();
        assert_eq!(REFUSED.load(Ordering::Relaxed), before + 1);
    }
}
