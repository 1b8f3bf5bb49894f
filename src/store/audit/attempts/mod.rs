//! Attempts: what was denied or failed, and reads of the audit.

pub(super) mod postgres;
pub(super) mod sqlite;

use super::{Attempt, AuditAction, AuditPlace, AuditRecord, Outcome, StoredAttempt, UnreadableRecord};
use crate::store::StoreError;
use crate::store::damaged::report;
use crate::store::values::{StoredRow, non_negative};
use archive_ledger_domain::EntityKey;

fn place(operation: &'static str, row: &impl StoredRow) -> Result<AuditPlace, StoreError> {
    Ok(AuditPlace {
        position: non_negative(operation, row.number(operation, "position")?)?,
        sequence: non_negative(operation, row.number(operation, "sequence")?)?,
    })
}

/// The line of a row, which may be unreadable.
fn record(row: &impl StoredRow) -> Result<AuditRecord, StoreError> {
    match stored_attempt(row) {
        Ok(stored) => Ok(AuditRecord::Attempt(Box::new(stored))),
        Err(error) => {
            report(&error);
            Ok(AuditRecord::Unreadable(Box::new(UnreadableRecord {
                place: place("read an attempt", row)?,
                key: None,
                event_id: None,
            })))
        }
    }
}

fn stored_attempt(row: &impl StoredRow) -> Result<StoredAttempt, StoreError> {
    let operation = "read an attempt";
    let unknown = |what: &str| StoreError::inconsistent(operation, format!("an unknown {what}"));
    let optional = |column| row.optional_text(operation, column);
    let key = match (optional("entity_type")?, optional("entity_id")?) {
        (Some(entity_type), Some(id)) => {
            let entity_type = entity_type.parse().map_err(|_| unknown("entity type"))?;
            Some(EntityKey::new(entity_type, &id).map_err(|_| unknown("entity"))?)
        }
        _ => None,
    };
    let outcome: Outcome = row
        .text(operation, "outcome")?
        .parse()
        .map_err(|_| unknown("outcome"))?;
    let action: AuditAction = row
        .text(operation, "action")?
        .parse()
        .map_err(|_| unknown("action"))?;
    Ok(StoredAttempt {
        place: place(operation, row)?,
        attempt: Attempt {
            outcome,
            action,
            reason: optional("reason")?,
            actor: optional("actor")?,
            token_issuer: optional("token_issuer")?,
            token_id_hash: optional("token_id_hash")?,
            ip: optional("ip")?,
            user_agent: optional("user_agent")?,
            request_id: optional("request_id")?,
            key,
            detail: optional("detail")?,
            first_at: row.time(operation, "first_at")?,
            last_at: row.time(operation, "last_at")?,
            count: non_negative(operation, row.number(operation, "count")?)?,
        },
    })
}
