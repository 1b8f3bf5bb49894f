//! What is checked before anything is appended.

use super::guard::{Guard, Guarded};
use super::{Identity, ProofError, short, tile_frontier};
use crate::clock::SharedClock;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::tree::{TileFrontier, TileHash};
use crate::store::proofs::{ProofStore, StoredCheckpoint};
use crate::store::witness::{Mark, Signed};
use crate::store::{Hash, ReadStore};
use std::sync::Arc;

/// A ledger that may be appended to.
#[derive(Debug, Clone)]
pub struct Started {
    /// Who signs.
    pub identity: Arc<Identity>,
    /// The guard.
    pub guard: Guard,
    /// The last event, up to which all was checked; absent in an empty ledger.
    pub mark: Option<Mark>,
    /// The last checkpoint that was published.
    pub signed: Option<Signed>,
}

/// Checks the ledger: the frontier is hashed again from the entries and compared with the head and with the last
/// checkpoint, and the database with the guard.
///
/// # Errors
/// [`ProofError`], saying what does not fit.
pub async fn start(
    store: &dyn ProofStore,
    reads: &dyn ReadStore,
    seed: &[u8; 32],
    domain: &str,
    guard: Guard,
) -> Result<Started, ProofError> {
    let identity = Identity::open(store, seed, domain).await?;
    guard.remove_leftovers();
    // The guard comes first: of a log that was rolled back, the newer checkpoint is the better explanation.
    let guarded = guard.read(&identity)?;
    if let Guarded::Later(checkpoint) = &guarded {
        return Err(before_fork(&identity, checkpoint));
    }
    reaches(reads, &guarded).await?;
    let last = last_signed(store, &identity).await?;
    let (frontier, _) = frontier_at_head(store, reads, last.as_ref()).await?;
    match guarded {
        Guarded::Current(checkpoint) => {
            same_as_guarded(store, &checkpoint, last.as_ref(), Some(&frontier)).await?
        }
        Guarded::Earlier(checkpoint) => {
            tracing::warn!(
                checkpoint.size,
                "the guard is of the origin {}, before the ledger was forked",
                checkpoint.origin
            );
        }
        Guarded::Nothing if frontier.size() > 0 => {
            tracing::warn!("there is no guard file: whether the database was rolled back cannot be told");
        }
        // Refused above.
        Guarded::Later(_) | Guarded::Nothing => {}
    }
    let signed = last.map(|last| Signed {
        ledger: identity.ledger(),
        size: last.size,
        root: last.root,
    });
    Ok(Started {
        identity: Arc::new(identity),
        guard,
        mark: mark(store, &frontier).await?,
        signed,
    })
}

/// Whether the log that a running process goes on with is the one that the guard knows, as at the start.
///
/// # Errors
/// [`ProofError::RolledBack`], [`ProofError::OtherLog`].
pub(super) async fn compare_guard(
    store: &dyn ProofStore,
    reads: &dyn ReadStore,
    guarded: &Guarded,
    last: Option<&Checkpoint>,
) -> Result<(), ProofError> {
    reaches(reads, guarded).await?;
    match guarded {
        Guarded::Current(checkpoint) => same_as_guarded(store, checkpoint, last, None).await,
        Guarded::Later(_) => Err(ProofError::Forked),
        Guarded::Earlier(_) | Guarded::Nothing => Ok(()),
    }
}

fn before_fork(identity: &Identity, guarded: &Checkpoint) -> ProofError {
    ProofError::BeforeFork {
        newer: guarded.origin.clone(),
        older: identity.verifier().name().to_owned(),
    }
}

/// Whether the log is as long as the guard says.
async fn reaches(reads: &dyn ReadStore, guarded: &Guarded) -> Result<(), ProofError> {
    if let Guarded::Current(checkpoint) = guarded {
        let head = reads.head().await?.position;
        if checkpoint.size > head {
            return Err(ProofError::RolledBack {
                expected: checkpoint.size,
                actual: head,
            });
        }
    }
    Ok(())
}

async fn same_as_guarded(
    store: &dyn ProofStore,
    guarded: &Checkpoint,
    last: Option<&Checkpoint>,
    head: Option<&TileFrontier>,
) -> Result<(), ProofError> {
    if root_at(store, guarded.size, last, head).await? == guarded.root {
        return Ok(());
    }
    Err(ProofError::OtherLog { size: guarded.size })
}

/// The last event of a frontier.
async fn mark(store: &dyn ProofStore, frontier: &TileFrontier) -> Result<Option<Mark>, ProofError> {
    let Some(before) = frontier.size().checked_sub(1) else {
        return Ok(None);
    };
    let missing = ProofError::Missing {
        actual: before,
        expected: frontier.size(),
    };
    let row = store.raw_events(before, 1).await?.pop().ok_or(missing)?;
    let event_id = row.event_id.parse().map_err(|_| ProofError::Entry {
        position: frontier.size(),
    })?;
    Ok(Some(Mark {
        position: frontier.size(),
        event_id,
        root: frontier.root(),
    }))
}

/// The last checkpoint of the current origin, as it was signed.
///
/// # Errors
/// [`ProofError::StoredCheckpoint`] when it was changed.
pub(super) async fn last_signed(
    store: &dyn ProofStore,
    identity: &Identity,
) -> Result<Option<Checkpoint>, ProofError> {
    let Some(stored) = store.last_checkpoint(identity.ledger()).await? else {
        return Ok(None);
    };
    let size = stored.size;
    let changed = |source| ProofError::StoredCheckpoint { size, source };
    let signed = Checkpoint::open(&stored.note, identity.verifier()).map_err(changed)?;
    if (signed.size, signed.root) != (stored.size, stored.root) {
        let other = crate::merkle::checkpoint::CheckpointError::Malformed("its row says something else");
        return Err(changed(other));
    }
    Ok(Some(signed))
}

/// The frontier at the last checkpoint, which has the root that was signed.
///
/// # Errors
/// [`ProofError::Signed`] when it has not.
pub(super) async fn frontier_at(
    store: &dyn ProofStore,
    last: Option<&Checkpoint>,
) -> Result<TileFrontier, ProofError> {
    let Some(last) = last else {
        return Ok(TileFrontier::default());
    };
    let frontier = tile_frontier::load(store, last.size).await?;
    if frontier.root() != last.root {
        return Err(ProofError::Signed {
            size: last.size,
            expected: short(&last.root),
            actual: short(&frontier.root()),
        });
    }
    Ok(frontier)
}

/// The frontier at the head, from the last checkpoint on.
async fn frontier_at_head(
    store: &dyn ProofStore,
    reads: &dyn ReadStore,
    last: Option<&Checkpoint>,
) -> Result<(TileFrontier, Vec<TileHash>), ProofError> {
    let head = reads.head().await?;
    if let Some(last) = last
        && last.size > head.position
    {
        return Err(ProofError::Missing {
            actual: head.position,
            expected: last.size,
        });
    }
    let mut frontier = frontier_at(store, last).await?;
    let mut full = Vec::new();
    tile_frontier::advance(store, &mut frontier, head.position, &mut full).await?;
    same_root(&frontier, &head.root)?;
    Ok((frontier, full))
}

/// The frontier at the head and the tiles that are full, hashed from the first entry on: what was signed and what is cached counts for nothing.
///
/// # Errors
/// [`ProofError`] when entries and head do not fit.
pub(super) async fn frontier_of_head(
    store: &dyn ProofStore,
    reads: &dyn ReadStore,
) -> Result<(TileFrontier, Vec<TileHash>), ProofError> {
    frontier_at_head(store, reads, None).await
}

/// Whether the frontier has the root that the head says.
pub(super) fn same_root(frontier: &TileFrontier, head: &Hash) -> Result<(), ProofError> {
    let actual = frontier.root();
    if actual == *head {
        return Ok(());
    }
    Err(ProofError::Head {
        size: frontier.size(),
        expected: short(head),
        actual: short(&actual),
    })
}

/// The root over the first `size` entries; `last` is signed, and `head` is checked where it is known.
async fn root_at(
    store: &dyn ProofStore,
    size: u64,
    last: Option<&Checkpoint>,
    head: Option<&TileFrontier>,
) -> Result<Hash, ProofError> {
    if let Some(head) = head.filter(|head| head.size() == size) {
        return Ok(head.root());
    }
    if let Some(last) = last.filter(|last| last.size == size) {
        return Ok(last.root);
    }
    // The hashes of full tiles reach as far as the last checkpoint.
    let mut frontier = match last {
        Some(last) if last.size <= size => frontier_at(store, Some(last)).await?,
        Some(_) => return Ok(tile_frontier::load(store, size).await?.root()),
        None => TileFrontier::default(),
    };
    tile_frontier::advance(store, &mut frontier, size, &mut Vec::new()).await?;
    Ok(frontier.root())
}

/// A tree's signed checkpoint, ready to be stored.
///
/// # Errors
/// [`ProofError::Note`].
pub(super) fn sign(
    identity: &Identity,
    size: u64,
    root: Hash,
    clock: &SharedClock,
) -> Result<StoredCheckpoint, ProofError> {
    let note = identity.key().sign(&identity.checkpoint(size, root).text())?;
    Ok(StoredCheckpoint {
        ledger: identity.ledger(),
        size,
        root,
        note,
        created_at: clock.now(),
    })
}
