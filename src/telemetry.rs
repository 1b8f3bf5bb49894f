//! Logs to standard error, metrics for `/metrics`.
//!
//! The metrics' names stand in `catalogue.rs` and nowhere else: `counter!(telemetry::COMMANDS_TOTAL, "action" => …,
//! "outcome" => …)`.

mod build;
mod catalogue;
mod counters;
mod logs;
mod process;

pub use build::{COMMIT, VERSION, VERSION_AND_COMMIT};
pub use catalogue::*;
pub use counters::Counters;
pub use logs::{Log, LogFormat, LogGuard, init_logs};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::{Mutex, PoisonError};

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
    /// The recorder of the process, installed at the first call, with every metric that is known by then; every call gives the same one,
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
        catalogue::describe();
        Ok(installed.insert(metrics).clone())
    }

    /// All metrics in Prometheus's text format 0.0.4 (`Content-Type: text/plain; version=0.0.4`).
    #[must_use]
    pub fn render(&self) -> String {
        logs::count_lost();
        let mut text = self.0.render();
        process::render(&mut text);
        text
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
            catalogue::describe();
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
