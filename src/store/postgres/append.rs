//! PostgreSQL: the append transaction.
//!
//! ```text
//! alone            load the streams ─▶ one statement that writes the batch if the head is where we left it
//! with others      BEGIN, lock the head ─▶ load the streams ─▶ the same statement ─▶ COMMIT
//! ```
//!
//! A process that finds the head where it left it takes no lock and needs two round trips for a command. When somebody else
//! appends meanwhile, the statement writes nothing, and the batch is decided again under the lock; so are the next
//! `LOCKED_BATCHES`, because where two instances append they keep doing so.

mod changes;
mod load;
mod pages;
mod rare;
mod write;

pub(super) use changes::write_changes;

use super::super::{AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, PageSizes, Position, StoreError};
use super::read::head_from_row;
use crate::store::columns::Columns as _;
use async_trait::async_trait;
use pages::Upkeep;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;
use write::KnownHead;

/// How many batches take the lock after another instance was met.
const LOCKED_BATCHES: u32 = 64;

/// Locks the head and reads it. One round trip, because it goes as plain text.
const LOCK_HEAD: &str = "BEGIN; SELECT position, frontier, root, recorded_at, xmin::text AS version
                         FROM ledger_head WHERE id = 1 FOR UPDATE";

/// The appending connection.
#[derive(Debug)]
pub struct PostgresAppend {
    options: PgConnectOptions,
    connection: PgConnection,
    /// The head as this process last read or wrote it.
    head: Option<KnownHead>,
    /// How many batches are still to take the lock.
    lock_next: u32,
    /// What the last batch left to do on the list's pages: the next one does it.
    upkeep: Upkeep,
    /// How large they may become.
    pages: PageSizes,
    /// Whether a transaction is open.
    open: bool,
}

impl PostgresAppend {
    pub(super) async fn connect(options: PgConnectOptions) -> Result<Self, StoreError> {
        let connection = connect_writer(&options).await?;
        Ok(Self {
            options,
            connection,
            head: None,
            lock_next: 0,
            upkeep: Upkeep::default(),
            pages: PageSizes::default(),
            open: false,
        })
    }

    /// With other sizes of the list's pages.
    #[must_use]
    pub const fn with_pages(mut self, pages: PageSizes) -> Self {
        self.pages = pages;
        self
    }

    /// The head that the batch is decided on: under the lock, or the one that this process left.
    async fn take_head(&mut self) -> Result<KnownHead, StoreError> {
        if self.lock_next == 0
            && let Some(head) = &self.head
        {
            return Ok(head.clone());
        }
        let row = self
            .connection
            .fetch_one(LOCK_HEAD)
            .await
            .map_err(StoreError::database("lock the head"))?;
        self.open = true;
        let head = KnownHead {
            head: head_from_row(&row)?,
            version: row.read("lock the head", "version")?,
        };
        let undisturbed = self.head.replace(head.clone());
        self.lock_next = match undisturbed {
            Some(before) if before.head.position == head.head.position => self.lock_next.saturating_sub(1),
            Some(_) => LOCKED_BATCHES,
            None => self.lock_next,
        };
        Ok(head)
    }

    async fn begin_batch(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        let head = self.take_head().await?;
        let (streams, answers) = load::load(&mut self.connection, needs).await?;
        Ok(BatchSnapshot {
            head: head.head,
            streams,
            answers,
        })
    }

    async fn write_batch(&mut self, batch: &BatchWrite) -> Result<(), StoreError> {
        let before = self
            .head
            .take()
            .ok_or_else(|| StoreError::inconsistent("write the batch", "no batch was begun"))?;
        let rare = rare::any(batch);
        // Tried once: should it fail, the batch is tried again without it, and the next one that counts there asks anew.
        let upkeep = std::mem::take(&mut self.upkeep);
        if (rare || !upkeep.is_empty()) && !self.open {
            self.connection
                .execute("BEGIN")
                .await
                .map_err(StoreError::database("begin the batch"))?;
            self.open = true;
        }
        // Without an open transaction the statement is one, and its answer is that of the commit.
        let (after, wanted) = write::write(&mut self.connection, &before, batch, self.pages).await?;
        if rare {
            rare::write(&mut self.connection, batch).await?;
        }
        if !upkeep.is_empty() {
            pages::keep_up(&mut self.connection, &upkeep, self.pages).await?;
        }
        self.upkeep = wanted.without(&upkeep);
        self.head = Some(after);
        Ok(())
    }
}

/// Opens a connection with what every session relies on.
pub(super) async fn open(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connecting = PgConnection::connect_with(options);
    let mut connection = tokio::time::timeout(super::CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)
        .and_then(|connected| connected)
        .map_err(StoreError::database("connect the writer"))?;
    super::prepare(&mut connection)
        .await
        .map_err(StoreError::database("prepare the writer's session"))?;
    Ok(connection)
}

/// The writer's statements touch few rows by key, and none of them depends on its values: the generic plan, made once, must
/// not be one that reads a small table whole.
async fn connect_writer(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let mut connection = open(options).await?;
    connection
        .execute(super::KEYED_PLANS)
        .await
        .map_err(StoreError::database("prepare the writer's session"))?;
    connection
        .execute("SET plan_cache_mode = force_generic_plan")
        .await
        .map_err(StoreError::database("prepare the writer's session"))?;
    Ok(connection)
}

#[async_trait]
impl AppendBackend for PostgresAppend {
    async fn begin(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        let begun = self.begin_batch(needs).await;
        if begun.is_err() {
            // The first error is the one to tell; a connection that cannot roll back is replaced by the caller.
            let _ = self.rollback().await;
        }
        begun
    }

    async fn commit(&mut self, batch: &BatchWrite) -> Result<(), StoreError> {
        if let Err(error) = self.write_batch(batch).await {
            if matches!(error, StoreError::HeadMoved) {
                self.lock_next = LOCKED_BATCHES;
            }
            let _ = self.rollback().await;
            return Err(error);
        }
        if self.open {
            self.open = false;
            let committed = self.connection.execute("COMMIT").await;
            if committed.is_err() {
                self.head = None;
            }
            committed.map_err(StoreError::database("commit the batch"))?;
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.open) {
            self.connection
                .execute("ROLLBACK")
                .await
                .map_err(StoreError::database("roll the batch back"))?;
        }
        Ok(())
    }

    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError> {
        // Under the head lock: a commit whose connection was lost may still be on its way, and holds the lock until it ends.
        // One that has not come as far as the lock finds another version of the row, and writes nothing.
        let asked = async {
            self.connection.execute("BEGIN").await?;
            self.connection
                .execute("UPDATE ledger_head SET position = position WHERE id = 1")
                .await?;
            let found: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM events WHERE position = $1 AND event_id = $2)",
            )
            .bind(signed(position))
            .bind(event_id)
            .fetch_one(&mut self.connection)
            .await?;
            self.connection.execute("COMMIT").await?;
            Ok(found)
        };
        asked.await.map_err(StoreError::database("look a commit up"))
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.head = None;
        self.open = false;
        self.connection = connect_writer(&self.options).await?;
        Ok(())
    }
}

/// A position or sequence as the database holds it. Both are checked to be positive and far below the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn rows<T>(written: &[T]) -> u64 {
    u64::try_from(written.len()).unwrap_or(u64::MAX)
}
