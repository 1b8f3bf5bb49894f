//! Who the ledger is to an auditor, without serving it.

use super::start::{self, StartError};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::merkle::note::VerifierKey;
use crate::proofs::fork::{self, Statement};
use crate::proofs::guard::Guard;
use crate::proofs::{Identity, ProofError};
use std::sync::Arc;

/// The key that auditors check the ledger with; a ledger that was never opened is named and gets its key.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn verifier_key(config: &Config) -> Result<VerifierKey, StartError> {
    let store = start::connect(config).await?;
    store.migrate().await?;
    let seed = start::ledger_seed(config, &store).await?;
    let identity = Identity::open(&*store.proofs(), &seed, &config.service.domain).await;
    let identity = identity.map_err(|error| start::refuse(config, error))?;
    Ok(identity.verifier().clone())
}

/// Opens the ledger's next origin, from what the database holds now.
///
/// # Errors
/// [`StartError`], naming the option at fault; [`ProofError::Running`] while an instance serves the ledger.
pub async fn fork(config: &Config, reason: &str) -> Result<Statement, StartError> {
    let store = start::connect(config).await?;
    store.migrate().await?;
    let seed = start::ledger_seed(config, &store).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let (proofs, reads, coordination) = (store.proofs(), store.reads(), store.coordination());
    let guard = Guard::new(config.guard_file.clone());
    let parts = fork::Parts {
        store: &*proofs,
        reads: &*reads,
        coordination: &*coordination,
        clock: &clock,
        seed: &seed,
        domain: &config.service.domain,
        guard: &guard,
    };
    let forked: Result<_, ProofError> = fork::fork(&parts, reason).await;
    let (_, statement) = forked.map_err(|error| start::refuse(config, error))?;
    Ok(statement)
}
