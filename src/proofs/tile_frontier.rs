//! The frontier of the stored tree: taken up at a size, and moved on by hashing the entries again.

use super::ProofError;
use crate::merkle::leaf_hash;
use crate::merkle::tree::{TileFrontier, TileHash};
use crate::store::proofs::ProofStore;

/// How many entries are read at a time.
const PAGE: u32 = 2048;

/// The frontier of the tree over the first `size` entries: the leaves of the last tile, hashed again from their entries, and the
/// stored hashes of full tiles above them. Whether it is right shows when its root is compared with one that was signed.
///
/// # Errors
/// [`ProofError::TileFrontier`] when hashes are missing, [`ProofError::Entry`] when an entry was changed.
pub async fn load(store: &dyn ProofStore, size: u64) -> Result<TileFrontier, ProofError> {
    let mut levels = Vec::new();
    for level in 0..TileFrontier::height(size) {
        let width = TileFrontier::width(level, size);
        let limit = u32::try_from(width).unwrap_or(0);
        if limit == 0 {
            levels.push(Vec::new());
            continue;
        }
        let first = crate::merkle::tiles::hashes_at(level, size) - width;
        if level > 0 {
            levels.push(store.tree_hashes(level, first, limit).await?);
            continue;
        }
        let mut leaves = Vec::new();
        for (position, stored) in (first + 1..).zip(store.entries(first, limit).await?) {
            if leaf_hash(&stored.entry) != stored.leaf {
                return Err(ProofError::Entry { position });
            }
            leaves.push(stored.leaf);
        }
        levels.push(leaves);
    }
    Ok(TileFrontier::new(size, levels)?)
}

/// Moves the frontier on to `size`, hashing every entry again; tiles that become full are added to `full`.
///
/// # Errors
/// [`ProofError::Entry`] when an entry is not what its leaf hash says, [`ProofError::Missing`] when the log ends before.
pub async fn advance(
    store: &dyn ProofStore,
    frontier: &mut TileFrontier,
    size: u64,
    full: &mut Vec<TileHash>,
) -> Result<(), ProofError> {
    while frontier.size() < size {
        let wanted = u32::try_from(size - frontier.size()).unwrap_or(PAGE).min(PAGE);
        let page = store.entries(frontier.size(), wanted).await?;
        if page.is_empty() {
            return Err(ProofError::Missing {
                actual: frontier.size(),
                expected: size,
            });
        }
        for stored in page {
            if leaf_hash(&stored.entry) != stored.leaf {
                return Err(ProofError::Entry {
                    position: frontier.size() + 1,
                });
            }
            frontier.push(stored.leaf, full);
        }
    }
    Ok(())
}
