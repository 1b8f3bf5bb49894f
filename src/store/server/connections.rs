//! How many connections this process may open, how many the server has for it, and what the server says when there is none left.

use super::Server;
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use sqlx::{Connection as _, Executor, PgConnection, PgPool};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a refusal is told after it was met.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// How long a new connection is tried, to hear why none can be had.
const ASKED_WITHIN: Duration = Duration::from_secs(1);

/// What is known of the connections that this process may have; shared by all its pools.
#[derive(Debug, Default)]
pub(in crate::store) struct Connections {
    /// That the server has fewer than this process may want.
    few: Mutex<Option<String>>,
    /// When the server refused one last, and with which code.
    refused: Mutex<Option<(Instant, String)>>,
}

impl Connections {
    /// Notes that the server has too few.
    pub(in crate::store) fn lacking(&self, few: String) {
        *self.few.lock().unwrap_or_else(PoisonError::into_inner) = Some(few);
    }

    /// What somebody should look at; it quotes no server.
    pub(in crate::store) fn warnings(&self) -> Vec<String> {
        let few = self.few.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = self
            .refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let refused = refused.filter(|(at, _)| at.elapsed() < TOLD_FOR);
        let refused =
            refused.map(|(_, code)| format!("the database server has refused connections ({code})"));
        few.into_iter().chain(refused).collect()
    }

    /// Why the pool has had no connection to give: what the server says to one more, if it refuses that. A pool that waits for a
    /// connection keeps to itself what its attempts have met.
    pub(in crate::store) async fn why(&self, pool: &PgPool, error: sqlx::Error) -> sqlx::Error {
        let all_in_use = pool.size() >= pool.options().get_max_connections();
        if !matches!(error, sqlx::Error::PoolTimedOut) || all_in_use {
            return error;
        }
        let options = pool.connect_options();
        match timeout(ASKED_WITHIN, PgConnection::connect_with(&options)).await {
            Ok(Err(sqlx::Error::Database(refusal))) => {
                self.refused(refusal.code().as_deref().unwrap_or_default());
                sqlx::Error::Database(refusal)
            }
            Ok(Ok(connection)) => {
                let _ = timeout(ASKED_WITHIN, connection.close()).await;
                error
            }
            Ok(Err(_)) | Err(_) => error,
        }
    }

    fn refused(&self, code: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.as_ref().is_none_or(|(at, _)| at.elapsed() >= TOLD_FOR) {
            tracing::warn!("the database server refuses connections ({code})");
        }
        *refused = Some((Instant::now(), code.to_owned()));
    }
}

/// The limits that hold for this role and this database; none for a superuser but the server's own.
pub(in crate::store) async fn limits(server: &Server) -> Result<Vec<(u64, &'static str)>, StoreError> {
    let operation = "ask how many connections the server has";
    let failed = StoreError::database;
    let mut connection = server.plain().await.map_err(failed(operation))?;
    // As plain text: through a pooler, one message.
    let row = connection
        .fetch_one(
            "SELECT current_setting('max_connections')::bigint AS most,
                    current_setting('superuser_reserved_connections')::bigint
                        + coalesce(current_setting('reserved_connections', true)::bigint, 0) AS reserved,
                    role.rolsuper, role.rolconnlimit::bigint AS of_role, database.datconnlimit::bigint AS of_database
             FROM pg_roles role, pg_database database
             WHERE role.rolname = current_user AND database.datname = current_database()",
        )
        .await
        .map_err(failed(operation))?;
    let number = |column| row.read::<i64>(operation, column);
    let (most, reserved) = (number("most")?, number("reserved")?);
    let limits = if row.read::<bool>(operation, "rolsuper")? {
        vec![(most, "the server (max_connections)")]
    } else {
        vec![
            (
                most - reserved,
                "the server (max_connections without those it reserves)",
            ),
            (number("of_role")?, "the role (CONNECTION LIMIT)"),
            (number("of_database")?, "the database (CONNECTION LIMIT)"),
        ]
    };
    connection.close().await.map_err(failed(operation))?;
    // Without a limit it is -1.
    Ok(limits
        .into_iter()
        .filter_map(|(limit, whose)| Some((u64::try_from(limit).ok()?, whose)))
        .collect())
}

/// Shared by all pools of a process.
pub(in crate::store) type Known = Arc<Connections>;
