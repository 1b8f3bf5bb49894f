//! From a configuration to a ledger that can record: store, schema, keyring, writer.

use super::used_key;
use crate::callbacks::target::CallbackPolicy;
use crate::cleanup::roots::{RootError, StorageRoots};
use crate::clock::{SharedClock, WatchedClock};
use crate::config::{Config, Database};
use crate::keyring::{Keyring, KeyringError};
use crate::keyring_check::Mismatch;
use crate::ledger::{Ledger, Parts};
use crate::proofs::guard::Guard;
use crate::proofs::{self, Identity, ProofError, Started};
use crate::secret_files::{self, SecretFileError};
use crate::store::audit::AuditStore;
use crate::store::callbacks::CallbackStore;
use crate::store::claims::ClaimStore;
use crate::store::cleanup_jobs::CleanupJobStore;
use crate::store::clock_moves::ClockMoveStore;
use crate::store::forks::ForkStore;
use crate::store::keys::KeyStore;
use crate::store::postgres::PostgresStore;
use crate::store::proofs::ProofStore;
use crate::store::rebuild::RebuildStore;
use crate::store::reconcile::ReconcileStore;
use crate::store::repository::Repository;
use crate::store::retention::RetentionStore;
use crate::store::side::SideStore;
use crate::store::sqlite::SqliteStore;
use crate::store::witness::Witness;
use crate::store::writer::{WriterHandle, writer};
use crate::store::{AppendBackend, CoordinationStore, ReadStore, StoreError};
use crate::telemetry;
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Why the service does not start. Each names the option that sets it right.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives the writer no thread.
    #[error("the writer cannot have a thread of its own")]
    Thread(#[source] io::Error),
    /// The database cannot be reached, or holds something else than a ledger.
    #[error("{option}: {source}")]
    Store {
        /// The option.
        option: &'static str,
        /// Why.
        source: StoreError,
    },
    /// A key file cannot be used.
    #[error("{option}: {source}")]
    SecretFile {
        /// The option.
        option: &'static str,
        /// Why.
        source: SecretFileError,
    },
    /// The keyring file is no keyring.
    #[error("--keyring-file: {0}")]
    Keyring(#[source] KeyringError),
    /// It is not the keyring that the ledger was sealed with.
    #[error("--keyring-file: {0}")]
    OtherKeyring(#[source] Mismatch),
    /// The ledger was sealed with a keyring, and the file is not there.
    #[error(
        "--keyring-file: {path} does not exist, and the ledger was sealed with the keyring {expected}: bring the file back"
    )]
    KeyringMissing {
        /// The file.
        path: String,
        /// What the ledger remembers.
        expected: String,
    },
    /// The ledger was signed, and its key file is not there.
    #[error(
        "--ledger-key-file: {path} does not exist, and the ledger is signed by {expected}: bring the file back"
    )]
    LedgerKeyMissing {
        /// The file.
        path: String,
        /// What the ledger remembers.
        expected: String,
    },
    /// The ledger was never signed: it has no key yet.
    #[error("{option}: the ledger has no key yet: the service makes it when it first starts")]
    NeverServed {
        /// The option that names the ledger.
        option: &'static str,
    },
    /// The log is not what was signed, or cannot be signed: nothing may be appended to it.
    #[error("{option}: the ledger refuses to append: {source}")]
    Proof {
        /// The option.
        option: &'static str,
        /// Why.
        source: ProofError,
    },
    /// A storage root cannot be used.
    #[error("--storage-root: {0}")]
    Root(#[source] RootError),
    /// Anything else that an option sets right.
    #[error("{option}: {source}")]
    Option {
        /// The option.
        option: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    /// Blames an option.
    pub fn option(option: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Option {
            option,
            source: source.into(),
        }
    }
}

/// The one choice between the backends.
#[derive(Debug, Clone)]
pub enum Store {
    /// Clustered.
    Postgres(PostgresStore),
    /// Embedded.
    Sqlite(SqliteStore),
}

/// The option that names the store.
pub(super) const fn store_option(config: &Config) -> &'static str {
    match config.database {
        Database::Postgres { .. } => "--database-url",
        Database::Sqlite { .. } => "--data-dir",
    }
}

impl Store {
    /// Brings the schema up to date.
    ///
    /// # Errors
    /// [`StartError::Store`].
    pub async fn migrate(&self) -> Result<(), StartError> {
        match self {
            Self::Postgres(store) => store
                .migrate()
                .await
                .map_err(|source| blame("--database-url", source)),
            Self::Sqlite(store) => store
                .migrate()
                .await
                .map_err(|source| blame("--data-dir", source)),
        }
    }

    /// Whether the schema is that of this version, or one of a newer version that this one works on.
    ///
    /// # Errors
    /// [`StartError::Store`].
    pub async fn is_current(&self) -> Result<bool, StartError> {
        match self {
            Self::Postgres(store) => store
                .is_current()
                .await
                .map_err(|source| blame("--database-url", source)),
            Self::Sqlite(store) => store
                .is_current()
                .await
                .map_err(|source| blame("--data-dir", source)),
        }
    }

    /// Checks that the role may read every table of the ledger, and write to it where it `writes`.
    ///
    /// # Errors
    /// [`StartError::Store`].
    pub async fn check_rights(&self, writes: bool) -> Result<(), StartError> {
        match self {
            Self::Postgres(store) => store
                .check_rights(writes)
                .await
                .map_err(|source| blame("--database-url", source)),
            // Whoever may open the file may do so with all that is in it.
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Begins a rebuild of the projections; `None` while another one is under way.
    ///
    /// # Errors
    /// [`StoreError`] when the shadow tables cannot be made.
    pub async fn rebuild(&self) -> Result<Option<RebuildStore>, StoreError> {
        match self {
            Self::Postgres(store) => store.rebuild().await,
            Self::Sqlite(store) => store.rebuild().await,
        }
    }

    /// Reads.
    #[must_use]
    pub fn reads(&self) -> Arc<dyn ReadStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Keeps the storage cleanup's jobs.
    #[must_use]
    pub fn cleanup_jobs(&self) -> Arc<dyn CleanupJobStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// The audit.
    #[must_use]
    pub fn audit(&self) -> Arc<dyn AuditStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// What proofs are made of.
    #[must_use]
    pub fn proofs(&self) -> Arc<dyn ProofStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// What a comparison of the storage with the ledger reads.
    #[must_use]
    pub fn reconcile(&self) -> Arc<dyn ReconcileStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Who names which storage.
    #[must_use]
    pub fn claims(&self) -> Arc<dyn ClaimStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// The same store, held still: everything that is read of it is of one moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn snapshot(&self) -> Result<Self, StoreError> {
        match self {
            Self::Postgres(store) => store.snapshot().await.map(Self::Postgres),
            Self::Sqlite(store) => store.snapshot().await.map(Self::Sqlite),
        }
    }

    /// What stands beside the log.
    #[must_use]
    pub fn side(&self) -> Arc<dyn SideStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Knows which keys of the keyring are in use.
    #[must_use]
    pub fn keys(&self) -> Arc<dyn KeyStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Keeps callback deliveries.
    #[must_use]
    pub fn callbacks(&self) -> Arc<dyn CallbackStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Keeps clocks that moved.
    #[must_use]
    pub fn clock_moves(&self) -> Arc<dyn ClockMoveStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Keeps leases and cursors.
    #[must_use]
    pub fn coordination(&self) -> Arc<dyn CoordinationStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Removes what is finished.
    #[must_use]
    pub fn retention(&self) -> Arc<dyn RetentionStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// Opens origins, and keeps what each has lost.
    #[must_use]
    pub fn forks(&self) -> Arc<dyn ForkStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// What this process knows of the log.
    #[must_use]
    pub fn witness(&self) -> &Arc<Witness> {
        match self {
            Self::Postgres(store) => store.witness(),
            Self::Sqlite(store) => store.witness(),
        }
    }

    /// Opens no connection any more: what they would lead to is not this ledger. Whoever waits for one is told so at once.
    pub fn give_up(&self) {
        match self {
            Self::Postgres(store) => store.give_up(),
            Self::Sqlite(store) => store.give_up(),
        }
    }

    /// Removes what lingers in SQLite's write-ahead log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn empty_write_ahead_log(&self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(_) => Ok(()),
            Self::Sqlite(store) => store.empty_write_ahead_log().await,
        }
    }

    pub(super) async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        match self {
            Self::Postgres(store) => store.recall(name).await,
            Self::Sqlite(store) => store.recall(name).await,
        }
    }

    pub(super) async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError> {
        match self {
            Self::Postgres(store) => store.remember(name, value).await,
            Self::Sqlite(store) => store.remember(name, value).await,
        }
    }
}

pub(super) const fn blame(option: &'static str, source: StoreError) -> StartError {
    StartError::Store { option, source }
}

/// A ledger that can record, and its writer's task.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Which ledger it is, for ever.
    pub ledger_id: Uuid,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The clock.
    pub clock: SharedClock,
    /// The keyring.
    pub keyring: Arc<Keyring>,
    /// The storage roots.
    pub roots: Arc<StorageRoots>,
    /// Where callbacks may go.
    pub callbacks: Arc<CallbackPolicy>,
    /// Who signs the log, which was checked before anything could be appended.
    pub started: Started,
    /// Stops the writer after it has recorded what waits.
    pub stop_writer: CancellationToken,
    /// The writer's task; it ends after `stop_writer`.
    pub writer: JoinHandle<()>,
}

impl Opened {
    /// Keeps in the guard what this process has acknowledged, so that the next start refuses a database that lacks it: the
    /// guard is up to a second behind, and a copy may be behind by less.
    pub(super) fn keep_evidence(&self, witness: &Witness) {
        let Some(mark) = witness.known().mark else {
            return;
        };
        let identity = &self.started.identity;
        if let Err(error) = self.started.guard.keep_root(identity, mark.position, mark.root) {
            tracing::error!(error = %telemetry::chain(&error), "what was acknowledged could not be kept in the guard");
        }
    }

    /// Moves what was committed into SQLite's file, where the write-ahead log that holds it was taken away from under the
    /// service: it is gone with the process.
    pub(super) async fn save_write_ahead_log(&self) {
        if let Store::Sqlite(store) = &self.store
            && let Err(error) = store.save_write_ahead_log().await
        {
            tracing::error!(error = %telemetry::chain(&error), "the write-ahead log could not be moved into the file");
        }
    }

    /// Lets the writer record what waits and end, and moves all of it into SQLite's file.
    ///
    /// # Errors
    /// [`tokio::task::JoinError`] when the writer panicked.
    pub async fn close(self) -> Result<(), tokio::task::JoinError> {
        self.stop_writer.cancel();
        self.writer.await?;
        if let Err(error) = self.store.empty_write_ahead_log().await {
            // The next start finds it where it is.
            tracing::debug!(error = %telemetry::chain(&error), "the write-ahead log was not emptied");
        }
        Ok(())
    }
}

/// Connects to the store that the configuration names.
pub(super) async fn connect(config: &Config) -> Result<Store, StartError> {
    secret_files::create_private_directory(&config.data_dir).map_err(|source| StartError::SecretFile {
        option: "--data-dir",
        source,
    })?;
    let option = store_option(config);
    match &config.database {
        Database::Postgres { url } => PostgresStore::connect(url.expose(), config.database_connections)
            .await
            .map(Store::Postgres),
        Database::Sqlite { path } => SqliteStore::open(path, config.database_connections)
            .await
            .inspect(SqliteStore::keep_files)
            .map(Store::Sqlite),
    }
    .map_err(|source| blame(option, source))
}

/// Opens the ledger: connects, brings the schema up to date, reads the keyring, starts the writer.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn open(config: &Config) -> Result<Opened, StartError> {
    let store = connect(config).await?;
    store.migrate().await?;
    store.check_rights(true).await?;
    used_key::refuse_second_history(config, &store).await?;
    let clock: SharedClock = Arc::new(WatchedClock::new());
    let keyring = Arc::new(super::keyring::open(config, &store, &clock).await?);
    let ledger_id = store.ledger_id(&clock).await?;
    let started = vouch(config, &store).await?;
    let roots = Arc::new(super::roots::take(config, &store, ledger_id, &clock).await?);
    let callbacks = Arc::new(CallbackPolicy::new(config.callbacks.allow.clone()));
    let stop_writer = CancellationToken::new();
    let start = Start {
        config,
        clock: &clock,
        keyring: &keyring,
        stop: &stop_writer,
    };
    let (handle, task, repository) = match &store {
        Store::Postgres(postgres) => {
            let database = postgres.clone();
            let (handle, task) = start
                .writer("--database-url", async move || database.appender().await)
                .await?;
            let repository = Repository::postgres(postgres, handle.clone(), Arc::clone(&clock));
            (handle, task, repository)
        }
        Store::Sqlite(sqlite) => {
            let database = sqlite.clone();
            let (handle, task) = start
                .writer("--data-dir", async move || Ok(database.appender()))
                .await?;
            let repository = Repository::sqlite(sqlite, handle.clone(), Arc::clone(&clock));
            (handle, task, repository)
        }
    };
    let ledger = Arc::new(Ledger::new(Parts {
        writer: handle,
        reads: store.reads(),
        claims: store.claims(),
        repository,
        keyring: Arc::clone(&keyring),
        clock: Arc::clone(&clock),
        roots: Arc::clone(&roots),
        callbacks: Arc::clone(&callbacks),
    }));
    Ok(Opened {
        store,
        ledger_id,
        ledger,
        clock,
        keyring,
        roots,
        callbacks,
        started,
        stop_writer,
        writer: task,
    })
}

/// The seed of the key that this ledger is signed with; a new one only for a ledger that was never signed.
pub(super) async fn ledger_seed(config: &Config, store: &Store) -> Result<[u8; 32], StartError> {
    let proofs = store.proofs();
    let remembered = Identity::remembered(&*proofs)
        .await
        .map_err(|error| refuse(config, error))?;
    if remembered.is_none() {
        used_key::refuse_second_history(config, store).await?;
    }
    let path = &config.ledger_key_file;
    let seed =
        secret_files::ledger_seed(path, remembered.is_none()).map_err(|source| StartError::SecretFile {
            option: "--ledger-key-file",
            source,
        })?;
    seed.ok_or_else(|| StartError::LedgerKeyMissing {
        path: path.display().to_string(),
        expected: remembered
            .and_then(|(origins, _)| origins.last().map(ToString::to_string))
            .unwrap_or_default(),
    })
}

/// Checks that the log is what was signed. From then on every connection is compared with what was found.
pub(super) async fn vouch(config: &Config, store: &Store) -> Result<Started, StartError> {
    let seed = ledger_seed(config, store).await?;
    let guard = Guard::new(config.guard_file.clone());
    let (proofs, reads) = (store.proofs(), store.reads());
    let started = proofs::start(&*proofs, &*reads, &seed, &config.service.domain, guard)
        .await
        .map_err(|error| refuse(config, error))?;
    used_key::refuse_before_fork(config, &started.identity)?;
    used_key::mark(
        config,
        started.identity.verifier(),
        store.known_ledger_id().await?,
    );
    let witness = store.witness();
    witness.serves(started.identity.ledger());
    if let Some(mark) = started.mark {
        witness.acknowledge(mark);
    }
    if let Some(signed) = started.signed {
        witness.publish(signed);
    }
    let (guard, identity) = (started.guard.clone(), Arc::clone(&started.identity));
    // A guard that cannot be read now is the checkpointer's to tell.
    witness.guarded_by(move || guard.signed(&identity).ok().flatten());
    Ok(started)
}

/// Blames the option that sets it right.
pub(super) fn refuse(config: &Config, source: ProofError) -> StartError {
    let option = match &source {
        ProofError::OtherKey { .. } => "--ledger-key-file",
        ProofError::Key { .. } => "--service-domain",
        ProofError::OtherGuard { .. } | ProofError::Guard { .. } | ProofError::GuardFile { .. } => {
            "--guard-file"
        }
        ProofError::Keyring(_) => "--keyring-file",
        ProofError::Store(_)
        | ProofError::Origin { .. }
        | ProofError::Note(_)
        | ProofError::StoredCheckpoint { .. }
        | ProofError::Edge(_)
        | ProofError::Entry { .. }
        | ProofError::Missing { .. }
        | ProofError::Head { .. }
        | ProofError::Signed { .. }
        | ProofError::RolledBack { .. }
        | ProofError::OtherLog { .. }
        | ProofError::BeforeFork { .. }
        | ProofError::TooFarAhead { .. }
        | ProofError::Forked
        | ProofError::Running => store_option(config),
    };
    StartError::Proof { option, source }
}

struct Start<'a> {
    config: &'a Config,
    clock: &'a SharedClock,
    keyring: &'a Arc<Keyring>,
    stop: &'a CancellationToken,
}

impl Start<'_> {
    /// Starts the writer, on a thread of its own.
    ///
    /// Everybody waits for it, so it must not wait in turn until the runtime has gone through what hundreds of connections
    /// want: that took about half of each commit's time under load. The thread has the database connection to itself as well.
    async fn writer<B, C>(
        &self,
        option: &'static str,
        connect: C,
    ) -> Result<(WriterHandle, JoinHandle<()>), StartError>
    where
        B: AppendBackend + 'static,
        C: AsyncFnOnce() -> Result<B, StoreError> + Send + 'static,
    {
        let limits = self.config.writer;
        let (keyring, clock) = (Arc::clone(self.keyring), Arc::clone(self.clock));
        let stop = self.stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (tell, told) = oneshot::channel();
        // It logs where its starter does.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let task = tokio::task::spawn_blocking(move || {
            let _logging = tracing::dispatcher::set_default(&dispatch);
            runtime.block_on(async move {
                let backend = match connect().await {
                    Ok(backend) => backend,
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        return;
                    }
                };
                let (task, handle) = writer(backend, keyring, clock, limits.max_batch, limits.queue_limit);
                if tell.send(Ok(handle)).is_ok() {
                    task.run(stop).await;
                }
            });
        });
        match told.await {
            Ok(Ok(handle)) => Ok((handle, task)),
            Ok(Err(source)) => Err(blame(option, source)),
            Err(_) => Err(StartError::Thread(io::Error::other(
                "the writer's thread broke off",
            ))),
        }
    }
}
