//! The checkpointer: signs the tree as it grows.
//!
//! - One instance signs, by the lease `checkpointer`. The lease only avoids doing the work twice: a size has one root for
//!   ever, which the database keeps (`add_checkpoint`), and two instances that read the same log sign the same note.
//! - Every entry is hashed again as it is read back after its commit; the root is signed only if it is the head's.
//! - Each instance keeps the last published checkpoint in its own guard file, at most a second later.

use super::guard::Guard;
use super::{Identity, ProofError, Started, edge, short, start};
use crate::bus::{Backoff, CommitSignal};
use crate::clock::SharedClock;
use crate::merkle::tree::{Edge, TileHash};
use crate::store::proofs::{ProofStore, StoredCheckpoint};
use crate::store::{CoordinationStore, ReadStore};
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
    /// How long the lease stands without being renewed: the longest that a takeover takes.
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
            lease: Duration::from_secs(5),
            renew: Duration::from_millis(1500),
            guard: Duration::from_secs(1),
        }
    }
}

/// What the checkpointer works on.
pub struct Parts {
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
    signal: CommitSignal,
    settings: Settings,
    owner: Uuid,
    leading: Option<Leading>,
    asked: Option<Instant>,
    guarded: (u64, Option<Instant>),
}

/// What the instance that signs knows.
struct Leading {
    epoch: u64,
    edge: Edge,
    /// Whether a checkpoint of exactly this edge stands.
    signed: bool,
}

impl Checkpointer {
    /// A checkpointer.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings) -> Self {
        Self {
            owner: parts.clock.new_id(),
            store: parts.store,
            reads: parts.reads,
            coordination: parts.coordination,
            clock: parts.clock,
            identity: parts.started.identity,
            guard: parts.started.guard,
            signal: parts.signal,
            settings,
            leading: None,
            asked: None,
            guarded: (0, None),
        }
    }

    /// Runs until `stop`, then signs what is committed, keeps it in the guard, and gives the lease back.
    ///
    /// # Errors
    /// [`ProofError`] when the log is not what was signed: nothing may be appended to it then.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ProofError> {
        let mut backoff = Backoff::new();
        while !stop.is_cancelled() {
            let began = Instant::now();
            let pause = match self.round().await {
                Ok(()) => {
                    backoff.reset();
                    self.settings.every
                }
                Err(error) if error.is_transient() => {
                    if !backoff.is_failing() {
                        tracing::warn!(error = %telemetry::chain(&error), "the log cannot be signed for now");
                    }
                    // What is known of the edge may be wrong after an answer that never came.
                    self.leading = None;
                    self.asked = None;
                    backoff.next_pause()
                }
                Err(error) => return Err(error),
            };
            let poll = self.settings.poll;
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
        self.keep_lease().await?;
        self.sign().await?;
        self.keep_guard().await
    }

    /// Takes or renews the lease when it is time; the edge is loaded afresh by whoever takes it.
    async fn keep_lease(&mut self) -> Result<(), ProofError> {
        if self
            .asked
            .is_some_and(|asked| asked.elapsed() < self.settings.renew)
        {
            return Ok(());
        }
        self.asked = Some(Instant::now());
        let now = self.clock.now();
        let granted = self
            .coordination
            .acquire_lease(LEASE, self.owner, now, self.settings.lease)
            .await?;
        let Some(epoch) = granted else {
            self.leading = None;
            return Ok(());
        };
        if self
            .leading
            .as_ref()
            .is_some_and(|leading| leading.epoch == epoch)
        {
            return Ok(());
        }
        let current = Identity::remembered(&*self.store).await?;
        if current.is_none_or(|(origins, _)| origins != self.identity.origins()) {
            return Err(ProofError::Forked);
        }
        let last = start::last_signed(&*self.store, &self.identity).await?;
        let edge = start::edge_at(&*self.store, last.as_ref()).await?;
        self.leading = Some(Leading {
            epoch,
            edge,
            signed: last.is_some(),
        });
        Ok(())
    }

    /// Signs the head, if it has moved.
    async fn sign(&mut self) -> Result<(), ProofError> {
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        let head = self.reads.head().await?;
        if leading.signed && head.position == leading.edge.size() {
            return Ok(());
        }
        if head.position < leading.edge.size() {
            return Err(ProofError::Missing {
                actual: head.position,
                expected: leading.edge.size(),
            });
        }
        let mut full = Vec::new();
        // Moved on a copy: what fails half-way is done again from where it stood.
        let mut edge = leading.edge.clone();
        edge::advance(&*self.store, &mut edge, head.position, &mut full).await?;
        start::same_root(&edge, &head.root)?;
        let checkpoint = start::sign(&self.identity, edge.size(), edge.root(), &self.clock)?;
        publish(&*self.store, &checkpoint, &full).await?;
        leading.edge = edge;
        leading.signed = true;
        if let Some(recorded_at) = head.recorded_at {
            let behind = (self.clock.now() - recorded_at).to_std().unwrap_or_default();
            metrics::histogram!(telemetry::CHECKPOINT_LAG_SECONDS).record(behind);
        }
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
        if written.is_none() || last.size != size {
            // One small file: quicker than handing it to another thread.
            self.guard.keep(&self.identity, last.size, &last.note)?;
        }
        self.guarded = (last.size, Some(Instant::now()));
        Ok(())
    }
}

/// Stores a checkpoint, unless one of its size stands that has another root.
///
/// # Errors
/// [`ProofError::Signed`] when another root was signed for this size.
pub async fn publish(
    store: &dyn ProofStore,
    checkpoint: &StoredCheckpoint,
    full: &[TileHash],
) -> Result<StoredCheckpoint, ProofError> {
    let standing = store.add_checkpoint(checkpoint, full).await?;
    if standing.root != checkpoint.root {
        return Err(ProofError::Signed {
            size: checkpoint.size,
            expected: short(&standing.root),
            actual: short(&checkpoint.root),
        });
    }
    Ok(standing)
}
