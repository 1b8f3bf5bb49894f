//! A store that hangs in the middle of a batch, as a disk does that answers nothing: nobody can end it, and nobody waits for it.

use archive_ledger::clock::{SharedClock, SystemClock};
use archive_ledger::keyring::Keyring;
use archive_ledger::ledger::writer::{CommandError, writer};
use archive_ledger::store::contract::{fresh_id, fresh_key, soft_delete};
use archive_ledger::store::witness::Witness;
use archive_ledger::store::{AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, Position, StoreError};
use archive_ledger_domain::EntityType;
use async_trait::async_trait;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Counts what it is asked to record, and answers nothing.
struct Hanging {
    asked: Arc<AtomicUsize>,
    witness: Arc<Witness>,
}

#[async_trait]
impl AppendBackend for Hanging {
    async fn begin(&mut self, _: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        pending().await
    }

    async fn commit(&mut self, _: &BatchWrite) -> Result<(), StoreError> {
        pending().await
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        pending().await
    }

    async fn is_committed(&mut self, _: Position, _: Uuid) -> Result<bool, StoreError> {
        pending().await
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        pending().await
    }

    async fn look(&mut self, _: bool) -> Result<(), StoreError> {
        Ok(())
    }

    fn witness(&self) -> &Arc<Witness> {
        &self.witness
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_writer_has_taken_is_unknown_and_what_it_has_not_is_taken_back() {
    let asked = Arc::new(AtomicUsize::new(0));
    let backend = Hanging {
        asked: Arc::clone(&asked),
        witness: Arc::default(),
    };
    let keyring = Keyring::parse(&Keyring::generate(fresh_id()).unwrap()).unwrap();
    let clock: SharedClock = Arc::new(SystemClock);
    let (task, handle) = writer(backend, Arc::new(keyring), clock, 1, 10);
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(stop.clone()));

    let submit = || handle.submit(soft_delete(&fresh_key(EntityType::Backups), 0));
    let (first, second, third) = tokio::join!(submit(), submit(), submit());
    assert!(matches!(first, Err(CommandError::OutcomeUnknown(_))), "{first:?}");
    for waiting in [second, third] {
        assert!(
            matches!(waiting, Err(CommandError::Unavailable(_))),
            "{waiting:?}"
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    running.abort();
}
