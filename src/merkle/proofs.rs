//! Inclusion and consistency proofs (RFC 6962, 2.1.1 and 2.1.2), and their verification (RFC 9162, 2.1.3.2 and 2.1.4.2).
//!
//! A proof is first a list of ranges of leaves, each of which stands for the root over them; who has the tree fills in the
//! hashes. A range falls apart into perfect subtrees, each of which lies within one tile.

use super::Hash;
use super::{empty_root, node_hash};
use std::ops::Range;

/// A perfect subtree: the root over the leaves `index << level .. (index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its height; a leaf has 0.
    pub level: u8,
    /// Which one of its height.
    pub index: u64,
}

/// The ranges whose roots prove that the leaf `index` is in a tree of `size` leaves, from the leaf up.
///
/// Empty when it is not, or when the tree is that leaf.
#[must_use]
pub fn inclusion_path(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    let mut tree = 0..size;
    while index < size && tree.end - tree.start > 1 {
        let middle = tree.start + split(tree.end - tree.start);
        if index < middle {
            path.push(middle..tree.end);
            tree.end = middle;
        } else {
            path.push(tree.start..middle);
            tree.start = middle;
        }
    }
    path.reverse();
    path
}

/// The ranges whose roots prove that a tree of `new` leaves begins with the tree of its first `old` leaves.
///
/// Empty when `old` is 0 or not less than `new`: there is nothing to prove then.
#[must_use]
pub fn consistency_path(old: u64, new: u64) -> Vec<Range<u64>> {
    if old == 0 || old >= new {
        return Vec::new();
    }
    let mut path = Vec::new();
    let mut tree = 0..new;
    let mut whole = true;
    while tree.end != old {
        let middle = tree.start + split(tree.end - tree.start);
        if old <= middle {
            path.push(middle..tree.end);
            tree.end = middle;
        } else {
            path.push(tree.start..middle);
            tree.start = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(tree);
    }
    path.reverse();
    path
}

/// The perfect subtrees that a range of a tree falls apart into, from left to right. The range must begin where a subtree
/// of its size can begin, as the ranges of proofs do.
#[must_use]
pub fn perfect_nodes(range: Range<u64>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let fits = (range.end - start).ilog2();
        let level = fits.min(start.trailing_zeros());
        nodes.push(Node {
            // At most 63.
            level: u8::try_from(level).unwrap_or(63),
            index: start >> level,
        });
        start += 1 << level;
    }
    nodes
}

/// The root over perfect subtrees that get smaller from left to right.
#[must_use]
pub fn root_of(nodes: &[Hash]) -> Hash {
    let Some((last, rest)) = nodes.split_last() else {
        return empty_root();
    };
    rest.iter()
        .rev()
        .fold(*last, |right, left| node_hash(left, &right))
}

/// Whether `proof` shows that `leaf` is the leaf `index` of the tree of `size` leaves with this root.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node.is_multiple_of(2) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `new` leaves begins with the tree of `old` leaves.
#[must_use]
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let (mut node, mut last) = (old - 1, new - 1);
    while node % 2 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // A perfect old tree is its own first hash.
    let mut hashes = proof.iter();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        hashes.next()
    };
    let Some(first) = first else { return false };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            old_hash = node_hash(hash, &old_hash);
            new_hash = node_hash(hash, &new_hash);
            while node.is_multiple_of(2) && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The largest power of two below `size`, which is at least 2.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::super::leaf_hash;
    use super::super::tiles::perfect_root;
    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    /// MTH of RFC 6962, 2.1.
    fn tree_hash(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let middle = leaves.len().next_power_of_two() / 2;
                node_hash(&tree_hash(&leaves[..middle]), &tree_hash(&leaves[middle..]))
            }
        }
    }

    /// PATH of RFC 6962, 2.1.1.
    fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let middle = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(middle);
        let (mut inner, sibling) = if index < middle {
            (path(index, left), tree_hash(right))
        } else {
            (path(index - middle, right), tree_hash(left))
        };
        inner.push(sibling);
        inner
    }

    /// SUBPROOF of RFC 6962, 2.1.2.
    fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if whole {
                Vec::new()
            } else {
                vec![tree_hash(leaves)]
            };
        }
        let middle = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(middle);
        let (mut inner, other) = if old <= middle {
            (subproof(old, left, whole), tree_hash(right))
        } else {
            (subproof(old - middle, right, false), tree_hash(left))
        };
        inner.push(other);
        inner
    }

    fn fill(ranges: Vec<Range<u64>>, leaves: &[Hash]) -> Vec<Hash> {
        let node = |node: Node| {
            let start = usize::try_from(node.index << node.level).unwrap();
            perfect_root(&leaves[start..start + (1 << node.level)])
        };
        let root = |range| {
            let nodes: Vec<Hash> = perfect_nodes(range).into_iter().map(node).collect();
            root_of(&nodes)
        };
        ranges.into_iter().map(root).collect()
    }

    #[test]
    fn inclusion_proofs_are_those_of_the_rfc_and_verify_only_what_they_prove() {
        let all = leaves(70);
        for size in 1..=70_u64 {
            let tree = &all[..usize::try_from(size).unwrap()];
            let root = tree_hash(tree);
            for (index, leaf) in (0_u64..).zip(tree) {
                let proof = fill(inclusion_path(index, size), tree);
                assert_eq!(
                    proof,
                    path(usize::try_from(index).unwrap(), tree),
                    "{index} in {size}"
                );
                assert!(verify_inclusion(leaf, index, size, &proof, &root));
                assert!(!verify_inclusion(&[0; 32], index, size, &proof, &root));
                assert!(!verify_inclusion(leaf, index, size, &proof, &[0; 32]));
                assert!(!verify_inclusion(leaf, index + 1, size, &proof, &root) || size == 1);
                assert!(!verify_inclusion(leaf, size, size, &proof, &root));
                for hash in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[hash][5] ^= 1;
                    assert!(!verify_inclusion(leaf, index, size, &changed, &root));
                }
                let longer = [&proof[..], &[[0; 32]]].concat();
                assert!(!verify_inclusion(leaf, index, size, &longer, &root));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!verify_inclusion(leaf, index, size, shorter, &root));
                }
            }
        }
        assert!(inclusion_path(3, 3).is_empty());
    }

    #[test]
    fn consistency_proofs_are_those_of_the_rfc_and_verify_only_what_they_prove() {
        let all = leaves(70);
        let tree = |size: u64| &all[..usize::try_from(size).unwrap()];
        for new in 0..=70_u64 {
            let new_root = tree_hash(tree(new));
            for old in 0..=new {
                let old_root = tree_hash(tree(old));
                let proof = fill(consistency_path(old, new), tree(new));
                if old > 0 {
                    assert_eq!(
                        proof,
                        subproof(usize::try_from(old).unwrap(), tree(new), true),
                        "{old} to {new}"
                    );
                }
                assert!(verify_consistency(old, &old_root, new, &new_root, &proof));
                assert!(!verify_consistency(old, &[0; 32], new, &new_root, &proof));
                assert!(!verify_consistency(old, &old_root, new, &[0; 32], &proof) || old == 0);
                assert!(!verify_consistency(new + 1, &old_root, new, &new_root, &proof));
                let longer = [&proof[..], &[[0; 32]]].concat();
                assert!(!verify_consistency(old, &old_root, new, &new_root, &longer));
                for hash in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[hash][5] ^= 1;
                    assert!(!verify_consistency(old, &old_root, new, &new_root, &changed));
                }
            }
        }
    }

    #[test]
    fn a_proof_in_a_large_tree_touches_few_nodes() {
        let size = (1 << 40) + 12_345;
        for path in [inclusion_path(77, size), consistency_path((1 << 39) + 5, size)] {
            assert!(path.len() <= 42);
            let nodes: usize = path.into_iter().map(|range| perfect_nodes(range).len()).sum();
            assert!(nodes <= 60, "{nodes}");
        }
    }
}
