//! SQLite: the append transaction.

mod changes;
mod load;
mod pages;
mod write;

use super::{AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, PageSizes};
use crate::store::columns::Columns as _;
use crate::store::file::LedgerFile;
use crate::store::log::sqlite::head_from_row;
use crate::store::sqlite::{SqliteStore, open_again};
use crate::store::values::{signed, uuid};
use crate::store::witness::{Sight, Witness};
use crate::store::{Head, Position, StoreError};
use crate::telemetry;
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Executor, SqliteConnection};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

/// The turn on the writing connection.
#[derive(Debug)]
pub struct SqliteAppend {
    options: SqliteConnectOptions,
    write: Arc<Mutex<SqliteConnection>>,
    /// Held from `begin` to `commit` or `rollback`.
    turn: Option<OwnedMutexGuard<SqliteConnection>>,
    /// How large the list's pages may become.
    pages: PageSizes,
    file: Arc<LedgerFile>,
    /// Whether the connection could not be replaced although its state is not known.
    doubtful: bool,
}

impl SqliteStore {
    /// The append backend. It takes turns with everything else that writes.
    #[must_use]
    pub fn appender(&self) -> SqliteAppend {
        SqliteAppend::new(self)
    }
}

impl SqliteAppend {
    pub(super) fn new(store: &SqliteStore) -> Self {
        Self {
            options: store.options.clone(),
            write: Arc::clone(&store.write),
            turn: None,
            pages: PageSizes::default(),
            file: Arc::clone(&store.file),
            doubtful: false,
        }
    }

    /// With other sizes of the list's pages.
    #[must_use]
    pub const fn with_pages(mut self, pages: PageSizes) -> Self {
        self.pages = pages;
        self
    }

    /// The writing connection, with no transaction of anybody's left in it.
    async fn begin_turn(&mut self) -> Result<OwnedMutexGuard<SqliteConnection>, StoreError> {
        let mut turn = Arc::clone(&self.write).lock_owned().await;
        self.file.check_all("begin the batch").await?;
        if self.doubtful {
            self.replace(&mut turn).await?;
        }
        match begin_immediate(&mut turn).await {
            Err(error) if !error.is_transient() => {
                // Something that nobody ended is still open in it.
                self.replace(&mut turn).await?;
                begin_immediate(&mut turn).await?;
            }
            begun => begun?,
        }
        Ok(turn)
    }

    /// Ends a transaction that failed, before anybody else has a turn: what others write must not become part of it.
    async fn clean_up(&mut self, turn: &mut SqliteConnection, error: &StoreError) {
        let clean = match turn.execute("ROLLBACK").await {
            Ok(_) => error.leaves_connection_clean(),
            // SQLite has rolled it back by itself.
            Err(sqlx::Error::Database(cause)) if cause.code().as_deref() == Some(NO_TRANSACTION) => {
                error.leaves_connection_clean()
            }
            Err(_) => false,
        };
        if !clean && let Err(error) = self.replace(turn).await {
            tracing::warn!(error = %telemetry::chain(&error), "the writer's connection cannot be replaced yet");
        }
    }

    async fn replace(&mut self, turn: &mut SqliteConnection) -> Result<(), StoreError> {
        self.doubtful = true;
        *turn = open_again(&self.options, &self.file).await?;
        self.doubtful = false;
        Ok(())
    }
}

/// What `ROLLBACK` fails with when there is nothing to roll back, among other things that are wrong with a statement.
const NO_TRANSACTION: &str = "1";

/// IMMEDIATE: the write lock is the head lock, and it is taken before anything is read.
async fn begin_immediate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    connection
        .execute("BEGIN IMMEDIATE")
        .await
        .map_err(StoreError::database("begin the batch"))?;
    Ok(())
}

#[async_trait]
impl AppendBackend for SqliteAppend {
    async fn begin(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        let mut turn = self.begin_turn().await?;
        match load::load(&mut turn, &self.file, needs).await {
            Ok(snapshot) => {
                self.turn = Some(turn);
                Ok(snapshot)
            }
            Err(error) => {
                self.clean_up(&mut turn, &error).await;
                Err(error)
            }
        }
    }

    async fn commit(&mut self, write: &BatchWrite) -> Result<(), StoreError> {
        let mut turn = self.take_turn("commit the batch")?;
        let written = async {
            write::write(&mut turn, write, self.pages).await?;
            turn.execute("COMMIT")
                .await
                .map_err(StoreError::database("commit the batch"))
        };
        if let Err(error) = written.await {
            self.clean_up(&mut turn, &error).await;
            return Err(error);
        }
        self.file.note(&write.head);
        // What went to a file that is not there any more, or is another's, is not to be acknowledged.
        self.file.check_all("commit the batch").await
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        let mut turn = self.take_turn("roll the batch back")?;
        let rolled_back = turn.execute("ROLLBACK").await;
        if let Err(error) = rolled_back.map_err(StoreError::database("roll the batch back")) {
            self.clean_up(&mut turn, &error).await;
            return Err(error);
        }
        Ok(())
    }

    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError> {
        let mut connection = self.write.lock().await;
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM events WHERE position = ?1 AND event_id = ?2)")
            .bind(signed(position))
            .bind(event_id.to_string())
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::database("look a commit up"))
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.turn = None;
        let mut turn = Arc::clone(&self.write).lock_owned().await;
        self.replace(&mut turn).await
    }

    async fn look(&mut self, prove: bool) -> Result<(), StoreError> {
        let mut turn = self.begin_turn().await?;
        match look(&mut turn, &self.file, prove).await {
            Ok(()) => self.file.check_all("look at the head").await,
            Err(error) => {
                self.clean_up(&mut turn, &error).await;
                Err(error)
            }
        }
    }

    fn witness(&self) -> &Arc<Witness> {
        self.file.witness()
    }
}

impl SqliteAppend {
    fn take_turn(
        &mut self,
        operation: &'static str,
    ) -> Result<OwnedMutexGuard<SqliteConnection>, StoreError> {
        self.turn
            .take()
            .ok_or_else(|| StoreError::inconsistent(operation, "no transaction is open"))
    }
}

/// Reads the head, which must be one that follows on what the process knows.
async fn read_head(connection: &mut SqliteConnection, file: &LedgerFile) -> Result<Head, StoreError> {
    let (operation, witness) = ("read the head", file.witness());
    let asked = witness.known();
    let row = sqlx::query(
        "SELECT position, frontier, root, recorded_at,
                EXISTS (SELECT 1 FROM ledger_meta WHERE name = ?1) AS forked
         FROM ledger_head WHERE id = 1",
    )
    .bind(asked.fork())
    .fetch_one(&mut *connection)
    .await
    .map_err(StoreError::database(operation))?;
    let head = head_from_row(&row)?;
    let forked = row.read(operation, "forked")?;
    let marked = match asked.mark {
        // The root says as much as the event.
        Some(mark) if (mark.position, mark.root) == (head.position, head.root) => Some(mark.event_id),
        Some(mark) => {
            let found: Option<String> = sqlx::query_scalar("SELECT event_id FROM events WHERE position = ?1")
                .bind(signed(mark.position))
                .fetch_optional(connection)
                .await
                .map_err(StoreError::database(operation))?;
            found.map(|id| uuid(operation, &id)).transpose()?
        }
        None => None,
    };
    let seen = Sight {
        position: head.position,
        root: head.root,
        marked,
        // Of the size that was signed the event is enough; the checkpoint is asked for at each new connection; so is what was published.
        signed: None,
        published: None,
        standby: false,
        forked,
    };
    witness.compare(operation, &asked, &seen)?;
    file.note(&head);
    Ok(head)
}

/// Looks at the head, in a transaction that was begun; with `prove`, writes it back as it is.
async fn look(connection: &mut SqliteConnection, file: &LedgerFile, prove: bool) -> Result<(), StoreError> {
    read_head(connection, file).await?;
    let end = if prove {
        connection
            .execute("UPDATE ledger_head SET position = position WHERE id = 1")
            .await
            .map_err(StoreError::database("write the head"))?;
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    connection
        .execute(end)
        .await
        .map_err(StoreError::database("end the look at the head"))?;
    Ok(())
}
