//! What the thread that appends works at: its connection, and the turn that it holds while a transaction is open.

use super::rows::Rows;
use super::{head, load, write};
use crate::store::called::{at, execute, failed};
use crate::store::file::LedgerFile;
use crate::store::sqlite::open_called;
use crate::store::values::signed;
use crate::store::{BatchNeeds, BatchSnapshot, PageSizes, Position, StoreError};
use crate::telemetry;
use rusqlite::{Connection, params};
use sqlx::SqliteConnection;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// The turn to write, with the connection that everybody else writes on.
pub(super) type Turn = OwnedMutexGuard<SqliteConnection>;

/// What a commit or rollback without a transaction is told.
const NOTHING_OPEN: &str = "no transaction is open";

/// The thread's own. The connection goes before the turn: what is open in it is rolled back while nobody else can write.
pub(super) struct Desk {
    connection: Option<Connection>,
    turn: Option<Turn>,
    path: PathBuf,
    cache_kib: u32,
    file: Arc<LedgerFile>,
}

impl Desk {
    pub(super) const fn new(path: PathBuf, cache_kib: u32, file: Arc<LedgerFile>) -> Self {
        Self {
            connection: None,
            turn: None,
            path,
            cache_kib,
            file,
        }
    }

    /// Opens the transaction and loads what the batch needs; the turn is kept until it ends.
    pub(super) fn begin(&mut self, turn: Turn, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        self.turn = Some(turn);
        let found = self
            .begin_immediate()
            .and_then(|()| self.within(|connection, file| load::load(connection, file, needs)));
        if found.is_err() {
            self.turn = None;
        }
        found
    }

    /// Writes the batch and commits; gives the turn back.
    pub(super) fn commit(&mut self, rows: &Rows, sizes: PageSizes) -> Result<Turn, StoreError> {
        let operation = "commit the batch";
        let committed = self.within(|connection, _| {
            write::write(connection, rows, sizes)?;
            execute(connection, operation, "COMMIT", ()).map(drop)
        });
        let turn = self.turn.take();
        committed?;
        turn.ok_or_else(|| StoreError::inconsistent(operation, NOTHING_OPEN))
    }

    /// Ends the transaction without writing.
    pub(super) fn rollback(&mut self) -> Result<(), StoreError> {
        let operation = "roll the batch back";
        let ended = self.within(|connection, _| execute(connection, operation, "ROLLBACK", ()).map(drop));
        self.turn = None;
        ended
    }

    /// Looks at the head in a transaction of its own; gives the turn back.
    pub(super) fn look(&mut self, turn: Turn, prove: bool) -> Result<Turn, StoreError> {
        self.turn = Some(turn);
        let looked = self
            .begin_immediate()
            .and_then(|()| self.within(|connection, file| head::look(connection, file, prove)));
        let turn = self.turn.take();
        looked?;
        turn.ok_or_else(|| StoreError::inconsistent("look at the head", NOTHING_OPEN))
    }

    /// Whether an event stands at a position. The turn keeps everybody else from writing meanwhile.
    pub(super) fn is_committed(
        &mut self,
        _turn: &Turn,
        position: Position,
        event_id: Uuid,
    ) -> Result<bool, StoreError> {
        self.opened()?
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM events WHERE position = ?1 AND event_id = ?2)",
                params![signed(position), event_id.to_string()],
                |row| at(row, 0),
            )
            .map_err(failed("look a commit up"))
    }

    /// Opens another connection in place of one that failed.
    pub(super) fn replace(&mut self, turn: Turn) -> Result<(), StoreError> {
        self.turn = Some(turn);
        self.connection = None;
        let replaced = self.opened().map(drop);
        self.turn = None;
        replaced
    }

    /// After a panic nothing is known of the connection.
    pub(super) fn forget(&mut self) {
        self.connection = None;
        self.turn = None;
    }

    /// Ends what nobody waits for any more.
    pub(super) fn abandon(&mut self) {
        if self.turn.is_some()
            && let Err(error) = self.rollback()
        {
            tracing::warn!(error = %telemetry::chain(&error), "a batch that nobody waits for could not be rolled back");
        }
    }

    /// The connection, opened anew where there is none.
    fn opened(&mut self) -> Result<&Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open_called(&self.path, self.cache_kib, &self.file)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// IMMEDIATE: the write lock is the head lock, and it is taken before anything is read.
    fn begin_immediate(&mut self) -> Result<(), StoreError> {
        match begin_immediate(self.opened()?) {
            Err(error) if !error.is_transient() => {
                // Something that nobody ended is still open in it.
                self.connection = None;
                begin_immediate(self.opened()?)
            }
            begun => begun,
        }
    }

    /// Does something in the transaction that is open. Where it fails, the transaction is ended before anybody else has a turn.
    fn within<T>(
        &mut self,
        work: impl FnOnce(&Connection, &LedgerFile) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let connection = match &self.connection {
            Some(connection) if self.turn.is_some() => connection,
            Some(_) | None => return Err(StoreError::inconsistent("write the batch", NOTHING_OPEN)),
        };
        let done = work(connection, &self.file);
        if let Err(error) = &done {
            // SQLite may have rolled it back by itself.
            let ended = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
            if !(ended && error.leaves_connection_clean()) {
                self.connection = None;
            }
        }
        done
    }
}

fn begin_immediate(connection: &Connection) -> Result<(), StoreError> {
    execute(connection, "begin the batch", "BEGIN IMMEDIATE", ()).map(drop)
}
