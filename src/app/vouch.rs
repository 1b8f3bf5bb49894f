//! Checks, before anything is appended, that the log is what was signed, with the key that signed it.

use super::backend::Store;
use super::start_error::{StartError, refuse, store_option};
use super::used_key;
use crate::bus::cloud_event::Source;
use crate::bus::nats::{NatsBus, NatsError};
use crate::bus::{BusError, LogAccess};
use crate::clock::SystemClock;
use crate::config::{Config, Nats};
use crate::proofs::guard::Guard;
use crate::proofs::{self, Identity, Started};
use crate::relay;
use crate::secret_files;
use crate::store::StoreError;
use crate::telemetry;
use std::sync::Arc;
use uuid::Uuid;

/// The seed of the key that this ledger is signed with; a new one only for a ledger that was never signed.
pub(super) async fn ledger_seed(config: &Config, store: &Store) -> Result<[u8; 32], StartError> {
    let proofs = store.proofs();
    let remembered = Identity::remembered(&*proofs)
        .await
        .map_err(|error| refuse(config, error))?;
    if remembered.is_none() {
        used_key::refuse_second_history(config, store).await?;
        used_key::expect_new(config)?;
    }
    let path = &config.ledger_key_file;
    let seed =
        secret_files::ledger_seed(path, remembered.is_none()).map_err(|source| StartError::SecretFile {
            option: "--ledger-key-file",
            source,
        })?;
    seed.ok_or_else(|| StartError::LedgerKeyMissing {
        path: path.display().to_string(),
        expected: remembered
            .and_then(|(origins, _)| origins.last().map(ToString::to_string))
            .unwrap_or_default(),
    })
}

/// Checks that the log is what was signed. From then on every connection is compared with what was found.
pub(super) async fn vouch(config: &Config, store: &Store) -> Result<Started, StartError> {
    let seed = ledger_seed(config, store).await?;
    let guard = Guard::new(config.guard_file.clone());
    let (proofs, reads) = (store.proofs(), store.reads());
    let started = proofs::start(&*proofs, &*reads, &seed, &config.service.domain, guard)
        .await
        .map_err(|error| refuse(config, error))?;
    used_key::refuse_before_fork(config, &started.identity)?;
    let ledger = store.known_ledger_id().await?;
    used_key::mark(config, started.identity.verifier(), ledger)?;
    let witness = store.witness();
    witness.serves(started.identity.ledger());
    if let Some(mark) = started.mark {
        witness.acknowledge(mark);
    }
    if let Some(signed) = started.signed {
        witness.publish(signed);
    }
    let (guard, identity) = (started.guard.clone(), Arc::clone(&started.identity));
    // A guard that cannot be read now is the checkpointer's to tell.
    witness.guarded_by(move || guard.signed(&identity).ok().flatten());
    if let Some(nats) = &config.nats {
        let source = Source::new(&config.service.id, started.identity.numbering());
        match compare_with_stream(nats, ledger, config, store, &source, &started.identity).await {
            Ok(()) => {}
            Err(BusError::Store(StoreError::Diverged(reason))) => {
                let refused = format!("the ledger refuses to append: {reason}");
                return Err(StartError::option(store_option(config), refused));
            }
            Err(BusError::Nats(error @ (NatsError::OtherLedger { .. } | NatsError::Access(_)))) => {
                return Err(super::nats::refused(nats, error));
            }
            // Silence proves nothing, and what is acknowledged is durable without the stream. The relay asks again.
            Err(error) => {
                tracing::warn!(error = %telemetry::chain(&error), "the stream cannot be asked whether the log is what was published");
            }
        }
    }
    Ok(started)
}

/// The guard may have been lost with the machine, or restored with the database: the stream knows what subscribers have seen.
async fn compare_with_stream(
    nats: &Nats,
    ledger: Option<Uuid>,
    config: &Config,
    store: &Store,
    source: &Source,
    identity: &Identity,
) -> Result<(), BusError> {
    let settings = super::nats::settings(nats, ledger);
    let bus = NatsBus::reach(&super::nats::access(nats), &config.service.id, settings).await?;
    let log = LogAccess {
        reads: store.reads(),
        coordination: store.coordination(),
        clock: Arc::new(SystemClock),
        witness: Arc::clone(store.witness()),
    };
    relay::compare(&bus, &log, source, identity.marks()).await
}
