//! `/healthz`, `/readyz` and `/metrics`: for whoever keeps the service running. They need no token and tell no secret.

pub mod healthz;
pub mod metrics;
pub mod readyz;

use crate::bus::health::BusHealth;
use crate::clock::{SharedClock, told_skew};
use crate::http::auth::Authenticator;
use crate::http::auth::jwks::KeysState;
use crate::ledger::writer::WriterHealth;
use crate::proofs::guard::Guard;
use crate::shared_setup::Differences;
use crate::storage::roots::StorageRoots;
use crate::store::ReadStore;
use crate::store::witness::Witness;
use crate::task_states::TaskStates;
use crate::telemetry::Metrics;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a part may take to say that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// What the probes look at.
#[derive(Clone)]
pub struct Probes {
    /// The store.
    pub reads: Arc<dyn ReadStore>,
    /// What this process knows of its database.
    pub witness: Arc<Witness>,
    /// The writer.
    pub writer: Arc<WriterHealth>,
    /// The guard file.
    pub guard: Guard,
    /// The clock.
    pub clock: SharedClock,
    /// The bus.
    pub bus: BusHealth,
    /// Who checks tokens.
    pub auth: Arc<Authenticator>,
    /// The metrics.
    pub metrics: Metrics,
    /// The storage roots.
    pub roots: Arc<StorageRoots>,
    /// How the background tasks get on.
    pub tasks: TaskStates,
    /// In what the instances differ.
    pub setup: Differences,
    /// Cancelled when the service stops: it is not ready for new work then.
    pub stopping: CancellationToken,
}

impl Probes {
    /// What somebody should look at although the service goes on. Anybody may read it, so it names no file.
    async fn warnings(&self, store: bool) -> Vec<String> {
        let head = if store {
            tokio::time::timeout(PROBE_TIMEOUT, self.reads.head()).await
        } else {
            return self.standing_warnings();
        };
        let ahead = head
            .ok()
            .and_then(Result::ok)
            .and_then(|head| head.ahead_of(self.clock.now()));
        let ahead = ahead.map(|ahead| {
            format!(
                "the last event is dated {} s ahead of the clock: until the clock has passed it, every event gets its time",
                ahead.num_seconds()
            )
        });
        self.standing_warnings().into_iter().chain(ahead).collect()
    }

    fn standing_warnings(&self) -> Vec<String> {
        let guard = self.guard.failing().map(|_| {
            "the guard file cannot be kept: an older copy of the database would not be noticed after a restart"
                .to_owned()
        });
        let stale = self.auth.keys_state() == Some(KeysState::Stale);
        let keys =
            stale.then(|| "the key set for tokens (--jwks) cannot be had: the last one is used".to_owned());
        guard
            .into_iter()
            .chain(keys)
            .chain(told_skew(&*self.clock))
            .chain(self.reads.warnings())
            .chain(self.roots.warnings())
            .chain(self.tasks.warnings())
            .chain(self.setup.warnings())
            .collect()
    }
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}
