//! What stands beside the log: what the log implies about each table is what the table says.

use super::Finding;
use super::callbacks::{deliveries, targets};
use super::followed::{Followed, Stream};
use super::jobs::jobs;
use super::left::{answers, attempts};
use super::remembered::{fingerprints, losses};
use super::table::each;
use crate::keyring::Keyring;
use crate::merkle::tiles::hashes_at;
use crate::numbering::Numbering;
use crate::store::ReadStore;
use crate::store::audit::{AuditStore, blocks};
use crate::store::side::{SideStore, SideTable};
use std::collections::HashSet;
use uuid::Uuid;

/// Whether anything was ever signed.
pub(super) async fn is_signed(store: &dyn SideStore) -> Result<bool, Finding> {
    Ok(!store.side_rows(SideTable::Origins, "", 1).await?.is_empty())
}

/// Where everything is read from, in one snapshot.
pub struct Tables<'a> {
    /// What stands beside the log.
    pub side: &'a dyn SideStore,
    /// The audit.
    pub audit: &'a dyn AuditStore,
    /// Entities.
    pub reads: &'a dyn ReadStore,
}

/// How far the readers of the log have come.
#[derive(Default)]
struct Reached {
    cleanup: u64,
    callbacks: u64,
}

/// Checks what stands beside the log against what was followed along it: `signed` entries, under the names of `numbering`. With a
/// keyring that is whole, what is sealed for the service is opened. Returns what somebody should know and is no fault.
///
/// # Errors
/// [`Finding`].
pub async fn check_beside(
    tables: &Tables<'_>,
    followed: &Followed,
    keyring: Option<&Keyring>,
    signed: u64,
    numbering: &Numbering,
) -> Result<Vec<String>, Finding> {
    let mut notices = Vec::new();
    let store = tables.side;
    let used = entities(store, followed).await?;
    fingerprints(store, followed.position > 0, &used).await?;
    let reached = cursors(store, followed).await?;
    let young = jobs(store, tables.reads, followed, keyring, reached.cleanup).await?;
    if young > 0 {
        notices.push(format!(
            "{young} purges under way have no cleanup job yet: a service that runs records it within seconds"
        ));
    }
    each(store, SideTable::Tiles, "tree_hashes", |row| {
        let level = u8::try_from(row.number(0)?).unwrap_or(u8::MAX);
        let expected = if level > 7 { 0 } else { hashes_at(level, signed) };
        if row.number(1)? <= expected {
            return Ok(());
        }
        Err(Finding::tampered(format!(
            "tree_hashes has more hashes at level {level} than a log of {signed} signed entries"
        )))
    })
    .await?;
    each(store, SideTable::Origins, "checkpoints", |row| {
        let ledger = row.number(0)?;
        if (1..=numbering.current()).contains(&ledger) {
            return Ok(());
        }
        Err(Finding::tampered(format!(
            "a checkpoint stands under the origin {ledger}, which the ledger never had"
        )))
    })
    .await?;
    losses(store, numbering).await?;
    notices.extend(claims(store, followed).await?);
    let waiting = targets(store, followed, keyring).await?;
    deliveries(store, followed, keyring, &waiting, reached.callbacks).await?;
    answers(store, followed).await?;
    attempts(store, followed).await?;
    index(tables.audit, followed).await?;
    Ok(notices)
}

/// No reader stands behind the end of the log. Returns how far the cleanup's and the callbacks' have come.
async fn cursors(store: &dyn SideStore, followed: &Followed) -> Result<Reached, Finding> {
    let mut reached = Reached::default();
    each(store, SideTable::Cursors, "cursors", |row| {
        let (name, position) = (row.text(0)?, row.number(1)?);
        if position > followed.position {
            return Err(Finding::tampered(format!(
                "the reader {name} of the log stands behind its end: it would pass over what comes"
            )));
        }
        match name.strip_prefix("redrive:").unwrap_or(name) {
            "storage-cleanup" => reached.cleanup = reached.cleanup.max(position),
            "callbacks" => reached.callbacks = reached.callbacks.max(position),
            _ => {}
        }
        Ok(())
    })
    .await?;
    Ok(reached)
}

/// Claims are of events of the log, numbered without a gap, and not said to be complete behind its end. Which places they are of, their
/// own comparison tells, as far as they are complete.
async fn claims(store: &dyn SideStore, followed: &Followed) -> Result<Option<String>, Finding> {
    let mut complete = None;
    each(store, SideTable::Head, "ledger_head", |row| {
        complete = Some(row.number(2)?);
        Ok(())
    })
    .await?;
    let complete = complete.unwrap_or(0);
    if complete > followed.position {
        return Err(Finding::tampered(format!(
            "the claims on storage are said to be complete up to position {complete}, and the log ends at {}",
            followed.position
        )));
    }
    each(store, SideTable::Claims, "storage_claims", |row| {
        let position = row.number(0)?;
        if position > followed.position {
            return Err(Finding::tampered(format!(
                "storage_claims has claims of an event at position {position}, which the log does not have"
            )));
        }
        if row.number(2)? == 1 && row.number(1)? == row.number(3)? {
            return Ok(());
        }
        Err(Finding::at(
            position,
            "the event's claims on storage are not numbered as its storage is",
        ))
    })
    .await?;
    Ok((complete < followed.position).then(|| {
        format!(
            "the claims on storage are complete up to position {complete} only, and not compared behind it"
        )
    }))
}

/// The index of the audit is what the log says.
async fn index(audit: &dyn AuditStore, followed: &Followed) -> Result<(), Finding> {
    let index = blocks::compare(audit, followed.position).await?;
    if let Some(block) = index.first_block {
        let (first, _) = blocks::positions(block);
        return Err(Finding::at(
            first,
            format!(
                "audit_blocks, the index of the audit, is not what the log says ({} entries missing, {} surplus; \
                 `archive-ledger rebuild` builds it again)",
                index.missing, index.surplus
            ),
        ));
    }
    Ok(())
}

/// Every entity of the log has its row, and nothing else has one: where it begins, its key from the first details that were sealed
/// until it is purged, and from then on its fence. Returns what the keys are wrapped with.
async fn entities(store: &dyn SideStore, followed: &Followed) -> Result<HashSet<String>, Finding> {
    let (mut seen, mut used) = (HashSet::new(), HashSet::new());
    each(store, SideTable::Entities, "entities", |row| {
        let name = row.text(0)?;
        let (key, stream) = followed.stream(name);
        let Some(stream) = stream else {
            return Err(Finding::tampered(format!(
                "{name} has a row among the entities and belongs to nothing that the log tells of"
            )));
        };
        seen.insert(key);
        if row.number(1)? != stream.first {
            return Err(Finding::at(
                stream.first,
                format!("the row of {name} says that its events begin elsewhere"),
            ));
        }
        let fence = row.optional(4).map(|_| row.number(4)).transpose()?;
        let kid = row.optional(2).map(|_| row.id(2).ok());
        entity(name, stream, kid, fence)?;
        if kid.is_some() {
            let kek_id = row.text(3)?;
            if !used.contains(kek_id) {
                used.insert(kek_id.to_owned());
            }
        }
        Ok(())
    })
    .await?;
    let lost = followed.streams.iter().filter(|(key, _)| !seen.contains(key));
    match lost.map(|(_, stream)| stream.first).min() {
        Some(at) => Err(Finding::at(
            at,
            "the entity's row is gone, and its key and its fence with it",
        )),
        None => Ok(used),
    }
}

/// What an entity's row says of its key and its fence. `kid`: the id of the key that is there, if it is one.
fn entity(name: &str, stream: &Stream, kid: Option<Option<Uuid>>, fence: Option<u64>) -> Result<(), Finding> {
    let told = |what: &str| format!("the key of {name} {what}");
    match (stream.purged, stream.kid, kid) {
        (Some(at), _, Some(_)) => Err(Finding::at(at, told("is still there, and the entity was purged"))),
        (Some(at), _, None) if fence.is_none() => Err(Finding::at(
            at,
            "the entity was purged, and its fence is gone: a key could be minted for it again",
        )),
        (Some(at), _, None) if fence != Some(at) => Err(Finding::at(
            at,
            format!("the fence of {name} names another position"),
        )),
        (None, _, _) if fence.is_some() => Err(Finding::tampered(format!(
            "{name} is fenced as erased, and was never purged"
        ))),
        (None, None, Some(_)) => Err(Finding::tampered(told("belongs to nothing that was sealed"))),
        (None, Some((_, at)), None) => Err(Finding::at(
            at,
            "the entity's key is gone, and the entity was not purged",
        )),
        (None, Some((expected, at)), Some(kid)) if kid != Some(expected) => {
            Err(Finding::at(at, told("is another one than the entry names")))
        }
        (Some(_), _, None) | (None, Some(_), Some(_)) | (None, None, None) => Ok(()),
    }
}
