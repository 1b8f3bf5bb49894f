//! The right edge of the stored tree: taken up at a size, and moved on by hashing the entries again.

use super::ProofError;
use crate::merkle::leaf_hash;
use crate::merkle::tree::{Edge, TileHash};
use crate::store::proofs::ProofStore;

/// How many entries are read at a time.
const PAGE: u32 = 2048;

/// The edge of the tree over the first `size` entries: the leaves of the last tile, hashed again from their entries, and the
/// stored hashes of full tiles above them. Whether it is right shows when its root is compared with one that was signed.
///
/// # Errors
/// [`ProofError::Edge`] when hashes are missing, [`ProofError::Entry`] when an entry was changed.
pub async fn load(store: &dyn ProofStore, size: u64) -> Result<Edge, ProofError> {
    let mut levels = Vec::new();
    for level in 0..Edge::height(size) {
        let width = Edge::width(level, size);
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
    Ok(Edge::new(size, levels)?)
}

/// Moves the edge on to `size`, hashing every entry again; tiles that become full are added to `full`.
///
/// # Errors
/// [`ProofError::Entry`] when an entry is not what its leaf hash says, [`ProofError::Missing`] when the log ends before.
pub async fn advance(
    store: &dyn ProofStore,
    edge: &mut Edge,
    size: u64,
    full: &mut Vec<TileHash>,
) -> Result<(), ProofError> {
    while edge.size() < size {
        let wanted = u32::try_from(size - edge.size()).unwrap_or(PAGE).min(PAGE);
        let page = store.entries(edge.size(), wanted).await?;
        if page.is_empty() {
            return Err(ProofError::Missing {
                actual: edge.size(),
                expected: size,
            });
        }
        for stored in page {
            if leaf_hash(&stored.entry) != stored.leaf {
                return Err(ProofError::Entry {
                    position: edge.size() + 1,
                });
            }
            edge.push(stored.leaf, full);
        }
    }
    Ok(())
}
