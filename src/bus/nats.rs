//! NATS JetStream: the connection, the stream, and the consumers on it.
//!
//! Written for servers from 2.9 on: no setting that an older server silently ignores (`filter_subjects`, message TTLs), no
//! `max_deliver` (poison is parked, not counted), limits retention only. What JetStream acknowledged may still be lost with
//! the power, so nothing here decides whether work is done; the log does.

mod access;
mod consumer;
mod owner;

pub use access::{Access, AccessError, AccessFile, Certificate, SignIn};
pub use consumer::NatsConsumer;

use super::subjects::Subjects;
use crate::telemetry;
use async_nats::ConnectErrorKind;
use async_nats::jetstream::context::{ContextBuilder, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode};
use metrics::gauge;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The stream that holds every event, unless it is named otherwise.
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
    /// Its name.
    pub name: Arc<str>,
    /// The subjects of its messages.
    pub subjects: Subjects,
    /// The ledger that it belongs to; whoever names none takes what is there.
    pub ledger: Option<Uuid>,
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
            name: STREAM.into(),
            subjects: Subjects::default(),
            ledger: None,
            replicas: 1,
            max_age: Duration::ZERO,
            duplicate_window: Duration::from_hours(1),
        }
    }
}

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// What shows the servers who asks cannot be read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A server refused whoever asked.
    #[error("NATS at {servers} refuses this service: what shows it who asks is missing, wrong or revoked")]
    Refused {
        /// The servers, without credentials.
        servers: String,
    },
    /// No server could be reached.
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
    #[error("the stream {stream} exists and does not fit: {reason}")]
    StreamMismatch {
        /// The stream.
        stream: Arc<str>,
        /// What does not fit.
        reason: String,
    },
    /// The stream is another ledger's.
    #[error("the stream {stream} belongs to another ledger{}: give this one a stream and a subject prefix of its own",
        owner.map(|owner| format!(" ({owner})")).unwrap_or_default())]
    OtherLedger {
        /// The stream.
        stream: Arc<str>,
        /// The ledger that it names, if it names one.
        owner: Option<Uuid>,
    },
    /// Another stream of the account has the subjects.
    #[error(
        "another stream of this account has subjects of {subjects}: give this ledger a prefix of its own"
    )]
    SubjectsTaken {
        /// The subjects.
        subjects: String,
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
            Self::Access(_) => "what shows NATS who asks cannot be read".to_owned(),
            Self::Refused { .. } => "NATS refuses this service".to_owned(),
            Self::Request { .. }
            | Self::StreamMismatch { .. }
            | Self::OtherLedger { .. }
            | Self::SubjectsTaken { .. } => self.to_string(),
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
    /// [`NatsError`].
    pub async fn connect(access: &Access, name: &str, settings: StreamSettings) -> Result<Self, NatsError> {
        let bus = Self::reach(access, name, settings).await?;
        bus.stream().await?;
        Ok(bus)
    }

    /// Connects, and looks at nothing: for whoever must not make a stream.
    ///
    /// # Errors
    /// [`NatsError::Access`], [`NatsError::Refused`], [`NatsError::Connect`].
    pub async fn reach(access: &Access, name: &str, settings: StreamSettings) -> Result<Self, NatsError> {
        let shown = access.shown();
        let client = access
            .options()?
            .name(name)
            .connection_timeout(REQUEST_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(PING_EVERY)
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                RECONNECT_PAUSE.min(Duration::from_millis(50) * u32::try_from(attempt).unwrap_or(u32::MAX))
            })
            .event_callback(|event| async move { log_event(&event) })
            .connect(access.addresses())
            .await
            .map_err(|error| match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    NatsError::Refused {
                        servers: shown.clone(),
                    }
                }
                ConnectErrorKind::ServerParse
                | ConnectErrorKind::Dns
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Tls
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects => NatsError::Connect {
                    servers: shown.clone(),
                    source: error.into(),
                },
            })?;
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

    /// The stream's name.
    pub(crate) fn stream_name(&self) -> &str {
        &self.settings.name
    }

    /// The subjects of its messages.
    pub(crate) const fn subjects(&self) -> &Subjects {
        &self.settings.subjects
    }

    pub(crate) const fn replicas(&self) -> usize {
        self.settings.replicas
    }

    /// The stream, created where it is missing; one that was deleted, after a pause.
    ///
    /// # Errors
    /// [`NatsError::StreamMismatch`] when a stream of that name cannot hold the events, [`NatsError::OtherLedger`] when it holds
    /// another ledger's.
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
        let named = self.names_this_ledger(&stream)?;
        self.check(&stream.cached_info().config)?;
        match self.settings.ledger {
            Some(ledger) if !named => self.take(&stream, ledger).await,
            Some(_) | None => Ok(stream),
        }
    }

    /// Whether a stream says that it is this ledger's; not, where it names none.
    ///
    /// # Errors
    /// [`NatsError::OtherLedger`] when it names another.
    pub(crate) fn names_this_ledger(&self, stream: &Stream) -> Result<bool, NatsError> {
        let owner = owner::named(stream.cached_info().config.description.as_deref());
        match (owner, self.settings.ledger) {
            (Some(owner), Some(own)) if owner != own => Err(self.other_ledger(Some(owner))),
            (owner, _) => Ok(owner.is_some()),
        }
    }

    /// That the stream is another ledger's.
    pub(crate) fn other_ledger(&self, owner: Option<Uuid>) -> NatsError {
        NatsError::OtherLedger {
            stream: Arc::clone(&self.settings.name),
            owner,
        }
    }

    /// Writes the ledger's name onto a stream that has none.
    async fn take(&self, stream: &Stream, ledger: Uuid) -> Result<Stream, NatsError> {
        let mut config = stream.cached_info().config.clone();
        config.description = Some(owner::naming(config.description.as_deref(), ledger));
        let taken = self.context.update_stream(config).await;
        taken.map_err(|error| NatsError::request("naming the stream's ledger")(error.into()))?;
        // Another ledger may have written its own name meanwhile: what stands there now holds.
        let stream = self.standing_stream().await?;
        let stream =
            stream.ok_or_else(|| NatsError::request("naming the stream's ledger")("it is gone".into()))?;
        self.names_this_ledger(&stream)?;
        tracing::info!("the stream {} is this ledger's from now on", self.settings.name);
        Ok(stream)
    }

    /// The stream as it stands, whatever it is; `None` where it is missing.
    ///
    /// # Errors
    /// [`NatsError::NoJetStream`], [`NatsError::Request`].
    pub(crate) async fn standing_stream(&self) -> Result<Option<Stream>, NatsError> {
        match self.context.get_stream(self.stream_name()).await {
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

    /// Whether a stream can hold the ledger's events, all of them, in order.
    fn check(&self, config: &Config) -> Result<(), NatsError> {
        let wanted = self.settings.subjects.all();
        let reason = if config.subjects != [wanted.as_str()] {
            format!("its subjects are {:?}, not [{wanted:?}]", config.subjects)
        } else if config.retention != RetentionPolicy::Limits {
            format!("its retention is {:?}, not limits", config.retention)
        } else if config.no_ack {
            "it does not acknowledge messages".to_owned()
        } else if config.sealed {
            "it is sealed".to_owned()
        } else if config.mirror.is_some()
            || config.sources.as_ref().is_some_and(|sources| !sources.is_empty())
        {
            "it copies another stream".to_owned()
        } else {
            return Ok(());
        };
        Err(NatsError::StreamMismatch {
            stream: Arc::clone(&self.settings.name),
            reason,
        })
    }

    async fn create_stream(&self) -> Result<Stream, NatsError> {
        let config = stream_config(&self.settings);
        tracing::info!(
            stream = self.stream_name(),
            replicas = config.num_replicas,
            "creating the stream {}",
            self.stream_name(),
        );
        match self.context.create_stream(config).await {
            Ok(stream) => Ok(stream),
            // Another instance may have created it first, with the same settings or with its own.
            Err(error) => match self.context.get_stream(self.stream_name()).await {
                Ok(stream) => Ok(stream),
                Err(_) if are_taken(&error) => Err(NatsError::SubjectsTaken {
                    subjects: self.settings.subjects.all(),
                }),
                Err(_) => Err(NatsError::request("creating the stream")(error.into())),
            },
        }
    }
}

/// The stream as this service creates it.
pub(crate) fn stream_config(settings: &StreamSettings) -> Config {
    Config {
        name: settings.name.to_string(),
        description: Some(owner::description(settings.ledger)),
        subjects: vec![settings.subjects.all()],
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

fn are_taken(error: &async_nats::jetstream::context::CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(cause)
        if cause.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP)
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
