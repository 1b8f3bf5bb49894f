//! Logs to standard error, metrics for `/metrics`.
//!
//! The metrics' names stand here and nowhere else: `counter!(telemetry::COMMANDS_TOTAL, "action" => …,
//! "outcome" => …)`.

mod counters;
mod logs;

pub use counters::Counters;
pub use logs::{Log, LogFormat, LogGuard, init_logs};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::{Mutex, PoisonError};

/// Counter: commands that the ledger decided on, by `action` and `outcome`.
pub const COMMANDS_TOTAL: &str = "archive_ledger_commands_total";
/// Histogram: commands per append transaction.
pub const APPEND_BATCH_SIZE: &str = "archive_ledger_append_batch_size";
/// Histogram: seconds per append transaction, from its begin to its commit.
pub const APPEND_SECONDS: &str = "archive_ledger_append_seconds";
/// Gauge: 1 while the writer can record, else 0.
pub const WRITER_UP: &str = "archive_ledger_writer_up";
/// Gauge: when the writer last recorded something or saw that it could, in seconds since 1970.
pub const WRITER_LAST_SUCCESS_SECONDS: &str = "archive_ledger_writer_last_success_timestamp_seconds";
/// Counter: times that the writer found that it cannot record.
pub const WRITER_FAILURES_TOTAL: &str = "archive_ledger_writer_failures_total";
/// Counter: background tasks that panicked and were started again, by `task`.
pub const TASK_PANICS_TOTAL: &str = "archive_ledger_task_panics_total";
/// Gauge: 1 while a background task (`task`) gets on, 0 while it waits for what failed or is started again.
pub const TASK_UP: &str = "archive_ledger_task_up";
/// Counter: times that a background task failed at something and tried it again, by `task`.
pub const TASK_FAILURES_TOTAL: &str = "archive_ledger_task_failures_total";
/// Gauge: 1 while the machine's clock goes with the time that passes, else 0.
pub const CLOCK_OK: &str = "archive_ledger_clock_ok";
/// Gauge: seconds that the machine's clock is ahead of the database's (behind, where negative), where that decides.
pub const CLOCK_SKEW_SECONDS: &str = "archive_ledger_clock_skew_seconds";
/// Gauge: seconds that the last event is dated ahead of the clock; 0 where it is not.
pub const HEAD_AHEAD_SECONDS: &str = "archive_ledger_head_ahead_seconds";
/// Gauge: 1 while the guard file can be kept, else 0.
pub const GUARD_UP: &str = "archive_ledger_guard_up";
/// Counter: times that the guard file could not be kept.
pub const GUARD_FAILURES_TOTAL: &str = "archive_ledger_guard_failures_total";
/// Histogram: seconds from the recording of the newest event to the checkpoint over it.
pub const CHECKPOINT_LAG_SECONDS: &str = "archive_ledger_checkpoint_lag_seconds";
/// Gauge: 1 while the connection to NATS stands and the server answers on it, else 0.
pub const NATS_UP: &str = "archive_ledger_nats_up";
/// Gauge: positions that are committed and not yet published.
pub const RELAY_LAG_POSITIONS: &str = "archive_ledger_relay_lag_positions";
/// Counter: events that the bus has acknowledged.
pub const RELAY_PUBLISHED_TOTAL: &str = "archive_ledger_relay_published_total";
/// Gauge: seconds for which events have waited and this instance, which leads, has published nothing; 0 while it gets on.
pub const RELAY_STALLED_SECONDS: &str = "archive_ledger_relay_stalled_seconds";
/// Gauge: 1 where this instance is the relay's leader, else 0.
pub const RELAY_LEADER: &str = "archive_ledger_relay_leader";
/// Counter: times that the relay had to find its place in the stream again, by `cause`.
pub const RELAY_RESUMES_TOTAL: &str = "archive_ledger_relay_resumes_total";
/// Counter: events that a consumer has taken, by `consumer` and `via` (`nats`, `log`, `redrive`).
pub const BUS_HANDLED_TOTAL: &str = "archive_ledger_bus_handled_total";
/// Gauge: positions of the log that a consumer which reads the log has not come to yet, by `consumer` and `via` (`log`; `redrive`, which
/// stays half a minute behind on purpose).
pub const CONSUMER_LAG_POSITIONS: &str = "archive_ledger_consumer_lag_positions";
/// Counter: events and messages that a consumer could not take and set aside, by `consumer`.
pub const BUS_PARKED_TOTAL: &str = "archive_ledger_bus_parked_total";
/// Gauge: cleanup jobs by `state`: `due` (now or later), `running`, `failed` (until the purge is asked for again).
pub const CLEANUP_JOBS: &str = "archive_ledger_cleanup_jobs";
/// Counter: objects that the storage cleanup has deleted.
pub const CLEANUP_OBJECTS_TOTAL: &str = "archive_ledger_cleanup_objects_total";
/// Counter: their size, in bytes.
pub const CLEANUP_BYTES_TOTAL: &str = "archive_ledger_cleanup_bytes_total";
/// Gauge: 1 while a local storage root (`root`, its number among those configured, as anybody may read it) is there and the one that it was, 0 while it is not.
pub const STORAGE_ROOT_AVAILABLE: &str = "archive_ledger_storage_root_available";
/// Gauge: callback deliveries by `state` (`due`, `dead`).
pub const CALLBACK_DELIVERIES: &str = "archive_ledger_callback_deliveries";
/// Gauge: seconds that the callback which waits the longest is overdue.
pub const CALLBACK_OLDEST_DUE_SECONDS: &str = "archive_ledger_callback_oldest_due_seconds";
/// Gauge: receivers of callbacks that this instance leaves alone because they do not answer.
pub const CALLBACK_OPEN_CIRCUITS: &str = "archive_ledger_callback_open_circuits";
/// Counter: callback attempts by `outcome` (`delivered`, `refused`: another status than 2xx, `unreachable`: no status).
pub const CALLBACK_ATTEMPTS_TOTAL: &str = "archive_ledger_callback_attempts_total";
/// Gauge: streams of events (`GET /api/events`) that this instance serves.
pub const EVENT_STREAMS: &str = "archive_ledger_event_streams";
/// Counter: sealed details that were asked for and could not be opened.
pub const UNREADABLE_TOTAL: &str = "archive_ledger_unreadable_total";
/// Gauge: 1 where the key set for tokens (`--jwks`) was had when last asked for, else 0.
pub const JWKS_UP: &str = "archive_ledger_jwks_up";
/// Gauge: other instances that are set up differently, by `what` must be the same.
pub const INSTANCES_DIFFER: &str = "archive_ledger_instances_differ";
/// Counter: log lines that standard error did not take.
pub const LOG_LINES_LOST_TOTAL: &str = "archive_ledger_log_lines_lost_total";
/// Counter: answered requests by `method`, `route` (the pattern, never the path) and `status`.
pub const HTTP_REQUESTS_TOTAL: &str = "archive_ledger_http_requests_total";
/// Histogram: seconds from a request's head to its answer's head.
pub const HTTP_REQUEST_SECONDS: &str = "archive_ledger_http_request_seconds";

/// Bounds of the batch sizes; the largest is the default of `--max-batch` and one step more.
const BATCH_BUCKETS: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];

/// Bounds of durations in seconds: from an append on a fast disk to the longest request that anybody waits
/// for.
const SECONDS_BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.5, 5.0, 10.0,
];

/// Why logs or metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none; the configuration checks it, so only a `Log` made by hand gets here.
    #[error("--log: the filter cannot be used")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The process has a log subscriber already.
    #[error("logging is set up already")]
    Subscriber(#[source] tracing_subscriber::util::TryInitError),
    /// The process has another metrics recorder already.
    #[error("cannot install the metrics recorder")]
    Recorder(#[source] BuildError),
}

/// Lets a panic tell the log where it happened and nothing else: its message may quote the data that was worked on.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic.location = location, "panicked at {location}");
    }));
}

/// The process's metrics.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// The recorder of the process, installed and described at the first call; every call gives the same one,
    /// so that tests may run several services in one process.
    ///
    /// # Errors
    /// [`TelemetryError::Recorder`] when something else has installed a recorder.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = &*installed {
            return Ok(metrics.clone());
        }
        let metrics = Self(
            builder()
                .and_then(PrometheusBuilder::install_recorder)
                .map_err(TelemetryError::Recorder)?,
        );
        describe();
        Ok(installed.insert(metrics).clone())
    }

    /// All metrics in Prometheus's text format 0.0.4 (`Content-Type: text/plain; version=0.0.4`).
    #[must_use]
    pub fn render(&self) -> String {
        logs::count_lost();
        self.0.render()
    }

    /// Folds what histograms have collected since the last call or rendering: call it every few seconds, or
    /// what they hold grows as long as nobody reads `/metrics`.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(APPEND_BATCH_SIZE.to_owned()), &BATCH_BUCKETS)
}

fn describe() {
    describe_counter!(
        COMMANDS_TOTAL,
        "Commands that the ledger decided on, by action and outcome"
    );
    describe_histogram!(APPEND_BATCH_SIZE, Unit::Count, "Commands per append transaction");
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "Duration of an append transaction");
    describe_gauge!(WRITER_UP, "Whether the writer can record");
    describe_gauge!(
        WRITER_LAST_SUCCESS_SECONDS,
        Unit::Seconds,
        "When the writer last recorded something or saw that it could"
    );
    describe_counter!(
        WRITER_FAILURES_TOTAL,
        "Times that the writer found that it cannot record"
    );
    describe_counter!(
        TASK_PANICS_TOTAL,
        "Background tasks that panicked and were started again"
    );
    describe_gauge!(
        NATS_UP,
        "Whether the connection to NATS stands and the server answers on it"
    );
    describe_gauge!(
        TASK_UP,
        "Whether a background task gets on, and neither waits for what failed nor is started again"
    );
    describe_counter!(
        TASK_FAILURES_TOTAL,
        "Times that a background task failed at something and tried it again"
    );
    describe_gauge!(
        CLOCK_OK,
        "Whether the machine's clock goes with the time that passes"
    );
    describe_gauge!(
        CLOCK_SKEW_SECONDS,
        Unit::Seconds,
        "How far the machine's clock is ahead of the database's, which decides"
    );
    describe_gauge!(
        HEAD_AHEAD_SECONDS,
        Unit::Seconds,
        "How far the last event is dated ahead of the clock"
    );
    describe_gauge!(GUARD_UP, "Whether the guard file can be kept");
    describe_counter!(
        GUARD_FAILURES_TOTAL,
        "Times that the guard file could not be kept"
    );
    describe_histogram!(
        CHECKPOINT_LAG_SECONDS,
        Unit::Seconds,
        "Time from the newest event to the checkpoint over it"
    );
    describe_gauge!(
        RELAY_LAG_POSITIONS,
        "Committed positions that are not yet published"
    );
    describe_counter!(RELAY_PUBLISHED_TOTAL, "Events that the bus has acknowledged");
    describe_gauge!(
        RELAY_STALLED_SECONDS,
        Unit::Seconds,
        "How long events have waited while nothing was published"
    );
    describe_gauge!(RELAY_LEADER, "Whether this instance publishes the log");
    describe_counter!(
        RELAY_RESUMES_TOTAL,
        "Times that the relay looked for its place in the stream, by cause"
    );
    describe_counter!(
        BUS_HANDLED_TOTAL,
        "Events that a consumer has taken, by consumer and way"
    );
    describe_gauge!(
        CONSUMER_LAG_POSITIONS,
        "Positions that a consumer of the log has not come to yet"
    );
    describe_counter!(BUS_PARKED_TOTAL, "Events and messages that a consumer set aside");
    describe_gauge!(CLEANUP_JOBS, "Cleanup jobs by state");
    describe_counter!(
        CLEANUP_OBJECTS_TOTAL,
        Unit::Count,
        "Objects that the storage cleanup has deleted"
    );
    describe_counter!(
        CLEANUP_BYTES_TOTAL,
        Unit::Bytes,
        "Bytes that the storage cleanup has deleted"
    );
    describe_gauge!(
        STORAGE_ROOT_AVAILABLE,
        "Whether a local storage root is there and the one that it was"
    );
    describe_gauge!(CALLBACK_DELIVERIES, "Callback deliveries by state");
    describe_gauge!(
        CALLBACK_OLDEST_DUE_SECONDS,
        Unit::Seconds,
        "How long the callback that waits the longest is overdue"
    );
    describe_gauge!(
        CALLBACK_OPEN_CIRCUITS,
        "Receivers of callbacks that are left alone because they do not answer"
    );
    describe_counter!(CALLBACK_ATTEMPTS_TOTAL, "Callback attempts by outcome");
    describe_gauge!(JWKS_UP, "Whether the key set for tokens can be had");
    describe_gauge!(EVENT_STREAMS, "Streams of events that are open");
    describe_gauge!(
        INSTANCES_DIFFER,
        "Other instances that are set up differently, by what must be the same"
    );
    describe_counter!(LOG_LINES_LOST_TOTAL, "Log lines that standard error did not take");
    describe_counter!(
        UNREADABLE_TOTAL,
        "Sealed details that were asked for and could not be opened"
    );
    describe_counter!(
        HTTP_REQUESTS_TOTAL,
        "Answered requests by method, route and status"
    );
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "Time to the answer's head");
}

/// An error and its causes in one line, for the log.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_descriptions_and_buckets() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(COMMANDS_TOTAL, "action" => "purge", "outcome" => "accepted").increment(2);
            metrics::histogram!(APPEND_BATCH_SIZE).record(3.0);
            metrics::histogram!(APPEND_SECONDS).record(0.003);
        });
        metrics.upkeep();
        let text = metrics.render();
        for line in [
            "# HELP archive_ledger_commands_total Commands that the ledger decided on, by action and outcome",
            "archive_ledger_commands_total{action=\"purge\",outcome=\"accepted\"} 2",
            "archive_ledger_append_batch_size_bucket{le=\"4\"} 1",
            "archive_ledger_append_seconds_bucket{le=\"0.002\"} 0",
            "archive_ledger_append_seconds_bucket{le=\"0.004\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_recorder_is_installed_once_and_shared() {
        Metrics::install().unwrap();
        Metrics::install().unwrap();
    }
}
