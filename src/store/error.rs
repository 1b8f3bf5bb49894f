//! What a store can fail with, and whether to try again.

/// A failed storage operation.
///
/// `operation` names what was being done, in the words of the method that did it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or could not be reached.
    #[error("{operation} failed in the database")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// What is stored contradicts itself: it was changed from outside, or this version cannot read it.
    #[error("{operation} found inconsistent data: {reason}")]
    Inconsistent {
        /// What was being done.
        operation: &'static str,
        /// What is wrong, without any sealed content.
        reason: String,
    },
    /// A schema migration failed.
    #[error("the schema could not be migrated")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement changed another number of rows than it must.
    #[error("{operation} changed {actual} rows instead of {expected}")]
    RowCount {
        /// What was being done.
        operation: &'static str,
        /// How many rows it must change.
        expected: u64,
        /// How many it changed.
        actual: u64,
    },
    /// Another instance appended since the batch was loaded. Nothing was written; the batch has to be decided again.
    #[error("another instance has appended meanwhile")]
    HeadMoved,
}

impl StoreError {
    /// Wraps a driver error: `.map_err(StoreError::database("load the head"))`.
    pub fn database(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    /// Reports stored data that contradicts itself.
    pub fn inconsistent(operation: &'static str, reason: impl Into<String>) -> Self {
        Self::Inconsistent {
            operation,
            reason: reason.into(),
        }
    }

    /// Whether the same operation may succeed when it is tried again.
    ///
    /// True for lost connections, busy databases, deadlocks, serialization failures and exhausted pools or disks that an
    /// operator can free; false for errors in the data or in the statement.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } => match source {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                sqlx::Error::Database(error) => {
                    error
                        .code()
                        .is_some_and(|code| TRANSIENT_CODES.iter().any(|prefix| code.starts_with(prefix)))
                        || matches!(
                            error.code().as_deref(),
                            Some("5" | "6" | "13" | "261" | "517" | "773" | "10" | "778" | "1034")
                        )
                }
                _ => false,
            },
            Self::HeadMoved => true,
            Self::Inconsistent { .. } | Self::Migrate(_) | Self::RowCount { .. } => false,
        }
    }

    /// Whether it is unknown if the operation took effect: the connection was lost while the answer was awaited.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Database { source, .. } => {
                matches!(
                    source,
                    sqlx::Error::Io(_)
                        | sqlx::Error::Tls(_)
                        | sqlx::Error::Protocol(_)
                        | sqlx::Error::WorkerCrashed
                ) || matches!(source, sqlx::Error::Database(error) if error.code().is_some_and(|code| code.starts_with("57P")))
            }
            Self::Inconsistent { .. } | Self::Migrate(_) | Self::RowCount { .. } | Self::HeadMoved => false,
        }
    }
}

/// PostgreSQL error classes that pass: connection, resources, operator intervention, serialization, read-only standby.
const TRANSIENT_CODES: [&str; 6] = ["08", "53", "57P", "40", "25006", "55P03"];

/// Checks the number of rows that a statement changed, before the commit.
///
/// # Errors
/// [`StoreError::RowCount`] when it differs.
pub fn ensure_rows(operation: &'static str, expected: u64, actual: u64) -> Result<(), StoreError> {
    if expected == actual {
        Ok(())
    } else {
        Err(StoreError::RowCount {
            operation,
            expected,
            actual,
        })
    }
}
