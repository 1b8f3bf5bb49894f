//! The PostgreSQL backend.

use super::StoreError;
use super::archived::postgres::summary::SummaryReader;
use super::audit::blocks::IndexTrust;
use super::server::connections::{Known, limits};
use super::server::session::Sessions;
use super::server::{CONNECT_TIMEOUT, Plans, Server};
use super::witness::Witness;
use crate::small_files::{self, TLS_MAX};
use sqlx::PgPool;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::timeout;

/// Connections for callback deliveries: one each for claims, for what came of attempts, and for the consumers of both events
/// that deliveries are made of.
const DELIVERY_CONNECTIONS: u32 = 4;

/// Beside the pools: the writer's own, and that of the summary, which leaves its pool.
const ALONE: u32 = 2;

/// A PostgreSQL database that holds a ledger.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pub(super) pool: Sessions,
    pub(super) deliveries: Sessions,
    pub(super) summary: Arc<SummaryReader>,
    pub(super) server: Server,
    /// What every new connection is compared with.
    pub(super) witness: Arc<Witness>,
    /// How many there may be, and what the server says when there is none left.
    pub(super) connections: Known,
    pub(super) index_trust: IndexTrust,
}

impl PostgresStore {
    /// Connects with `connections` connections for everything but appending and the delivery of callbacks.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the URL is none or the server cannot be reached; [`StoreError::Unfit`] when its database
    /// cannot hold a ledger.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        check_tls_files(url).map_err(StoreError::database("read the files of the connection's TLS"))?;
        let server = Server::find(url).await?;
        let witness = Arc::new(Witness::default());
        let known = Known::default();
        Ok(Self {
            pool: server.sessions(connections, Plans::Free, &witness, &known),
            deliveries: server.sessions(DELIVERY_CONNECTIONS, Plans::Delivering, &witness, &known),
            summary: Arc::default(),
            server,
            witness,
            connections: known,
            index_trust: IndexTrust::default(),
        })
    }

    /// The same database, held still: everything that is read of it is of one moment, however long it takes. Nothing can be written.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn snapshot(&self) -> Result<Self, StoreError> {
        let held = self.server.held_still().await;
        Ok(Self {
            pool: held.map_err(StoreError::database("hold the ledger still"))?,
            ..self.clone()
        })
    }

    /// Sessions that keep what is prepared on them, for a reader that is not our own; `None` through a pooler.
    pub(crate) fn kept_sessions(&self) -> Option<PgPool> {
        self.pool.kept()
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

    /// Opens no connection any more.
    pub fn give_up(&self) {
        self.pool.close();
        self.deliveries.close();
    }

    /// What this process knows of the log.
    #[must_use]
    pub const fn witness(&self) -> &Arc<Witness> {
        &self.witness
    }
}

impl PostgresStore {
    /// Says how many connections this process may open, and warns where the server has fewer for it. A server that does not tell
    /// is believed to have enough.
    pub async fn check_connections(&self) {
        let wanted = self.pool.pool.options().get_max_connections() + DELIVERY_CONNECTIONS + ALONE;
        let limits = timeout(CONNECT_TIMEOUT, limits(&self.server)).await;
        let limits = match limits {
            Ok(Ok(limits)) => limits,
            Ok(Err(error)) => {
                tracing::debug!(error = %crate::telemetry::chain(&error), "the server does not tell how many connections it has");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let Some((least, whose)) = limits.into_iter().min_by_key(|(limit, _)| *limit) else {
            tracing::info!("this instance opens up to {wanted} connections to the database");
            return;
        };
        tracing::info!(
            "this instance opens up to {wanted} connections to the database, and {whose} allows {least} to all instances together"
        );
        if u64::from(wanted) > least {
            let few = format!(
                "this instance may open {wanted} connections to the database, and {whose} allows {least}: lower --database-connections, or \
                 raise the limit"
            );
            tracing::warn!("{few}");
            self.connections.lacking(few);
        }
    }
}

/// The parameters of a database URL that name files for TLS, as the driver knows them, and its environment variables.
const TLS_FILES: [(&[&str], &str); 3] = [
    (&["sslrootcert", "ssl-root-cert", "ssl-ca"], "PGSSLROOTCERT"),
    (&["sslcert", "ssl-cert"], "PGSSLCERT"),
    (&["sslkey", "ssl-key"], "PGSSLKEY"),
];

/// The same of the file of passwords.
const PASSWORD_FILE: (&[&str], &str) = (&["passfile"], "PGPASSFILE");

/// The files that a database URL and the environment name, for TLS and of passwords. Where the certificate itself stands in a
/// file's place, there is no file of that name.
#[must_use]
pub fn named_files(url: &str) -> Vec<PathBuf> {
    let all = TLS_FILES.into_iter().chain([PASSWORD_FILE]);
    let url = ::url::Url::parse(url).ok();
    all.flat_map(|one| named(url.as_ref(), one))
        .map(|(_, path)| path)
        .collect()
}

/// What names a file, and the file.
fn named(url: Option<&::url::Url>, (names, variable): (&[&str], &str)) -> Vec<(String, PathBuf)> {
    let pairs = url.into_iter().flat_map(|url| url.query_pairs());
    let given = pairs.filter(|(name, _)| names.contains(&&**name));
    let given = given.map(|(name, path)| (name.into_owned(), PathBuf::from(path.into_owned())));
    let set = std::env::var_os(variable).map(|path| (variable.to_owned(), PathBuf::from(path)));
    given.chain(set).collect()
}

/// The driver reads these files whole, whatever they are: what is no file of such a kind is refused before.
fn check_tls_files(url: &str) -> Result<(), sqlx::Error> {
    let url = ::url::Url::parse(url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    for one in TLS_FILES {
        for (name, path) in named(Some(&url), one) {
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
