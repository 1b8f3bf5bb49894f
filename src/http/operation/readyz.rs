//! `/readyz`: whether the service can take work, and what somebody should look at.

use super::{PROBE_TIMEOUT, Probes};
use crate::bus::health::BusStatus;
use crate::http::answer::names;
use crate::http::answer::success::unavailable;
use crate::http::auth::jwks::KeysState;
use crate::store::StoreError;
use crate::task_states::TaskState;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;

/// What the service needs, part by part.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ready` or `not ready`.
    #[schema(value_type = names::ReadinessStatus)]
    pub status: &'static str,
    /// `ok` or `unavailable`: whether the database answers and is the one that this service knows.
    #[schema(value_type = names::PartStatus)]
    pub store: &'static str,
    /// `ok` or `unavailable`: whether commands can be recorded.
    #[schema(value_type = names::PartStatus)]
    pub writer: &'static str,
    /// `ok`, `unavailable`, or `stalled`: it is there, and takes none of the events that this instance's relay sends. Commands
    /// are taken all the same: what is due waits in the log.
    #[schema(value_type = names::BusState)]
    pub bus: &'static str,
    /// Where there is a `--jwks`: `ok`; `stale` while it cannot be had and the last keys are used; or `unavailable`: tokens of
    /// its issuer cannot be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<names::KeySetStatus>)]
    pub jwks: Option<&'static str>,
    /// `ok`, or `unavailable` while a local storage root is away. The service is ready all the same: purges of what is below that
    /// root wait, and only what names it is refused.
    #[schema(value_type = names::PartStatus)]
    pub storage: &'static str,
    /// `ok` or `moved`: whether the machine's clock goes with the time that passes.
    #[schema(value_type = names::ClockStatus)]
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
    #[schema(value_type = names::TaskStatus)]
    pub state: &'static str,
    /// Since when.
    #[schema(format = DateTime)]
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

/// Whether the service can take work: the store and the bus answer, the writer can record, tokens can be checked, and
/// it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "readyz",
    summary = "Readiness",
    description = "Whether the service can take work: the store and the bus answer, the writer can record, tokens can be \
                   checked, and it is not stopping. `reasons` says why not; `warnings` names what somebody should look at all the same.",
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready", body = Readiness)))]
pub async fn handler(State(probes): State<Probes>) -> Response {
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
    let body = Readiness {
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
    };
    if ready {
        return Json(body).into_response();
    }
    unavailable(body)
}
