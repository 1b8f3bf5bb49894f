//! What all streams of events share.

use crate::bus::cloud_event::Source;
use crate::bus::nats::StreamSettings;
use crate::telemetry;
use metrics::gauge;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many streams an instance serves at a time.
pub const MAX_STREAMS: usize = 256;

/// How many pages of the log they read at a time, together: what bounds their memory and their share of the database.
const MAX_PAGES: usize = 4;

/// What all streams share.
#[derive(Debug)]
pub struct EventStreams {
    pub(in crate::http) source: Arc<Source>,
    pub(in crate::http) on_nats: StreamSettings,
    pub(in crate::http) stopping: CancellationToken,
    pub(in crate::http) streams: Arc<Semaphore>,
    pub(in crate::http) pages: Arc<Semaphore>,
}

impl EventStreams {
    /// Streams of events of `source`, which are on NATS by these settings as well, that end when `stopping` is cancelled.
    #[must_use]
    pub fn new(source: Source, on_nats: StreamSettings, stopping: CancellationToken) -> Self {
        // Shown from the start, not from the first stream on.
        gauge!(telemetry::EVENT_STREAMS).increment(0.0);
        Self {
            source: Arc::new(source),
            on_nats,
            stopping,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
        }
    }

    /// The events' `source`.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }
}
