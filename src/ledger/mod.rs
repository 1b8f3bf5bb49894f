//! The application layer: commands in, receipts out; reads with their sealed parts opened.
//!
//! Routes, imports and consumers call the ledger and nothing below it. It checks what the domain cannot see (storage
//! roots, callback URLs), attaches what is sealed, and hands the command to the writer.

mod claims;
mod command;
mod force;
mod opened;
mod past;
mod places;
mod purge_order;
pub mod repository;
mod view;
pub mod writer;

pub use command::{CommandContext, Purge, Register, SoftDelete};
pub use force::ForcePurge;
pub use past::{AsOf, PastEntity, Versions};
pub use purge_order::PurgeOrder;
pub(crate) use purge_order::{STORAGE_PURPOSE, standing_storage};
pub use view::{ArchivedItem, ArchivedList, EntityView, HistoryItem};

use crate::callbacks::target::{CallbackPolicy, TargetRefusal};
use crate::clock::SharedClock;
use crate::keyring::{Keyring, KeyringError};
use crate::storage::roots::StorageRoots;
use crate::storage::uri::UriRefusal;
use crate::store::claims::ClaimStore;
use crate::store::storage_roots::StorageRootStore;
use crate::store::{Hash, Position, ReadStore, StoreError};
use crate::telemetry::Counters;
use archive_ledger_domain::{ArchivedEntity, EntityKey, Rejection, upcasters};
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateError, EventStore};
use repository::Repository;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use writer::{CommandError, WriterHandle, WriterHealth};

/// Why a command was not recorded, or a read not answered.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A storage URI may not be deleted.
    #[error("storage[{index}] is refused: {reason}")]
    Storage {
        /// Which of the URIs, from 0.
        index: usize,
        /// Why.
        reason: UriRefusal,
    },
    /// The callback URL may not be called.
    #[error("the callback is refused: {0}")]
    Callback(#[source] TargetRefusal),
    /// The deletion is dated in the future.
    #[error("deleted_at lies in the future")]
    DeletedInFuture,
    /// The command was refused or could not be recorded.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// Something sealed could not be opened.
    #[error("sealed details could not be opened")]
    Keyring(#[from] KeyringError),
    /// An aggregate could not be loaded.
    #[error("the entity could not be loaded")]
    Load(#[source] AggregateError<Rejection>),
}

/// What a ledger is made of.
#[derive(Debug)]
pub struct LedgerParts {
    /// The way to the writer.
    pub writer: WriterHandle,
    /// Reads.
    pub reads: Arc<dyn ReadStore>,
    /// Who names which storage.
    pub claims: Arc<dyn ClaimStore>,
    /// Which paths each storage root was used at.
    pub storage_roots: Arc<dyn StorageRootStore>,
    /// Loads aggregates.
    pub repository: Repository,
    /// Opens what is sealed.
    pub keyring: Arc<Keyring>,
    /// Times and ids.
    pub clock: SharedClock,
    /// The only places whose objects may ever be deleted.
    pub roots: Arc<StorageRoots>,
    /// Where callbacks may go.
    pub callbacks: Arc<CallbackPolicy>,
}

impl std::fmt::Debug for dyn ReadStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadStore")
    }
}

impl std::fmt::Debug for dyn ClaimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClaimStore")
    }
}

impl std::fmt::Debug for dyn StorageRootStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorageRootStore")
    }
}

/// The ledger.
pub struct Ledger {
    writer: WriterHandle,
    reads: Arc<dyn ReadStore>,
    claims: Arc<dyn ClaimStore>,
    storage_roots: Arc<dyn StorageRootStore>,
    aggregates: PersistedEventStore<Repository, ArchivedEntity>,
    keyring: Arc<Keyring>,
    clock: SharedClock,
    roots: Arc<StorageRoots>,
    callbacks: Arc<CallbackPolicy>,
    in_flight: Mutex<HashSet<Hash>>,
    /// By action and outcome.
    counted: Counters<(&'static str, &'static str)>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    /// Puts a ledger together.
    #[must_use]
    pub fn new(parts: LedgerParts) -> Self {
        Self {
            writer: parts.writer,
            reads: parts.reads,
            claims: parts.claims,
            storage_roots: parts.storage_roots,
            aggregates: PersistedEventStore::new_event_store(parts.repository).with_upcasters(upcasters()),
            keyring: parts.keyring,
            clock: parts.clock,
            roots: parts.roots,
            callbacks: parts.callbacks,
            in_flight: Mutex::new(HashSet::new()),
            counted: Counters::default(),
        }
    }

    /// An entity as its events leave it, and its version; `State::Unknown` and 0 when the ledger has never heard of it.
    ///
    /// # Errors
    /// [`LedgerError::Store`] when the database does not answer, [`LedgerError::Load`] when its events are not what they must be.
    pub async fn load(&self, key: &EntityKey) -> Result<(ArchivedEntity, u64), LedgerError> {
        let context = self
            .aggregates
            .load_aggregate(&key.stream_id())
            .await
            .map_err(not_loaded)?;
        let version = u64::try_from(context.current_sequence).unwrap_or(u64::MAX);
        Ok((context.aggregate, version))
    }

    /// The reads below the ledger, for what needs no opening: health, relays, audits.
    #[must_use]
    pub fn reads(&self) -> &Arc<dyn ReadStore> {
        &self.reads
    }

    /// The clock that the ledger's times come from.
    #[must_use]
    pub const fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The keyring.
    #[must_use]
    pub const fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The last position that this process committed; it wakes readers of the log.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Position> {
        self.writer.committed()
    }

    /// The last position of a purge's event that this process committed.
    #[must_use]
    pub fn purges(&self) -> watch::Receiver<Position> {
        self.writer.purges()
    }

    /// Whether the writer can record.
    #[must_use]
    pub const fn writer_health(&self) -> &Arc<WriterHealth> {
        self.writer.health()
    }

    /// Marks an idempotency key as under way until the guard is dropped.
    fn enter(&self, key: Hash) -> Result<InFlight<'_>, CommandError> {
        let mut keys = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(key) {
            return Err(CommandError::InFlight);
        }
        Ok(InFlight { ledger: self, key })
    }
}

/// What keeps an entity from being loaded: where it is the database, as a failure of the store, which may pass.
fn not_loaded(error: AggregateError<Rejection>) -> LedgerError {
    match error {
        AggregateError::DatabaseConnectionError(source) | AggregateError::UnexpectedError(source) => {
            match source.downcast::<sqlx::Error>() {
                Ok(source) => StoreError::database("load an entity")(*source).into(),
                Err(source) => match source.downcast::<StoreError>() {
                    Ok(source) => LedgerError::Store(*source),
                    Err(source) => LedgerError::Load(AggregateError::UnexpectedError(source)),
                },
            }
        }
        error @ (AggregateError::UserError(_)
        | AggregateError::AggregateConflict
        | AggregateError::DeserializationError(_)) => LedgerError::Load(error),
    }
}

/// A request with an idempotency key, under way.
struct InFlight<'a> {
    ledger: &'a Ledger,
    key: Hash,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.ledger
            .in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}
