//! Which callback deliveries are attempted next.

mod postgres;
mod sqlite;

use super::log::count;
use super::{ClaimRequest, ClaimedDelivery};
use crate::store::StoreError;
use crate::store::values::StoredRow;

/// A delivery with the attempt that is made next: so many more than its row counts.
fn claimed(
    operation: &'static str,
    request: &ClaimRequest<'_>,
    row: &impl StoredRow,
    more: u32,
) -> Result<ClaimedDelivery, StoreError> {
    let attempt = count(operation, row, "attempts")?.saturating_add(more);
    let before = count(operation, row, "attempts_before")?;
    Ok(ClaimedDelivery {
        delivery_id: row.uuid(operation, "delivery_id")?,
        token: request.token,
        attempt,
        step: attempt.saturating_sub(before),
        key: row.entity(operation, "aggregate_id")?,
        receiver: row.text(operation, "receiver")?,
        host: row.text(operation, "host")?,
        url_sealed: row.bytes(operation, "url_sealed")?,
        dataset_id: row.optional_text(operation, "dataset_id")?,
        error: row.optional_text(operation, "error")?,
        first_due_at: row.time(operation, "first_due_at")?,
    })
}
