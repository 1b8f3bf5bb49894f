//! What commands and requests left beside the log: callbacks that wait, answers that are remembered, attempts.
//!
//! The log implies little of these. Of a callback it says that one waits for a purge, and not where it goes; of an answer, which
//! event it tells of; of an attempt nothing, but their numbers have no gap. What more they say cannot be checked by it.

use super::Finding;
use super::beside::{Row, each};
use super::rows::Followed;
use crate::callbacks::target::callback_context;
use crate::keyring::Keyring;
use crate::store::audit::{AuditAction, Outcome};
use crate::store::side::{SideStore, SideTable};
use crate::store::writer::remembered;
use archive_ledger_domain::{EntityKey, EntityType};
use std::collections::HashSet;

/// A callback is one of an entity of the log, leads where its hash says, and is there while a purge is under way that it waits for.
pub(super) async fn targets(
    store: &dyn SideStore,
    followed: &Followed,
    keyring: Option<&Keyring>,
) -> Result<(), Finding> {
    let mut seen = HashSet::new();
    each(store, SideTable::Targets, "callback_targets", |row| {
        let name = row.text(1)?;
        let told = |what: &str| Finding::tampered(format!("a callback of {name} in callback_targets {what}"));
        let (key, stream) = followed.stream(name);
        let stream = stream.ok_or_else(|| told("is of an entity that the log does not have"))?;
        if row.number(4)? != 0 && !stream.registered {
            return Err(told("came with a registration that the log does not have"));
        }
        seen.insert(key);
        let Some(keyring) = keyring else { return Ok(()) };
        let sealed = hex::decode(row.text(3)?).map_err(|_| told("is not sealed"))?;
        let url = keyring
            .open_for_service(&callback_context(name), &sealed)
            .map_err(|_| told("cannot be opened: it is another entity's, or was changed"))?;
        if hex::encode(keyring.keyed_hash("callback-url", &url)) == row.text(2)? {
            Ok(())
        } else {
            Err(told("leads elsewhere than its hash says"))
        }
    })
    .await?;
    let streams = followed.streams.iter();
    let lost = streams.filter_map(|(key, stream)| stream.waited_for.filter(|_| !seen.contains(key)));
    match lost.min() {
        Some(at) => Err(Finding::at(
            at,
            "a callback waits for the purge that was requested, and callback_targets has none",
        )),
        None => Ok(()),
    }
}

/// A remembered answer can be given again, and tells of an event of the log if it tells of one.
pub(super) async fn answers(store: &dyn SideStore, followed: &Followed) -> Result<(), Finding> {
    each(store, SideTable::Answers, "idempotency_answers", |row| {
        let told = |what: &str| Finding::tampered(format!("a row of idempotency_answers {what}"));
        if row.text(0)?.len() != 64 || row.number(1)? != 32 {
            return Err(told("has a key or a request that is no hash"));
        }
        let answer = remembered(row.text(2)?).map_err(|_| told("has an answer that is none"))?;
        let Some(receipt) = answer else { return Ok(()) };
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
