//! Who the ledger is to an auditor, without serving it.

use super::backend::{self, Store};
use super::start::Opened;
use super::start_error::{StartError, refuse, store_option};
use super::{used_key, vouch};
use crate::audit_export::Source;
use crate::bus::CommitSignal;
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::merkle::note::VerifierKey;
use crate::proofs::Identity;
use crate::proofs::checkpointer::{self, Checkpointer};
use crate::proofs::fork::{self, Forked};
use crate::proofs::guard::Guard;
use crate::proofs::losses::{Elsewhere, Nowhere};
use crate::relay::LostPart;
use crate::secret_files;
use crate::store::forks::{ForkStore, Losses};
use crate::store::proofs::ProofStore;
use crate::store::{CoordinationStore, ReadStore};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The key that auditors check the ledger with; the service makes it when it first starts.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn verifier_key(config: &Config) -> Result<VerifierKey, StartError> {
    let store = super::existing(config).await?;
    let seed = existing_seed(config, &store).await?;
    let identity = Identity::open(&*store.proofs(), &seed, &config.service.domain).await;
    let identity = identity.map_err(|error| refuse(config, error))?;
    used_key::mark(config, identity.verifier(), store.known_ledger_id().await?)?;
    Ok(identity.verifier().clone())
}

/// The seed of the key that the ledger is signed with; makes none, as no service would know it.
async fn existing_seed(config: &Config, store: &Store) -> Result<[u8; 32], StartError> {
    let proofs = store.proofs();
    let remembered = Identity::remembered(&*proofs).await;
    if remembered.map_err(|error| refuse(config, error))?.is_none() {
        return Err(StartError::NeverServed {
            option: store_option(config),
        });
    }
    vouch::ledger_seed(config, store).await
}

/// Opens the ledger's next origin, from what the database holds now.
///
/// # Errors
/// [`StartError`], naming the option at fault; [`crate::proofs::ProofError::Running`] while an instance serves the ledger.
pub async fn fork(config: &Config, reason: &str) -> Result<Forked, StartError> {
    let store = super::found(config).await?;
    store.migrate().await?;
    let seed = existing_seed(config, &store).await?;
    let used = used_key::find(config)?.map(|used| used.origin);
    let work = Work::new(config, &store, seed).await?;
    let forked = fork::fork(&work.parts(used), reason).await;
    let forked = forked.map_err(|error| refuse(config, error))?;
    used_key::mark(config, &forked.statement.new, store.known_ledger_id().await?)?;
    Ok(forked)
}

/// Begins again in an empty database, under the next name of the ledger that the key has signed and that is lost.
///
/// # Errors
/// [`StartError`], naming the option at fault: the database holds a ledger, or there is no key.
pub async fn fork_from_nothing(config: &Config, reason: &str) -> Result<Forked, StartError> {
    let store = backend::connect(config).await?;
    store.migrate().await?;
    let used = used_key::find(config)?;
    if used_key::holds_ledger(config, &store).await? {
        return Err(StartError::option(
            store_option(config),
            "the database holds a ledger: `archive-ledger ledger fork --reason …` goes on from it",
        ));
    }
    let path = &config.ledger_key_file;
    let seed = secret_files::ledger_seed(path, false).map_err(|source| StartError::SecretFile {
        option: "--ledger-key-file",
        source,
    })?;
    let seed = seed.ok_or_else(|| {
        StartError::option(
            "--ledger-key-file",
            format!(
                "{} does not exist: without the key that signed it nothing follows on a ledger",
                path.display()
            ),
        )
    })?;
    let (lost, ledger_id) = used.map_or((None, None), |used| (Some(used.origin), used.ledger_id));
    // What outlives the database goes on to belong to this ledger.
    if let Some(id) = ledger_id {
        store.adopt_ledger_id(id).await?;
    }
    let work = Work::new(config, &store, seed).await?;
    let forked = fork::from_nothing(&work.parts(lost), reason).await;
    let forked = forked.map_err(|error| refuse(config, error))?;
    used_key::mark(config, &forked.statement.new, ledger_id)?;
    Ok(forked)
}

/// What the last fork has lost, asked for again where the stream could not be asked when it was made; `None` for a ledger that was
/// never forked, or whose last fork did not keep it.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn losses(config: &Config) -> Result<Option<Losses>, StartError> {
    let store = super::existing(config).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let elsewhere = elsewhere(config, &store).await?;
    let lost = fork::lost(&*store.proofs(), &*store.forks(), &*elsewhere, &clock).await;
    lost.map_err(|error| refuse(config, error))
}

/// Who may know what the database has lost.
async fn elsewhere(config: &Config, store: &Store) -> Result<Box<dyn Elsewhere>, StartError> {
    let Some(nats) = &config.nats else {
        return Ok(Box::new(Nowhere));
    };
    Ok(Box::new(LostPart::new(
        super::nats::access(nats),
        super::nats::settings(nats, store.known_ledger_id().await?),
        &config.service.id,
        store.reads(),
    )))
}

/// What a fork works with.
struct Work<'a> {
    config: &'a Config,
    seed: [u8; 32],
    clock: SharedClock,
    guard: Guard,
    proofs: Arc<dyn ProofStore>,
    forks: Arc<dyn ForkStore>,
    reads: Arc<dyn ReadStore>,
    coordination: Arc<dyn CoordinationStore>,
    elsewhere: Box<dyn Elsewhere>,
}

impl<'a> Work<'a> {
    async fn new(config: &'a Config, store: &Store, seed: [u8; 32]) -> Result<Self, StartError> {
        Ok(Self {
            config,
            seed,
            clock: Arc::new(SystemClock),
            guard: Guard::new(config.guard_file.clone()),
            proofs: store.proofs(),
            forks: store.forks(),
            reads: store.reads(),
            coordination: store.coordination(),
            elsewhere: elsewhere(config, store).await?,
        })
    }

    fn parts(&self, used: Option<VerifierKey>) -> fork::ForkParts<'_> {
        fork::ForkParts {
            store: &*self.proofs,
            forks: &*self.forks,
            reads: &*self.reads,
            coordination: &*self.coordination,
            clock: &self.clock,
            seed: &self.seed,
            domain: &self.config.service.domain,
            guard: &self.guard,
            used,
            elsewhere: &*self.elsewhere,
        }
    }
}

/// What exports of events read from; what is committed is signed first, where that may be done. With `details`, the keyring is
/// taken along if it is at hand.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn export_source(config: &Config, details: bool) -> Result<Source, StartError> {
    let store = super::existing(config).await?;
    sign_what_is_committed(config, &store).await?;
    let proofs = store.proofs();
    let remembered = Identity::remembered(&*proofs).await;
    let remembered = remembered.map_err(|error| refuse(config, error))?;
    let origins = remembered.map(|(origins, _)| origins).unwrap_or_default();
    let keyring = if details {
        super::keyring::keyring_at_hand(config, &store).await?
    } else {
        None
    };
    Ok(Source {
        store: proofs,
        ledger: u64::try_from(origins.len()).unwrap_or(u64::MAX),
        vkey: origins.last().map(ToString::to_string).unwrap_or_default(),
        keyring: keyring.map(Arc::new),
    })
}

/// Signs what this process has committed, unless an instance that serves the ledger does.
///
/// # Errors
/// [`StartError`] when the log is not what was signed.
pub(crate) async fn sign(config: &Config, opened: &Opened) -> Result<(), StartError> {
    sign_once(config, super::serve::checkpointer(opened)).await
}

/// Told to stop before it begins, a checkpointer does what it does at its end: it signs once.
async fn sign_once(config: &Config, checkpointer: Checkpointer) -> Result<(), StartError> {
    let stop = CancellationToken::new();
    stop.cancel();
    let signed = checkpointer.run(stop).await;
    signed.map_err(|error| refuse(config, error))
}

/// Signs what is committed and not signed, when the ledger's key is at hand and nobody serves the ledger; an instance that
/// does signs it by itself.
///
/// # Errors
/// [`StartError`] when the log is not what was signed.
pub async fn sign_what_is_committed(config: &Config, store: &Store) -> Result<(), StartError> {
    let seed = secret_files::ledger_seed(&config.ledger_key_file, false);
    let seed = seed.map_err(|source| StartError::SecretFile {
        option: "--ledger-key-file",
        source,
    })?;
    if seed.is_none() {
        return Ok(());
    }
    let parts = checkpointer::CheckpointerParts {
        store: store.proofs(),
        reads: store.reads(),
        coordination: store.coordination(),
        clock: Arc::new(SystemClock),
        started: vouch::vouch(config, store).await?,
        witness: Arc::clone(store.witness()),
        signal: CommitSignal::polling(),
    };
    sign_once(
        config,
        Checkpointer::new(parts, checkpointer::Settings::default()),
    )
    .await
}
