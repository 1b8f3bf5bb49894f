//! The one choice between the backends, and the way to the one that the configuration names.

use super::start_error::{StartError, blame, store_option};
use crate::config::{Config, Database};
use crate::memory_budget::default_budget;
use crate::secret_files;
use crate::store::audit::AuditStore;
use crate::store::callbacks::CallbackStore;
use crate::store::claims::ClaimStore;
use crate::store::cleanup_jobs::CleanupJobStore;
use crate::store::clock_moves::ClockMoveStore;
use crate::store::forks::ForkStore;
use crate::store::instance_marks::InstanceMarkStore;
use crate::store::keys::KeyStore;
use crate::store::postgres::PostgresStore;
use crate::store::proofs::ProofStore;
use crate::store::rebuild::RebuildStore;
use crate::store::reconcile::ReconcileStore;
use crate::store::retention::RetentionStore;
use crate::store::side::SideStore;
use crate::store::sqlite::SqliteStore;
use crate::store::witness::Witness;
use crate::store::{CoordinationStore, ReadStore, StoreError};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// The one choice between the backends.
#[derive(Debug, Clone)]
pub enum Store {
    /// Clustered.
    Postgres(PostgresStore),
    /// Embedded.
    Sqlite(SqliteStore),
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

    /// What instances must have in common.
    #[must_use]
    pub fn instance_marks(&self) -> Arc<dyn InstanceMarkStore> {
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

/// How much memory requests may take together, in bytes.
pub(super) fn memory_budget(config: &Config) -> u64 {
    config.memory_budget.unwrap_or_else(default_budget)
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
        Database::Sqlite { path } => {
            check_writable(path).map_err(|error| {
                StartError::option(option, format!("{} cannot be written: {error}", path.display()))
            })?;
            // Less where the process has little: the system caches the file as well.
            let cache = (memory_budget(config) / 1024 / 2).clamp(2_048, u64::from(SqliteStore::CACHE_KIB));
            let cache = u32::try_from(cache).unwrap_or(SqliteStore::CACHE_KIB);
            SqliteStore::open_with_cache(path, config.database_connections, cache)
                .await
                .inspect(SqliteStore::keep_files)
                .map(Store::Sqlite)
        }
    }
    .map_err(|source| blame(option, source))
}

/// Whether the database can be written, or made: SQLite would say that it is read-only only when it first writes, and not which file.
/// To be asked before SQLite opens it, whose locks end with any descriptor of the file.
fn check_writable(database: &Path) -> io::Result<()> {
    let directory = match database.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    match File::options().append(true).open(database) {
        // Its directory is made later where there is none.
        Err(error) if error.kind() == ErrorKind::NotFound && !directory.exists() => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    // The write-ahead log is made beside it.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)?;
    Ok(())
}
