//! Every metric: its name, what it is, its labels, and what it shows before anything has happened.
//!
//! A metric has its place here and nowhere else; `docs/OPERATIONS.md` lists them all, which a test compares.

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// What a metric's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// How values are spread.
    Histogram,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
    /// Its labels, each with the values that it can have; none where they depend on what runs.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// Its value at the start; none where whoever knows its labels' values, or measures it, sets it.
    start: Option<f64>,
}

/// Every metric and a constant for its name.
macro_rules! catalogue {
    ($($constant:ident = $name:literal, $kind:ident, [$($label:literal: $values:expr),*], $start:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: &str = $name;
        )*

        /// Every metric that the service has.
        pub const CATALOGUE: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            help: $help,
            labels: &[$(($label, $values)),*],
            start: $start,
        }),*];
    };
}

/// Of labels whose values depend on what runs.
const ANY: &[&str] = &[];
const ACTIONS: &[&str] = &[
    "register",
    "soft_delete",
    "restore",
    "purge",
    "record_cleanup",
    "force_purge",
];
const OUTCOMES: &[&str] = &[
    "recorded",
    "rejected",
    "version_mismatch",
    "idempotency_conflict",
    "overloaded",
    "unavailable",
    "failed",
];
const CONSUMERS: &[&str] = &["storage-cleanup", "callbacks"];
const SHARED: &[&str] = &[
    "callback_secret",
    "jwt_secret",
    "token_issuer",
    "keyring",
    "guard",
    "service",
    "storage_endpoints",
    "callbacks",
];

catalogue! {
    BUILD_INFO = "archive_ledger_build_info", Gauge, ["version": ANY, "commit": ANY], None,
        "1, with the version and the commit that the service was built from (an empty commit where the build did not know it)";
    COMMANDS_TOTAL = "archive_ledger_commands_total", Counter, ["action": ACTIONS, "outcome": OUTCOMES], Some(0.0),
        "Commands that the ledger decided on, by action and outcome";
    APPEND_BATCH_SIZE = "archive_ledger_append_batch_size", Histogram, [], Some(0.0),
        "Commands per append transaction";
    APPEND_SECONDS = "archive_ledger_append_seconds", Histogram, [], Some(0.0),
        "Duration of an append transaction, from its begin to its commit";
    WRITER_UP = "archive_ledger_writer_up", Gauge, [], Some(0.0),
        "1 while the writer can record, else 0";
    WRITER_LAST_SUCCESS_SECONDS = "archive_ledger_writer_last_success_timestamp_seconds", Gauge, [], Some(0.0),
        "When the writer last recorded something or saw that it could, in seconds since 1970; 0 before the first time";
    WRITER_FAILURES_TOTAL = "archive_ledger_writer_failures_total", Counter, [], Some(0.0),
        "Times that the writer found that it cannot record";
    TASK_UP = "archive_ledger_task_up", Gauge, ["task": ANY], None,
        "1 while a background task gets on, 0 while it waits for what failed or is started again";
    TASK_FAILURES_TOTAL = "archive_ledger_task_failures_total", Counter, ["task": ANY], None,
        "Times that a background task failed at something and tried it again";
    TASK_PANICS_TOTAL = "archive_ledger_task_panics_total", Counter, ["task": ANY], None,
        "Times that a background task panicked and was started again";
    CLOCK_OK = "archive_ledger_clock_ok", Gauge, [], Some(1.0),
        "1 while the clock goes with the time that passes, else 0";
    CLOCK_SKEW_SECONDS = "archive_ledger_clock_skew_seconds", Gauge, [], Some(0.0),
        "How far the machine's clock is ahead of the database's (behind, where negative), where that decides; 0 where it does not";
    HEAD_AHEAD_SECONDS = "archive_ledger_head_ahead_seconds", Gauge, [], Some(0.0),
        "How far the last event is dated ahead of the clock; 0 where it is not";
    GUARD_UP = "archive_ledger_guard_up", Gauge, [], Some(1.0),
        "1 while the guard file can be kept, else 0";
    GUARD_FAILURES_TOTAL = "archive_ledger_guard_failures_total", Counter, [], Some(0.0),
        "Times that the guard file could not be kept";
    CHECKPOINT_LAG_SECONDS = "archive_ledger_checkpoint_lag_seconds", Histogram, [], Some(0.0),
        "Time from the recording of the newest event to the checkpoint over it";
    NATS_UP = "archive_ledger_nats_up", Gauge, [], Some(1.0),
        "1 while the connection to NATS stands and the server answers on it, else 0; 1 without --nats-url";
    RELAY_LAG_POSITIONS = "archive_ledger_relay_lag_positions", Gauge, [], Some(0.0),
        "Positions that are committed and not yet published";
    RELAY_PUBLISHED_TOTAL = "archive_ledger_relay_published_total", Counter, [], Some(0.0),
        "Events that the bus has acknowledged";
    RELAY_STALLED_SECONDS = "archive_ledger_relay_stalled_seconds", Gauge, [], Some(0.0),
        "How long events have waited while this instance, which leads, published nothing; 0 while it gets on";
    RELAY_LEADER = "archive_ledger_relay_leader", Gauge, [], Some(0.0),
        "1 where this instance publishes the log, else 0";
    RELAY_RESUMES_TOTAL = "archive_ledger_relay_resumes_total", Counter, ["cause": &["known", "refused", "failed"]], Some(0.0),
        "Times that the relay had to find its place in the stream again, by cause";
    BUS_HANDLED_TOTAL = "archive_ledger_bus_handled_total", Counter,
        ["consumer": CONSUMERS, "via": &["nats", "log", "redrive"]], Some(0.0),
        "Events that a consumer has taken, by consumer and way";
    CONSUMER_LAG_POSITIONS = "archive_ledger_consumer_lag_positions", Gauge,
        ["consumer": CONSUMERS, "via": &["log", "redrive"]], Some(0.0),
        "Positions that a consumer which reads the log has not come to yet; one via redrive stays some seconds behind on purpose";
    BUS_PARKED_TOTAL = "archive_ledger_bus_parked_total", Counter, ["consumer": CONSUMERS], Some(0.0),
        "Events and messages that a consumer could not take and set aside";
    CLEANUP_JOBS = "archive_ledger_cleanup_jobs", Gauge, ["state": &["due", "running", "failed"]], Some(0.0),
        "Cleanup jobs: due now or later, running, failed until the purge is asked for again";
    CLEANUP_OBJECTS_TOTAL = "archive_ledger_cleanup_objects_total", Counter, [], Some(0.0),
        "Objects that the storage cleanup has deleted";
    CLEANUP_BYTES_TOTAL = "archive_ledger_cleanup_bytes_total", Counter, [], Some(0.0),
        "Bytes that the storage cleanup has deleted";
    STORAGE_ROOT_AVAILABLE = "archive_ledger_storage_root_available", Gauge, ["root": ANY], None,
        "1 while a local storage root (by its number among those configured) is there and the one that it was, else 0";
    CALLBACK_DELIVERIES = "archive_ledger_callback_deliveries", Gauge, ["state": &["due", "dead"]], Some(0.0),
        "Callback deliveries by state";
    CALLBACK_OLDEST_DUE_SECONDS = "archive_ledger_callback_oldest_due_seconds", Gauge, [], Some(0.0),
        "How long the callback that waits the longest is overdue";
    CALLBACK_OPEN_CIRCUITS = "archive_ledger_callback_open_circuits", Gauge, [], Some(0.0),
        "Receivers of callbacks that this instance leaves alone because they do not answer";
    CALLBACK_ATTEMPTS_TOTAL = "archive_ledger_callback_attempts_total", Counter,
        ["outcome": &["delivered", "refused", "unreachable"]], Some(0.0),
        "Callback attempts: delivered, refused (another status than 2xx), unreachable (no status)";
    EVENT_STREAMS = "archive_ledger_event_streams", Gauge, [], Some(0.0),
        "Streams of events (GET /api/events) that are open";
    UNREADABLE_TOTAL = "archive_ledger_unreadable_total", Counter, [], Some(0.0),
        "Sealed details and rows that were asked for and could not be opened";
    JWKS_UP = "archive_ledger_jwks_up", Gauge, [], Some(1.0),
        "1 where the key set for tokens was had when last asked for, else 0; 1 without --jwks";
    INSTANCES_DIFFER = "archive_ledger_instances_differ", Gauge, ["what": SHARED], Some(0.0),
        "Other instances that are set up differently, by what must be the same";
    LOG_LINES_LOST_TOTAL = "archive_ledger_log_lines_lost_total", Counter, [], Some(0.0),
        "Log lines that standard error did not take";
    HTTP_REQUESTS_TOTAL = "archive_ledger_http_requests_total", Counter, ["method": ANY, "route": ANY, "status": ANY], None,
        "Answered requests by method, route (the pattern, never the path) and status";
    HTTP_REQUEST_SECONDS = "archive_ledger_http_request_seconds", Histogram, ["route": ANY], None,
        "Time from a request's head to its answer's head";
    DATABASE_CONNECTIONS = "archive_ledger_database_connections", Gauge, ["pool": ANY, "state": &["idle", "in_use"]], None,
        "Open connections of a pool, by whether they are in use";
    DATABASE_CONNECTIONS_MAX = "archive_ledger_database_connections_max", Gauge, ["pool": ANY], None,
        "How many connections a pool may open";
    DATABASE_WAITS_TOTAL = "archive_ledger_database_waits_total", Counter, ["pool": ANY], None,
        "Times that somebody asked for a connection of a pool while all that it may have were in use";
    PROCESS_CPU_SECONDS_TOTAL = "process_cpu_seconds_total", Counter, [], None,
        "Time that processors have spent on the process, in seconds";
    PROCESS_RESIDENT_MEMORY_BYTES = "process_resident_memory_bytes", Gauge, [], None,
        "Memory of the machine that the process has, in bytes";
    PROCESS_OPEN_FDS = "process_open_fds", Gauge, [], None,
        "Open file descriptors";
    PROCESS_MAX_FDS = "process_max_fds", Gauge, [], None,
        "How many file descriptors may be open";
    PROCESS_START_TIME_SECONDS = "process_start_time_seconds", Gauge, [], None,
        "When the process began, in seconds since 1970";
}

/// The metric of this name.
pub(super) fn find(name: &str) -> Option<&'static Metric> {
    CATALOGUE.iter().find(|metric| metric.name == name)
}

/// Tells the recorder of every metric, and has those appear whose labels' values are known, so that the first event of its kind is seen
/// as growth and a query that finds nothing is a wrong one.
pub(super) fn describe() {
    for metric in CATALOGUE {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, Unit::Count, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
        if let Some(start) = metric.start {
            for labels in metric.combinations() {
                match metric.kind {
                    Kind::Counter => counter!(metric.name, labels).increment(0),
                    Kind::Gauge => gauge!(metric.name, labels).set(start),
                    Kind::Histogram => drop(histogram!(metric.name, labels)),
                }
            }
        }
    }
    gauge!(BUILD_INFO, "version" => super::build::VERSION, "commit" => super::build::COMMIT).set(1.0);
}

impl Metric {
    /// Every set of labels with values that are known beforehand.
    fn combinations(&self) -> Vec<Vec<Label>> {
        let mut sets = vec![Vec::new()];
        for (label, values) in self.labels {
            let longer = sets.iter().flat_map(|set: &Vec<Label>| {
                values.iter().map(|value| {
                    let mut set = set.clone();
                    set.push(Label::from_static_parts(label, value));
                    set
                })
            });
            sets = longer.collect();
        }
        sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_page_has_a_row_for_every_metric_and_no_other() {
        let page = include_str!("../../docs/OPERATIONS.md");
        let told: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `archive_ledger_") || line.starts_with("| `process_"))
            .collect();
        let rows: Vec<String> = CATALOGUE.iter().map(Metric::row).collect();
        assert_eq!(told, rows);
    }

    #[test]
    fn what_is_known_beforehand_is_there_before_anything_has_happened() {
        let recorder = super::super::builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, describe);
        let text = recorder.handle().render();
        for metric in CATALOGUE.iter().filter(|metric| metric.start.is_some()) {
            for labels in metric.combinations() {
                let labels: Vec<String> = labels
                    .iter()
                    .map(|label| format!("{}=\"{}\"", label.key(), label.value()))
                    .collect();
                let suffix = if metric.kind == Kind::Histogram {
                    "_count"
                } else {
                    ""
                };
                let sample = match labels.is_empty() {
                    true => format!("{}{suffix} ", metric.name),
                    false => format!("{}{suffix}{{{}}} ", metric.name, labels.join(",")),
                };
                assert!(
                    text.lines().any(|line| line.starts_with(&sample)),
                    "{sample}: {text}"
                );
            }
        }
    }

    impl Metric {
        /// Its row in the page.
        fn row(&self) -> String {
            let labels: Vec<&str> = self.labels.iter().map(|(label, _)| *label).collect();
            let labels = match labels.as_slice() {
                [] => String::new(),
                labels => format!(" `{{{}}}`", labels.join(",")),
            };
            format!(
                "| `{}`{labels} | {} | {} |",
                self.name,
                self.kind.as_str(),
                self.help
            )
        }
    }
}
