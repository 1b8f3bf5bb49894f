//! The PostgreSQL backend.

pub mod append;
pub mod audit;
mod audit_attempts;
pub mod callback_log;
pub mod callbacks;
pub mod cleanup_jobs;
mod clock_moves;
pub mod coordination;
mod keys;
pub mod proofs;
pub mod read;
mod rebuild;
pub mod reconcile;
mod retention;
mod storage_roots;
mod witness;

use super::StoreError;
use super::witness::Witness;
use crate::small_files::{self, TLS_MAX};
use read::summary::SummaryReader;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Row};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection that nobody uses is taken to be alive.
const TRUSTED_FOR: Duration = Duration::from_millis(50);

/// Connections for callback deliveries: one each for claims, for what came of attempts, and for the consumers of both events
/// that deliveries are made of.
const DELIVERY_CONNECTIONS: u32 = 4;

/// For sessions whose statements touch few rows by key, whatever the tables' statistics say at the moment.
const KEYED_PLANS: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// A pool of at most so many connections.
fn pool_of(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        // A ping before each use would double what a short query waits for the network: it is sent only where the server has
        // had the time to go away.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for < TRUSTED_FOR {
                    return Ok(true);
                }
                // A session that was opened while the database took no writes keeps that; a new one asks anew. Standbys never
                // take any.
                let row = connection
                    .fetch_one(
                        "SELECT current_setting('transaction_read_only') = 'on' AND NOT pg_is_in_recovery() AS outdated",
                    )
                    .await?;
                let outdated: bool = row.try_get("outdated")?;
                Ok(!outdated)
            })
        })
}

/// The migrations, compiled in.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// A PostgreSQL database that holds a ledger.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(super) pool: PgPool,
    /// Sessions with [`KEYED_PLANS`], none of which is opened before the first delivery. Every plan is made for the size that
    /// the tables have at that moment: one that was made while they were empty reads them whole when they are not.
    pub(super) deliveries: PgPool,
    summary: Arc<SummaryReader>,
    pub(super) options: PgConnectOptions,
    /// What every new connection is compared with.
    pub(super) witness: Arc<Witness>,
}

impl PostgresStore {
    /// Connects with `connections` connections for everything but appending and the delivery of callbacks.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the URL is none or the server cannot be reached.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(StoreError::database("read the database URL"))?
            .application_name("archive-ledger")
            .log_statements(tracing::log::LevelFilter::Trace)
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(5));
        check_tls_files(url).map_err(StoreError::database("read the files of the connection's TLS"))?;
        // The pool would retry until its timeout and then tell nothing but that; one connection tells the cause.
        let first = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
        let first = first.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        let closed = match first {
            Ok(connection) => connection.close().await,
            Err(error) => Err(error),
        };
        closed.map_err(StoreError::database("connect"))?;
        let witness = Arc::new(Witness::default());
        let known = Arc::clone(&witness);
        let pool = pool_of(connections)
            .after_connect(move |connection, _| {
                let known = Arc::clone(&known);
                Box::pin(async move {
                    prepare(connection).await?;
                    admit(connection, &known).await
                })
            })
            .connect_with(options.clone())
            .await
            .map_err(StoreError::database("connect"))?;
        let known = Arc::clone(&witness);
        let deliveries = pool_of(DELIVERY_CONNECTIONS)
            .after_connect(move |connection, _| {
                let known = Arc::clone(&known);
                Box::pin(async move {
                    prepare(connection).await?;
                    admit(connection, &known).await?;
                    connection.execute(KEYED_PLANS).await?;
                    connection
                        .execute("SET plan_cache_mode = force_custom_plan")
                        .await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone());
        Ok(Self {
            pool,
            deliveries,
            summary: Arc::default(),
            options,
            witness,
        })
    }

    /// Brings the schema up to date; several instances may do so at once.
    ///
    /// # Errors
    /// [`StoreError::Migrate`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATIONS.run(&self.pool).await.map_err(StoreError::Migrate)
    }

    /// Whether the schema is exactly that of this version. Nothing is changed, and a database that holds no ledger says no.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn is_current(&self) -> Result<bool, StoreError> {
        let operation = "read the schema's version";
        let migrated: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        if !migrated {
            return Ok(false);
        }
        let applied: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await
                .map_err(StoreError::database(operation))?;
        Ok(applied == MIGRATIONS.iter().map(|migration| migration.version).max())
    }

    /// What the ledger remembers of itself under `name`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM ledger_meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::database("recall a fact of the ledger"))
    }

    /// Remembers a fact once and for all; returns what stands, which is not `value` when something stood before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let operation = "remember a fact of the ledger";
        sqlx::query("INSERT INTO ledger_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        let standing = self.recall(name).await?;
        standing.ok_or_else(|| StoreError::inconsistent(operation, "the fact did not stand"))
    }

    /// Opens the connection of an append backend.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn appender(&self) -> Result<append::PostgresAppend, StoreError> {
        append::PostgresAppend::connect(self.options.clone(), Arc::clone(&self.witness)).await
    }

    /// Opens no connection any more.
    pub fn give_up(&self) {
        // Closed from the call on; the rest of the future would wait for those that are in use.
        drop(self.pool.close());
        drop(self.deliveries.close());
    }

    /// What this process knows of the log.
    #[must_use]
    pub const fn witness(&self) -> &Arc<Witness> {
        &self.witness
    }
}

/// The parameters of a database URL that name files, as the driver knows them, and its environment variables.
const TLS_FILES: [(&[&str], &str); 3] = [
    (&["sslrootcert", "ssl-root-cert", "ssl-ca"], "PGSSLROOTCERT"),
    (&["sslcert", "ssl-cert"], "PGSSLCERT"),
    (&["sslkey", "ssl-key"], "PGSSLKEY"),
];

/// The driver reads these files whole, whatever they are: what is no file of such a kind is refused before.
fn check_tls_files(url: &str) -> Result<(), sqlx::Error> {
    let url = url::Url::parse(url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    for (names, variable) in TLS_FILES {
        let named = url.query_pairs().filter(|(name, _)| names.contains(&&**name));
        let named = named.map(|(name, path)| (name.into_owned(), PathBuf::from(path.into_owned())));
        let set = std::env::var_os(variable).map(|path| (variable.to_owned(), PathBuf::from(path)));
        for (name, path) in named.chain(set) {
            // The driver also takes the content itself.
            if path.as_os_str().as_encoded_bytes().starts_with(b"-----BEGIN") {
                continue;
            }
            small_files::read(&path, TLS_MAX).map_err(|error| {
                let told = format!("{name}: cannot read {}: {error}", path.display());
                sqlx::Error::Configuration(told.into())
            })?;
        }
    }
    Ok(())
}

/// Lets a new connection into a pool only if it leads to the database that this process knows.
async fn admit(connection: &mut PgConnection, witness: &Witness) -> Result<(), sqlx::Error> {
    let vouched = witness::vouch(connection, witness).await;
    witness.admitted(&vouched);
    vouched.map_err(|error| sqlx::Error::Configuration(error.into()))
}

/// What every session of the service relies on, whatever the server's, the database's or the role's defaults are: durable
/// commits, times in UTC, statements that take as long as they need, and locks that are not waited for for ever.
async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection
        .execute("SET statement_timeout = 0; SET synchronous_commit = on; SET timezone = 'UTC'; SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'")
        .await?;
    Ok(())
}
