//! The checkpointer: signs the tree as it grows.
//!
//! - Any instance may sign what is committed: a size has one root for ever, which the database keeps (`add_checkpoint`), and
//!   two instances that read the same log sign the same note. So nobody has to be sure that another one is dead.
//! - One instance does it, so that the work is not done N times: whoever holds the lease `checkpointer`, or signed last. The
//!   others only look, and step in when what is committed stays unsigned for `patience`; they do not wait for the lease of an
//!   instance that was killed. The lease also tells `ledger fork` that the ledger is served.
//! - Every entry is hashed again as it is read back after its commit; the root is signed only if it is the head's.
//! - Each instance keeps the last published checkpoint in its own guard file, at most a second later.

use super::guard::Guard;
use super::identity::fork_name;
use super::{Identity, ProofError, Started, short, start, tile_frontier};
use crate::bus::{Backoff, CommitSignal};
use crate::clock::SharedClock;
use crate::merkle::tree::{TileFrontier, TileHash};
use crate::store::proofs::{ProofStore, StoredCheckpoint};
use crate::store::witness::{Signed, Witness};
use crate::store::{CoordinationStore, ReadStore};
use crate::task_states::{self, TaskFailure};
use crate::telemetry;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The name of the lease.
pub(super) const LEASE: &str = "checkpointer";

/// The checkpointer's limits.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The least time from one checkpoint to the next.
    pub every: Duration,
    /// How long a commit of another instance may go unnoticed.
    pub poll: Duration,
    /// How often the instances look that do not sign.
    pub watch: Duration,
    /// How long they see what is committed stay unsigned before they sign it.
    pub patience: Duration,
    /// How long the lease stands without being renewed.
    pub lease: Duration,
    /// How often it is renewed, and how often the others ask for it.
    pub renew: Duration,
    /// The least time from one writing of the guard file to the next.
    pub guard: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(200),
            poll: Duration::from_millis(200),
            watch: Duration::from_millis(100),
            patience: Duration::from_millis(200),
            lease: Duration::from_secs(5),
            renew: Duration::from_millis(1500),
            guard: Duration::from_secs(1),
        }
    }
}

/// What the checkpointer works on.
#[derive(Clone)]
pub struct CheckpointerParts {
    /// What proofs are made of.
    pub store: Arc<dyn ProofStore>,
    /// The head.
    pub reads: Arc<dyn ReadStore>,
    /// The lease.
    pub coordination: Arc<dyn CoordinationStore>,
    /// The time of the checkpoints.
    pub clock: SharedClock,
    /// What was checked at the start.
    pub started: Started,
    /// What this process knows of its database.
    pub witness: Arc<Witness>,
    /// Wakes it.
    pub signal: CommitSignal,
}

/// The checkpointer of one instance: signs, or waits until it may.
pub struct Checkpointer {
    store: Arc<dyn ProofStore>,
    reads: Arc<dyn ReadStore>,
    coordination: Arc<dyn CoordinationStore>,
    clock: SharedClock,
    identity: Arc<Identity>,
    guard: Guard,
    witness: Arc<Witness>,
    signal: CommitSignal,
    settings: Settings,
    owner: Uuid,
    /// The epoch of the lease, while this instance holds it.
    holding: Option<u64>,
    asked: Option<Instant>,
    signing: Option<Signing>,
    watched: Watched,
    guarded: (u64, Option<Instant>),
}

/// What the instance that signs knows.
struct Signing {
    frontier: TileFrontier,
    /// Whether a checkpoint of exactly this frontier stands.
    signed: bool,
}

/// What an instance that does not hold the lease has seen: the size of the last checkpoint (`None`: there is none).
#[derive(Debug, Clone, Copy)]
enum Watched {
    /// Everything is signed.
    Nothing,
    /// All entries up to here are signed.
    Signed(u64),
    /// There are more entries than these, since then.
    Behind(Option<u64>, Instant),
}

impl Watched {
    /// Whether the checkpoint of this size has been too old for too long.
    fn is_stale(&mut self, size: Option<u64>, patience: Duration) -> bool {
        match *self {
            Self::Behind(seen, since) if seen == size => since.elapsed() >= patience,
            Self::Behind(..) | Self::Signed(_) | Self::Nothing => {
                *self = Self::Behind(size, Instant::now());
                false
            }
        }
    }
}

impl Checkpointer {
    /// A checkpointer.
    #[must_use]
    pub fn new(parts: CheckpointerParts, settings: Settings) -> Self {
        Self {
            owner: parts.clock.new_id(),
            store: parts.store,
            reads: parts.reads,
            coordination: parts.coordination,
            clock: parts.clock,
            identity: parts.started.identity,
            guard: parts.started.guard,
            witness: parts.witness,
            signal: parts.signal,
            settings,
            holding: None,
            asked: None,
            signing: None,
            watched: Watched::Nothing,
            guarded: (0, None),
        }
    }

    /// Runs until `stop`, then signs what is committed, keeps it in the guard, and gives the lease back.
    ///
    /// # Errors
    /// [`ProofError`] that is proven, when the log is not what was signed: nothing may be appended to it then, and the whole process is told.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ProofError> {
        let ended = self.sign_until(stop).await;
        if let Err(error) = &ended
            && error.is_proven()
        {
            self.witness.declare(telemetry::chain(error));
        }
        ended
    }

    async fn sign_until(&mut self, stop: CancellationToken) -> Result<(), ProofError> {
        let mut backoff = Backoff::new();
        while !stop.is_cancelled() {
            let began = Instant::now();
            let (pause, poll) = match self.round().await {
                Ok(()) => {
                    backoff.reset();
                    task_states::goes_on(LEASE);
                    if self.signing.is_some() {
                        (self.settings.every, self.settings.poll)
                    } else {
                        (self.settings.watch, Duration::ZERO)
                    }
                }
                Err(error) if error.is_proven() => return Err(error),
                Err(error) => {
                    task_states::waits(LEASE, &error);
                    if !backoff.is_failing() {
                        tracing::warn!(error = %telemetry::chain(&error), "the log cannot be signed for now");
                    }
                    // What is known of the frontier may be wrong after an answer that never came.
                    self.signing = None;
                    self.holding = None;
                    self.asked = None;
                    (backoff.next_pause(), self.settings.poll)
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = async {
                    tokio::time::sleep_until(began + pause).await;
                    self.signal.wait(poll).await;
                } => {}
            }
        }
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(), ProofError> {
        self.guarded.1 = None;
        let last = self.round().await;
        if let Err(error) = self.coordination.release_lease(LEASE, self.owner).await {
            // It runs out by itself.
            tracing::debug!(error = %telemetry::chain(&error), "the checkpointer's lease was not given back");
        }
        match last {
            Err(error) if !error.is_transient() => Err(error),
            Err(_) | Ok(()) => Ok(()),
        }
    }

    async fn round(&mut self) -> Result<(), ProofError> {
        self.witness.check()?;
        self.keep_lease().await?;
        self.sign().await?;
        self.keep_guard().await
    }

    /// Takes or renews the lease when it is time. Whoever signs without it asks at every round, so that a fork that waits for
    /// it does not come between.
    async fn keep_lease(&mut self) -> Result<(), ProofError> {
        let stepped_in = self.signing.is_some() && self.holding.is_none();
        if !stepped_in
            && self
                .asked
                .is_some_and(|asked| asked.elapsed() < self.settings.renew)
        {
            return Ok(());
        }
        self.asked = Some(Instant::now());
        let granted = self
            .coordination
            .acquire_lease(LEASE, self.owner, self.settings.lease)
            .await?;
        if granted != self.holding {
            // Somebody else may have signed meanwhile; whoever goes on takes the frontier up afresh.
            self.holding = granted;
            self.signing = None;
            self.reads.vouch().await?;
        }
        Ok(())
    }

    /// Whether it is for this instance to sign what is committed.
    async fn is_due(&mut self, head: u64) -> Result<bool, ProofError> {
        if self.holding.is_some() {
            return Ok(true);
        }
        if matches!(self.watched, Watched::Signed(size) if size == head) {
            return Ok(false);
        }
        let last = self.store.last_checkpoint(self.identity.ledger()).await?;
        let size = last.map(|last| last.size);
        let own = self
            .signing
            .as_ref()
            .is_some_and(|signing| signing.signed && size == Some(signing.frontier.size()));
        if own {
            return Ok(true);
        }
        self.signing = None;
        if size == Some(head) {
            self.watched = Watched::Signed(head);
            return Ok(false);
        }
        Ok(self.watched.is_stale(size, self.settings.patience))
    }

    /// The frontier at the last checkpoint, for an instance that begins to sign.
    async fn take_up(&self) -> Result<Signing, ProofError> {
        let current = Identity::remembered(&*self.store).await?;
        if current.is_none_or(|(origins, _)| origins != self.identity.origins()) {
            return Err(ProofError::Forked);
        }
        let last = start::last_signed(&*self.store, &self.identity).await?;
        match self.guard.read(&self.identity) {
            Ok(guarded) => start::compare_guard(&*self.store, &*self.reads, &guarded, last.as_ref()).await?,
            // A guard that cannot be used says nothing against the log; that it cannot be is told where it is kept.
            Err(ProofError::GuardFile { .. } | ProofError::Guard { .. } | ProofError::OtherGuard { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(Signing {
            frontier: start::frontier_at(&*self.store, last.as_ref()).await?,
            signed: last.is_some(),
        })
    }

    /// Signs the head, if it has moved and nobody else does.
    async fn sign(&mut self) -> Result<(), ProofError> {
        let mut head = self.reads.head().await?;
        let ahead = head
            .ahead_of(self.clock.now())
            .map_or(0, |ahead| ahead.num_seconds());
        metrics::gauge!(telemetry::HEAD_AHEAD_SECONDS)
            .set(f64::from(i32::try_from(ahead).unwrap_or(i32::MAX)));
        if !self.is_due(head.position).await? {
            return Ok(());
        }
        // Taken out while it is moved on: what fails half-way is taken up again from what stands.
        let mut signing = match self.signing.take() {
            Some(signing) => signing,
            None => {
                let signing = self.take_up().await?;
                // Others may have committed and signed since the head was read.
                head = self.reads.head().await?;
                signing
            }
        };
        if head.position < signing.frontier.size() {
            return Err(ProofError::Missing {
                actual: head.position,
                expected: signing.frontier.size(),
            });
        }
        if head.position > signing.frontier.size() || !signing.signed {
            let mut full = Vec::new();
            tile_frontier::advance(&*self.store, &mut signing.frontier, head.position, &mut full).await?;
            start::same_root(&signing.frontier, &head.root)?;
            // Whatever was read: what is signed must follow on what this process has seen.
            self.reads.vouch().await?;
            let (size, root) = (signing.frontier.size(), signing.frontier.root());
            let checkpoint = start::sign(&self.identity, size, root, &self.clock)?;
            publish(&*self.store, &checkpoint, &full).await?;
            self.witness.publish(Signed {
                ledger: checkpoint.ledger,
                size,
                root,
            });
            signing.signed = true;
            if let Some(recorded_at) = head.recorded_at {
                let behind = (self.clock.now() - recorded_at).to_std().unwrap_or_default();
                metrics::histogram!(telemetry::CHECKPOINT_LAG_SECONDS).record(behind);
            }
        }
        self.signing = Some(signing);
        Ok(())
    }

    /// Keeps the last published checkpoint, whoever signed it.
    async fn keep_guard(&mut self) -> Result<(), ProofError> {
        let (size, written) = self.guarded;
        if written.is_some_and(|written| written.elapsed() < self.settings.guard) {
            return Ok(());
        }
        let Some(last) = self.store.last_checkpoint(self.identity.ledger()).await? else {
            return Ok(());
        };
        // Of a database that is another one, not even its checkpoints are kept.
        self.reads.vouch().await?;
        self.witness.publish(Signed {
            ledger: last.ledger,
            size: last.size,
            root: last.root,
        });
        let kept = if written.is_none() || last.size != size || self.guard.failing().is_some() {
            // One small file: quicker than handing it to another thread.
            self.guard.keep(&self.identity, last.size, &last.note)
        } else {
            Ok(())
        };
        self.guarded = (last.size, Some(Instant::now()));
        match kept {
            // It passes, or waits for an operator, and is tried again at the next time: nothing of the log depends on it.
            Err(ProofError::GuardFile { .. } | ProofError::OtherGuard { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Stores a checkpoint, unless one of its size stands that has another root, or its origin has ended.
///
/// # Errors
/// [`ProofError::Signed`] when another root was signed for this size, [`ProofError::Forked`] when the ledger was forked.
pub async fn publish(
    store: &dyn ProofStore,
    checkpoint: &StoredCheckpoint,
    full: &[TileHash],
) -> Result<StoredCheckpoint, ProofError> {
    let ended = fork_name(checkpoint.ledger + 1);
    let standing = store.add_checkpoint(checkpoint, full, &ended).await?;
    let standing = standing.ok_or(ProofError::Forked)?;
    if standing.root != checkpoint.root {
        return Err(ProofError::Signed {
            size: checkpoint.size,
            expected: short(&standing.root),
            actual: short(&checkpoint.root),
        });
    }
    Ok(standing)
}
