//! The SQLite backend: one file, two writing connections, a few reading ones.
//!
//! The log is appended to on a connection that a thread of the writer's calls directly (`store/append/sqlite.rs`); everything else that
//! writes has the other one, behind a mutex. Whoever writes, on either, has the mutex, so that nobody waits in SQLite's own busy loop;
//! other processes (an import, a rebuild) are waited for by `busy_timeout`. Times are microseconds since 1970 UTC, ids are
//! hyphenated text.

use super::StoreError;
use super::audit::blocks::IndexTrust;
use super::callbacks::Lane;
use super::called::failed;
use super::damaged::{PassedOver, unless_refused};
use super::file::LedgerFile;
use super::pool::Readers;
use super::witness::Witness;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous, SqliteTransactionManager,
};
use sqlx::{
    ConnectOptions, Connection as _, Executor, SqliteConnection, SqlitePool, TransactionManager as _,
};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

/// How long another process's transaction is waited for before the writer looks at its connection again.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long whoever appends waits before it looks again.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// How long a reading connection is waited for.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the write-ahead log becomes before a commit moves it into the file: 64 MiB, and not 4, as a page that batches write again and
/// again goes to the file once. A service moves it before.
const WAL_PAGES: u32 = 16_000;

/// How much of the file the connection of everything but the log keeps in memory at the most, in KiB.
const OTHERS_CACHE_KIB: u32 = 4_096;

/// How many statements the connection that appends keeps prepared: more than it has.
const STATEMENTS: usize = 64;

/// A SQLite file that holds a ledger.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pub(super) reads: Readers,
    pub(super) write: Arc<Mutex<SqliteConnection>>,
    pub(super) options: SqliteConnectOptions,
    pub(super) file: Arc<LedgerFile>,
    pub(super) index_trust: IndexTrust,
    /// Deliveries, by lane and row.
    pub(super) passed_deliveries: PassedOver<(Lane, i64)>,
    /// Cleanup jobs, by their id as SQL has it.
    pub(super) passed_jobs: PassedOver<String>,
    /// How much of the file the connection that appends keeps in memory, in KiB.
    pub(super) cache_kib: u32,
}

/// Moves the write-ahead log into the database file.
///
/// SQLite has the commit that fills the log do so, and everybody waits for it: 32 MiB of pages in the order of the file, and an
/// fsync. Beside the commits it costs them little; what comes in meanwhile is moved again, and only the rest between two
/// commits, so that the next one begins the log anew.
#[derive(Debug)]
pub struct LogMover {
    connection: SqliteConnection,
    write: Arc<Mutex<SqliteConnection>>,
    file: Arc<LedgerFile>,
}

impl LogMover {
    /// Moves all that is in the log. Open reads may keep some of it there: it is moved another time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn run(&mut self) -> Result<(), StoreError> {
        let operation = "move the write-ahead log";
        let passive = "PRAGMA wal_checkpoint(PASSIVE)";
        // Nothing is moved into a file that is another's.
        self.file.check_all(operation).await?;
        for _ in 0..2 {
            self.connection
                .execute(passive)
                .await
                .map_err(StoreError::database(operation))?;
        }
        let mut write = self.write.lock().await;
        self.file.check_all(operation).await?;
        raise_stamp(&mut write).await?;
        write
            .execute(passive)
            .await
            .map_err(StoreError::database(operation))?;
        self.file.check_all(operation).await
    }
}

/// A writing connection to the file that is known, in place of one whose state is not.
///
/// # Errors
/// [`StoreError::Diverged`] when it is another file by now; [`StoreError`] where it cannot be opened.
pub(super) async fn open_again(
    options: &SqliteConnectOptions,
    file: &LedgerFile,
) -> Result<SqliteConnection, StoreError> {
    // Before anything is opened: where the file was emptied, SQLite would remove the log that still has it all.
    file.check_content("open the database again").await?;
    let mut fresh = SqliteConnection::connect_with(options)
        .await
        .map_err(StoreError::database("open the database again"))?;
    file.vouch(&mut fresh).await?;
    Ok(fresh)
}

/// A connection for whoever calls SQLite directly, to the file that is known and was just found in its place. It waits for other processes
/// and keeps its promises as the driver's connections do.
///
/// # Errors
/// [`StoreError::Diverged`] when it is another file by now; [`StoreError`] where it cannot be opened.
pub(super) fn open_called(path: &Path, cache_kib: u32, file: &LedgerFile) -> Result<Connection, StoreError> {
    let operation = "open the database again";
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_handler(Some(wait_for_others))?;
        // What a statement is bound to may let SQLite use a partial index, so it plans anew whenever that has changed: for each command.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
             PRAGMA cache_size = -{cache_kib}; PRAGMA wal_autocheckpoint = {WAL_PAGES}"
        ))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    let connection = open().map_err(failed(operation))?;
    file.vouch_called(&connection)?;
    Ok(connection)
}

/// Waits for another process, for as long as [`BUSY_TIMEOUT`] says. The library's own handler looks ever more rarely, and a process that
/// commits again and again leaves little time between two commits.
fn wait_for_others(tries: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    BUSY_PAUSE * tries.unsigned_abs() < BUSY_TIMEOUT
}

/// Raises the number that tells one state of the file from the next, right before the log is moved into it.
async fn raise_stamp(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = StoreError::database("raise the file's stamp");
    let stamp: Result<i32, _> = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await;
    let next = match stamp {
        Ok(stamp) => stamp.saturating_add(1),
        Err(error) => return Err(failed(error)),
    };
    connection
        .execute(format!("PRAGMA user_version = {next}").as_str())
        .await
        .map(drop)
        .map_err(StoreError::database("raise the file's stamp"))
}

impl SqliteStore {
    /// How much of the file the connection that appends keeps in memory unless it is told otherwise, in KiB.
    pub const CACHE_KIB: u32 = 32_768;

    /// The writing connection, for one change.
    ///
    /// Whoever had it before may have been dropped in the middle of a transaction. The driver rolls that back later, and where it
    /// was dropped while it began not at all; until then another one can neither begin nor be kept apart from it. What SQLite rolls back
    /// by itself, when a disk fails, the driver cannot, and goes on counting: such a connection is of no use any more.
    pub(super) async fn writing(&self) -> MutexGuard<'_, SqliteConnection> {
        let mut connection = self.write.lock().await;
        self.settle(&mut connection).await;
        connection
    }

    /// The turn to write, for whoever does so on another connection. Nothing that was begun is left open in this one.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<SqliteConnection> {
        let mut connection = Arc::clone(&self.write).lock_owned().await;
        self.settle(&mut connection).await;
        connection
    }

    /// Ends what whoever had the connection before has left open.
    async fn settle(&self, connection: &mut SqliteConnection) {
        if SqliteTransactionManager::get_transaction_depth(connection) > 0 {
            // Behind a rollback that waits. What fails here fails again, and is told, when the connection is used.
            let _ = connection.ping().await;
        }
        if SqliteTransactionManager::get_transaction_depth(connection) > 0 {
            let _ = SqliteTransactionManager::rollback(connection).await;
        }
        if SqliteTransactionManager::get_transaction_depth(connection) > 0
            && let Ok(fresh) = open_again(&self.options, &self.file).await
        {
            *connection = fresh;
        }
    }

    /// The reading connections, for a reader that is not our own.
    pub(crate) fn readers(&self) -> SqlitePool {
        self.reads.pool().clone()
    }

    /// Opens the file, or makes it, with `connections` reading connections.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file cannot be opened or is no database.
    pub async fn open(path: &Path, connections: u32) -> Result<Self, StoreError> {
        Self::open_with_cache(path, connections, Self::CACHE_KIB).await
    }

    /// The same, with another bound of what the connection that appends keeps in memory, in KiB.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with_cache(path: &Path, connections: u32, cache_kib: u32) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged commit survives the loss of power: NORMAL would not fsync the log at each commit.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // A destroyed key is overwritten where it stood, not only unlinked.
            .pragma("secure_delete", "ON")
            .pragma("cache_size", format!("-{}", cache_kib.min(OTHERS_CACHE_KIB)))
            .pragma("wal_autocheckpoint", WAL_PAGES.to_string())
            .log_statements(tracing::log::LevelFilter::Trace)
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(5));
        make_private(path)
            .map_err(|error| StoreError::database("make the database's file")(sqlx::Error::Io(error)))?;
        // The writer comes first: it makes what is in the file and turns write-ahead logging on.
        let write = SqliteConnection::connect_with(&options)
            .await
            .map_err(StoreError::database("open the database"))?;
        let file = LedgerFile::opened(path, Arc::default())
            .map(Arc::new)
            .map_err(|error| StoreError::database("find the database's file")(sqlx::Error::Io(error)))?;
        let reading = options
            .clone()
            .read_only(true)
            .create_if_missing(false)
            // Each has one of its own, and what they read again is in the system's cache.
            .pragma("cache_size", "-1024");
        let reads = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A file does not go away, and a ping is a turn of another thread.
            .test_before_acquire(false)
            .after_connect({
                let file = Arc::clone(&file);
                move |connection, _| {
                    let file = Arc::clone(&file);
                    Box::pin(async move {
                        let vouched = file.vouch(connection).await;
                        file.witness().admitted(&vouched);
                        vouched.map_err(|error| sqlx::Error::Configuration(error.into()))
                    })
                }
            })
            .connect_with(reading)
            .await
            .map_err(StoreError::database("open the database for reading"))?;
        Ok(Self {
            reads: reads.into(),
            write: Arc::new(Mutex::new(write)),
            options,
            file,
            index_trust: IndexTrust::default(),
            passed_deliveries: PassedOver::default(),
            passed_jobs: PassedOver::default(),
            cache_kib,
        })
    }

    /// The same file, held still: everything that is read of it is of one moment, however long it takes. Until it is dropped, the
    /// write-ahead log cannot begin anew, and grows by what is written.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn snapshot(&self) -> Result<Self, StoreError> {
        let begun = Arc::new(AtomicBool::new(false));
        let options = self.options.clone().read_only(true).create_if_missing(false);
        let reads = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| {
                let again = begun.swap(true, Ordering::SeqCst);
                Box::pin(async move {
                    if again {
                        // What comes now would be of another moment.
                        return Err(sqlx::Error::Protocol(
                            "the connection that held the snapshot was lost".into(),
                        ));
                    }
                    connection.execute("BEGIN").await?;
                    // The first read takes the snapshot.
                    connection.execute("SELECT position FROM ledger_head").await?;
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(StoreError::database("hold the ledger still"))?;
        Ok(Self {
            reads: reads.into(),
            ..self.clone()
        })
    }

    /// Moves the write-ahead log into the database file and empties it, so that keys and sealed details which a purge
    /// destroyed do not linger there. Open reads may keep it from being emptied this time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn empty_write_ahead_log(&self) -> Result<(), StoreError> {
        let operation = "empty the write-ahead log";
        let mut connection = self.writing().await;
        // Nothing is moved into a file that is another's.
        self.file.check_all(operation).await?;
        raise_stamp(&mut connection).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_optional(&mut *connection)
            .await
            .map_err(StoreError::database(operation))?;
        self.file.check_all(operation).await
    }

    /// Says that nobody but this process appends, as whoever serves the ledger knows by its lock. What is in the file is told apart
    /// from then on from any copy that was made before, by a stamp that is moved into it now.
    ///
    /// # Errors
    /// [`StoreError`], as [`SqliteStore::empty_write_ahead_log`].
    pub async fn is_served_alone(&self) -> Result<(), StoreError> {
        self.file.is_served_alone();
        self.empty_write_ahead_log().await
    }

    /// Moves what is in the write-ahead log into the file, if the file is still the one that was opened: for the end of a
    /// process whose log was taken away.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn save_write_ahead_log(&self) -> Result<(), StoreError> {
        if !self.file.is_in_place().await {
            return Ok(());
        }
        let mut connection = self.writing().await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_optional(&mut *connection)
            .await
            .map_err(StoreError::database("move the write-ahead log"))?;
        Ok(())
    }

    /// Leaves the write-ahead log and the shared memory beside the file where they are when the process ends. Whoever closes
    /// the last connection removes them, and on a full disk they could not be made again: not even reads would be served. So
    /// one connection is never closed; what is in it is nothing that a kill would not leave as well.
    pub fn keep_files(&self) {
        std::mem::forget(Arc::clone(&self.write));
    }

    /// Opens a connection that moves the write-ahead log into the database file beside the writing one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn log_mover(&self) -> Result<LogMover, StoreError> {
        let options = self.options.clone().pragma("cache_size", "-1024");
        let connection = SqliteConnection::connect_with(&options)
            .await
            .map_err(StoreError::database("open the database for its log"))?;
        self.file.check("open the database for its log")?;
        Ok(LogMover {
            connection,
            write: Arc::clone(&self.write),
            file: Arc::clone(&self.file),
        })
    }

    /// Ends every lease on a job or a delivery. Only for a process that is alone on the ledger: what is leased was leased by
    /// a process that is gone.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn release_work_leases(&self) -> Result<(), StoreError> {
        let operation = "end the leases of a process that is gone";
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let jobs: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT CAST(event_id AS BLOB) FROM cleanup_jobs WHERE lease_token IS NOT NULL",
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        for job in jobs {
            let ended = sqlx::query(
                "UPDATE cleanup_jobs SET lease_token = NULL, lease_until = NULL WHERE event_id = CAST(?1 AS TEXT)",
            )
            .bind(job)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation));
            unless_refused(ended)?;
        }
        let deliveries: Vec<i64> = sqlx::query_scalar(
            "SELECT rowid FROM callback_deliveries WHERE state = 'due' AND lease_token IS NOT NULL",
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        for delivery in deliveries {
            // A delivery's lease ends at its next attempt; what was attempted was due before, so it is due at once.
            let ended = sqlx::query(
                "UPDATE callback_deliveries SET lease_token = NULL, next_attempt_at = first_due_at WHERE rowid = ?1",
            )
            .bind(delivery)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation));
            unless_refused(ended)?;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(())
    }

    /// What the ledger remembers of itself under `name`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn recall(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM ledger_meta WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.reads)
            .await
            .map_err(StoreError::database("recall a fact of the ledger"))
    }

    /// Remembers a fact once and for all; returns what stands, which is not `value` when something stood before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn remember(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let operation = "remember a fact of the ledger";
        let mut connection = self.writing().await;
        sqlx::query("INSERT INTO ledger_meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database(operation))?;
        drop(connection);
        let standing = self.recall(name).await?;
        standing.ok_or_else(|| StoreError::inconsistent(operation, "the fact did not stand"))
    }

    /// Opens no connection any more.
    pub fn give_up(&self) {
        self.reads.close();
    }

    /// What this process knows of the log.
    #[must_use]
    pub fn witness(&self) -> &Arc<Witness> {
        self.file.witness()
    }
}

/// Makes the file, for its owner alone, where there is none: SQLite would let everybody read it whom the process's mask lets. The
/// files beside it are as this one.
fn make_private(path: &Path) -> io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
