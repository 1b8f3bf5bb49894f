//! What a store can fail with, and whether to try again.

use super::witness::Divergence;
use crate::task_states::TaskFailure;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use std::borrow::Cow;
use std::time::Duration;

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
    /// The database cannot hold this ledger, or this version, role or way to it cannot use it: what is said tells what to set
    /// right.
    #[error("{0}")]
    Unfit(String),
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
    /// The database is not the one that this process knows: it lacks what was acknowledged or signed, or has something else in
    /// its place. Nothing may be acknowledged any more.
    #[error(transparent)]
    Diverged(#[from] Divergence),
    /// The database does not hold the ledger for now, and may again: a standby that has not caught up, a restore that is under
    /// way.
    #[error("{operation}: {reason}")]
    Unready {
        /// What was being done.
        operation: &'static str,
        /// What is missing, without any text of the server's.
        reason: Cow<'static, str>,
    },
    /// An operation took longer than it may. Whether it took effect is unknown, and its connection is replaced.
    #[error("{operation} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// What was being done.
        operation: &'static str,
        /// How long it may take.
        limit: Duration,
    },
}

impl StoreError {
    /// Wraps a driver error: `.map_err(StoreError::database("load the head"))`. One that holds an error of this kind, as that of
    /// a pool whose connections are refused, is that error.
    pub fn database(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match source {
            sqlx::Error::Configuration(told) => match told.downcast::<Self>() {
                Ok(error) => *error,
                Err(told) => Self::Database {
                    operation,
                    source: sqlx::Error::Configuration(told),
                },
            },
            source => Self::Database { operation, source },
        }
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
    /// True for lost connections, busy databases, deadlocks, cancelled statements, serialization failures, a database that takes
    /// no writes for now, a session whose prepared statement is of no use any more, and exhausted pools or disks that an operator
    /// can free; false for errors in the data or in the statement.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } => match source {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                // A row that every ledger has, and that was there before: said by a disk that fails while it is read back.
                | sqlx::Error::RowNotFound => true,
                sqlx::Error::Database(error) => {
                    ended_by(&**error)
                        || is_of_a_stale_statement(&**error)
                        || error.code().is_some_and(|code| passes(&code))
                }
                _ => false,
            },
            Self::HeadMoved | Self::Unready { .. } | Self::TimedOut { .. } => true,
            Self::Inconsistent { .. }
            | Self::Migrate(_)
            | Self::Unfit(_)
            | Self::RowCount { .. }
            | Self::Diverged(_) => false,
        }
    }

    /// Whether it says something of what one row holds, and nothing of the others: what is stored there cannot be read.
    #[must_use]
    pub const fn is_of_one_row(&self) -> bool {
        match self {
            Self::Inconsistent { .. } => true,
            Self::Database { source, .. } => {
                matches!(source, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
            }
            Self::Migrate(_)
            | Self::Unfit(_)
            | Self::RowCount { .. }
            | Self::HeadMoved
            | Self::Diverged(_)
            | Self::Unready { .. }
            | Self::TimedOut { .. } => false,
        }
    }

    /// Whether SQLite refused a statement for what a table takes: the statement changed nothing, and its transaction goes on. A row that
    /// has what the columns of its table do not take, by somebody's hand, can be changed in nothing.
    #[must_use]
    pub fn is_refused_by_table(&self) -> bool {
        match self {
            Self::Database {
                source: sqlx::Error::Database(error),
                ..
            } => error.code().is_some_and(|code| {
                code.len() < 5
                    && code
                        .parse::<u32>()
                        .is_ok_and(|result| result & 0xff == CONSTRAINT)
            }),
            Self::Database { .. }
            | Self::Inconsistent { .. }
            | Self::Migrate(_)
            | Self::Unfit(_)
            | Self::RowCount { .. }
            | Self::HeadMoved
            | Self::Diverged(_)
            | Self::Unready { .. }
            | Self::TimedOut { .. } => false,
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
                ) || matches!(source, sqlx::Error::Database(error)
                    if ended_by(&**error) || error.code().is_some_and(|code| code.starts_with("57P")))
            }
            // Where a batch was written and the file then proved to be another, somebody may still find it.
            Self::TimedOut { .. } | Self::Diverged(_) => true,
            Self::Inconsistent { .. }
            | Self::Migrate(_)
            | Self::Unfit(_)
            | Self::RowCount { .. }
            | Self::HeadMoved
            | Self::Unready { .. } => false,
        }
    }

    /// Whether the connection that failed may be used again once its transaction is rolled back: the server judged the data,
    /// and says nothing of the session. After anything else the session's state is not known, and it is replaced.
    #[must_use]
    pub fn leaves_connection_clean(&self) -> bool {
        match self {
            Self::Database {
                source: sqlx::Error::Database(error),
                ..
            } => error
                .code()
                .is_some_and(|code| DATA_CODES.iter().any(|known| is_of(&code, known))),
            Self::HeadMoved | Self::RowCount { .. } => true,
            Self::Database { .. }
            | Self::Inconsistent { .. }
            | Self::Migrate(_)
            | Self::Unfit(_)
            | Self::Diverged(_)
            | Self::Unready { .. }
            | Self::TimedOut { .. } => false,
        }
    }

    /// What failed, for a probe that anybody may read: the operation and the database's code, no text of the server's.
    #[must_use]
    pub fn brief(&self) -> String {
        match self {
            Self::Database {
                source: sqlx::Error::Database(error),
                ..
            } => match error.code() {
                Some(code) => format!("{self} ({code})"),
                None => self.to_string(),
            },
            Self::Database {
                source: sqlx::Error::ColumnDecode { index, .. },
                ..
            } => format!("{self} (the column {} cannot be read)", index.trim_matches('"')),
            Self::Database { .. }
            | Self::Inconsistent { .. }
            | Self::Migrate(_)
            | Self::Unfit(_)
            | Self::RowCount { .. }
            | Self::HeadMoved
            | Self::Diverged(_)
            | Self::Unready { .. }
            | Self::TimedOut { .. } => self.to_string(),
        }
    }
}

impl TaskFailure for StoreError {
    fn is_proven(&self) -> bool {
        matches!(self, Self::Diverged(_))
    }

    fn brief(&self) -> String {
        Self::brief(self)
    }
}

/// Whether PostgreSQL ended the session, or itself, with this error, whatever its code. It says nothing of the statement: what was
/// written to the log before a failed flush of it may stand after the server's recovery.
fn ended_by(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    error
        .try_downcast_ref::<PgDatabaseError>()
        .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// Whether PostgreSQL says that what the session has prepared is of no use any more: the statement is not there, or its rows have
/// got other types since. That session is told the same for ever; another one prepares the statement anew.
pub(crate) fn is_of_a_stale_statement(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    match error.code().as_deref() {
        Some("26000") => true,
        // The code is also that of what the server will never do. The text may be in another language, the routine is not; what
        // stands between may leave either out.
        Some("0A000") => {
            error.message() == "cached plan must not change result type"
                || error
                    .try_downcast_ref::<PgDatabaseError>()
                    .is_some_and(|error| error.routine() == Some("RevalidateCachedQuery"))
        }
        _ => false,
    }
}

/// PostgreSQL's codes of what passes, whole or as a class of two characters: connections, resources and disks, an operator's
/// intervention, serialization and deadlocks, statements that were cancelled or waited too long, a database that takes no
/// writes for now, a transaction that was aborted or timed out, an object that is in use; and what an operator is about to set
/// right: a password or a right that was changed, a database or a table that is being restored, a trigger of the operator's own that
/// raises. A file that cannot grow beyond a limit, and a page that cannot be read, are internal errors to PostgreSQL (`XX`).
const PASSING_CODES: [&str; 19] = [
    "08", "53", "57", "58", "40", "25006", "25P02", "25P03", "25P04", "55P03", "55006", "28", "3D000",
    "42501", "42P01", "72", "F0", "P0001", "XX",
];

/// SQLite's primary result codes of what passes: busy, locked, no memory, a disk that takes no writes for now, interrupted, I/O error,
/// a page that cannot be read, full, cannot open, a lost race of locks. A disk that fails while it is read has the code of a page that is
/// damaged (`SQLITE_CORRUPT`). An extended code holds its primary one in the lowest eight bits.
const PASSING_RESULTS: [u32; 10] = [5, 6, 7, 8, 9, 10, 11, 13, 14, 15];

/// SQLite's primary result code of a value that a table does not take (`SQLITE_CONSTRAINT`).
const CONSTRAINT: u32 = 19;

/// What says something of the data and nothing of the session: PostgreSQL's data exceptions, integrity violations and limits
/// of a value.
const DATA_CODES: [&str; 3] = ["22", "23", "54"];

/// Whether a PostgreSQL code is another, or of the class that it names.
fn is_of(code: &str, known: &str) -> bool {
    code.len() == 5 && code.starts_with(known)
}

/// PostgreSQL's codes have five characters, SQLite's are numbers of four digits at the most.
fn passes(code: &str) -> bool {
    if code.len() == 5 {
        return PASSING_CODES.iter().any(|known| is_of(code, known));
    }
    code.parse::<u32>()
        .is_ok_and(|result| PASSING_RESULTS.contains(&(result & 0xff)))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;
    use std::fmt;

    #[derive(Debug)]
    struct Coded(&'static str, &'static str);

    impl fmt::Display for Coded {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1)
        }
    }

    impl Error for Coded {}

    impl sqlx::error::DatabaseError for Coded {
        fn message(&self) -> &'static str {
            self.1
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    fn coded(code: &'static str) -> StoreError {
        said(code, "a text of the server's")
    }

    fn said(code: &'static str, text: &'static str) -> StoreError {
        StoreError::database("try")(sqlx::Error::Database(Box::new(Coded(code, text))))
    }

    #[test]
    fn a_prepared_statement_that_is_stale_is_tried_again_on_another_session_and_what_is_never_done_is_not() {
        let stale = "cached plan must not change result type";
        for (code, text, passes) in [
            ("0A000", stale, true),
            ("0A000", "cannot do it", false),
            ("26000", "prepared statement \"sqlx_s_1\" does not exist", true),
            ("26000", "la instrucción preparada no existe", true),
        ] {
            assert_eq!(said(code, text).is_transient(), passes, "{code}: {text}");
            assert!(!said(code, text).leaves_connection_clean(), "{code}: {text}");
            assert_eq!(
                is_of_a_stale_statement(&Coded(code, text)),
                passes,
                "{code}: {text}"
            );
        }
    }

    #[test]
    fn every_code_that_passes_is_tried_again_and_no_other() {
        // PostgreSQL: what a server says when it is stopped, restarted, promoted, full, locked, or an operator cancels.
        for code in [
            "57014", "57P01", "57P02", "57P03", "57P04", "57P05", "25006", "25P02", "25P03", "25P04",
            "55P03", "55006", "40001", "40P01", "40003", "53000", "53100", "53200", "53300", "53400",
            "08000", "08003", "08006", "08P01", "58000", "58030", "58P01", "58P02", "72000", "F0000",
            "P0001", "XX000", "XX001", "XX002",
        ] {
            assert!(coded(code).is_transient(), "{code}");
            assert!(!coded(code).leaves_connection_clean(), "{code}");
        }
        // SQLite: busy, its snapshot and recovery, locked, no memory, read-only, interrupted, I/O errors of all kinds, pages that cannot be
        // read, full, cannot open.
        for code in [
            "5", "261", "517", "773", "6", "262", "7", "11", "267", "523", "779", "8", "1032", "9", "10",
            "266", "522", "778", "1034", "4618", "4874", "5386", "13", "14", "526", "15",
        ] {
            assert!(coded(code).is_transient(), "{code}");
            assert!(!coded(code).leaves_connection_clean(), "{code}");
        }
        for code in [
            "22001", "22P02", "23505", "23514", "42703", "42601", "0A000", "P0002", "1", "19", "26", "2067",
            "1555",
        ] {
            assert!(!coded(code).is_transient(), "{code}");
        }
        for code in ["22001", "22012", "23505", "23514", "54000"] {
            assert!(coded(code).leaves_connection_clean(), "{code}");
        }
        for code in ["42P01", "42501", "XX000", "1", "11", "19", "2067"] {
            assert!(!coded(code).leaves_connection_clean(), "{code}");
        }
    }

    #[test]
    fn what_a_table_of_sqlites_refuses_is_told_from_everything_else() {
        for (code, refused) in [
            ("19", true),
            ("275", true),
            ("1299", true),
            ("3091", true),
            ("1", false),
            ("5", false),
            ("23514", false),
            ("22P02", false),
        ] {
            assert_eq!(coded(code).is_refused_by_table(), refused, "{code}");
        }
        assert!(!StoreError::HeadMoved.is_refused_by_table());
    }

    #[test]
    fn what_a_probe_is_told_names_the_operation_and_the_code_and_quotes_no_server() {
        assert_eq!(coded("25006").brief(), "try failed in the database (25006)");
        let lost = StoreError::database("try")(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        assert_eq!(lost.brief(), "try failed in the database");
        let damaged = StoreError::database("try")(sqlx::Error::ColumnDecode {
            index: "\"root\"".to_owned(),
            source: "a text of the driver's".into(),
        });
        assert_eq!(
            damaged.brief(),
            "try failed in the database (the column root cannot be read)"
        );
    }

    #[test]
    fn what_a_pool_was_refused_for_is_told_instead_of_the_pools_own_words() {
        let reason = || StoreError::Unready {
            operation: "look",
            reason: "nothing is there".into(),
        };
        let error = StoreError::database("try")(sqlx::Error::Configuration(reason().into()));
        assert_eq!(error.to_string(), reason().to_string());
        assert!(error.is_transient());
        let other = StoreError::database("try")(sqlx::Error::Configuration("a wrong URL".into()));
        assert!(matches!(other, StoreError::Database { operation: "try", .. }));
    }
}
