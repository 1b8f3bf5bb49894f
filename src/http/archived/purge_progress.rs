//! What an entity's own page tells of its purge while that is owed.

use crate::http::answer::error::ApiError;
use crate::http::api::Api;
use crate::ledger::{EntityView, LedgerError};
use crate::store::cleanup_jobs::{JobStatus, Obligation};
use archive_ledger_domain::State;
use serde::Serialize;
use utoipa::ToSchema;

/// What has become of a purge that is owed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PurgeSoFar {
    /// Attempts so far, whatever ended them.
    pub attempts: u32,
    /// Objects that were deleted so far.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// True when these are a lower bound: an attempt was cut off before it had counted what it deleted. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub at_least: Option<bool>,
    /// Why the last attempt failed.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// The objects or folders that it failed at, or the places where it could not list; without any encoding.
    pub failed_at: Vec<String>,
}

impl PurgeSoFar {
    fn new(job: &JobStatus, places: Vec<(u32, String)>) -> Self {
        let sum = |of: fn(&Obligation) -> u64| job.obligations.iter().map(of).fold(0, u64::saturating_add);
        Self {
            attempts: job.begun,
            objects: sum(|one| one.objects),
            bytes: sum(|one| one.bytes),
            at_least: job.obligations.iter().any(|one| one.at_least).then_some(true),
            last_error: job.last_error.clone(),
            failed_at: places.into_iter().map(|(_, place)| place).collect(),
        }
    }
}

/// What has become of the purge of an entity; `None` when none is owed, or when it has not reached the cleanup yet.
///
/// # Errors
/// [`ApiError`]: 500, 503.
pub async fn so_far(api: &Api, view: &EntityView) -> Result<Option<PurgeSoFar>, ApiError> {
    let purge_id = match (view.state, view.purge_id) {
        (State::Purging | State::PurgeFailed, Some(purge_id)) => purge_id,
        _ => return Ok(None),
    };
    let Some(purge) = api.purges.find(purge_id).await.map_err(LedgerError::Store)? else {
        return Ok(None);
    };
    let places = api.ledger.failed_places(&purge).await?;
    Ok(purge.job.as_ref().map(|job| PurgeSoFar::new(job, places)))
}
