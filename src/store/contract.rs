//! The behaviour every backend must show, as plain async functions: `tests/it/store_contract.rs` runs each of them on
//! SQLite and on PostgreSQL.
//!
//! A function gets a store of its own and panics where the store breaks its contract. Whatever else it proves, it ends
//! in [`verified`](super::log::contract::verified), so that every kind of traffic leaves a log that holds together.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a contract that is broken says where by panicking"
)]

pub mod stock;

use super::audit::AuditStore;
use super::claims::ClaimStore;
use super::cleanup_jobs::{CleanupJobStore, PurgeStatus};
use super::{AppendBackend, Hash, PageSizes, Position, ReadStore};
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::keyring::{Details, Keyring};
use crate::ledger::repository::Repository;
use crate::ledger::writer::{
    CommandError, Decision, Idempotency, Proposal, Receipt, Writer, WriterHandle, writer,
};
use archive_ledger_domain::{CleanupOutcome, Command, EntityKey, EntityType, EventMetadata};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::{BoxFuture, join_all};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many commands share a transaction at the most, where a contract does not say otherwise.
const MAX_BATCH: usize = 64;

/// How many commands may wait.
const QUEUE_LIMIT: usize = 10_000;

/// One backend, and what a contract needs beneath the store's traits.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Reads.
    fn reads(&self) -> Arc<dyn ReadStore>;

    /// The audit.
    fn audit(&self) -> Arc<dyn AuditStore>;

    /// What purges owe.
    fn jobs(&self) -> Arc<dyn CleanupJobStore>;

    /// Who names which storage.
    fn claims(&self) -> Arc<dyn ClaimStore>;

    /// Forgets the claims of every event after a position, as a version left them that writes none.
    async fn forget_claims(&self, after: Position);

    /// Has one event claim what another does.
    async fn copy_claims(&self, from: Position, to: Position);

    /// Changes claims behind the ledger's back: those of the last event are gone, and one of the first is another one's.
    async fn tamper_with_claims(&self);

    /// A writer on a connection of its own, as another instance would have it.
    async fn writer(&self, settings: Settings) -> IdleWriter;

    /// The `cqrs-es` repository over a writer.
    fn repository(&self, handle: WriterHandle, clock: SharedClock) -> Repository;

    /// The readable salts of the events' commitments to their payloads, in the order of the log.
    async fn salts(&self) -> Vec<Hash>;

    /// How many rows the pages of a type's archived list count.
    async fn page_counts(&self, entity_type: EntityType) -> Vec<i64>;

    /// How many rows the groups of these pages count.
    async fn page_group_counts(&self, entity_type: EntityType) -> Vec<i64>;

    /// What the tables hold of each stream; one that they hold nothing of is absent.
    async fn traces(&self) -> BTreeMap<String, Traces>;
}

/// How many rows hold something of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traces {
    /// Keys in `entities`.
    pub keys: i64,
    /// Fences in `entities`.
    pub fences: i64,
    /// Events whose sealed details are there.
    pub sealed: i64,
    /// Rows of the archived list.
    pub listed: i64,
    /// Rows of the purge work.
    pub owed: i64,
}

/// What a writer is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seals.
    pub keyring: Arc<Keyring>,
    /// Times and ids.
    pub clock: SharedClock,
    /// How many commands share a transaction at the most.
    pub max_batch: usize,
    /// How large the pages of the archived list may become.
    pub pages: PageSizes,
}

/// A writer that takes commands into its queue and does not record them yet.
pub struct IdleWriter {
    pub(super) handle: WriterHandle,
    stop: CancellationToken,
    run: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for IdleWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdleWriter").finish_non_exhaustive()
    }
}

impl IdleWriter {
    /// Makes a writer over an append backend.
    pub fn new<B: AppendBackend + 'static>(backend: B, settings: Settings) -> Self {
        let (task, handle): (Writer<B>, _) = writer(
            backend,
            settings.keyring,
            settings.clock,
            settings.max_batch,
            QUEUE_LIMIT,
        );
        let stop = CancellationToken::new();
        Self {
            handle,
            run: Box::pin(task.run(stop.clone())),
            stop,
        }
    }

    /// Starts recording.
    #[must_use]
    pub fn start(self) -> RunningWriter {
        RunningWriter {
            handle: self.handle,
            stop: self.stop,
            task: tokio::spawn(self.run),
        }
    }
}

/// A writer at work.
#[derive(Debug)]
pub struct RunningWriter {
    /// The way to it.
    pub handle: WriterHandle,
    pub(super) stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningWriter {
    /// Lets it record what waits and end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A backend under test, and the keyring that its ledger is sealed with.
#[derive(Clone)]
pub struct ContractStore {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// Reads.
    pub reads: Arc<dyn ReadStore>,
    /// The keyring.
    pub keyring: Arc<Keyring>,
    /// The machine's clock.
    pub clock: SharedClock,
}

impl std::fmt::Debug for ContractStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContractStore").finish_non_exhaustive()
    }
}

impl ContractStore {
    /// A store over an empty, migrated database.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            reads: backend.reads(),
            backend,
            keyring: Arc::new(Keyring::parse(&Keyring::generate(fresh_id()).unwrap()).unwrap()),
            clock: Arc::new(SystemClock),
        }
    }

    /// What the log owes after a position, in its order.
    pub async fn owed_purges(&self, after: Position, limit: u32) -> Vec<PurgeStatus> {
        let jobs = self.backend.jobs();
        let owed = jobs.owed_purge_status(None, after, limit).await.unwrap();
        assert_eq!(owed.damaged, []);
        owed.rows
    }

    /// What writers of this store are made of.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            keyring: Arc::clone(&self.keyring),
            clock: Arc::clone(&self.clock),
            max_batch: MAX_BATCH,
            pages: PageSizes::default(),
        }
    }

    /// A writer at work.
    pub async fn writer(&self) -> RunningWriter {
        self.backend.writer(self.settings()).await.start()
    }

    /// Records these commands in one transaction, in this order, with a writer that comes and goes with it.
    pub async fn batch(&self, proposals: Vec<Proposal>) -> Vec<Result<Receipt, CommandError>> {
        let mut settings = self.settings();
        settings.max_batch = proposals.len().max(1);
        self.batch_with(settings, proposals).await
    }

    /// As [`ContractStore::batch`], with other settings.
    pub async fn batch_with(
        &self,
        settings: Settings,
        proposals: Vec<Proposal>,
    ) -> Vec<Result<Receipt, CommandError>> {
        let idle = self.backend.writer(settings).await;
        let handle = idle.handle.clone();
        let waiting = join_all(proposals.into_iter().map(|proposal| handle.submit(proposal)));
        // Every command is in the queue, in order, before the writer takes its first look.
        let (answers, running) = tokio::join!(waiting, async { idle.start() });
        running.stop().await;
        answers
    }

    /// What the tables hold of an entity.
    pub async fn traces_of(&self, key: &EntityKey) -> Traces {
        let all = self.backend.traces().await;
        all.get(&key.stream_id()).copied().unwrap_or_default()
    }

    /// Records one command.
    pub async fn one(&self, proposal: Proposal) -> Result<Receipt, CommandError> {
        self.batch(vec![proposal]).await.pop().unwrap()
    }
}

/// A fresh id.
#[must_use]
pub fn fresh_id() -> Uuid {
    SystemClock.new_id()
}

/// A fresh entity of a type.
#[must_use]
pub fn fresh_key(entity_type: EntityType) -> EntityKey {
    EntityKey::new(entity_type, &fresh_id().to_string()).unwrap()
}

/// A time that is the same in every run, with the microseconds that both databases keep.
#[must_use]
pub fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_268_800_123_456).unwrap()
}

/// A command of a test's actor, with nothing sealed and no condition.
#[must_use]
pub fn proposal(key: &EntityKey, command: Command) -> Proposal {
    Proposal {
        key: key.clone(),
        decision: Decision::Command(command),
        details: Details::default(),
        metadata: EventMetadata {
            actor: "admin@example.org".into(),
            request_id: Some(fresh_id().to_string()),
            causation_id: None,
            token_issuer: Some("https://issuer.example".into()),
            token_id: None,
            token_id_hash: Some("5e88".into()),
            ip: Some("192.0.2.7".into()),
            user_agent: Some("curl/8 \"quoted\" ü\u{1f980}".into()),
            reason_code: None,
        },
        command_id: fresh_id(),
        expected_version: None,
        idempotency: None,
        target: None,
    }
}

/// A soft-delete at noon, with a sealed name and `storage` sealed URIs.
#[must_use]
pub fn soft_delete(key: &EntityKey, storage: u32) -> Proposal {
    soft_delete_at(key, storage, noon())
}

/// A soft-delete at a time of the client's.
#[must_use]
pub fn soft_delete_at(key: &EntityKey, storage: u32, deleted_at: DateTime<Utc>) -> Proposal {
    let command = Command::SoftDelete {
        deletion_id: fresh_id(),
        deleted_at,
        parent: None,
        storage_count: storage,
    };
    Proposal {
        details: details(key, storage),
        ..proposal(key, command)
    }
}

/// A registration, with a sealed description and `storage` sealed URIs.
#[must_use]
pub fn register(key: &EntityKey, storage: u32) -> Proposal {
    let command = Command::Register {
        dataset_id: Some("dataset".into()),
        space_id: Some("space".into()),
        storage_count: storage,
        callback: false,
    };
    Proposal {
        details: Details {
            description: Some("what it is".into()),
            storage: details(key, storage).storage,
            ..Details::default()
        },
        ..proposal(key, command)
    }
}

/// A restore.
#[must_use]
pub fn restore(key: &EntityKey) -> Proposal {
    proposal(key, Command::Restore)
}

/// A purge.
#[must_use]
pub fn purge(key: &EntityKey) -> Proposal {
    let command = Command::RequestPurge {
        purge_id: fresh_id(),
        entity_type: key.entity_type(),
        callback: false,
        join: false,
    };
    proposal(key, command)
}

/// A report of a cleanup.
#[must_use]
pub fn report(key: &EntityKey, purge_id: Uuid, outcome: CleanupOutcome) -> Proposal {
    proposal(key, Command::RecordCleanup { purge_id, outcome })
}

/// A cleanup that found everything gone.
#[must_use]
pub const fn cleaned() -> CleanupOutcome {
    CleanupOutcome::Done {
        objects: 3,
        bytes: 4096,
        at_least: false,
    }
}

/// A cleanup that gave up.
#[must_use]
pub fn gave_up() -> CleanupOutcome {
    CleanupOutcome::Failed {
        objects: 1,
        bytes: 1024,
        at_least: false,
        error: "the storage refused".into(),
    }
}

/// What a test seals for an entity: different for each.
#[must_use]
pub fn details(key: &EntityKey, storage: u32) -> Details {
    Details {
        name: Some(format!("name of {key}")),
        metadata: serde_json::json!({ "deep": [1, { "ü": null }], "large": u64::MAX })
            .as_object()
            .cloned(),
        reason: Some("no longer needed".into()),
        description: None,
        storage: (0..storage)
            .map(|number| format!("file:///srv/backups/{}/{number}", key.id()))
            .collect(),
    }
}

/// An idempotency key and request, told apart by two numbers.
#[must_use]
pub fn idempotency(key: u8, request: u8) -> Option<Idempotency> {
    Some(Idempotency {
        key: [key; 32],
        request: [request; 32],
    })
}

/// Some minutes.
#[must_use]
pub const fn minutes(count: i64) -> TimeDelta {
    TimeDelta::minutes(count)
}
