//! A ledger with a clock that stands still, and callback workers on it.

use crate::harness::ledger::change;
use crate::harness::postgres::Postgres;
use crate::harness::roots::used;
use crate::harness::{eventually, init};
use archive_ledger::bus::{BusEvent, Handler};
use archive_ledger::callbacks::admin::CallbackAdmin;
use archive_ledger::callbacks::client::{CallbackClient, ClientOptions};
use archive_ledger::callbacks::consumer::CallbackConsumer;
use archive_ledger::callbacks::resolve::{Lookup, SystemLookup};
use archive_ledger::callbacks::schedule::Schedule;
use archive_ledger::callbacks::sign::SigningSecrets;
use archive_ledger::callbacks::target::CallbackPolicy;
use archive_ledger::callbacks::worker::{CallbackWorker, WorkerOptions, WorkerParts};
use archive_ledger::clock::{Clock, ManualClock, SharedClock};
use archive_ledger::keyring::Keyring;
use archive_ledger::ledger::repository::Repository;
use archive_ledger::ledger::writer::{WriterHandle, writer};
use archive_ledger::ledger::{CommandContext, Ledger, LedgerParts, Purge, Register};
use archive_ledger::store::callbacks::{
    AttemptRecord, AttemptRow, CallbackStore, ClaimRequest, ClaimedDelivery, DeliveryFilter, DeliveryRow,
    Disposition, Lane, ListStart, PurgeOutcome,
};
use archive_ledger::store::claims::ClaimStore;
use archive_ledger::store::postgres::PostgresStore;
use archive_ledger::store::retention::RetentionStore;
use archive_ledger::store::sqlite::SqliteStore;
use archive_ledger::store::storage_roots::StorageRootStore;
use archive_ledger::store::{ReadStore, StoreError};
use archive_ledger_domain::{CleanupOutcome, EntityKey, EntityType, EventMetadata, EventName};
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const SOON: Duration = Duration::from_secs(30);

pub struct Rig {
    pub store: Arc<dyn CallbackStore>,
    pub retention: Arc<dyn RetentionStore>,
    pub ledger: Ledger,
    pub clock: Arc<ManualClock>,
    pub keyring: Arc<Keyring>,
    pub wake: Arc<Notify>,
    _stop: DropGuard,
    _home: TempDir,
}

/// A worker that runs until it is dropped or stopped.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Running {
    /// Ends the worker in order.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends the worker as a kill does: at once, and nothing more is recorded.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// One store, by what it is used for.
type Stores = (
    Arc<dyn ReadStore>,
    Arc<dyn ClaimStore>,
    Arc<dyn StorageRootStore>,
    Arc<dyn CallbackStore>,
    Arc<dyn RetentionStore>,
);

impl Rig {
    pub async fn sqlite() -> Self {
        let home = home();
        let store = SqliteStore::open(&home.path().join("ledger.db"), 4)
            .await
            .unwrap();
        store.migrate().await.unwrap();
        let appender = store.appender();
        let (clock, keyring) = keys();
        let (task, handle) = writer(appender, Arc::clone(&keyring), shared(&clock), 64, 10_000);
        let repository = Repository::sqlite(&store, handle.clone(), shared(&clock));
        let store = Arc::new(store);
        let spawn = |stop| drop(tokio::spawn(task.run(stop)));
        Self::new(
            home,
            (store.clone(), store.clone(), store.clone(), store.clone(), store),
            (clock, keyring),
            (handle, repository),
            spawn,
        )
    }

    pub async fn postgres() -> Self {
        Self::postgres_at(&Postgres::shared().await.create_database().await).await
    }

    pub async fn postgres_at(url: &str) -> Self {
        let store = PostgresStore::connect(url, 4).await.unwrap();
        store.migrate().await.unwrap();
        let appender = store.appender().await.unwrap();
        let (clock, keyring) = keys();
        let (task, handle) = writer(appender, Arc::clone(&keyring), shared(&clock), 64, 10_000);
        let repository = Repository::postgres(&store, handle.clone(), shared(&clock));
        let store = Arc::new(store);
        let spawn = |stop| drop(tokio::spawn(task.run(stop)));
        Self::new(
            home(),
            (store.clone(), store.clone(), store.clone(), store.clone(), store),
            (clock, keyring),
            (handle, repository),
            spawn,
        )
    }

    fn new(
        home: TempDir,
        (reads, claims, storage_roots, store, retention): Stores,
        (clock, keyring): (Arc<ManualClock>, Arc<Keyring>),
        (writer, repository): (WriterHandle, Repository),
        spawn: impl FnOnce(CancellationToken),
    ) -> Self {
        init();
        let stop = CancellationToken::new();
        spawn(stop.clone());
        let root = format!("file://{}", home.path().display());
        let ledger = Ledger::new(LedgerParts {
            writer,
            reads,
            claims,
            storage_roots,
            repository,
            keyring: Arc::clone(&keyring),
            clock: shared(&clock),
            roots: Arc::new(used(&[root])),
            callbacks: Arc::new(policy()),
        });
        Self {
            store,
            retention,
            ledger,
            clock,
            keyring,
            wake: Arc::new(Notify::new()),
            _stop: stop.drop_guard(),
            _home: home,
        }
    }

    pub fn consumer(&self) -> CallbackConsumer {
        CallbackConsumer::new(
            Arc::clone(&self.store),
            shared(&self.clock),
            Arc::clone(&self.wake),
        )
    }

    pub fn admin(&self) -> CallbackAdmin {
        CallbackAdmin::new(
            Arc::clone(&self.store),
            Arc::clone(&self.keyring),
            shared(&self.clock),
            Arc::clone(&self.wake),
        )
    }

    /// Registers an archive with an object to clean, and perhaps a callback.
    pub async fn register(&self, id: &str, callback: Option<&str>) -> EntityKey {
        let key = EntityKey::new(EntityType::Archives, id).unwrap();
        let request = Register {
            key: key.clone(),
            dataset_id: Some(format!("data-{id}")),
            space_id: None,
            description: None,
            storage: vec![format!("file://{}/{id}", self._home.path().display())],
            deleted_callback: callback.map(ToOwned::to_owned),
        };
        self.ledger.register(request, context()).await.unwrap();
        key
    }

    /// Asks for a purge; returns its id.
    pub async fn purge(&self, key: &EntityKey, callback: Option<&str>) -> Uuid {
        let request = Purge {
            callback: callback.map(ToOwned::to_owned),
            join: true,
        };
        let receipt = self.ledger.purge(key.clone(), request, context()).await.unwrap();
        receipt.purge_id.unwrap()
    }

    /// Ends a purge, by success or by this error.
    pub async fn cleaned(&self, key: &EntityKey, purge_id: Uuid, error: Option<&str>) {
        let (objects, bytes) = (1, 1);
        let outcome = match error {
            None => CleanupOutcome::Done {
                objects,
                bytes,
                at_least: false,
            },
            Some(error) => CleanupOutcome::Failed {
                objects,
                bytes,
                at_least: false,
                error: error.to_owned(),
            },
        };
        let cause = self.clock.new_id();
        self.ledger
            .record_cleanup(key.clone(), purge_id, outcome, cause)
            .await
            .unwrap();
    }

    /// Gives the consumer the whole log, as the bus does once and a redriver again.
    pub async fn consume(&self) {
        let names = [EventName::Purged, EventName::PurgeFailed];
        let events = self.ledger.reads().log_after(0, &names, 10_000).await.unwrap();
        let events: Vec<BusEvent> = events.into_iter().map(BusEvent::from).collect();
        self.consumer().handle_batch(&events).await.unwrap();
    }

    /// Owes `count` callbacks to a URL.
    pub async fn owe(&self, url: &str, count: usize) {
        let key = self
            .register(&format!("a{}", self.clock.new_id().simple()), Some(url))
            .await;
        let outcomes: Vec<PurgeOutcome> = (1..)
            .take(count)
            .map(|position| PurgeOutcome {
                event_id: self.clock.new_id(),
                position,
                key: key.clone(),
                recorded_at: self.clock.now(),
                error: None,
                over: true,
            })
            .collect();
        let created = self
            .store
            .create_deliveries(&outcomes, &*self.clock)
            .await
            .unwrap();
        assert_eq!(created, u64::try_from(count).unwrap());
        self.wake.notify_one();
    }

    /// Owes one callback to each of many URLs, all of them at once.
    pub async fn owe_each(&self, urls: &[String]) {
        let register = urls.iter().map(async |url| {
            let id = format!("a{}", self.clock.new_id().simple());
            self.register(&id, Some(url)).await
        });
        let outcomes: Vec<PurgeOutcome> = futures::future::join_all(register)
            .await
            .into_iter()
            .map(|key| PurgeOutcome {
                event_id: self.clock.new_id(),
                position: 1,
                key,
                recorded_at: self.clock.now(),
                error: None,
                over: true,
            })
            .collect();
        let created = self.store.create_deliveries(&outcomes, &*self.clock).await;
        assert_eq!(created.unwrap(), u64::try_from(urls.len()).unwrap());
        self.wake.notify_one();
    }

    /// Changes the embedded database behind the store's back, whatever its columns allow.
    pub async fn change(&self, statement: &str) {
        assert!(
            change(None, self._home.path(), statement).await > 0,
            "{statement}"
        );
    }

    /// Claims as a worker that knows the receivers at these hosts does, each host having one.
    pub async fn claim(
        &self,
        lane: Lane,
        limit: u32,
        slots: &[(String, u32)],
        others: u32,
    ) -> Vec<ClaimedDelivery> {
        self.claim_of(lane, limit, slots, others, &[]).await
    }

    /// The same, as a worker that knows these endpoints too.
    pub async fn claim_of(
        &self,
        lane: Lane,
        limit: u32,
        slots: &[(String, u32)],
        others: u32,
        endpoints: &[(String, u32)],
    ) -> Vec<ClaimedDelivery> {
        let all = if slots.is_empty() {
            Vec::new()
        } else {
            self.all().await
        };
        let slots: Vec<(String, u32)> = slots
            .iter()
            .map(|(host, room)| {
                let row = all.iter().find(|row| row.host == *host);
                (
                    row.map_or_else(|| host.clone(), |row| row.receiver.clone()),
                    *room,
                )
            })
            .collect();
        let now = self.clock.now();
        let request = ClaimRequest {
            lane,
            now,
            lease_until: now + TimeDelta::seconds(35),
            token: self.clock.new_id(),
            limit,
            slots: &slots,
            others,
            endpoints,
            per_endpoint: 1_000_000,
            after: "",
        };
        self.store.claim(&request).await.unwrap()
    }

    /// Records an attempt that came to nothing, or arrived.
    pub async fn record(&self, claimed: &ClaimedDelivery, next: Disposition) -> bool {
        let record = AttemptRecord {
            delivery_id: claimed.delivery_id,
            token: claimed.token,
            attempt: claimed.attempt,
            finished_at: self.clock.now(),
            duration: Duration::from_millis(7),
            status: Some(if next == Disposition::Delivered { 204 } else { 500 }),
            error: None,
            body: b"answer".to_vec(),
            body_truncated: true,
            next,
        };
        self.store.record(&[record]).await.unwrap() == 1
    }

    pub async fn all(&self) -> Vec<DeliveryRow> {
        let all = DeliveryFilter::default();
        let page = self.store.deliveries(&all, ListStart::default(), 10_000);
        page.await.unwrap().rows.rows
    }

    pub async fn delivery(&self, id: Uuid) -> (DeliveryRow, Vec<AttemptRow>) {
        let found = self.store.delivery(id).await.unwrap().unwrap();
        (found.row.unwrap(), found.attempts.rows)
    }

    /// Waits until every delivery that `which` picks is as `wanted`.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[DeliveryRow]) -> bool) -> Vec<DeliveryRow> {
        eventually(what, SOON, || async {
            Some(self.all().await).filter(|all| wanted(all))
        })
        .await
    }

    /// Moves the clock to a time and lets the workers know.
    pub fn go_to(&self, time: DateTime<Utc>) {
        self.clock.advance(time - self.clock.now());
        self.wake.notify_one();
    }

    pub fn work(&self, options: WorkerOptions, timeout: Duration) -> Running {
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup::default());
        let options_of_client = ClientOptions {
            exchange_timeout: timeout,
            ..ClientOptions::default()
        };
        let secrets = SigningSecrets::parse(SECRET).unwrap();
        let client = CallbackClient::new(policy(), secrets, options_of_client, &lookup).unwrap();
        let worker = CallbackWorker::new(
            WorkerParts {
                store: Arc::clone(&self.store),
                client: Arc::new(client),
                keyring: Arc::clone(&self.keyring),
                clock: shared(&self.clock),
                schedule: Schedule::default(),
                wake: Arc::clone(&self.wake),
            },
            options,
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(worker.run(stop.clone()));
        Running { stop, task }
    }
}

fn home() -> TempDir {
    tempfile::Builder::new()
        .prefix("archive-ledger-callbacks-")
        .tempdir()
        .unwrap()
}

fn keys() -> (Arc<ManualClock>, Arc<Keyring>) {
    let clock = ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    let keyring = Keyring::parse(&Keyring::generate(clock.new_id()).unwrap()).unwrap();
    (Arc::new(clock), Arc::new(keyring))
}

fn shared(clock: &Arc<ManualClock>) -> SharedClock {
    clock.clone()
}

fn policy() -> CallbackPolicy {
    CallbackPolicy::new(vec!["127.0.0.0/8".parse().unwrap()])
}

pub fn context() -> CommandContext {
    CommandContext::new(EventMetadata::internal("test", None))
}
