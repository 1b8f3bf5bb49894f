//! Events as the audit shows them.

use super::blocks::IndexedValues;
use super::{AuditEvent, AuditPlace, AuditRecord, Order, UnreadableRecord};
use crate::store::damaged::report;
use crate::store::values::{StoredRow, entity_key, non_negative};
use crate::store::{StoreError, decode_payload};
use archive_ledger_domain::EventMetadata;
use std::collections::HashMap;

/// What positions are multiplied by to be sorted.
pub(super) const fn sign(order: Order) -> i64 {
    match order {
        Order::Ascending => 1,
        Order::Descending => -1,
    }
}

/// What is indexed of a row.
pub(super) fn indexed_values(
    operation: &'static str,
    row: &impl StoredRow,
) -> Result<IndexedValues, StoreError> {
    Ok(IndexedValues {
        position: non_negative(operation, row.number(operation, "position")?)?,
        entity_type: row.text(operation, "entity_type")?,
        event_type: row.text(operation, "event_type")?,
        actor: row.text(operation, "actor")?,
        request_id: row.optional_text(operation, "correlation_id")?,
        ip: row.optional_text(operation, "ip")?,
    })
}

/// The line of a row, which may be unreadable.
pub(super) fn record(row: &impl StoredRow) -> Result<AuditRecord, StoreError> {
    let operation = "read an event of the audit";
    let error = match audit_event(operation, row) {
        Ok(event) => return Ok(AuditRecord::Event(Box::new(event))),
        Err(error) => error,
    };
    report(&error);
    let key = row
        .text(operation, "aggregate_id")
        .and_then(|id| entity_key(operation, &id));
    let place = AuditPlace {
        position: non_negative(operation, row.number(operation, "position")?)?,
        sequence: 0,
    };
    Ok(AuditRecord::Unreadable(Box::new(UnreadableRecord {
        place,
        key: key.ok(),
        event_id: row.uuid(operation, "event_id").ok(),
    })))
}

fn audit_event(operation: &'static str, row: &impl StoredRow) -> Result<AuditEvent, StoreError> {
    let text = |column| row.text(operation, column);
    let metadata: HashMap<String, String> = serde_json::from_str(&text("metadata")?)
        .map_err(|error| StoreError::inconsistent(operation, error.to_string()))?;
    Ok(AuditEvent {
        position: non_negative(operation, row.number(operation, "position")?)?,
        event_id: row.uuid(operation, "event_id")?,
        key: entity_key(operation, &text("aggregate_id")?)?,
        version: non_negative(operation, row.number(operation, "sequence")?)?,
        recorded_at: row.time(operation, "recorded_at")?,
        event: decode_payload(&text("event_type")?, &text("event_version")?, &text("payload")?)?,
        metadata: EventMetadata::from_map(
            text("actor")?,
            row.optional_uuid(operation, "causation_id")?,
            metadata,
        ),
        command_id: row.uuid(operation, "command_id")?,
    })
}
