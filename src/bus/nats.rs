//! NATS JetStream: the connection, the stream, and the consumers on it.
//!
//! Written for servers from 2.9 on: no setting that an older server silently ignores (`filter_subjects`, message TTLs), no
//! `max_deliver` (poison is parked, not counted), limits retention only. What JetStream acknowledged may still be lost with
//! the power, so nothing here decides whether work is done; the log does.

mod consumer;

pub use consumer::NatsConsumer;

use super::cloud_event::SUBJECT_ROOT;
use crate::secret_url::SecretUrl;
use crate::telemetry;
use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode};
use metrics::gauge;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The stream that holds every event.
pub const STREAM: &str = "ARCHIVE_LEDGER";

/// How long a request to the server and the acknowledgement of a message may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a server is asked whether it is there. The client gives a connection up at the third question that nothing came back
/// to: a server that is frozen, or the way to it, is seen within four of them.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to connect again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// How long a stream that was deleted is not created again. A server (2.9) tells the stream's consumers of it before it removes the
/// folder, and the name is free meanwhile: whoever is so quick loses the new stream's folder, and nothing can be stored in it then.
const DELETED_PAUSE: Duration = Duration::from_secs(2);

/// The stream's settings where this service creates it. An operator may change retention and replicas of the stream itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Copies of the stream: 1 or 3.
    pub replicas: usize,
    /// How long an event stays on the stream; zero is for ever. Not shorter than `duplicate_window`.
    pub max_age: Duration,
    /// How long the server recognises an event that is published twice.
    pub duplicate_window: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            replicas: 1,
            max_age: Duration::ZERO,
            duplicate_window: Duration::from_hours(1),
        }
    }
}

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// No server could be reached, or it refused the credentials.
    #[error("cannot connect to NATS at {servers}")]
    Connect {
        /// The servers, without credentials.
        servers: String,
        /// What the client said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A JetStream request failed; it may succeed later.
    #[error("{operation} failed on NATS")]
    Request {
        /// What was asked for.
        operation: &'static str,
        /// What the client or the server said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server has a stream of this name that cannot hold the ledger's events. An operator has to decide.
    #[error("the stream {STREAM} exists and does not fit: {reason}")]
    StreamMismatch {
        /// What does not fit.
        reason: String,
    },
    /// The server has no JetStream, or the account may not use it.
    #[error("NATS at {servers} has no JetStream for this account")]
    NoJetStream {
        /// The servers, without credentials.
        servers: String,
    },
}

impl NatsError {
    pub(crate) fn request(operation: &'static str) -> impl FnOnce(Box<dyn Error + Send + Sync>) -> Self {
        move |source| Self::Request { operation, source }
    }

    /// What failed, for a probe that anybody may read.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Connect { .. } => "NATS cannot be reached".to_owned(),
            Self::NoJetStream { .. } => "NATS has no JetStream for this account".to_owned(),
            Self::Request { .. } | Self::StreamMismatch { .. } => self.to_string(),
        }
    }
}

/// A connection to NATS that comes back by itself; cheap to clone.
#[derive(Debug, Clone)]
pub struct NatsBus {
    client: async_nats::Client,
    context: jetstream::Context,
    settings: StreamSettings,
    servers: String,
    /// Whether the stream was there once.
    seen: Arc<AtomicBool>,
}

impl NatsBus {
    /// Connects, and makes sure that the stream is there and fits.
    ///
    /// Once connected, a lost connection is made again for ever. `name` is what the server's monitoring shows.
    ///
    /// # Errors
    /// [`NatsError::Connect`], [`NatsError::NoJetStream`], [`NatsError::StreamMismatch`], [`NatsError::Request`].
    pub async fn connect(
        servers: &[SecretUrl],
        name: &str,
        settings: StreamSettings,
    ) -> Result<Self, NatsError> {
        let bus = Self::reach(servers, name, settings).await?;
        bus.stream().await?;
        Ok(bus)
    }

    /// Connects, and looks at nothing: for whoever must not make a stream.
    ///
    /// # Errors
    /// [`NatsError::Connect`].
    pub async fn reach(
        servers: &[SecretUrl],
        name: &str,
        settings: StreamSettings,
    ) -> Result<Self, NatsError> {
        let shown = servers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let refused = |source: Box<dyn Error + Send + Sync>| NatsError::Connect {
            servers: shown.clone(),
            source,
        };
        let addresses: Vec<&str> = servers.iter().map(SecretUrl::expose).collect();
        let client = async_nats::ConnectOptions::new()
            .name(name)
            .connection_timeout(REQUEST_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(PING_EVERY)
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                RECONNECT_PAUSE.min(Duration::from_millis(50) * u32::try_from(attempt).unwrap_or(u32::MAX))
            })
            .event_callback(|event| async move { log_event(&event) })
            .connect(addresses)
            .await
            .map_err(|error| refused(error.into()))?;
        let context = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .build(client.clone());
        Ok(Self {
            client,
            context,
            settings,
            servers: shown,
            seen: Arc::default(),
        })
    }

    /// Whether the connection stands now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    pub(crate) const fn context(&self) -> &jetstream::Context {
        &self.context
    }

    pub(crate) const fn replicas(&self) -> usize {
        self.settings.replicas
    }

    /// The stream, created where it is missing; one that was deleted, after a pause.
    ///
    /// # Errors
    /// [`NatsError::StreamMismatch`] when a stream of that name cannot hold the events.
    pub(crate) async fn stream(&self) -> Result<Stream, NatsError> {
        let mut standing = self.standing_stream().await?;
        if standing.is_none() && self.seen.load(Ordering::Relaxed) {
            tokio::time::sleep(DELETED_PAUSE).await;
            standing = self.standing_stream().await?;
        }
        let stream = match standing {
            Some(stream) => stream,
            None => self.create_stream().await?,
        };
        self.seen.store(true, Ordering::Relaxed);
        check(&stream.cached_info().config)?;
        Ok(stream)
    }

    /// The stream as it stands, whatever it is; `None` where it is missing.
    ///
    /// # Errors
    /// [`NatsError::NoJetStream`], [`NatsError::Request`].
    pub(crate) async fn standing_stream(&self) -> Result<Option<Stream>, NatsError> {
        match self.context.get_stream(STREAM).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause) if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(None)
                }
                GetStreamErrorKind::JetStream(cause) if no_jetstream(cause.error_code()) => {
                    Err(NatsError::NoJetStream {
                        servers: self.servers.clone(),
                    })
                }
                GetStreamErrorKind::Request if is_no_responders(&error) => Err(NatsError::NoJetStream {
                    servers: self.servers.clone(),
                }),
                GetStreamErrorKind::JetStream(_)
                | GetStreamErrorKind::Request
                | GetStreamErrorKind::EmptyName
                | GetStreamErrorKind::InvalidStreamName => {
                    Err(NatsError::request("looking up the stream")(error.into()))
                }
            },
        }
    }

    async fn create_stream(&self) -> Result<Stream, NatsError> {
        let config = stream_config(&self.settings);
        tracing::info!(
            stream = STREAM,
            replicas = config.num_replicas,
            "creating the stream {STREAM}"
        );
        match self.context.create_stream(config).await {
            Ok(stream) => Ok(stream),
            // Another instance may have created it first, with the same settings or with its own.
            Err(error) => match self.context.get_stream(STREAM).await {
                Ok(stream) => Ok(stream),
                Err(_) => Err(NatsError::request("creating the stream")(error.into())),
            },
        }
    }
}

/// The stream as this service creates it.
pub(crate) fn stream_config(settings: &StreamSettings) -> Config {
    Config {
        name: STREAM.to_owned(),
        description: Some("The events of archive-ledger, in the order of its log".to_owned()),
        subjects: vec![format!("{SUBJECT_ROOT}.>")],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: settings.replicas,
        max_age: settings.max_age,
        duplicate_window: settings.duplicate_window,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

/// Whether a stream can hold the ledger's events, all of them, in order.
fn check(config: &Config) -> Result<(), NatsError> {
    let wanted = format!("{SUBJECT_ROOT}.>");
    let reason = if config.subjects != [wanted.as_str()] {
        format!("its subjects are {:?}, not [{wanted:?}]", config.subjects)
    } else if config.retention != RetentionPolicy::Limits {
        format!("its retention is {:?}, not limits", config.retention)
    } else if config.no_ack {
        "it does not acknowledge messages".to_owned()
    } else if config.sealed {
        "it is sealed".to_owned()
    } else if config.mirror.is_some() || config.sources.as_ref().is_some_and(|sources| !sources.is_empty()) {
        "it copies another stream".to_owned()
    } else {
        return Ok(());
    };
    Err(NatsError::StreamMismatch { reason })
}

fn no_jetstream(code: ErrorCode) -> bool {
    code == ErrorCode::JETSTREAM_NOT_ENABLED || code == ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
}

fn is_no_responders(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(request) = error.downcast_ref::<async_nats::jetstream::context::RequestError>() {
            return request.kind() == async_nats::jetstream::context::RequestErrorKind::NoResponders;
        }
        cause = error.source();
    }
    false
}

fn log_event(event: &async_nats::Event) {
    match event {
        async_nats::Event::Connected => {
            gauge!(telemetry::NATS_UP).set(1.0);
            tracing::info!("connected to NATS");
        }
        async_nats::Event::Disconnected => {
            gauge!(telemetry::NATS_UP).set(0.0);
            tracing::warn!("the connection to NATS is lost");
        }
        async_nats::Event::LameDuckMode
        | async_nats::Event::Draining
        | async_nats::Event::Closed
        | async_nats::Event::SlowConsumer(_)
        | async_nats::Event::ServerError(_)
        | async_nats::Event::ClientError(_) => tracing::warn!(event = %event, "NATS: {event}"),
    }
}
