//! What commands and requests left beside the log: answers that are remembered, attempts.
//!
//! The log implies little of these: of an answer, which event it tells of and when; of an attempt nothing, but their numbers have no
//! gap. What more they say cannot be checked by it.

use super::Finding;
use super::followed::Followed;
use super::table::{Row, each};
use crate::ledger::writer::remembered;
use crate::store::audit::{AuditAction, Outcome};
use crate::store::side::{SideStore, SideTable};
use archive_ledger_domain::{EntityKey, EntityType};

/// A remembered answer can be given again, and tells of an event of the log if it tells of one.
pub(super) async fn answers(store: &dyn SideStore, followed: &Followed) -> Result<(), Finding> {
    each(store, SideTable::Answers, "idempotency_answers", |row| {
        let told = |what: &str| Finding::tampered(format!("a row of idempotency_answers {what}"));
        if row.text(0)?.len() != 64 || row.number(1)? != 32 {
            return Err(told("has a key or a request that is no hash"));
        }
        let answer = remembered(row.text(2)?).map_err(|_| told("has an answer that is none"))?;
        let at = row.number(3)?;
        let Some(receipt) = answer else { return Ok(()) };
        if u64::try_from(receipt.recorded_at.timestamp_micros()) != Ok(at) {
            return Err(told("was recorded at another time than its answer says"));
        }
        let (Some(event_id), Some(last)) = (receipt.event_id, receipt.position) else {
            return Ok(());
        };
        let first = followed.events.get(&event_id);
        if first.is_some_and(|first| *first <= last) && last <= followed.position {
            Ok(())
        } else {
            Err(told("tells of an event that the log does not have"))
        }
    })
    .await
}

/// Attempts are numbered without a gap, and stand behind positions of the log, in order.
pub(super) async fn attempts(store: &dyn SideStore, followed: &Followed) -> Result<(), Finding> {
    let (mut last, mut position) = (0, 0);
    each(store, SideTable::Attempts, "audit_attempts", |row| {
        let sequence = row.number(0)?;
        let told = |what: &str| Finding::tampered(format!("audit_attempts {what}"));
        if sequence != last + 1 {
            return Err(told(&format!("lacks the attempt {}", last + 1)));
        }
        let at = row.number(1)?;
        if at < position || at > followed.position {
            return Err(told(&format!(
                "has the attempt {sequence} at another position than it was made at"
            )));
        }
        (last, position) = (sequence, at);
        if is_attempt(row)? {
            Ok(())
        } else {
            Err(told(&format!("has an attempt {sequence} that is none")))
        }
    })
    .await?;
    let mut head = None;
    each(store, SideTable::AttemptsHead, "audit_head", |row| {
        head = Some(row.number(1)?);
        Ok(())
    })
    .await?;
    match head {
        Some(head) if head == last => Ok(()),
        Some(head) => Err(Finding::tampered(format!(
            "audit_attempts ends at the attempt {last}, and {head} were recorded"
        ))),
        None => Err(Finding::tampered("audit_head is empty")),
    }
}

/// Whether a row says what an attempt can say.
fn is_attempt(row: &Row<'_>) -> Result<bool, Finding> {
    let entity = match (row.optional(4), row.optional(5)) {
        (Some(entity_type), Some(id)) => entity_type
            .parse::<EntityType>()
            .is_ok_and(|entity_type| EntityKey::new(entity_type, id).is_ok()),
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let known = row.text(2)?.parse::<Outcome>().is_ok() && row.text(3)?.parse::<AuditAction>().is_ok();
    Ok(entity && known && row.number(6)? > 0)
}
