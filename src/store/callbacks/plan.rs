//! Who hears of which outcome: decided here for both backends.

use super::PurgeOutcome;
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::values::StoredRow;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashMap;
use uuid::Uuid;

/// How much later than a failed purge a target may have been asked for and still hear of that failure. The two times may
/// come from two instances' clocks: without this, a clock that runs ahead would hide the target.
const TARGET_SKEW: TimeDelta = TimeDelta::seconds(10);

/// A target as it is read for an outcome.
pub(in crate::store) struct TargetRow {
    pub(in crate::store) target_id: Uuid,
    pub(in crate::store) aggregate_id: String,
    pub(in crate::store) host: String,
    pub(in crate::store) receiver: String,
    pub(in crate::store) url_sealed: Vec<u8>,
    pub(in crate::store) dataset_id: Option<String>,
    pub(in crate::store) registered: bool,
    pub(in crate::store) created_at: DateTime<Utc>,
}

impl TargetRow {
    /// Reads one.
    ///
    /// # Errors
    /// [`StoreError`] of this row alone.
    pub(in crate::store) fn read(operation: &'static str, row: &impl StoredRow) -> Result<Self, StoreError> {
        Ok(Self {
            target_id: row.uuid(operation, "target_id")?,
            aggregate_id: row.text(operation, "aggregate_id")?,
            host: row.text(operation, "host")?,
            receiver: row.text(operation, "receiver")?,
            url_sealed: row.bytes(operation, "url_sealed")?,
            dataset_id: row.optional_text(operation, "dataset_id")?,
            registered: row.flag(operation, "registered")?,
            created_at: row.time(operation, "created_at")?,
        })
    }
}

/// A delivery to insert unless its event and target have one.
pub(in crate::store) struct NewDelivery<'a> {
    pub(in crate::store) delivery_id: Uuid,
    pub(in crate::store) outcome: &'a PurgeOutcome,
    pub(in crate::store) target: &'a TargetRow,
}

/// Who hears of which outcome.
///
/// A purge that failed may be asked for again by somebody else: whoever asked after the failure does not hear of it. After
/// `purged` nobody can ask, so there every target counts.
pub(in crate::store) fn plan<'a>(
    outcomes: &'a [PurgeOutcome],
    targets: &'a [TargetRow],
    clock: &dyn Clock,
) -> Vec<NewDelivery<'a>> {
    let mut by_stream: HashMap<&str, Vec<&TargetRow>> = HashMap::new();
    for target in targets {
        by_stream.entry(&target.aggregate_id).or_default().push(target);
    }
    let mut planned = Vec::new();
    for outcome in outcomes {
        let of_stream = by_stream.get(outcome.key.stream_id().as_str());
        let concerned: Vec<&TargetRow> = of_stream
            .into_iter()
            .flatten()
            .copied()
            .filter(|target| outcome.over || target.created_at <= outcome.recorded_at + TARGET_SKEW)
            .collect();
        let named = concerned.iter().any(|target| !target.registered);
        planned.extend(
            concerned
                .into_iter()
                .filter(|target| target.registered != named)
                .map(|target| NewDelivery {
                    delivery_id: clock.new_id(),
                    outcome,
                    target,
                }),
        );
    }
    planned
}

/// Whether everybody was told: of whoever was not, the event's handler hears when the others have been.
pub(in crate::store) fn all_told(operation: &'static str, all: bool) -> Result<(), StoreError> {
    if all {
        Ok(())
    } else {
        Err(StoreError::inconsistent(
            operation,
            "a target cannot be read, and is not told",
        ))
    }
}

/// The streams of outcomes, each once.
pub(in crate::store) fn streams(outcomes: &[PurgeOutcome]) -> Vec<String> {
    let mut streams: Vec<String> = outcomes.iter().map(|outcome| outcome.key.stream_id()).collect();
    streams.sort_unstable();
    streams.dedup();
    streams
}
