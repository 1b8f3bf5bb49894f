//! What stands beside the log: what the log implies about each table is what the table says.

use super::Finding;
use super::left::{answers, attempts, targets};
use super::rows::{Followed, Stream};
use crate::keyring::Keyring;
use crate::merkle::tiles::hashes_at;
use crate::store::audit::{AuditStore, blocks};
use crate::store::side::{SideRow, SideStore, SideTable};
use std::collections::HashSet;
use uuid::Uuid;

/// How many rows are read at a time.
const PAGE: u32 = 5_000;

/// A fence, a key, a job, … as its row says it.
pub(super) struct Row<'a> {
    table: &'static str,
    columns: &'a SideRow,
}

impl Row<'_> {
    pub(super) fn text(&self, column: usize) -> Result<&str, Finding> {
        self.optional(column)
            .ok_or_else(|| Finding::tampered(format!("a row of {} has a column that is no text", self.table)))
    }

    /// A text, or nothing.
    pub(super) fn optional(&self, column: usize) -> Option<&str> {
        self.columns.get(column).and_then(Option::as_deref)
    }

    pub(super) fn number(&self, column: usize) -> Result<u64, Finding> {
        self.text(column)?
            .parse()
            .map_err(|_| Finding::tampered(format!("a row of {} has a column that is no number", self.table)))
    }

    pub(super) fn id(&self, column: usize) -> Result<Uuid, Finding> {
        self.text(column)?
            .parse()
            .map_err(|_| Finding::tampered(format!("a row of {} has a column that is no id", self.table)))
    }
}

/// Goes through a table.
pub(super) async fn each(
    store: &dyn SideStore,
    table: SideTable,
    name: &'static str,
    mut check: impl FnMut(&Row<'_>) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let mut after = String::new();
    loop {
        let rows = store.side_rows(table, &after, PAGE).await?;
        let full = rows.len() >= PAGE as usize;
        for columns in &rows {
            check(&Row { table: name, columns })?;
        }
        match rows.last().and_then(|row| row.first()?.clone()) {
            Some(last) if full => after = last,
            Some(_) | None => return Ok(()),
        }
    }
}

/// Checks what stands beside the log against what was followed along it: `signed` entries, under `origins` names. With a keyring
/// that is whole, what is sealed for the service is opened.
///
/// # Errors
/// [`Finding`].
pub async fn check_beside(
    store: &dyn SideStore,
    audit: &dyn AuditStore,
    followed: &Followed,
    keyring: Option<&Keyring>,
    (signed, origins): (u64, u64),
) -> Result<(), Finding> {
    keys(store, followed).await?;
    erasures(store, followed).await?;
    jobs(store, followed).await?;
    each(store, SideTable::Deliveries, "callback_deliveries", |row| {
        let (event_id, position) = (row.id(1)?, row.number(2)?);
        match followed.outcomes.get(&event_id) {
            Some((at, stream)) if *at == position && followed.is(row.text(3)?, *stream) => Ok(()),
            Some(_) | None => Err(Finding::tampered(format!(
                "a row of callback_deliveries tells of an outcome of a purge at position {position} that the log does not have"
            ))),
        }
    })
    .await?;
    each(store, SideTable::Cursors, "cursors", |row| {
        if row.number(1)? <= followed.position {
            return Ok(());
        }
        Err(Finding::tampered(format!(
            "the reader {} of the log stands behind its end: it would pass over what comes",
            row.text(0)?
        )))
    })
    .await?;
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
        if (1..=origins).contains(&ledger) {
            return Ok(());
        }
        Err(Finding::tampered(format!(
            "a checkpoint stands under the origin {ledger}, which the ledger never had"
        )))
    })
    .await?;
    targets(store, followed, keyring).await?;
    answers(store, followed).await?;
    attempts(store, followed).await?;
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

/// An entity has its key from the first details that were sealed until it is purged.
async fn keys(store: &dyn SideStore, followed: &Followed) -> Result<(), Finding> {
    let mut seen = HashSet::new();
    each(store, SideTable::Keys, "entity_keys", |row| {
        let name = row.text(0)?;
        let (key, stream) = followed.stream(name);
        let told = |what: &str| format!("the key of {name} {what}");
        match stream {
            Some(Stream { purged: Some(at), .. }) => Err(Finding::at(
                *at,
                told("is still there, and the entity was purged"),
            )),
            Some(Stream {
                kid: Some((kid, at)), ..
            }) => {
                seen.insert(key);
                if row.id(1).ok() == Some(*kid) {
                    Ok(())
                } else {
                    Err(Finding::at(*at, told("is another one than the entry names")))
                }
            }
            Some(_) | None => Err(Finding::tampered(told("belongs to nothing that was sealed"))),
        }
    })
    .await?;
    let lost = followed.streams.iter().filter_map(|(key, stream)| {
        let (_, at) = stream
            .kid
            .filter(|_| stream.purged.is_none() && !seen.contains(key))?;
        Some(at)
    });
    match lost.min() {
        Some(at) => Err(Finding::at(
            at,
            "the entity's key is gone, and the entity was not purged",
        )),
        None => Ok(()),
    }
}

/// Every purge has its fence, and nothing else has one.
async fn erasures(store: &dyn SideStore, followed: &Followed) -> Result<(), Finding> {
    let mut seen = HashSet::new();
    each(store, SideTable::Erasures, "erasures", |row| {
        let name = row.text(0)?;
        let (key, stream) = followed.stream(name);
        match stream.and_then(|stream| stream.purged) {
            Some(at) if row.number(1).ok() == Some(at) => {
                seen.insert(key);
                Ok(())
            }
            Some(at) => Err(Finding::at(
                at,
                format!("the fence of {name} names another position"),
            )),
            None => Err(Finding::tampered(format!(
                "{name} is fenced as erased, and was never purged"
            ))),
        }
    })
    .await?;
    let lost = followed
        .streams
        .iter()
        .filter_map(|(key, stream)| stream.purged.filter(|_| !seen.contains(key)));
    match lost.min() {
        Some(at) => Err(Finding::at(
            at,
            "the entity was purged, and its fence is gone: a key could be minted for it again",
        )),
        None => Ok(()),
    }
}

/// A job is of a purge that was requested, and over only when the log says so.
async fn jobs(store: &dyn SideStore, followed: &Followed) -> Result<(), Finding> {
    each(store, SideTable::Jobs, "cleanup_jobs", |row| {
        let position = row.number(1)?;
        let purge = followed.requests.get(&row.id(0)?);
        let Some(purge) = purge.filter(|purge| {
            purge.position == position
                && row.id(3).ok() == Some(purge.purge_id)
                && row.text(2).is_ok_and(|name| followed.is(name, purge.stream))
        }) else {
            return Err(Finding::tampered(format!(
                "a row of cleanup_jobs is of a purge at position {position} that the log did not order"
            )));
        };
        let stream = followed.streams.get(&purge.stream);
        let under_way = stream.is_some_and(|stream| stream.under_way == Some(purge.purge_id));
        if row.text(4)? != "due" && under_way {
            return Err(Finding::at(
                position,
                "the purge's cleanup job is over, and the purge is not",
            ));
        }
        if row.number(5)? != u64::from(purge.storage_count) {
            return Err(Finding::at(
                position,
                "the purge's cleanup job has other obligations than the log ordered",
            ));
        }
        Ok(())
    })
    .await
}
