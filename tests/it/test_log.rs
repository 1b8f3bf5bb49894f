//! A ledger's log without the service around it: the store, the writer, and commands that need no HTTP.

use crate::harness::init;
use crate::harness::postgres::Postgres;
use crate::harness::server::Backend;
use archive_ledger::app::Store;
use archive_ledger::bus::{BusError, CommitSignal, Handler, LogAccess};
use archive_ledger::clock::{SharedClock, SystemClock};
use archive_ledger::keyring::{Details, Keyring};
use archive_ledger::ledger::writer::{CommandError, Decision, Proposal, WriterHandle, writer};
use archive_ledger::store::postgres::PostgresStore;
use archive_ledger::store::sqlite::SqliteStore;
use archive_ledger::store::{AppendBackend, StoredEvent};
use archive_ledger_domain::{Command, EntityKey, EntityType, EventMetadata};
use chrono::DateTime;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// What a consumer's or the relay's task ends with.
pub type Running = JoinHandle<Result<(), BusError>>;

/// A log of the test's own.
pub struct TestLog {
    pub store: Store,
    pub clock: SharedClock,
    handle: WriterHandle,
    _stop: DropGuard,
    home: TempDir,
    database_url: Option<String>,
}

impl TestLog {
    /// An empty log in SQLite, with its writer running.
    pub async fn start() -> Self {
        Self::on(Backend::Embedded).await
    }

    /// An empty log in the backend's database, with its writer running.
    pub async fn on(backend: Backend) -> Self {
        match backend {
            Backend::Embedded => Self::over(None).await,
            Backend::Clustered => Self::on_server(Postgres::shared().await).await,
        }
    }

    /// An empty log on this server, with its writer running.
    pub async fn on_server(server: &Postgres) -> Self {
        Self::over(Some(server.create_database().await)).await
    }

    async fn over(database_url: Option<String>) -> Self {
        init();
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-log-")
            .tempdir()
            .unwrap();
        let store = open(&home, database_url.as_deref()).await;
        store.migrate().await.unwrap();
        let clock: SharedClock = Arc::new(SystemClock);
        let keyring = Keyring::parse(&Keyring::generate(clock.new_id()).unwrap()).unwrap();
        let stop = CancellationToken::new();
        let handle = match &store {
            Store::Sqlite(store) => write(store.appender(), keyring, &clock, &stop),
            Store::Postgres(store) => write(store.appender().await.unwrap(), keyring, &clock, &stop),
        };
        Self {
            store,
            clock,
            handle,
            _stop: stop.drop_guard(),
            home,
            database_url,
        }
    }

    /// What consumers and the relay read.
    pub fn access(&self) -> LogAccess {
        self.access_by(&self.store)
    }

    /// The same over connections that nobody else uses: for those who stop with a query under way.
    pub async fn own_access(&self) -> LogAccess {
        self.access_by(&open(&self.home, self.database_url.as_deref()).await)
    }

    fn access_by(&self, store: &Store) -> LogAccess {
        LogAccess {
            reads: store.reads(),
            coordination: store.coordination(),
            clock: self.clock.clone(),
            witness: store.witness().clone(),
        }
    }

    /// Wakes readers of the log.
    pub fn signal(&self) -> CommitSignal {
        CommitSignal::new(self.handle.committed())
    }

    /// Records a command; while the database is away, again and again.
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
        let mut unknown = false;
        loop {
            match self.handle.submit(proposal.clone()).await {
                Ok(_) => return,
                Err(CommandError::Unavailable(_)) => {}
                Err(CommandError::OutcomeUnknown(_)) => unknown = true,
                // It had been recorded after all.
                Err(CommandError::Rejected(_)) if unknown => return,
                Err(error) => panic!("{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
        self.store.reads().head().await.unwrap().position
    }

    /// The whole log.
    pub async fn events(&self) -> Vec<StoredEvent> {
        let head = u32::try_from(self.head().await).unwrap();
        self.store.reads().log_after(0, &[], head).await.unwrap()
    }

    /// Runs the in-process bus.
    pub fn follow(&self, handler: Arc<dyn Handler>, shutdown: CancellationToken) -> Running {
        let consumer = archive_ledger::bus::local::LogConsumer::direct(handler, self.access(), self.signal());
        tokio::spawn(consumer.run(shutdown))
    }
}

async fn open(home: &TempDir, database_url: Option<&str>) -> Store {
    match database_url {
        None => Store::Sqlite(
            SqliteStore::open(&home.path().join("ledger.db"), 4)
                .await
                .unwrap(),
        ),
        Some(url) => Store::Postgres(PostgresStore::connect(url, 4).await.unwrap()),
    }
}

fn write<B: AppendBackend + 'static>(
    backend: B,
    keyring: Keyring,
    clock: &SharedClock,
    stop: &CancellationToken,
) -> WriterHandle {
    let (writer, handle) = writer(backend, Arc::new(keyring), clock.clone(), 512, 100_000);
    tokio::spawn(writer.run(stop.clone()));
    handle
}
