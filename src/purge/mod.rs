//! The purge saga: what the log orders is deleted from the storage, and the log is told.
//!
//! ```text
//! purge_requested ─▶ consumer ─▶ job + obligations ─▶ worker ─▶ attempt: what does the log order? ─▶ storage ─▶ purged
//!                       (one transaction)   ▲                                                         └─▶ purge_failed
//!         redrive: what the log owes ───────┘
//! ```
//!
//! `consumer` turns purge requests into jobs, `worker` takes jobs that are due, `attempt` is one attempt at one of them, `memory` keeps
//! for the next one what it could not count, and `operator` shows what is owed, tries it again and ends it by force.

mod attempt;
pub mod consumer;
mod memory;
pub mod operator;
pub mod worker;

use crate::clock::SharedClock;
use crate::ledger::Ledger;
use crate::storage::blobs::Blobs;
use crate::store::cleanup_jobs::CleanupJobStore;
use crate::store::storage_roots::StorageRootStore;
use consumer::CleanupConsumer;
use operator::Purges;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;
use worker::CleanupWorker;

/// How the storage cleanup works.
#[derive(Debug, Clone, Copy)]
pub struct CleanupOptions {
    /// How many jobs this instance works on at the same time.
    pub concurrency: usize,
    /// How many attempts may end in an error of the storage before the purge has failed.
    pub attempts: u32,
    /// The pause after the first such attempt; it doubles with each.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a job stays with an instance that has died.
    pub lease: Duration,
    /// How often a lease is extended and progress is saved; a fraction of `lease`.
    pub heartbeat: Duration,
    /// How often jobs that are due are looked for when nothing tells of them.
    pub poll: Duration,
    /// How often the log is searched for purges that have no job.
    pub redrive: Duration,
    /// How often the gauges are refreshed.
    pub gauges: Duration,
    /// How often this instance says which storage roots it has; it is believed for three times as long.
    pub announce: Duration,
}

impl CleanupOptions {
    /// The pause after `attempts` failed ones: the first, doubled with each, the longest at the most.
    pub(crate) fn pause(&self, attempts: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_pause.saturating_mul(factor).min(self.longest_pause)
    }

    /// How long a storage is retried that fails, without the attempts themselves.
    pub(crate) fn schedule(&self) -> Duration {
        (1..self.attempts)
            .map(|attempts| self.pause(attempts))
            .fold(Duration::ZERO, Duration::saturating_add)
    }

    /// For how long an instance is believed to have the storage roots that it has said to have.
    pub(crate) fn holders_kept(&self) -> Duration {
        self.announce.saturating_mul(3)
    }
}

impl Default for CleanupOptions {
    fn default() -> Self {
        Self {
            concurrency: 16,
            attempts: 8,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
            lease: Duration::from_secs(20),
            heartbeat: Duration::from_secs(5),
            poll: Duration::from_secs(1),
            redrive: Duration::from_secs(60),
            gauges: Duration::from_secs(10),
            announce: Duration::from_secs(20),
        }
    }
}

/// What the storage cleanup works with.
#[derive(Clone)]
pub struct CleanupParts {
    /// Says what is ordered, and records the outcome.
    pub ledger: Arc<Ledger>,
    /// The jobs.
    pub jobs: Arc<dyn CleanupJobStore>,
    /// The storage.
    pub blobs: Arc<Blobs>,
    /// Which instance has which storage roots.
    pub holders: Arc<dyn StorageRootStore>,
    /// Times and ids.
    pub clock: SharedClock,
}

/// The storage cleanup of one instance: a consumer for the bus, a worker to run, and the operator's view.
#[derive(Clone)]
pub struct StorageCleanup {
    parts: CleanupParts,
    options: CleanupOptions,
    wake: Arc<Notify>,
    memory: memory::Memory,
    /// Tells this instance's worker from those of others.
    instance: Uuid,
}

impl StorageCleanup {
    /// Puts it together; nothing runs yet.
    #[must_use]
    pub fn new(parts: CleanupParts, options: CleanupOptions) -> Self {
        Self {
            instance: parts.clock.new_id(),
            parts,
            options,
            wake: Arc::new(Notify::new()),
            memory: memory::Memory::default(),
        }
    }

    /// The consumer of `purge_requested`, to be given to the bus.
    #[must_use]
    pub fn consumer(&self) -> CleanupConsumer {
        CleanupConsumer::new(
            Arc::clone(&self.parts.jobs),
            Arc::clone(&self.parts.clock),
            Arc::clone(&self.wake),
        )
    }

    /// The worker, to be run.
    #[must_use]
    pub fn worker(&self) -> CleanupWorker {
        CleanupWorker::new(self.clone())
    }

    /// What an operator sees and does.
    #[must_use]
    pub fn purges(&self) -> Purges {
        Purges::new(
            Arc::clone(&self.parts.ledger),
            Arc::clone(&self.parts.jobs),
            Arc::clone(&self.parts.clock),
            Arc::clone(&self.wake),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_add_up_to_the_schedule() {
        let options = CleanupOptions::default();
        let seconds = |attempts| options.pause(attempts).as_secs();
        assert_eq!(
            [1, 2, 3, 9, 10, 32, 33, u32::MAX].map(seconds),
            [1, 2, 4, 256, 300, 300, 300, 300]
        );
        assert_eq!(options.schedule(), Duration::from_secs(127));
    }
}
