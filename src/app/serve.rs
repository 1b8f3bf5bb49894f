//! Runs the service until it is told to stop.

use super::backend::{Store, memory_budget};
use super::descriptors::Descriptors;
use super::reload::Reload;
use super::roots::{self, KeepParts};
use super::start::{self, Opened};
use super::start_error::{StartError, store_option};
use super::tasks::{TaskError, Tasks};
use super::tidy::{move_log, tidy};
use super::{clock_watch, consumers, shared_setup};
use crate::bus::CommitSignal;
use crate::bus::cloud_event::Source;
use crate::bus::health::{BusHealth, RelayState};
use crate::config::{Config, Database};
use crate::http::answer::envelope::{ErrorContext, ServiceInfo};
use crate::http::api::Api;
use crate::http::api::audit::Audit;
use crate::http::api::event_streams::EventStreams;
use crate::http::audit::export::MAX_EXPORTS;
use crate::http::auth;
use crate::http::operation::Probes;
use crate::http::request::cursor::CursorCodec;
use crate::http::server::forwarded::TrustedProxies;
use crate::http::{router, server};
use crate::memory_budget::MemoryBudget;
use crate::proofs::Proofs;
use crate::proofs::checkpointer::{self, Checkpointer};
use crate::storage::roots::watch::watch;
use crate::store::witness::Divergence;
use crate::telemetry::{self, Metrics};
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a service that will not go on still tells why to those who probe it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often the metrics' histograms are folded.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Why the service did not start or did not stay.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A part that it cannot do without ended.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The writer ended by itself, or panicked.
    #[error("the writer ended")]
    Writer(#[source] Option<tokio::task::JoinError>),
    /// The database proved to be another one than this process knows.
    #[error("{option}: the ledger refuses to append: {source}")]
    Diverged {
        /// The option.
        option: &'static str,
        /// Why.
        source: Divergence,
    },
}

/// Serves until SIGTERM or SIGINT; then commands under way are finished before it returns.
///
/// # Errors
/// [`ServeError::Start`] names the option at fault; the others say which part ended.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let stop_http = CancellationToken::new();
    let signals = signals(stop_http.clone())?;
    let memory = memory_budget(&config);
    let descriptors = Descriptors::of(&config, memory)?;
    let metrics = Metrics::install().map_err(|error| StartError::option("--log", error))?;
    let mut opened = start::open(&config).await?;
    let mut tasks = Tasks::new(CancellationToken::new(), Arc::clone(&opened.clock));
    let bus = match &config.nats {
        Some(nats) => BusHealth::Nats {
            bus: Box::new(super::nats::connect(nats, &config, opened.ledger_id).await?),
            relay: RelayState::default(),
        },
        None => BusHealth::InProcess,
    };
    let _lock = lock(&config)?;
    if let Store::Sqlite(sqlite) = &opened.store
        && let Err(error) = sqlite.is_served_alone().await
    {
        // On a full disk reads are served all the same.
        tracing::warn!(error = %telemetry::chain(&error), "what is in the file cannot be told from a copy yet");
    }
    let work = consumers::start(&mut tasks, &opened, &bus, &config, &descriptors).await?;
    let witness = Arc::clone(opened.store.witness());
    let auth = Arc::new(super::auth::authenticator(&config, &opened)?);
    let keys = Arc::clone(&auth);
    tasks.spawn("the key set's keeping", move |stop| {
        auth::keep_keys(Arc::clone(&keys), stop)
    });
    let reload = Reload {
        config: Arc::new(config.clone()),
        auth: Arc::clone(&auth),
        callbacks: Arc::clone(&work.client),
    };
    tasks.spawn("the reading of secrets anew", move |stop| {
        reload.clone().run(stop)
    });
    let setup = shared_setup::start(&mut tasks, &opened, &config)?;
    let probes = Probes {
        reads: opened.store.reads(),
        witness: Arc::clone(&witness),
        writer: Arc::clone(opened.ledger.writer_health()),
        guard: opened.started.guard.clone(),
        clock: Arc::clone(&opened.clock),
        bus,
        auth: Arc::clone(&auth),
        metrics: metrics.clone(),
        roots: Arc::clone(&opened.roots),
        tasks: tasks.states(),
        setup,
        stopping: stop_http.clone(),
    };
    let (clock, moves) = (Arc::clone(&opened.clock), opened.store.clock_moves());
    tasks.spawn("the watch over the clock", move |stop| {
        clock_watch::watch(Arc::clone(&clock), Arc::clone(&moves), stop)
    });
    warn_of_head_ahead(&opened).await;
    tasks.spawn("the metrics' upkeep", move |stop| upkeep(metrics.clone(), stop));
    let (kept, clock) = (config.callbacks.retention, Arc::clone(&opened.clock));
    let store = opened.store.clone();
    tasks.spawn("the tidying", move |stop| {
        tidy(store.clone(), kept, Arc::clone(&clock), stop)
    });
    if let Store::Sqlite(sqlite) = &opened.store {
        let (sqlite, committed) = (sqlite.clone(), opened.ledger.committed());
        tasks.spawn("the write-ahead log's moving", move |stop| {
            move_log(sqlite.clone(), committed.clone(), stop)
        });
    }
    let roots = Arc::clone(&opened.roots);
    tasks.spawn("the watch on the storage roots", move |stop| {
        watch(Arc::clone(&roots), stop)
    });
    let doubts = KeepParts {
        roots: Arc::clone(&opened.roots),
        store: opened.store.clone(),
        ledger: opened.ledger_id,
        clock: Arc::clone(&opened.clock),
        keyring: Arc::clone(&opened.keyring),
    };
    tasks.spawn("the storage roots in doubt", move |stop| {
        roots::keep(doubts.clone(), stop)
    });
    let parts = checkpointer_parts(&opened);
    tasks.spawn("the checkpointer", move |stop| {
        Checkpointer::new(parts.clone(), checkpointer::Settings::default()).run(stop)
    });
    let api = Api {
        ledger: Arc::clone(&opened.ledger),
        proofs: Proofs::new(opened.store.proofs(), Arc::clone(&opened.started.identity)),
        auth,
        cursors: CursorCodec::new(
            &opened.keyring.keyed_hash("list-cursor", b""),
            opened.started.identity.numbering(),
        ),
        body_limit: config.http.body_limit,
        purges: work.purges,
        callbacks: work.callbacks,
        audit: audit_trail(&mut tasks, &opened),
        events: EventStreams::new(
            Source::new(&config.service.id, opened.started.identity.numbering()),
            config
                .nats
                .as_ref()
                .map(|nats| super::nats::settings(nats, Some(opened.ledger_id)))
                .unwrap_or_default(),
            stop_http.clone(),
        ),
        memory: MemoryBudget::new(memory, config.http.body_limit),
        exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
        body_timeout: config.http.request_timeout,
    };
    warn_of_bodies(&config, &api.memory);
    let info = ServiceInfo::new(&config.service.id, &config.service.domain);
    let errors = ErrorContext::new(Arc::clone(&opened.clock), info);
    let service = server::Service {
        beyond: router::beyond(probes.clone(), errors.clone(), Arc::clone(&opened.clock)),
        routes: router::router(api, probes, errors.clone(), Arc::clone(&opened.clock)),
        places: descriptors.places,
        errors,
        proxies: TrustedProxies::new(&config.http.trusted_proxies),
        head_max: descriptors.head_max(memory),
        head_timeout: config.http.request_timeout,
    };
    let listener = server::listen(config.listen).map_err(|error| StartError::option("--listen", error))?;
    let address = listener
        .local_addr()
        .map_err(|error| StartError::option("--listen", error))?;
    let token = if config.auth.hs256 {
        "; get a token: archive-ledger token --role admin"
    } else {
        ""
    };
    tracing::info!(
        "archive-ledger {} is listening on http://{address} (API page: http://{address}/docs/){token}",
        telemetry::VERSION_AND_COMMIT
    );
    let grace = config.http.shutdown_grace;
    let serving = server::serve(listener, service, stop_http.clone(), grace);
    tokio::pin!(serving);
    let failed = tokio::select! {
        () = &mut serving => None,
        source = witness.diverged() => Some(diverged(&config, source)),
        error = tasks.failed() => Some(match witness.divergence() {
            // Whatever ended first, it was for this.
            Some(source) => diverged(&config, source),
            None => ServeError::from(error),
        }),
        ended = &mut opened.writer => Some(ServeError::Writer(ended.err())),
    };
    if let Some(error) = &failed {
        if matches!(error, ServeError::Diverged { .. }) {
            opened.keep_evidence(&witness);
            opened.store.give_up();
            // Whoever ended it meanwhile need not wait.
            let _ = tokio::time::timeout(LAST_WORDS, &mut serving).await;
        }
        if !stop_http.is_cancelled() {
            stop_http.cancel();
            serving.await;
        }
    }
    signals.abort();
    tracing::info!("stopping");
    match failed {
        Some(error @ ServeError::Diverged { .. }) => {
            // Whatever they wait for is not to be had any more.
            tasks.end(LAST_WORDS).await;
            opened.save_write_ahead_log().await;
            Err(error)
        }
        Some(error) => {
            tasks.end(grace).await;
            Err(error)
        }
        None => {
            tasks.end(grace).await;
            let closed = opened.close().await;
            closed.map_err(|error| ServeError::Writer(Some(error)))
        }
    }
}

/// Times never go back along the log: behind an event that is dated ahead of the clock, all are dated like it.
async fn warn_of_head_ahead(opened: &Opened) {
    if let Ok(head) = opened.store.reads().head().await
        && let Some(ahead) = head.ahead_of(opened.clock.now())
    {
        tracing::warn!(
            "the last event is dated {} s ahead of the machine's clock: until the clock has passed it, every event gets its time",
            ahead.num_seconds()
        );
    }
}

/// Longer bodies than the memory holds are refused as if others took it, whatever the configuration promises.
fn warn_of_bodies(config: &Config, memory: &MemoryBudget) {
    if memory.longest_body() < config.http.body_limit {
        tracing::warn!(
            "--body-limit: of {} bytes, no more than {} have room in the memory that requests may take together (--memory-budget): \
             longer bodies are answered with 503",
            config.http.body_limit,
            memory.longest_body(),
        );
    }
}

const fn diverged(config: &Config, source: Divergence) -> ServeError {
    ServeError::Diverged {
        option: store_option(config),
        source,
    }
}

/// Cancels `stop` at the first SIGTERM or SIGINT. From here on a SIGHUP ends nothing.
fn signals(stop: CancellationToken) -> Result<tokio::task::JoinHandle<()>, StartError> {
    let listen = |kind| signal(kind).map_err(|error| StartError::option("signals", error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let hangup = listen(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        let _registered = hangup;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    }))
}

async fn upkeep(metrics: Metrics, stop: CancellationToken) -> Result<(), Infallible> {
    while tokio::time::timeout(METRICS_UPKEEP, stop.cancelled())
        .await
        .is_err()
    {
        metrics.upkeep();
    }
    Ok(())
}

pub(super) fn checkpointer(opened: &Opened) -> Checkpointer {
    Checkpointer::new(checkpointer_parts(opened), checkpointer::Settings::default())
}

fn checkpointer_parts(opened: &Opened) -> checkpointer::CheckpointerParts {
    checkpointer::CheckpointerParts {
        store: opened.store.proofs(),
        reads: opened.store.reads(),
        coordination: opened.store.coordination(),
        clock: Arc::clone(&opened.clock),
        started: opened.started.clone(),
        witness: Arc::clone(opened.store.witness()),
        signal: CommitSignal::new(opened.ledger.committed()),
    }
}

/// The audit, and what is written for it behind the requests.
fn audit_trail(tasks: &mut Tasks, opened: &Opened) -> Audit {
    let store = opened.store.audit();
    let attempts = Arc::new(crate::audit::attempts::Attempts::new(Arc::clone(&opened.clock)));
    let (gathered, kept) = (Arc::clone(&attempts), Arc::clone(&store));
    tasks.spawn("the record of attempts", move |stop| {
        crate::audit::record(Arc::clone(&gathered), Arc::clone(&kept), stop)
    });
    let indexed = Arc::clone(&store);
    tasks.spawn("the index of the audit", move |stop| {
        crate::audit::index(Arc::clone(&indexed), stop)
    });
    let numbering = opened.started.identity.numbering();
    let secret = opened.keyring.keyed_hash("audit-cursor", b"");
    Audit::new(store, attempts, &secret, numbering)
}

/// An embedded ledger is served by one process: two would clean and call back twice. The lock ends with the process.
pub(crate) fn lock(config: &Config) -> Result<Option<File>, StartError> {
    let Database::Sqlite { path } = &config.database else {
        return Ok(None);
    };
    let path = path.with_extension("lock");
    let failed = |error: std::io::Error| StartError::option("--data-dir", error);
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StartError::option(
            "--data-dir",
            format!(
                "another process serves this ledger ({} is locked)",
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
