//! `/healthz`, `/readyz` and `/metrics`: for whoever keeps the service running. They need no token and tell no secret.

use crate::bus::health::{BusHealth, BusStatus};
use crate::clock::{SharedClock, told_skew};
use crate::http::answer::envelope::KeepBody;
use crate::http::answer::error::ApiError;
use crate::http::auth::Authenticator;
use crate::http::auth::jwks::KeysState;
use crate::ledger::writer::WriterHealth;
use crate::proofs::guard::Guard;
use crate::shared_setup::Differences;
use crate::storage::roots::StorageRoots;
use crate::store::witness::Witness;
use crate::store::{ReadStore, StoreError};
use crate::task_states::{TaskState, TaskStates};
use crate::telemetry::Metrics;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// How long a part may take to say that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// When to try again where an operator has to bring the database back, or another instance answers.
const RETRY_ELSEWHERE: Duration = Duration::from_secs(30);

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

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
}

/// What the service needs, part by part.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    pub status: &'static str,
    /// `ok` or `unavailable`: whether the database answers and is the one that this service knows.
    pub store: &'static str,
    /// `ok` or `unavailable`: whether commands can be recorded.
    pub writer: &'static str,
    /// `ok`, `unavailable`, or `stalled`: it is there, and takes none of the events that this instance's relay sends. Commands
    /// are taken all the same: what is due waits in the log.
    pub bus: &'static str,
    /// Where there is a `--jwks`: `ok`; `stale` while it cannot be had and the last keys are used; or `unavailable`: tokens of
    /// its issuer cannot be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<&'static str>,
    /// `ok`, or `unavailable` while a local storage root is away. The service is ready all the same: purges of what is below that
    /// root wait, and only what names it is refused.
    pub storage: &'static str,
    /// `ok` or `moved`: whether the machine's clock goes with the time that passes.
    pub clock: &'static str,
    /// How each background task gets on.
    pub tasks: Vec<TaskRow>,
    /// Why the service is not ready, one sentence each.
    pub reasons: Vec<String>,
    /// What somebody should look at although the service is ready, one sentence each.
    pub warnings: Vec<String>,
}

/// How a background task gets on.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskRow {
    /// The task.
    pub task: String,
    /// `running`; `waiting` while it tries again what failed; or `restarting`: it ended or panicked and is started again.
    pub state: &'static str,
    /// Since when.
    pub since: String,
    /// What failed last, as long as it is not over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<TaskState> for TaskRow {
    fn from(row: TaskState) -> Self {
        Self {
            task: row.task,
            state: row.state.as_str(),
            since: row.since.to_rfc3339_opts(SecondsFormat::Millis, true),
            error: row.error,
        }
    }
}

/// The process lives; nothing else is asked.
#[utoipa::path(get, path = "/healthz", tag = "operation", operation_id = "healthz",
    summary = "Liveness",
    description = "The process lives; nothing else is asked.",
    responses((status = 200, description = "The process lives", body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the service can take work: the store and the bus answer, the writer can record, tokens can be checked, and
/// it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "readyz",
    summary = "Readiness",
    description = "Whether the service can take work: the store and the bus answer, the writer can record, tokens can be \
                   checked, and it is not stopping. `reasons` says why not; `warnings` names what somebody should look at all the same.",
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready", body = Readiness)))]
pub async fn readyz(State(probes): State<Probes>) -> Response {
    let mut reasons = Vec::new();
    let store = match probes.witness.check() {
        Ok(()) => tokio::time::timeout(PROBE_TIMEOUT, probes.reads.vouch()).await,
        Err(error) => Ok(Err(error)),
    };
    let store = match store {
        Ok(Ok(())) => true,
        // Said below, as it is for the whole process.
        Ok(Err(StoreError::Diverged(_))) => false,
        Ok(Err(error)) => {
            reasons.push(error.brief());
            false
        }
        Err(_) => {
            reasons.push(match probes.witness.refusal() {
                Some(refusal) => format!("connections to the database are refused: {refusal}"),
                None => "the database does not answer".to_owned(),
            });
            false
        }
    };
    let divergence = probes.witness.divergence();
    reasons.extend(divergence.as_ref().map(ToString::to_string));
    let failing = probes.writer.failing();
    if let (Some(failing), None) = (&failing, &divergence) {
        reasons.push(format!(
            "nothing can be recorded since {}: {}",
            failing.since.to_rfc3339_opts(SecondsFormat::Secs, true),
            failing.reason
        ));
    }
    let moved = probes.clock.moved();
    reasons.extend(moved.map(|moved| format!("no command is recorded: {moved}")));
    let bus = probes.bus.status();
    match &bus {
        BusStatus::Up => {}
        BusStatus::Down => reasons.push("the bus does not answer".to_owned()),
        BusStatus::Stalled(stall) => reasons.push(format!(
            "the relay has published nothing for {} s, and {} events wait",
            stall.lasted.as_secs(),
            stall.waiting
        )),
    }
    let keys = probes.auth.keys_state();
    if keys == Some(KeysState::Unavailable) {
        reasons.push(
            "the key set for tokens (--jwks) cannot be had, and there is no earlier one to use".to_owned(),
        );
    }
    if probes.stopping.is_cancelled() {
        reasons.push("the service is stopping".to_owned());
    }
    let storage = probes.roots.unavailable() == 0;
    let ready = reasons.is_empty();
    let word = |up| if up { "ok" } else { "unavailable" };
    let body = Json(Readiness {
        status: if ready { "ready" } else { "not ready" },
        store: word(store && divergence.is_none()),
        writer: word(failing.is_none() && divergence.is_none()),
        bus: match bus {
            BusStatus::Up => "ok",
            BusStatus::Down => "unavailable",
            BusStatus::Stalled(_) => "stalled",
        },
        clock: if moved.is_some() { "moved" } else { "ok" },
        storage: word(storage),
        jwks: keys.map(|state| match state {
            KeysState::Fresh => "ok",
            KeysState::Stale => "stale",
            KeysState::Unavailable => "unavailable",
        }),
        tasks: probes.tasks.rows().into_iter().map(TaskRow::from).collect(),
        reasons,
        warnings: probes.warnings(store).await,
    });
    if ready {
        return body.into_response();
    }
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    response.extensions_mut().insert(KeepBody);
    response
}

/// A service whose database proved to be another one answers nothing from it, on no route that reads or writes the ledger.
///
/// # Errors
/// [`ApiError::TemporaryFailure`].
pub fn refuse_another_database(witness: &Witness) -> Result<(), ApiError> {
    witness.check().map_err(|error| ApiError::TemporaryFailure {
        retry_after: RETRY_ELSEWHERE,
        cause: Some(error.into()),
    })
}

/// All metrics in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "metrics",
    summary = "Metrics",
    description = "All metrics in Prometheus's text format.",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain")))]
pub async fn metrics(State(probes): State<Probes>) -> Response {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        probes.metrics.render(),
    )
        .into_response()
}
