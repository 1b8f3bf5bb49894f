//! RFC 6962 hashing and the frontier kept in the head row; tiles, proofs and signed checkpoints over the same tree.
//!
//! ```text
//! leaf = SHA-256(0x00 ‖ entry)        node = SHA-256(0x01 ‖ left ‖ right)
//!
//!            n            size 7 = 4 + 2 + 1: the frontier is the roots of those three perfect
//!        n       n        subtrees, largest first. Appending a leaf merges equal neighbours, so
//!      n   n   n   l      an append costs O(1) amortised and never reads the log.
//!     l l l l l l
//! ```

pub mod checkpoint;
pub mod entry;
pub mod entry_view;
pub mod note;
pub mod proofs;
pub mod tiles;
pub mod tlog_proof;
pub mod tree;

use aws_lc_rs::digest;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of a log entry (RFC 6962, 2.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0x00], entry])
}

/// The hash of an inner node (RFC 6962, 2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[0x01], left, right])
}

/// The root of the empty tree: the hash of nothing (RFC 6962, 2.1).
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// SHA-256 over the parts, one after the other.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A frontier that cannot belong to the size it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Merkle frontier has {actual} hashes where a tree of {size} leaves has {expected}")]
pub struct FrontierMismatch {
    size: u64,
    expected: u32,
    actual: usize,
}

/// The right edge of the tree: enough to append to it and to name its root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree of `size` leaves.
    ///
    /// # Errors
    /// [`FrontierMismatch`] when the number of hashes is not the number of ones in `size`.
    pub fn new(size: u64, roots: Vec<Hash>) -> Result<Self, FrontierMismatch> {
        let expected = size.count_ones();
        if usize::try_from(expected).ok() != Some(roots.len()) {
            return Err(FrontierMismatch {
                size,
                expected,
                actual: roots.len(),
            });
        }
        Ok(Self { size, roots })
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // Every trailing one in the size is a perfect subtree that the new leaf completes to the next larger one.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first.
    #[must_use]
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// The root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(smallest) = roots.next() else {
            return empty_root();
        };
        roots.fold(*smallest, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree hash as RFC 6962, 2.1 defines it.
    fn reference(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&reference(&leaves[..split]), &reference(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_frontier_has_the_root_that_the_rfc_defines_at_every_size() {
        let mut frontier = Frontier::default();
        let mut leaves = Vec::new();
        assert_eq!(frontier.root(), reference(&leaves));
        for n in 0u32..300 {
            let leaf = leaf_hash(&n.to_be_bytes());
            leaves.push(leaf);
            frontier.push(leaf);
            assert_eq!(frontier.root(), reference(&leaves), "size {}", n + 1);
            let again = Frontier::new(frontier.size(), frontier.roots().to_vec()).unwrap();
            assert_eq!(again, frontier);
        }
    }

    #[test]
    fn the_empty_tree_and_the_empty_leaf_hash_to_the_published_vectors() {
        assert_eq!(
            hex::encode(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex::encode(leaf_hash(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }

    #[test]
    fn a_frontier_of_the_wrong_length_is_refused() {
        assert!(Frontier::new(3, vec![[0; 32]]).is_err());
    }
}
