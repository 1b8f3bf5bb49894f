//! From a configuration to a ledger that can record: store, schema, keyring, writer.

use super::backend::{Store, connect};
use super::start_error::{StartError, blame, store_option};
use super::used_key;
use super::vouch::vouch;
use super::writer_thread::Start;
use crate::callbacks::target::CallbackPolicy;
use crate::clock::{DatabaseClock, SharedClock, WatchedClock};
use crate::config::Config;
use crate::keyring::Keyring;
use crate::ledger::repository::Repository;
use crate::ledger::{Ledger, LedgerParts};
use crate::proofs::Started;
use crate::storage::roots::StorageRoots;
use crate::store::witness::Witness;
use crate::telemetry;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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

/// Opens the ledger: connects, brings the schema up to date, reads the keyring, starts the writer.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn open(config: &Config) -> Result<Opened, StartError> {
    let store = connect(config).await?;
    store.migrate().await?;
    store.check_rights(true).await?;
    used_key::refuse_second_history(config, &store).await?;
    let clock = clock(config, &store).await?;
    let keyring = Arc::new(super::keyring::open(config, &store, &clock).await?);
    let ledger_id = store.ledger_id(&clock).await?;
    let started = vouch(config, &store).await?;
    let roots = Arc::new(super::roots::take(config, &store, ledger_id, &clock, &keyring).await?);
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
            postgres.check_connections().await;
            let (database, time) = (postgres.clone(), Arc::clone(&clock));
            let (handle, task) = start
                .writer("--database-url", async move || {
                    Ok(database.appender().await?.telling_time_to(time))
                })
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
    let ledger = Arc::new(Ledger::new(LedgerParts {
        writer: handle,
        reads: store.reads(),
        claims: store.claims(),
        storage_roots: store.storage_roots(),
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

/// The clock that everything goes by: the database's where instances share one, and else the machine's.
async fn clock(config: &Config, store: &Store) -> Result<SharedClock, StartError> {
    let asked = Instant::now();
    let shown = store.clock_moves().time().await;
    let shown = shown.map_err(|source| blame(store_option(config), source))?;
    Ok(match shown {
        Some(shown) => Arc::new(DatabaseClock::new(shown, asked.elapsed())),
        None => Arc::new(WatchedClock::new()),
    })
}
