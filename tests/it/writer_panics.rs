//! A writer whose backend panics: its commands are told, nothing that was acknowledged is lost, and the next command is recorded.

use crate::harness::postgres::Postgres;
use crate::harness::server::Backend;
use crate::harness::{init, on_both_backends};
use archive_ledger::clock::{Clock as _, SharedClock, SystemClock};
use archive_ledger::keyring::{Details, Keyring};
use archive_ledger::ledger::writer::{CommandError, Decision, Proposal, Receipt, WriterHandle, writer};
use archive_ledger::store::postgres::PostgresStore;
use archive_ledger::store::sqlite::SqliteStore;
use archive_ledger::store::witness::Witness;
use archive_ledger::store::{
    AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, Position, ReadStore, StoreError,
};
use archive_ledger_domain::{Command, EntityKey, EntityType, EventMetadata};
use async_trait::async_trait;
use chrono::DateTime;
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Where the backend panics: whenever the poisoned entity is in the batch, or once.
const NOWHERE: u8 = 0;
const POISONED: u8 = 1;
const BEGIN: u8 = 2;
const COMMIT_BEFORE: u8 = 3;
const COMMIT_AFTER: u8 = 4;
const LOOK: u8 = 5;

/// The entity that no batch may hold.
const POISON: u128 = 666;

/// A backend that panics where it is told to.
struct Panicking<B> {
    inner: B,
    at: Arc<AtomicU8>,
}

impl<B> Panicking<B> {
    fn once(&self, place: u8) {
        let here = self
            .at
            .compare_exchange(place, NOWHERE, Ordering::SeqCst, Ordering::SeqCst);
        assert!(here.is_err(), "told to panic at {place}");
    }
}

#[async_trait]
impl<B: AppendBackend> AppendBackend for Panicking<B> {
    async fn begin(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        self.once(BEGIN);
        let found = self.inner.begin(needs).await;
        let poisoned = needs.streams.contains_key(&key(POISON).stream_id());
        assert!(
            !poisoned || self.at.load(Ordering::SeqCst) != POISONED,
            "poisoned"
        );
        found
    }

    async fn commit(&mut self, write: &BatchWrite) -> Result<(), StoreError> {
        self.once(COMMIT_BEFORE);
        let committed = self.inner.commit(write).await;
        self.once(COMMIT_AFTER);
        committed
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.inner.rollback().await
    }

    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError> {
        self.inner.is_committed(position, event_id).await
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.inner.reconnect().await
    }

    async fn look(&mut self, prove: bool) -> Result<(), StoreError> {
        self.once(LOOK);
        self.inner.look(prove).await
    }

    fn witness(&self) -> &Arc<Witness> {
        self.inner.witness()
    }
}

fn key(number: u128) -> EntityKey {
    EntityKey::new(EntityType::Users, &Uuid::from_u128(number).to_string()).unwrap()
}

/// A writer over a real store that panics at `at`.
struct Scene {
    reads: Arc<dyn ReadStore>,
    handle: WriterHandle,
    at: Arc<AtomicU8>,
    stop: CancellationToken,
    _home: tempfile::TempDir,
}

impl Scene {
    async fn on(backend: Backend) -> Self {
        init();
        let home = tempfile::tempdir().unwrap();
        let (at, stop) = (Arc::new(AtomicU8::new(NOWHERE)), CancellationToken::new());
        let (reads, handle): (Arc<dyn ReadStore>, _) = match backend {
            Backend::Embedded => {
                let store = SqliteStore::open(&home.path().join("ledger.db"), 4)
                    .await
                    .unwrap();
                store.migrate().await.unwrap();
                let handle = start(store.appender(), &at, &stop);
                (Arc::new(store), handle)
            }
            Backend::Clustered => {
                let url = Postgres::shared().await.create_database().await;
                let store = PostgresStore::connect(&url, 4).await.unwrap();
                store.migrate().await.unwrap();
                let handle = start(store.appender().await.unwrap(), &at, &stop);
                (Arc::new(store), handle)
            }
        };
        Self {
            reads,
            handle,
            at,
            stop,
            _home: home,
        }
    }

    async fn delete(&self, number: u128) -> Result<Receipt, CommandError> {
        let command = Command::SoftDelete {
            deletion_id: Uuid::from_u128(1),
            deleted_at: DateTime::UNIX_EPOCH,
            parent: None,
            storage_count: 0,
        };
        let proposal = Proposal {
            key: key(number),
            decision: Decision::Command(command),
            details: Details::default(),
            metadata: EventMetadata::internal("test", None),
            command_id: SystemClock.new_id(),
            expected_version: None,
            idempotency: None,
            target: None,
        };
        self.handle.submit(proposal).await
    }

    /// How many events an entity has.
    async fn events(&self, number: u128) -> usize {
        let stream = self.reads.stream(&key(number)).await.unwrap();
        stream.map_or(0, |stream| stream.events.len())
    }
}

fn start<B: AppendBackend + 'static>(inner: B, at: &Arc<AtomicU8>, stop: &CancellationToken) -> WriterHandle {
    let clock: SharedClock = Arc::new(SystemClock);
    let keyring = Keyring::parse(&Keyring::generate(clock.new_id()).unwrap()).unwrap();
    let backend = Panicking {
        inner,
        at: Arc::clone(at),
    };
    let (writer, handle) = writer(backend, Arc::new(keyring), clock, 512, 1_000);
    tokio::spawn(writer.run(stop.clone()));
    handle
}

on_both_backends! {
    async fn a_panic_of_the_writer_is_told_to_its_commands_and_loses_nothing_that_was_acknowledged(backend: Backend) {
        let scene = Scene::on(backend).await;
        scene.delete(1).await.unwrap();
        for (place, number, recorded) in [(BEGIN, 10, 0), (COMMIT_BEFORE, 11, 0), (COMMIT_AFTER, 12, 1)] {
            scene.at.store(place, Ordering::SeqCst);
            let told = scene.delete(number).await.unwrap_err();
            match place {
                BEGIN => assert!(matches!(told, CommandError::Unavailable(_)), "{told:?}"),
                _ => assert!(matches!(told, CommandError::OutcomeUnknown(_)), "{told:?}"),
            }
            assert_eq!(scene.events(number).await, recorded, "nothing is half done");
            // The next one is recorded, by the same writer.
            scene.delete(100 + number).await.unwrap();
            assert_eq!((scene.events(100 + number).await, scene.events(1).await), (1, 1));
        }
        // Whoever looks whether it could record may panic as well.
        scene.at.store(LOOK, Ordering::SeqCst);
        crate::harness::eventually("it has looked", crate::harness::READY_WITHIN, || async {
            (scene.at.load(Ordering::SeqCst) == NOWHERE).then_some(())
        })
        .await;
        scene.delete(200).await.unwrap();
        let head = scene.reads.head().await.unwrap();
        assert_eq!(head.position, 6);
        scene.stop.cancel();
    }

    async fn a_command_at_which_the_writer_panics_takes_none_of_its_batch_with_it(backend: Backend) {
        let scene = Scene::on(backend).await;
        scene.at.store(POISONED, Ordering::SeqCst);
        for round in 0..3_u128 {
            let sound = (0..30).map(|number| scene.delete(1_000 + 100 * round + number));
            let (before, poisoned, after) =
                tokio::join!(join_all(sound), scene.delete(POISON), scene.delete(2_000 + round));
            assert!(matches!(poisoned, Err(CommandError::Unavailable(_))), "{poisoned:?}");
            for answer in before.into_iter().chain([after]) {
                answer.unwrap();
            }
        }
        assert_eq!(scene.events(POISON).await, 0);
        assert_eq!(scene.reads.head().await.unwrap().position, 93);
        scene.at.store(NOWHERE, Ordering::SeqCst);
        scene.delete(POISON).await.unwrap();
        scene.stop.cancel();
    }
}
