//! The storage cleanup's jobs: what a purge owes, who is at it, and how far it has come.
//!
//! ```text
//! purge_requested ──insert──▶ due ──claim──▶ leased ──finish──▶ done │ failed
//!                              ▲                │
//!                              └── reschedule, or the lease runs out
//! ```
//!
//! - A job is recorded once per event, together with one obligation per storage URI. A URI itself is never stored here: an
//!   obligation names its own by its number in the log's order.
//! - Whoever claims a job holds its lease. Every write to a job is guarded by the lease's token: one that comes after
//!   somebody else took the job over changes nothing and says so.
//! - The log decides what may be deleted; a job only says that there is something to look at.
//! - An instance that cannot do a job for want of a storage root leaves it: the job's pause holds for that instance alone.

mod claim;
mod obligations;
mod postgres;
mod purges;
pub(super) mod sqlite;

use super::damaged::Readable;
use super::{Hash, Position, StoreError};
use archive_ledger_domain::{EntityKey, State};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// How many jobs [`CleanupJobStore::insert_owed_cleanup_jobs`] records at once.
pub const OWED_AT_ONCE: u32 = 1_000;

/// A purge request, as a job is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCleanupJob {
    /// The id of the `purge_requested` event.
    pub event_id: Uuid,
    /// Its position.
    pub position: Position,
    /// The entity.
    pub key: EntityKey,
    /// The purge.
    pub purge_id: Uuid,
    /// How many storage URIs have to be cleaned.
    pub storage_count: u32,
}

/// How far an obligation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObligationState {
    /// Something may be left.
    Owed,
    /// Everything is gone: a fresh listing was empty.
    Done,
    /// Given up.
    Failed,
}

impl ObligationState {
    /// Its name in rows and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What one storage URI of a purge has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obligation {
    /// Which of the purge's URIs, from 1.
    pub ordinal: u32,
    /// How far it has come.
    pub state: ObligationState,
    /// Objects that were deleted so far, in all attempts.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// Why the last attempt failed; holds no path, key or bucket.
    pub last_error: Option<String>,
    /// A keyed hash of what its storage URI names, once that was opened
    /// ([`Ledger::storage_hash`](crate::ledger::Ledger::storage_hash)).
    pub storage_hash: Option<Hash>,
    /// What was asked to be deleted is not all counted. Whoever finds this set, and does not know better, knows the counts to be
    /// too low.
    pub under_way: bool,
    /// The counts are a lower bound.
    pub at_least: bool,
    /// The object or folder that the last attempt failed at, sealed under the entity's key
    /// ([`Ledger::seal_place`](crate::ledger::Ledger::seal_place)).
    pub failed_at: Option<Vec<u8>>,
    /// Since when no instance is known to have the storage root that the place lies below.
    pub nobody_since: Option<DateTime<Utc>>,
}

/// The right to work on a job until it runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLease {
    /// The job.
    pub event_id: Uuid,
    /// Whoever knows it holds the job.
    pub token: Uuid,
}

/// A job that was claimed.
#[derive(Debug, Clone)]
pub struct CleanupJob {
    /// The right to work on it.
    pub lease: JobLease,
    /// The entity.
    pub key: EntityKey,
    /// The purge.
    pub purge_id: Uuid,
    /// Attempts so far that ended in an error of the storage: they decide about pauses and giving up.
    pub attempts: u32,
    /// Attempts that were begun, this one included, whatever ended them.
    pub begun: u32,
    /// What it owes, in order.
    pub obligations: Vec<Obligation>,
}

/// A claim on jobs that are due.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The new leases' token.
    pub token: Uuid,
    /// The current time.
    pub now: DateTime<Utc>,
    /// When the leases run out.
    pub until: DateTime<Utc>,
    /// How many jobs at most.
    pub limit: u32,
    /// Which instance claims.
    pub instance: Uuid,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// Everything is gone.
    Done,
    /// It was given up, and why; absent to leave what stood.
    Failed(Option<String>),
}

impl JobEnd {
    /// State and error as their columns hold them.
    pub(super) fn columns(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Done => ("done", None),
            Self::Failed(error) => ("failed", error.as_deref()),
        }
    }
}

/// When a job is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextAttempt {
    /// When.
    pub at: DateTime<Utc>,
    /// Attempts so far that ended in an error of the storage.
    pub attempts: u32,
    /// Why; absent to leave what stood.
    pub last_error: Option<String>,
    /// The instance that cannot do it, for want of a storage root: the others may take the job before `at`.
    pub left_by: Option<Uuid>,
}

/// A purge that the log still owes, with what its job tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeStatus {
    /// The position of its `purge_requested`.
    pub position: Position,
    /// The id of its `purge_requested`.
    pub event_id: Uuid,
    /// The entity.
    pub key: EntityKey,
    /// The purge.
    pub purge_id: Uuid,
    /// `Purging` or `PurgeFailed`.
    pub state: State,
    /// When it was requested.
    pub requested_at: DateTime<Utc>,
    /// How many storage URIs have to be cleaned.
    pub storage_count: u32,
    /// The job; absent until the request has reached the cleanup.
    pub job: Option<JobStatus>,
}

/// What a job tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// Attempts so far that ended in an error of the storage: they decide about pauses and giving up.
    pub attempts: u32,
    /// Attempts that were begun, whatever ended them.
    pub begun: u32,
    /// When it is tried next, or was to be tried last.
    pub next_attempt_at: DateTime<Utc>,
    /// Until when somebody is at it.
    pub leased_until: Option<DateTime<Utc>>,
    /// Why the last attempt failed; holds no path, key or bucket.
    pub last_error: Option<String>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// What it owes, in order.
    pub obligations: Vec<Obligation>,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanupCounts {
    /// To be done, now or later.
    pub due: u64,
    /// Somebody is at it.
    pub running: u64,
    /// Purges that failed and were not asked for again.
    pub failed: u64,
}

/// The storage cleanup's jobs. Times come from the caller's clock; microseconds are kept.
#[async_trait]
pub trait CleanupJobStore: Send + Sync {
    /// Records jobs with their obligations, due at once, in one transaction. Those that are recorded already stay as they
    /// are. Returns how many are new.
    async fn insert_cleanup_jobs(
        &self,
        jobs: &[NewCleanupJob],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError>;

    /// Records a job for every purge that the log says is under way (the projection `purge_work`) and that has none, and
    /// makes a job that had ended due again if its purge is still under way. [`OWED_AT_ONCE`] at the most, oldest first;
    /// returns how many.
    async fn insert_owed_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<u64, StoreError>;

    /// Takes jobs that are due and that nobody holds, longest due first, and counts an attempt at each; then those that other
    /// instances have left ([`NextAttempt::left_by`]) and the claiming one has not, since they were last due. No two callers get the
    /// same one, also on several instances.
    async fn claim_cleanup_jobs(&self, claim: &Claim) -> Result<Vec<CleanupJob>, StoreError>;

    /// Takes a job from whoever holds it, whatever its state: the former holder's lease is lost with it. Returns what the job
    /// owes; `None` when there is no such job. Of an obligation whose row cannot be read nothing is known but that it may owe
    /// anything: it is owed or failed, and its counts are a lower bound, which is 0.
    async fn seize_cleanup_job(
        &self,
        lease: &JobLease,
        until: DateTime<Utc>,
    ) -> Result<Option<Vec<Obligation>>, StoreError>;

    /// Writes how far an obligation has come (the counts are its totals, not what is new; only a hash that is known stays) and
    /// extends the lease to `until`. `false`: the lease is lost, and nothing was written.
    async fn record_obligation(
        &self,
        lease: &JobLease,
        obligation: &Obligation,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Gives the lease back and leaves the job for later. `false`: the lease was lost, and nothing was written.
    async fn reschedule_cleanup_job(&self, lease: &JobLease, next: &NextAttempt) -> Result<bool, StoreError>;

    /// Ends the job: what is still owed becomes done or failed with it. `false`: the lease was lost, and nothing was
    /// written.
    async fn finish_cleanup_job(
        &self,
        lease: &JobLease,
        end: &JobEnd,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError>;

    /// Purges that the log still owes, after a position, in its order, `limit` at the most; of one state only, if given.
    async fn owed_purge_status(
        &self,
        state: Option<State>,
        after: Position,
        limit: u32,
    ) -> Result<Readable<PurgeStatus>, StoreError>;

    /// One purge that the log still owes; `None` when there is none of this id, or when it is done. What it owes is told as by
    /// [`CleanupJobStore::seize_cleanup_job`].
    async fn purge_status(&self, purge_id: Uuid) -> Result<Option<PurgeStatus>, StoreError>;

    /// The entity of a purge that had a job, whether or not it is still owed.
    async fn purged_entity(&self, purge_id: Uuid) -> Result<Option<EntityKey>, StoreError>;

    /// Makes a job that waits for its next attempt due at `now`. `false`: it is not waiting.
    async fn hasten_cleanup_job(&self, event_id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// How many jobs there are. Costs what is owed, not what was ever done.
    async fn count_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<CleanupCounts, StoreError>;
}

/// A count from its column.
pub(super) fn small(operation: &'static str, number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|_| StoreError::inconsistent(operation, "a number is out of range"))
}

/// A job's state from its column.
pub(super) fn obligation_state(operation: &'static str, text: &str) -> Result<ObligationState, StoreError> {
    [
        ObligationState::Owed,
        ObligationState::Done,
        ObligationState::Failed,
    ]
    .into_iter()
    .find(|state| state.as_str() == text)
    .ok_or_else(|| StoreError::inconsistent(operation, "an unknown state of an obligation"))
}

/// A keyed hash from its column.
pub(super) fn storage_hash(
    operation: &'static str,
    column: Option<Vec<u8>>,
) -> Result<Option<Hash>, StoreError> {
    column
        .map(|bytes| {
            Hash::try_from(bytes)
                .map_err(|_| StoreError::inconsistent(operation, "a hash is not 32 bytes long"))
        })
        .transpose()
}

/// The state of a purge that is owed, from its column.
pub(super) fn purge_state(operation: &'static str, text: &str) -> Result<State, StoreError> {
    [State::Purging, State::PurgeFailed]
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| StoreError::inconsistent(operation, "an unknown state of a purge"))
}
