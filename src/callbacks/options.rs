//! Bounds of the delivery of callbacks.

use std::time::Duration;

/// Bounds of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Turns: attempts at once that may still be answered promptly.
    pub concurrency: usize,
    /// Stalled attempts beyond which only prompt receivers are tried.
    pub stalled: usize,
    /// Limits for each receiver.
    pub receivers: ReceiverLimits,
    /// How often to look for what other instances created or left behind.
    pub poll: Duration,
    /// What a lease is longer than the longest attempt.
    pub lease_margin: Duration,
    /// How long attempts under way may take at shutdown.
    pub grace: Duration,
    /// How often the gauges are measured.
    pub gauges: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 256,
            stalled: 1_024,
            receivers: ReceiverLimits::default(),
            poll: Duration::from_secs(1),
            lease_margin: Duration::from_secs(15),
            grace: Duration::from_secs(30),
            gauges: Duration::from_secs(15),
        }
    }
}

/// Limits for each receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// Attempts at once to one that answers.
    pub per_receiver: u32,
    /// Attempts at once to receivers of one endpoint that are not known to answer promptly; stalled ones do not count.
    pub per_endpoint: u32,
    /// Stalled attempts at one endpoint beyond which only prompt receivers are tried there. From half of it on, those that
    /// failed the last time wait for the others; retries get half.
    pub stalled_per_endpoint: u32,
    /// Failures to answer in a row that open its circuit.
    pub failures: u32,
    /// When so many attempts have ended within `window` and half of them or more in silence, that opens it as well: a
    /// receiver that answers every other time never fails often in a row.
    pub sample: usize,
    /// How far back `sample` looks.
    pub window: Duration,
    /// How long the circuit stays open at first; doubles with each probe that fails.
    pub open_first: Duration,
    /// The longest that it stays open.
    pub open_longest: Duration,
    /// An answer within this time makes a receiver prompt.
    pub patience: Duration,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self {
            per_receiver: 8,
            per_endpoint: 16,
            stalled_per_endpoint: 128,
            failures: 5,
            sample: 20,
            window: Duration::from_secs(60),
            open_first: Duration::from_secs(30),
            open_longest: Duration::from_secs(600),
            patience: Duration::from_millis(500),
        }
    }
}
