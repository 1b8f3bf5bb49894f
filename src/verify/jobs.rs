//! The cleanup's jobs: one for each purge that has storage to clean, with what the log says that it came to.

use super::Finding;
use super::followed::{End, Ended, Followed, Purge};
use super::table::{Row, each};
use crate::keyring::Keyring;
use crate::ledger::{STORAGE_PURPOSE, standing_storage};
use crate::storage::uri::canonical_name;
use crate::store::side::{SideStore, SideTable};
use crate::store::{Hash, ReadStore};
use archive_ledger_domain::EntityKey;
use std::collections::HashSet;
use uuid::Uuid;

/// What one storage URI of a purge has come to, as its row says it.
struct Obligation {
    ordinal: u64,
    state: String,
    objects: u64,
    bytes: u64,
    at_least: bool,
    under_way: bool,
    hash: Option<Hash>,
}

/// A job whose storage can still be named.
struct Named {
    stream: String,
    position: u64,
    hashes: Vec<Option<Hash>>,
}

/// Checks the jobs. A purge under way whose request the cleanup has `reached` has one; returns how many others have none yet.
pub(super) async fn jobs(
    store: &dyn SideStore,
    reads: &dyn ReadStore,
    followed: &Followed,
    keyring: Option<&Keyring>,
    reached: u64,
) -> Result<u64, Finding> {
    let (mut seen, mut named) = (HashSet::new(), Vec::new());
    each(store, SideTable::Jobs, "cleanup_jobs", |row| {
        let (event_id, purge) = ordered(row, followed)?;
        seen.insert(event_id);
        let obligations = obligations(row.optional(7).unwrap_or_default());
        let numbered = obligations.as_ref().is_some_and(|all| {
            all.len() as u64 == u64::from(purge.storage_count)
                && (1..).zip(all).all(|(ordinal, one)| one.ordinal == ordinal)
        });
        let (Some(obligations), true) = (obligations, numbered) else {
            return Err(Finding::at(
                purge.position,
                "the purge's cleanup job has other obligations than the log ordered",
            ));
        };
        fits(row, purge, &obligations).map_err(|what| Finding::at(purge.position, what))?;
        let hashes: Vec<Option<Hash>> = obligations.iter().map(|one| one.hash).collect();
        if hashes.iter().any(Option::is_some) && !followed.is_purged(purge.stream) {
            named.push(Named {
                stream: row.text(2)?.to_owned(),
                position: purge.position,
                hashes,
            });
        }
        Ok(())
    })
    .await?;
    if let Some(keyring) = keyring {
        for named in named {
            storage(reads, keyring, &named).await?;
        }
    }
    let all = followed.requests.iter();
    let without = all.filter(|(id, purge)| purge.storage_count > 0 && !seen.contains(*id));
    let (mut lost, mut young) = (None::<&Purge>, 0);
    for (_, purge) in without {
        if purge.ended.is_none() && purge.position > reached {
            young += 1;
        } else if lost.is_none_or(|lost| purge.position < lost.position) {
            lost = Some(purge);
        }
    }
    match lost {
        Some(purge) => Err(Finding::at(
            purge.position,
            "a purge was requested that has storage to clean, and cleanup_jobs has no job of it",
        )),
        None => Ok(young),
    }
}

/// The purge that a job is of.
fn ordered<'f>(row: &Row<'_>, followed: &'f Followed) -> Result<(Uuid, &'f Purge), Finding> {
    let (event_id, position) = (row.id(0)?, row.number(1)?);
    let purge = followed.requests.get(&event_id).filter(|purge| {
        purge.position == position
            && row.id(3).ok() == Some(purge.purge_id)
            && row.text(2).is_ok_and(|name| followed.is(name, purge.stream))
    });
    let purge = purge.ok_or_else(|| {
        Finding::tampered(format!(
            "a row of cleanup_jobs is of a purge at position {position} that the log did not order"
        ))
    })?;
    Ok((event_id, purge))
}

/// Whether a job says what the log says of its purge.
fn fits(row: &Row<'_>, purge: &Purge, obligations: &[Obligation]) -> Result<(), &'static str> {
    const COUNTS: &str = "the purge's cleanup job has other counts than the log";
    let state = row.text(4).unwrap_or_default();
    let sum = |of: fn(&Obligation) -> u64| obligations.iter().map(of).fold(0, u64::saturating_add);
    let (objects, bytes) = (sum(|one| one.objects), sum(|one| one.bytes));
    let total = (row.number(5).ok(), row.number(6).ok());
    // Until it is over, only the obligations count.
    if state != "due" && total != (Some(objects), Some(bytes)) {
        return Err("the purge's cleanup job has other counts than its obligations");
    }
    let Some(ended) = purge.ended else {
        return if state == "due" {
            Ok(())
        } else {
            Err("the purge's cleanup job is over, and the purge is not")
        };
    };
    // A job outlives its purge when whoever worked on it died between the two.
    let over = match ended.end {
        End::Done => "done",
        End::Failed | End::Forced => "failed",
    };
    if state != "due" && state != over {
        return Err("the purge's cleanup job ended otherwise than the purge");
    }
    match ended.end {
        End::Done => {
            if obligations.iter().any(|one| one.state != "done") {
                return Err("the purge is done, and its cleanup job still owes something");
            }
            let at_least = obligations.iter().any(|one| one.at_least);
            same((objects, bytes, at_least), &ended)
                .then_some(())
                .ok_or(COUNTS)
        }
        // Whoever took the job over may have deleted more before the log said that it has failed.
        End::Failed => (objects >= ended.objects && bytes >= ended.bytes)
            .then_some(())
            .ok_or(COUNTS),
        End::Forced => {
            let given_up = &purge.given_up;
            let all = given_up.len() == obligations.len()
                && given_up.iter().zip(obligations).all(|(said, one)| {
                    u64::from(said.ordinal) == one.ordinal
                        && (said.objects, said.bytes) == (one.objects, one.bytes)
                        && said.at_least == (one.at_least || one.under_way)
                        && said.skipped == (one.state != "done")
                });
            all.then_some(()).ok_or(COUNTS)
        }
    }
}

fn same((objects, bytes, at_least): (u64, u64, bool), ended: &Ended) -> bool {
    (objects, bytes, at_least) == (ended.objects, ended.bytes, ended.at_least)
}

/// The obligations of a job, in their order; `None` when they are none.
fn obligations(text: &str) -> Option<Vec<Obligation>> {
    let parts = text.split(';').filter(|part| !part.is_empty());
    let mut all = parts.map(obligation).collect::<Option<Vec<_>>>()?;
    all.sort_by_key(|one| one.ordinal);
    Some(all)
}

fn obligation(text: &str) -> Option<Obligation> {
    let mut columns = text.split(' ');
    let flag = |text: &str| match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    let one = Obligation {
        ordinal: columns.next()?.parse().ok()?,
        state: columns.next()?.to_owned(),
        objects: columns.next()?.parse().ok()?,
        bytes: columns.next()?.parse().ok()?,
        at_least: flag(columns.next()?)?,
        under_way: flag(columns.next()?)?,
        hash: match columns.next()? {
            "-" => None,
            text => Some(hex::decode(text).ok()?.try_into().ok()?),
        },
    };
    let known = ["owed", "done", "failed"].contains(&one.state.as_str());
    (known && columns.next().is_none()).then_some(one)
}

/// Whether the hashes that a job keeps are of the storage that the purge orders to be cleaned.
async fn storage(reads: &dyn ReadStore, keyring: &Keyring, named: &Named) -> Result<(), Finding> {
    let changed = || {
        Finding::at(
            named.position,
            "the purge's cleanup job keeps the hash of other storage than the log names",
        )
    };
    let key = EntityKey::from_stream_id(&named.stream).map_err(|_| changed())?;
    let Some(stream) = reads.stream(&key).await? else {
        return Err(changed());
    };
    let mut opened = Vec::new();
    for event in &stream.events {
        opened.push(match (&event.sealed, &stream.data_key) {
            (Some(sealed), Some(wrapped)) => {
                let details = keyring
                    .unwrap(&named.stream, wrapped)
                    .and_then(|key| key.open_details(&named.stream, event.event_id, sealed));
                // What cannot be opened was told of where it stands.
                let Ok((details, _)) = details else { return Ok(()) };
                details.storage
            }
            (Some(_) | None, _) => Vec::new(),
        });
    }
    let storage = standing_storage(&stream.events, opened);
    let hash = |uri: &String| {
        let name = canonical_name(uri).ok()?;
        Some(keyring.keyed_hash(STORAGE_PURPOSE, &name))
    };
    let fits = storage.len() == named.hashes.len()
        && named
            .hashes
            .iter()
            .zip(&storage)
            .all(|(kept, uri)| kept.is_none() || *kept == hash(uri));
    if fits { Ok(()) } else { Err(changed()) }
}
