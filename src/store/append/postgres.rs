//! PostgreSQL: the append transaction.
//!
//! ```text
//! alone            load the streams ─▶ one statement that writes the batch if the head is where we left it
//!                                      of new entities alone: that statement, which sees to it that they are new
//! with others      BEGIN, lock the head ─▶ load the streams ─▶ the same statement ─▶ COMMIT
//!                  of new entities alone: without the loading
//! ```
//!
//! A process that finds the head where it left it takes no lock and needs two round trips for a command. When somebody else
//! appends meanwhile, the statement writes nothing, and the batch is decided again under the lock; so are the next
//! `LOCKED_BATCHES`, because where two instances append they keep doing so.
//!
//! Under the lock the head is compared with what the process knows; without it the head is the very row that the process left.
//! So no batch follows on a log that lacks what was acknowledged, whichever server a connection leads to.

mod changes;
mod load;
mod pages;
mod rare;
mod standstill;
mod write;

pub(in crate::store) use changes::write_changes;

use super::entities::EntityWrites;
use super::{AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, PageSizes};
use crate::clock::SharedClock;
use crate::store::columns::Columns as _;
use crate::store::log::postgres::head_from_row;
use crate::store::postgres::PostgresStore;
use crate::store::server::session::Session;
use crate::store::server::{Plans, Server};
use crate::store::values::signed;
use crate::store::witness::postgres::vouch_session;
use crate::store::witness::{Question, Sight, Witness};
use crate::store::{Position, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use pages::Upkeep;
use sqlx::Executor;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;
use write::KnownHead;
use write::alone::{self, Alone};

/// How many batches take the lock after another instance was met.
const LOCKED_BATCHES: u32 = 64;

/// How many batches look whether their entities are new after one that took a known one for new.
const LOOKING_BATCHES: u32 = 16;

/// How long an answer is waited for at all: a server that is gone without a word is found out by nothing else. Longer than the server
/// lets a statement of the writer's take, and short enough for an attempt and its repetition while a caller waits.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);

/// The appending connection.
#[derive(Debug)]
pub struct PostgresAppend {
    server: Server,
    /// Absent while its state would not be known: what is left of it is closed, and the server rolls back what was open.
    connection: Option<Session>,
    /// The head as this process last read or wrote it.
    head: Option<KnownHead>,
    /// How many batches are still to take the lock.
    lock_next: u32,
    /// What the last batch left to do on the list's pages: the next one does it.
    upkeep: Upkeep,
    /// How large they may become.
    pages: PageSizes,
    /// Whether a transaction may be open.
    open: bool,
    /// Whether the batch was begun on entities that were taken for new without a look.
    taken_for_new: bool,
    /// How many batches are still to look, after one whose entities were not new.
    look_next: u32,
    /// What the process knows of the log.
    witness: Arc<Witness>,
    /// What is told the database's time, which comes with answers that are waited for anyway.
    clock: Option<SharedClock>,
}

impl PostgresStore {
    /// Opens the connection of an append backend.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn appender(&self) -> Result<PostgresAppend, StoreError> {
        PostgresAppend::connect(self.server.clone(), Arc::clone(&self.witness)).await
    }
}

impl PostgresAppend {
    pub(super) async fn connect(server: Server, witness: Arc<Witness>) -> Result<Self, StoreError> {
        let connection = connect_writer(&server, &witness).await?;
        Ok(Self {
            server,
            connection: Some(connection),
            head: None,
            lock_next: 0,
            upkeep: Upkeep::default(),
            pages: PageSizes::default(),
            open: false,
            taken_for_new: false,
            look_next: 0,
            witness,
            clock: None,
        })
    }

    /// With a clock that goes by the database's.
    #[must_use]
    pub fn telling_time_to(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    fn tell_time(&self, shown: DateTime<Utc>, asked: Instant) {
        if let Some(clock) = &self.clock {
            clock.observe(shown, asked.elapsed());
        }
    }

    /// With other sizes of the list's pages.
    #[must_use]
    pub const fn with_pages(mut self, pages: PageSizes) -> Self {
        self.pages = pages;
        self
    }

    /// The connection, if its state is known.
    fn connection(&mut self) -> Result<&mut Session, StoreError> {
        self.connection
            .as_mut()
            .ok_or_else(|| StoreError::database("use the writer's connection")(sqlx::Error::PoolClosed))
    }

    /// Makes sure of a connection that nothing is left in.
    async fn ready(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() || self.open {
            self.reconnect().await?;
        }
        Ok(())
    }

    /// After an error: rolls back if the connection is known to be sound, and gives it up if not.
    async fn clean_up(&mut self, error: &StoreError) {
        if !matches!(error, StoreError::HeadMoved) {
            self.head = None;
        }
        let clean = error.leaves_connection_clean() && self.roll_back().await.is_ok();
        if !clean {
            self.connection = None;
            self.open = false;
        }
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        if self.open {
            let connection = self.connection()?;
            in_time("roll the batch back", connection.execute("ROLLBACK")).await?;
            self.open = false;
        }
        Ok(())
    }

    /// Takes the lock and reads the head, which must be one that follows on what the process knows.
    async fn lock_head(&mut self) -> Result<KnownHead, StoreError> {
        let asked = self.witness.known();
        self.open = true;
        let connection = self.connection()?;
        let locking = connection.begin_with(&lock_head(&asked));
        let began = Instant::now();
        let row = connection
            .fetch_one(locking.as_str())
            .await
            .map_err(StoreError::database("lock the head"))?;
        self.tell_time(row.read("lock the head", "time")?, began);
        let head = KnownHead {
            head: head_from_row(&row)?,
            version: row.read("lock the head", "version")?,
        };
        let seen = Sight {
            position: head.head.position,
            root: head.head.root,
            marked: row.read("lock the head", "marked")?,
            // Of the size that was signed the event is enough; the checkpoint is asked for at each new connection; so is what was published.
            signed: None,
            published: None,
            standby: false,
            forked: row.read("lock the head", "forked")?,
        };
        self.witness.compare("lock the head", &asked, &seen)?;
        Ok(head)
    }

    /// The head that the batch is decided on: under the lock, or the one that this process left.
    async fn take_head(&mut self) -> Result<KnownHead, StoreError> {
        if self.lock_next == 0
            && self.server.keeps_sessions()
            && let Some(head) = &self.head
        {
            return Ok(head.clone());
        }
        let head = self.lock_head().await?;
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
        self.taken_for_new = needs.only_new && self.look_next == 0;
        self.look_next = self.look_next.saturating_sub(1);
        let (streams, answers) = if self.taken_for_new {
            Default::default()
        } else {
            load::load(self.connection()?, needs).await?
        };
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
        let entities = EntityWrites::from(batch);
        let rare = rare::any(batch, &entities);
        if self.taken_for_new
            && (rare || !(batch.answers.is_empty() && batch.claims.is_empty() && batch.erased.is_empty()))
        {
            let more = "a batch of new entities alone has more to write";
            return Err(StoreError::inconsistent("write the batch", more));
        }
        // Tried once: should it fail, the batch is tried again without it, and the next one that counts there asks anew.
        let upkeep = std::mem::take(&mut self.upkeep);
        if (rare || !upkeep.is_empty()) && !self.open {
            self.open = true;
            let connection = self.connection()?;
            let begin = connection.begin();
            connection
                .execute(&*begin)
                .await
                .map_err(StoreError::database("begin the batch"))?;
        }
        let (open, pages, taken_for_new) = (self.open, self.pages, self.taken_for_new);
        let connection = self.connection()?;
        // Without an open transaction the statement is one, and its answer is that of the commit.
        let began = Instant::now();
        let written = match Alone::of(batch, &entities) {
            Some(one) if taken_for_new => alone::write(connection, &before, batch, one, pages).await,
            _ => write::write(connection, &before, (batch, taken_for_new), &entities, pages).await,
        };
        if taken_for_new && matches!(written, Err(StoreError::HeadMoved)) {
            self.look_next = LOOKING_BATCHES;
            // Whether it has: the next attempt loads the streams, and finds out.
            self.head = Some(before);
        }
        let (after, wanted, time) = written?;
        self.tell_time(time, began);
        let connection = self.connection()?;
        if rare {
            rare::write(connection, batch, &entities).await?;
        }
        if !upkeep.is_empty() {
            pages::keep_up(connection, &upkeep, pages).await?;
        }
        if open {
            connection
                .execute("COMMIT")
                .await
                .map_err(StoreError::database("commit the batch"))?;
            self.open = false;
        }
        self.upkeep = wanted.without(&upkeep);
        self.head = Some(after);
        Ok(())
    }

    async fn look_up(&mut self, position: Position, event_id: Uuid) -> Result<bool, sqlx::Error> {
        self.open = true;
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        // Under the head lock: a commit whose connection was lost may still be on its way, and holds the lock until it ends.
        // One that has not come as far as the lock finds another version of the row, and writes nothing.
        let begin = connection.begin();
        connection.execute(&*begin).await?;
        connection.execute(TOUCH_HEAD).await?;
        let found: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM events WHERE position = $1 AND event_id = $2)")
                .bind(signed(position))
                .bind(event_id)
                .fetch_one(&mut *connection)
                .await?;
        connection.execute("COMMIT").await?;
        self.open = false;
        Ok(found)
    }

    async fn look_at_head(&mut self, prove: bool) -> Result<(), StoreError> {
        let head = self.lock_head().await?;
        self.head = Some(head);
        if prove {
            // Whoever may only read is refused here, and so is what the disk has no room for.
            self.head = None;
            let connection = self.connection()?;
            connection
                .execute(TOUCH_HEAD)
                .await
                .map_err(StoreError::database("write the head"))?;
            connection
                .execute("COMMIT")
                .await
                .map_err(StoreError::database("commit the head"))?;
            self.open = false;
        }
        self.roll_back().await
    }
}

/// Locks the head and reads it, and the event that the process knows. With what the transaction begins with it is one round trip,
/// because it goes as plain text.
fn lock_head(asked: &Question) -> String {
    let position = asked.mark.map_or(0, |mark| mark.position);
    // A name of ours, made of a number.
    let fork = asked.fork().unwrap_or_default();
    format!(
        "SELECT position, frontier, root, recorded_at, xmin::text AS version, clock_timestamp() AS time,
                (SELECT event_id FROM events WHERE position = {position}) AS marked,
                EXISTS (SELECT 1 FROM ledger_meta WHERE name = '{fork}') AS forked
         FROM ledger_head WHERE id = 1 FOR UPDATE"
    )
}

/// Writes the head back as it is.
const TOUCH_HEAD: &str = "UPDATE ledger_head SET position = position WHERE id = 1";

/// Waits for an answer as long as one may take.
async fn in_time<T>(
    operation: &'static str,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    let answered = async { answer.await.map_err(StoreError::database(operation)) };
    bounded(operation, answered).await
}

/// Waits for something that is made of answers as long as one of them may take.
async fn bounded<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_LIMIT, work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::TimedOut {
            operation,
            limit: ANSWER_LIMIT,
        }),
    }
}

/// Opens the writer's session, which must lead to the database that this process knows.
async fn connect_writer(server: &Server, witness: &Witness) -> Result<Session, StoreError> {
    let mut session = server
        .session(Plans::Writing)
        .await
        .map_err(StoreError::database("connect the writer"))?;
    bounded(
        "prepare the writer's session",
        vouch_session(&mut session, witness),
    )
    .await?;
    Ok(session)
}

#[async_trait]
impl AppendBackend for PostgresAppend {
    async fn begin(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        self.ready().await?;
        let begun = bounded("begin the batch", self.begin_batch(needs)).await;
        if let Err(error) = &begun {
            self.clean_up(error).await;
        }
        begun
    }

    async fn commit(&mut self, batch: &BatchWrite) -> Result<(), StoreError> {
        let written = bounded("write the batch", self.write_batch(batch)).await;
        if let Err(error) = &written {
            if matches!(error, StoreError::HeadMoved) && !self.taken_for_new {
                self.lock_next = LOCKED_BATCHES;
            }
            self.clean_up(error).await;
        }
        written
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        let rolled_back = self.roll_back().await;
        if let Err(error) = &rolled_back {
            self.clean_up(error).await;
        }
        rolled_back
    }

    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError> {
        self.ready().await?;
        let found = in_time("look a commit up", self.look_up(position, event_id)).await;
        if let Err(error) = &found {
            self.clean_up(error).await;
        }
        found
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.head = None;
        self.open = false;
        // What is left of the old one is closed first, and with it whatever it holds locked.
        self.connection = None;
        let mut connection = connect_writer(&self.server, &self.witness).await?;
        bounded("look who holds the head", standstill::end(&mut connection)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn look(&mut self, prove: bool) -> Result<(), StoreError> {
        self.ready().await?;
        let looked = bounded("look at the head", self.look_at_head(prove)).await;
        if let Err(error) = &looked {
            self.clean_up(error).await;
        }
        looked
    }

    fn witness(&self) -> &Arc<Witness> {
        &self.witness
    }
}
