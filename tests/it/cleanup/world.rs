//! A ledger with storage and a storage cleanup, without the service around them, on a clock that stands still.

use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::roots::used;
use crate::harness::server::Backend;
use archive_ledger::bus::{BusEvent, Handler};
use archive_ledger::callbacks::target::CallbackPolicy;
use archive_ledger::clock::{Clock, ManualClock, SharedClock, SystemClock};
use archive_ledger::keyring::Keyring;
use archive_ledger::ledger::repository::Repository;
use archive_ledger::ledger::writer::writer;
use archive_ledger::ledger::{CommandContext, Ledger, LedgerParts, Purge, SoftDelete};
use archive_ledger::purge::{CleanupOptions, CleanupParts, StorageCleanup};
use archive_ledger::storage::blobs::Blobs;
use archive_ledger::storage::roots::StorageRoots;
use archive_ledger::storage::s3::S3Store;
use archive_ledger::store::claims::ClaimStore;
use archive_ledger::store::cleanup_jobs::{CleanupJobStore, PurgeStatus};
use archive_ledger::store::postgres::PostgresStore;
use archive_ledger::store::sqlite::SqliteStore;
use archive_ledger::store::storage_roots::StorageRootStore;
use archive_ledger::store::{ReadStore, StoredEvent};
use archive_ledger_domain::{EntityKey, EntityType, Event, EventMetadata, EventName, State};
use chrono::TimeDelta;
use serde_json::Map;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub const SOON: Duration = Duration::from_secs(60);

/// Quick where the defaults wait for real time; the clock decides about leases and pauses.
pub const OPTIONS: CleanupOptions = CleanupOptions {
    concurrency: 4,
    attempts: 3,
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(300),
    lease: Duration::from_secs(60),
    heartbeat: Duration::from_secs(15),
    poll: Duration::from_millis(20),
    redrive: Duration::from_secs(3_600),
    gauges: Duration::from_secs(3_600),
    announce: Duration::from_secs(3_600),
};

pub fn context() -> CommandContext {
    CommandContext::new(EventMetadata::internal("test", None))
}

pub struct World {
    pub ledger: Arc<Ledger>,
    pub jobs: Arc<dyn CleanupJobStore>,
    pub reads: Arc<dyn ReadStore>,
    pub claims: Arc<dyn ClaimStore>,
    pub holders: Arc<dyn StorageRootStore>,
    pub keyring: Arc<Keyring>,
    pub clock: Arc<ManualClock>,
    pub blobs: Arc<Blobs>,
    database_url: Option<String>,
    home: TempDir,
    _stop: DropGuard,
}

/// A worker that runs; it dies with this.
pub struct Running {
    pub stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends it as a crash does: at once, wherever it is.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Ends it as a shutdown does.
    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

impl World {
    pub async fn start(backend: Backend) -> Self {
        Self::with_s3(backend, None).await
    }

    /// With an S3 bucket as a second storage root.
    pub async fn with_s3(backend: Backend, s3: Option<(&str, S3Store)>) -> Self {
        Self::with_roots(backend, &["root"], s3).await
    }

    /// With these folders as storage roots, and a bucket.
    pub async fn with_roots(backend: Backend, folders: &[&str], s3: Option<(&str, S3Store)>) -> Self {
        let mut buckets = Vec::new();
        buckets.extend(s3.iter().map(|(bucket, _)| format!("s3://{bucket}/root")));
        let store = s3.map(|(_, store)| store);
        Self::with_storage(backend, folders, buckets, |roots| {
            Blobs::with_stores(roots, store)
        })
        .await
    }

    /// With these folders and buckets as storage roots, reached in a way of the caller's.
    pub async fn with_storage(
        backend: Backend,
        folders: &[&str],
        buckets: Vec<String>,
        connect: impl FnOnce(StorageRoots) -> Blobs,
    ) -> Self {
        crate::harness::init();
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-cleanup-")
            .tempdir()
            .unwrap();
        let mut roots = Vec::new();
        for folder in folders {
            std::fs::create_dir(home.path().join(folder)).unwrap();
            roots.push(format!("file://{}/{folder}", home.path().display()));
        }
        roots.extend(buckets);
        let roots = used(&roots);
        let blobs = Arc::new(connect(roots.clone()));
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let shared: SharedClock = clock.clone();
        let keyring = Arc::new(Keyring::parse(&Keyring::generate(clock.new_id()).unwrap()).unwrap());
        let stop = CancellationToken::new();
        let mut database_url = None;
        type Stores = (
            Arc<dyn ReadStore>,
            Arc<dyn CleanupJobStore>,
            Arc<dyn ClaimStore>,
            Arc<dyn StorageRootStore>,
        );
        let ((reads, jobs, claims, holders), handle, repository): (Stores, _, _) = match backend {
            Backend::Embedded => {
                let store = SqliteStore::open(&home.path().join("ledger.db"), 4)
                    .await
                    .unwrap();
                store.migrate().await.unwrap();
                let (task, handle) = writer(store.appender(), keyring.clone(), shared.clone(), 512, 10_000);
                tokio::spawn(task.run(stop.clone()));
                let repository = Repository::sqlite(&store, handle.clone(), shared.clone());
                (
                    (
                        Arc::new(store.clone()),
                        Arc::new(store.clone()),
                        Arc::new(store.clone()),
                        Arc::new(store),
                    ),
                    handle,
                    repository,
                )
            }
            Backend::Clustered => {
                let url = Postgres::shared().await.create_database().await;
                let store = PostgresStore::connect(&url, 8).await.unwrap();
                database_url = Some(url);
                store.migrate().await.unwrap();
                let appender = store.appender().await.unwrap();
                let (task, handle) = writer(appender, keyring.clone(), shared.clone(), 512, 10_000);
                tokio::spawn(task.run(stop.clone()));
                let repository = Repository::postgres(&store, handle.clone(), shared.clone());
                (
                    (
                        Arc::new(store.clone()),
                        Arc::new(store.clone()),
                        Arc::new(store.clone()),
                        Arc::new(store),
                    ),
                    handle,
                    repository,
                )
            }
        };
        let ledger = Arc::new(Ledger::new(LedgerParts {
            writer: handle,
            reads: reads.clone(),
            claims: claims.clone(),
            storage_roots: holders.clone(),
            repository,
            keyring: keyring.clone(),
            clock: shared,
            roots: Arc::new(roots),
            callbacks: Arc::new(CallbackPolicy::default()),
        }));
        Self {
            ledger,
            jobs,
            reads,
            claims,
            holders,
            keyring,
            clock,
            blobs,
            database_url,
            home,
            _stop: stop.drop_guard(),
        }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A folder under the storage root with that many files of ten bytes, and its URI.
    pub fn folder(&self, name: &str, files: usize) -> (PathBuf, String) {
        self.folder_in("root", name, files)
    }

    /// The same under another root.
    pub fn folder_in(&self, root: &str, name: &str, files: usize) -> (PathBuf, String) {
        let path = self.home.path().join(root).join(name);
        fill(&path, files);
        let uri = format!("file://{}", path.display());
        (path, uri)
    }

    pub async fn archive(&self, storage: &[&str]) -> EntityKey {
        let key = EntityKey::new(EntityType::Backups, &self.clock.new_id().to_string()).unwrap();
        self.archive_again(&key, storage).await;
        key
    }

    pub async fn archive_again(&self, key: &EntityKey, storage: &[&str]) {
        let request = SoftDelete {
            key: key.clone(),
            name: "a backup".to_owned(),
            metadata: Map::new(),
            reason: None,
            parent: None,
            storage: storage.iter().map(|&uri| uri.to_owned()).collect(),
            deleted_at: None,
        };
        self.ledger.soft_delete(request, context()).await.unwrap();
    }

    /// Leaves the claims as a version does that writes none.
    pub async fn forget_claims(&self) {
        for statement in [
            "DELETE FROM storage_claims",
            "UPDATE ledger_head SET claims_position = 0",
        ] {
            match &self.database_url {
                Some(url) => {
                    let mut connection = PgConnection::connect(url).await.unwrap();
                    connection.execute(statement).await.unwrap();
                }
                None => {
                    let options = SqliteConnectOptions::new().filename(self.home().join("ledger.db"));
                    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                    connection.execute(statement).await.unwrap();
                    connection.close().await.unwrap();
                }
            }
        }
    }

    /// Asks for a purge; returns its id.
    pub async fn purge(&self, key: &EntityKey) -> Uuid {
        let receipt = self.ledger.purge(key.clone(), Purge::default(), context()).await;
        receipt.unwrap().purge_id.unwrap()
    }

    /// Every purge request of the log, as the bus brings it.
    pub async fn requests(&self) -> Vec<BusEvent> {
        let events = self
            .reads
            .log_after(0, &[EventName::PurgeRequested], 1_000)
            .await
            .unwrap();
        events.into_iter().map(BusEvent::from).collect()
    }

    /// Brings the consumer every purge request of the log.
    pub async fn deliver(&self) {
        let consumer = self.cleanup().consumer();
        consumer.handle_batch(&self.requests().await).await.unwrap();
    }

    pub fn cleanup(&self) -> StorageCleanup {
        self.cleanup_over(self.jobs.clone(), OPTIONS)
    }

    pub fn cleanup_over(&self, jobs: Arc<dyn CleanupJobStore>, options: CleanupOptions) -> StorageCleanup {
        let parts = CleanupParts {
            ledger: self.ledger.clone(),
            jobs,
            blobs: self.blobs.clone(),
            holders: self.holders.clone(),
            clock: self.clock.clone(),
        };
        StorageCleanup::new(parts, options)
    }

    /// The cleanup of an instance that has these storage roots.
    pub fn instance(&self, roots: StorageRoots) -> StorageCleanup {
        let parts = CleanupParts {
            ledger: self.ledger.clone(),
            jobs: self.jobs.clone(),
            blobs: Arc::new(Blobs::with_stores(roots, None)),
            holders: self.holders.clone(),
            clock: self.clock.clone(),
        };
        StorageCleanup::new(parts, OPTIONS)
    }

    pub fn run(&self) -> Running {
        run(&self.cleanup())
    }

    pub async fn state(&self, key: &EntityKey) -> State {
        self.ledger.load(key).await.unwrap().0.state()
    }

    pub async fn reaches(&self, key: &EntityKey, state: State) {
        eventually(state.as_str(), SOON, || async {
            (self.state(key).await == state).then_some(())
        })
        .await;
    }

    /// Until the job has ended, which is after the log has recorded the outcome.
    pub async fn idle(&self) {
        eventually("no job is due or under way", SOON, || async {
            let counts = self.jobs.count_cleanup_jobs(self.clock.now()).await.unwrap();
            (counts.due + counts.running == 0).then_some(())
        })
        .await;
    }

    pub async fn status(&self, purge_id: Uuid) -> PurgeStatus {
        self.jobs.purge_status(purge_id).await.unwrap().unwrap()
    }

    /// The purges that the log says are done: objects and bytes of each.
    pub async fn purged(&self, key: &EntityKey) -> Vec<(u64, u64)> {
        self.outcomes(key)
            .await
            .iter()
            .filter_map(|event| match &event.event {
                Event::Purged(facts) => Some((facts.objects, facts.bytes)),
                _ => None,
            })
            .collect()
    }

    /// What the log says all purges have removed, and whether that is a lower bound.
    pub async fn removed(&self, key: &EntityKey) -> (u64, bool) {
        let mut removed = (0, false);
        for event in self.outcomes(key).await {
            let (objects, at_least) = match &event.event {
                Event::Purged(facts) => (facts.objects, facts.at_least),
                Event::PurgeFailed(facts) => (facts.objects, facts.at_least),
                _ => (0, false),
            };
            removed = (removed.0 + objects, removed.1 || at_least);
        }
        removed
    }

    /// Lets no pause of the purge keep anybody waiting, until it has an outcome.
    pub async fn outcome(&self, key: &EntityKey, purge_id: Uuid) -> State {
        eventually("the purge has an outcome", 2 * SOON, || async {
            let status = self.jobs.purge_status(purge_id).await.unwrap();
            // A job that somebody is at keeps its lease: the clock stands still then.
            if let Some(job) = status.and_then(|purge| purge.job)
                && job.leased_until.is_none()
                && job.next_attempt_at > self.clock.now()
            {
                self.advance((job.next_attempt_at - self.clock.now()).to_std().unwrap());
            }
            let state = self.state(key).await;
            (state != State::Purging).then_some(state)
        })
        .await
    }

    /// The errors of the purges that the log says have failed.
    pub async fn failures(&self, key: &EntityKey) -> Vec<String> {
        self.outcomes(key)
            .await
            .iter()
            .filter_map(|event| match &event.event {
                Event::PurgeFailed(facts) => Some(facts.error.clone()),
                _ => None,
            })
            .collect()
    }

    async fn outcomes(&self, key: &EntityKey) -> Vec<StoredEvent> {
        self.reads.stream(key).await.unwrap().unwrap().events
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(TimeDelta::from_std(by).unwrap());
    }

    /// Lets every lease and every pause run out.
    pub fn advance_past_leases(&self) {
        self.advance(OPTIONS.lease + Duration::from_secs(1));
    }
}

pub fn run(cleanup: &StorageCleanup) -> Running {
    let stop = CancellationToken::new();
    let task = tokio::spawn(cleanup.worker().run(stop.clone()));
    Running { stop, task }
}

/// Makes a folder with that many files of ten bytes.
pub fn fill(path: &Path, files: usize) {
    std::fs::create_dir_all(path).unwrap();
    for number in 0..files {
        std::fs::write(path.join(number.to_string()), "0123456789").unwrap();
    }
}
