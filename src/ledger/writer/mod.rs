//! The group-commit writer: one per process, on a connection of its own.
//!
//! ```text
//! command ─┐                       ┌─ begin: lock the head, load every stream of the batch in one go
//! command ─┼─▶ queue ─▶ one batch ─┼─ decide each command in order, in memory (batch.rs)
//! command ─┘                       └─ commit: events, keys, projections, answers and head, one fsync
//! ```
//!
//! - Commands that arrive while a batch is committing share the next transaction; a command that comes alone waits for
//!   nobody.
//! - Commands are decided under the head lock, one after the other. Two commands on one entity in one batch, or on two
//!   instances, never conflict: the later one sees what the earlier one did, and a refusal costs its neighbours nothing.
//!   (A backend that finds its process to be the only one that appends may leave the lock and check the head instead.)
//! - A command is answered only after its batch is committed and fsynced, projections included.
//! - After an error the connection is replaced unless it is known to be clean. A writer that cannot record keeps trying, with
//!   nothing to record, until it can: it heals without anybody's command.
//! - A database that proves to be another one than this process knows ([`crate::store::witness`]) gets nothing any more.

mod answers;
mod attempt;
mod batch;
mod condition;
mod decide;
mod error;
mod health;
mod known;
mod prepared;
mod proposal;
mod queue;

pub use answers::remembered;
pub use condition::{VersionCondition, Versions};
pub use error::CommandError;
pub use health::{Failing, WriterHealth};
pub use proposal::{Decision, Idempotency, NewTarget, Proposal, Receipt};
pub use queue::WriterHandle;

use crate::clock::SharedClock;
use crate::keyring::Keyring;
use crate::store::witness::Mark;
use crate::store::{AppendBackend, Position, StoreError};
use crate::telemetry;
use attempt::{Attempted, Failure};
use batch::Batch;
use futures::FutureExt as _;
use known::LongStreams;
use prepared::Prepared;
use proposal::Answer;
use queue::Queued;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often a batch is tried before its commands are told that the store is unavailable.
const ATTEMPTS: u32 = 6;

/// The pause before the first repetition; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// No attempt begins later than this after the first: those who wait have a right to an answer. What became of a failed one is
/// looked up once all the same.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often a writer that nobody asks anything looks whether it could record.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often one that cannot record tries to.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// The writer's task.
pub struct Writer<B> {
    backend: B,
    keyring: Arc<Keyring>,
    clock: SharedClock,
    max_batch: usize,
    queue: mpsc::Receiver<Queued>,
    committed: watch::Sender<Position>,
    purges: watch::Sender<Position>,
    known: LongStreams,
    /// Whether something of the batch may have been committed.
    committing: bool,
    health: Arc<WriterHealth>,
}

/// Makes a writer and the way to it. `max_batch` commands share a transaction at the most; `queue_limit` may wait.
pub fn writer<B: AppendBackend>(
    backend: B,
    keyring: Arc<Keyring>,
    clock: SharedClock,
    max_batch: usize,
    queue_limit: usize,
) -> (Writer<B>, WriterHandle) {
    let (sender, queue) = mpsc::channel(queue_limit.max(1));
    let (committed, any) = watch::channel(0);
    let (purges, of_purges) = watch::channel(0);
    let health = Arc::new(WriterHealth::new(Arc::clone(&clock)));
    let handle = WriterHandle {
        queue: sender,
        keyring: Arc::clone(&keyring),
        clock: Arc::clone(&clock),
        committed: any,
        purges: of_purges,
        health: Arc::clone(&health),
    };
    (
        Writer {
            backend,
            keyring,
            clock,
            max_batch: max_batch.max(1),
            queue,
            committed,
            purges,
            known: LongStreams::default(),
            committing: false,
            health,
        },
        handle,
    )
}

impl<B: AppendBackend> Writer<B> {
    /// Runs until `stop` is cancelled or every handle is gone; commands that wait by then are still recorded.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(self.max_batch);
        loop {
            let pause = if self.health.failing().is_some() {
                TRY_EVERY
            } else {
                LOOK_EVERY
            };
            let received = tokio::select! {
                biased;
                received = self.queue.recv_many(&mut batch, self.max_batch) => received,
                () = stop.cancelled() => {
                    self.queue.close();
                    self.queue.recv_many(&mut batch, self.max_batch).await
                }
                () = tokio::time::sleep(pause) => {
                    if AssertUnwindSafe(self.look()).catch_unwind().await.is_err() {
                        self.begin_anew().await;
                    }
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            // Those who have been told that nothing was recorded are told the truth.
            let (mut commands, callers): (Vec<_>, Vec<_>) = batch.drain(..).filter_map(Queued::take).unzip();
            if commands.is_empty() {
                continue;
            }
            let _at_it = Arc::clone(&self.health).at_it();
            let answers = self.record_whatever_panics(&mut commands).await;
            for (caller, answer) in callers.into_iter().zip(answers) {
                caller.tell(answer);
            }
        }
    }

    /// Looks whether something could be recorded; whoever could not must prove it.
    async fn look(&mut self) {
        if self.backend.witness().check().is_err() {
            return;
        }
        let prove = self.health.failing().is_some();
        let _at_it = Arc::clone(&self.health).at_it();
        match self.backend.look(prove).await {
            Ok(()) => self.health.succeeded(),
            Err(error) => self.health.failed(&error),
        }
    }

    /// Records a batch. A panic is told to its commands as a store that is away, and leaves nothing half done; where several
    /// commands share the batch, each is tried on its own, so that the one at fault takes none of them with it.
    async fn record_whatever_panics(&mut self, commands: &mut [Prepared]) -> Vec<Answer> {
        self.committing = false;
        if let Ok(answers) = AssertUnwindSafe(self.record(commands)).catch_unwind().await {
            return answers;
        }
        self.begin_anew().await;
        if commands.len() > 1 && !self.committing {
            let mut answers = Vec::with_capacity(commands.len());
            for command in commands.iter_mut() {
                answers.extend(Box::pin(self.record_whatever_panics(std::slice::from_mut(command))).await);
            }
            return answers;
        }
        let error = Arc::new(StoreError::inconsistent("record a batch", "the writer panicked"));
        let answer = if self.committing {
            CommandError::OutcomeUnknown(error)
        } else {
            CommandError::Unavailable(error)
        };
        commands.iter().map(|_| Err(answer.clone())).collect()
    }

    /// After a panic: what it left open is rolled back with its connection, and what was known is read again.
    async fn begin_anew(&mut self) {
        metrics::counter!(telemetry::TASK_PANICS_TOTAL, "task" => "the writer").increment(1);
        tracing::error!("the writer panicked and begins anew on another connection");
        self.known = LongStreams::default();
        // It may panic as well: then it is tried at the next batch.
        match AssertUnwindSafe(self.backend.reconnect()).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.health.failed(&error),
            Err(_) => {
                let error = StoreError::inconsistent("connect again", "the writer panicked");
                self.health.failed(&error);
            }
        }
    }

    /// Records a batch; where the store refuses it as a whole, each command on its own, so that one which the store cannot
    /// hold never takes its neighbours with it.
    async fn record(&mut self, commands: &mut [Prepared]) -> Vec<Answer> {
        match self.record_together(commands).await {
            Ok(answers) => answers,
            Err(CommandError::Store(error)) if commands.len() > 1 => {
                tracing::warn!(error = %telemetry::chain(&*error), "a batch was refused, recording its commands one by one");
                let mut answers = Vec::with_capacity(commands.len());
                for command in commands.iter_mut() {
                    answers.push(match self.record_together(std::slice::from_mut(command)).await {
                        Ok(mut one) => one.pop().unwrap_or(Err(CommandError::Stopping)),
                        Err(error) => Err(error),
                    });
                }
                answers
            }
            Err(error) => commands.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn record_together(&mut self, commands: &mut [Prepared]) -> Result<Vec<Answer>, CommandError> {
        if let Some(moved) = self.clock.moved() {
            return Err(CommandError::ClockMoved(moved));
        }
        let began = Instant::now();
        let mut attempts = 1;
        loop {
            match self.attempt(commands).await {
                Ok(answers) => {
                    self.health.succeeded();
                    return Ok(answers);
                }
                // Once in a row at the most: the next attempt takes the lock.
                Err(Failure {
                    error: StoreError::HeadMoved,
                    ..
                }) => {}
                Err(failure) if matches!(failure.error, StoreError::Diverged(_)) => {
                    self.health.failed(&failure.error);
                    return Err(failure.given_up());
                }
                Err(failure) if !failure.error.is_transient() => {
                    tracing::error!(error = %telemetry::chain(&failure.error), "an append was refused");
                    if !failure.error.leaves_connection_clean() {
                        self.health.failed(&failure.error);
                    }
                    return Err(CommandError::Store(Arc::new(failure.error)));
                }
                Err(failure) => {
                    if self.health.failing().is_none() {
                        tracing::warn!(error = %telemetry::chain(&failure.error), attempts, "an append failed, trying again");
                    }
                    if let Some(answers) = self.recover(failure, &mut attempts, began).await? {
                        self.health.succeeded();
                        return Ok(answers);
                    }
                }
            }
        }
    }

    /// Reconnects and finds out what became of a failed attempt. `None`: it was not committed, try it again.
    async fn recover(
        &mut self,
        mut failure: Failure,
        attempts: &mut u32,
        began: Instant,
    ) -> Result<Option<Vec<Answer>>, CommandError> {
        // A process that stood still has no patience left, and still has to find out what it has recorded.
        let mut owed = failure.attempted.is_some();
        while *attempts < ATTEMPTS && (owed || began.elapsed() < PATIENCE) {
            owed = false;
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(*attempts - 1)).await;
            *attempts += 1;
            match self.settle(failure.attempted.as_ref()).await {
                Ok(true) => return Ok(failure.attempted.map(|attempted| self.acknowledge(attempted))),
                Ok(false) if began.elapsed() < PATIENCE => return Ok(None),
                Ok(false) => failure.attempted = None,
                Err(lost @ StoreError::Diverged(_)) => {
                    self.health.failed(&lost);
                    return Err(failure.given_up());
                }
                Err(lost) => self.health.failed(&lost),
            }
        }
        self.health.failed(&failure.error);
        Err(failure.given_up())
    }

    /// Reconnects and says whether the attempted batch was committed after all.
    async fn settle(&mut self, attempted: Option<&Attempted>) -> Result<bool, StoreError> {
        self.backend.reconnect().await?;
        match attempted.and_then(|attempted| attempted.first) {
            Some((position, event_id)) => self.backend.is_committed(position, event_id).await,
            // Without events there is nothing to find; writing the answers and targets again changes nothing.
            None => Ok(false),
        }
    }

    /// One transaction. An error comes with what was attempted when it is unknown whether it was committed.
    async fn attempt(&mut self, commands: &mut [Prepared]) -> Result<Vec<Answer>, Failure> {
        let started = Instant::now();
        self.backend.witness().check().map_err(Failure::before_commit)?;
        let needs = batch::needs(commands, &self.known);
        let snapshot = self.backend.begin(&needs).await.map_err(Failure::before_commit)?;
        let loaded = Batch::new(
            needs.streams.keys(),
            &self.known,
            snapshot,
            &self.keyring,
            &self.clock,
        );
        let mut batch = match loaded {
            Ok(batch) => batch,
            Err(error) => {
                self.give_back().await;
                return Err(Failure::before_commit(error));
            }
        };
        let answers: Vec<Answer> = commands.iter_mut().map(|command| batch.decide(command)).collect();
        let Some((write, long)) = batch.finish() else {
            self.give_back().await;
            return Ok(answers);
        };
        let first = write
            .events
            .first()
            .map(|event| (event.stored.position, event.stored.event_id));
        let attempted = Attempted {
            answers,
            first,
            mark: write.events.last().map(|event| Mark {
                position: event.stored.position,
                event_id: event.stored.event_id,
                root: write.head.root,
            }),
            position: write.head.position,
            purge: write.last_of_a_purge(),
            long,
        };
        // Another connection may have found out meanwhile that the database is another one.
        self.committing = true;
        let committed = self.backend.commit(&write).await;
        self.committing = committed.as_ref().err().is_none_or(StoreError::outcome_unknown);
        match committed.and_then(|()| self.backend.witness().check()) {
            Ok(()) => {
                metrics::histogram!(telemetry::APPEND_BATCH_SIZE).record(count(commands.len()));
                metrics::histogram!(telemetry::APPEND_SECONDS).record(started.elapsed());
                Ok(self.acknowledge(attempted))
            }
            Err(error) if error.outcome_unknown() => Err(Failure {
                error,
                attempted: Some(attempted),
            }),
            Err(error) => Err(Failure::before_commit(error)),
        }
    }

    fn acknowledge(&mut self, attempted: Attempted) -> Vec<Answer> {
        self.known.learn(attempted.long);
        if let Some(mark) = attempted.mark {
            self.backend.witness().acknowledge(mark);
        }
        self.committed.send_replace(attempted.position);
        if let Some(position) = attempted.purge {
            self.purges.send_replace(position);
        }
        attempted.answers
    }

    async fn give_back(&mut self) {
        if let Err(error) = self.backend.rollback().await {
            tracing::warn!(error = %telemetry::chain(&error), "the head lock could not be given back");
        }
    }
}

/// A count as metrics take it.
fn count(length: usize) -> f64 {
    u32::try_from(length).map_or(f64::INFINITY, f64::from)
}
