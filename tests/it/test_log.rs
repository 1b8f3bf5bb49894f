//! A ledger's log without the service around it: SQLite, the writer, and commands that need no HTTP.

use archive_ledger::bus::{BusError, CommitSignal, Handler, LogAccess};
use archive_ledger::clock::{SharedClock, SystemClock};
use archive_ledger::keyring::{Details, Keyring};
use archive_ledger::store::sqlite::SqliteStore;
use archive_ledger::store::writer::{Decision, Proposal, WriterHandle, writer};
use archive_ledger::store::{ReadStore, StoredEvent};
use archive_ledger_domain::{Command, EntityKey, EntityType, EventMetadata};
use chrono::DateTime;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// What a consumer's or the relay's task ends with.
pub type Running = JoinHandle<Result<(), BusError>>;

/// A log of the test's own.
pub struct TestLog {
    pub store: SqliteStore,
    pub clock: SharedClock,
    handle: WriterHandle,
    _stop: DropGuard,
    _home: TempDir,
}

impl TestLog {
    /// An empty log, with its writer running.
    pub async fn start() -> Self {
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-log-")
            .tempdir()
            .unwrap();
        let store = SqliteStore::open(&home.path().join("ledger.db"), 4)
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let keyring = Keyring::parse(&Keyring::generate(clock.new_id()).unwrap()).unwrap();
        let (writer, handle) = writer(store.appender(), Arc::new(keyring), clock.clone(), 512, 100_000);
        let stop = CancellationToken::new();
        tokio::spawn(writer.run(stop.clone()));
        Self {
            store,
            clock,
            handle,
            _stop: stop.drop_guard(),
            _home: home,
        }
    }

    /// What consumers and the relay read.
    pub fn access(&self) -> LogAccess {
        LogAccess {
            reads: Arc::new(self.store.clone()),
            coordination: Arc::new(self.store.clone()),
            clock: self.clock.clone(),
        }
    }

    /// Wakes readers of the log.
    pub fn signal(&self) -> CommitSignal {
        CommitSignal::new(self.handle.committed())
    }

    /// Records a command.
    pub async fn submit(&self, key: EntityKey, command: Command) {
        let proposal = Proposal {
            key,
            decision: Decision::Command(command),
            details: Details::default(),
            metadata: EventMetadata::internal("test", None),
            command_id: self.clock.new_id(),
            expected_version: None,
            idempotency: None,
            target: None,
        };
        self.handle.submit(proposal).await.unwrap();
    }

    /// Archives and purges `count` fresh entities at once: three events each, two of them in one commit.
    pub async fn purge_fresh(&self, count: usize) {
        futures::future::join_all((0..count).map(|_| async {
            let key = EntityKey::new(EntityType::Backups, &self.clock.new_id().to_string()).unwrap();
            let delete = Command::SoftDelete {
                deletion_id: Uuid::from_u128(1),
                deleted_at: DateTime::UNIX_EPOCH,
                parent: None,
                storage_count: 0,
            };
            let purge = Command::RequestPurge {
                purge_id: Uuid::from_u128(2),
                entity_type: EntityType::Backups,
                callback: false,
                join: false,
            };
            self.submit(key.clone(), delete).await;
            self.submit(key, purge).await;
        }))
        .await;
    }

    /// The last position.
    pub async fn head(&self) -> u64 {
        self.store.head().await.unwrap().position
    }

    /// The whole log.
    pub async fn events(&self) -> Vec<StoredEvent> {
        let head = u32::try_from(self.head().await).unwrap();
        self.store.log_after(0, &[], head).await.unwrap()
    }

    /// Runs the in-process bus.
    pub fn follow(&self, handler: Arc<dyn Handler>, shutdown: CancellationToken) -> Running {
        let consumer = archive_ledger::bus::local::LogConsumer::direct(handler, self.access(), self.signal());
        tokio::spawn(consumer.run(shutdown))
    }
}
