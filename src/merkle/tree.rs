//! The tree as it grows: its right edge, tile by tile.
//!
//! ```text
//! levels[1]   h h h                 three full tiles below, not yet a full tile themselves
//! levels[0]   l l l l l             the leaves after them
//! ```
//!
//! Unlike [`super::Frontier`], which is what the head row keeps, it knows the hashes that tiles are made of: a full tile is
//! handed out once, as the hash that stands for it in the level above.

use super::Hash;
use super::proofs::{perfect_nodes, root_of};
use super::tiles::{TILE_WIDTH, hashes_at, perfect_root};

/// The hash of a full tile: the hash `index` of tiles' level `level`, which is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileHash {
    /// The level that it stands in.
    pub level: u8,
    /// Which one of its level.
    pub index: u64,
    /// The root over the full tile `index` of the level below.
    pub hash: Hash,
}

/// Hashes that cannot belong to the size they came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("level {level} of a tree of {size} leaves ends with {expected} hashes, not with {actual}")]
pub struct TileFrontierMismatch {
    size: u64,
    level: u8,
    expected: u64,
    actual: usize,
}

/// The right edge of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TileFrontier {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl TileFrontier {
    /// The edge of a tree of `size` leaves: per level the hashes of its last, partial tile.
    ///
    /// # Errors
    /// [`TileFrontierMismatch`] when their numbers do not fit the size.
    pub fn new(size: u64, levels: Vec<Vec<Hash>>) -> Result<Self, TileFrontierMismatch> {
        for level in 0..u8::try_from(levels.len())
            .unwrap_or(u8::MAX)
            .max(Self::height(size))
        {
            let expected = Self::width(level, size);
            let actual = levels.get(usize::from(level)).map_or(0, Vec::len);
            if u64::try_from(actual).ok() != Some(expected) {
                return Err(TileFrontierMismatch {
                    size,
                    level,
                    expected,
                    actual,
                });
            }
        }
        Ok(Self { size, levels })
    }

    /// How many levels the edge of a tree of `size` leaves has.
    #[must_use]
    pub fn height(size: u64) -> u8 {
        (0..8).find(|level| hashes_at(*level, size) == 0).unwrap_or(8)
    }

    /// How many hashes the partial tile of a level has in a tree of `size` leaves.
    #[must_use]
    pub fn width(level: u8, size: u64) -> u64 {
        hashes_at(level, size) % u64::from(TILE_WIDTH)
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the partial tile of a level.
    #[must_use]
    pub fn partial(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Appends a leaf; tiles that it completes are added to `full`, lowest first.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<TileHash>) {
        self.size += 1;
        self.place(0, leaf, full);
    }

    /// Appends a full tile of leaves by its root; the tree must end with a full one.
    pub fn push_tile(&mut self, root: Hash, full: &mut Vec<TileHash>) {
        self.size += u64::from(TILE_WIDTH);
        full.push(TileHash {
            level: 1,
            index: hashes_at(1, self.size) - 1,
            hash: root,
        });
        self.place(1, root, full);
    }

    fn place(&mut self, level: usize, hash: Hash, full: &mut Vec<TileHash>) {
        let (mut level, mut hash) = (level, hash);
        loop {
            while self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let tile = &mut self.levels[level];
            tile.push(hash);
            if tile.len() < usize::from(TILE_WIDTH) {
                return;
            }
            hash = perfect_root(tile);
            tile.clear();
            level += 1;
            let above = u8::try_from(level).unwrap_or(u8::MAX);
            full.push(TileHash {
                level: above,
                index: hashes_at(above, self.size) - 1,
                hash,
            });
        }
    }

    /// The root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        root_of(&self.perfect_roots())
    }

    /// The same right edge as the head row keeps it: the roots of the perfect subtrees, largest first.
    #[must_use]
    pub fn perfect_roots(&self) -> Vec<Hash> {
        let mut roots = Vec::new();
        for tile in self.levels.iter().rev() {
            let width = u64::try_from(tile.len()).unwrap_or(0);
            for node in perfect_nodes(0..width) {
                // Within a tile, so less than 256.
                let start = usize::try_from(node.index << node.level).unwrap_or(0);
                roots.push(perfect_root(&tile[start..start + (1 << node.level)]));
            }
        }
        roots
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Frontier, leaf_hash};
    use super::*;

    #[test]
    fn the_edge_has_the_frontiers_root_at_every_size_and_can_be_taken_up_anywhere() {
        let (mut edge, mut frontier, mut full) = (TileFrontier::default(), Frontier::default(), Vec::new());
        for n in 0_u32..140_000 {
            let leaf = leaf_hash(&n.to_be_bytes());
            edge.push(leaf, &mut full);
            frontier.push(leaf);
            let near = edge.size() % 256 < 2 || edge.size() % 256 > 254 || n < 600;
            if near || n.is_multiple_of(997) {
                assert_eq!(edge.root(), frontier.root(), "size {}", edge.size());
                assert_eq!(edge.perfect_roots(), frontier.roots());
                let levels = (0..TileFrontier::height(edge.size())).map(|level| edge.partial(level).to_vec());
                let again = TileFrontier::new(edge.size(), levels.collect()).unwrap();
                assert_eq!(again.root(), edge.root());
            }
        }
        let at = |level| {
            full.iter()
                .filter(move |tile| tile.level == level)
                .map(|tile| tile.index)
        };
        assert!(at(1).eq(0..546) && at(2).eq(0..2) && at(3).next().is_none());
    }

    #[test]
    fn whole_tiles_are_as_good_as_their_leaves() {
        let leaves: Vec<Hash> = (0_u32..1024).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let (mut one, mut other) = (TileFrontier::default(), TileFrontier::default());
        let (mut one_full, mut other_full) = (Vec::new(), Vec::new());
        for leaf in &leaves {
            one.push(*leaf, &mut one_full);
        }
        for tile in leaves.chunks(256) {
            other.push_tile(perfect_root(tile), &mut other_full);
        }
        assert_eq!((one.root(), one_full), (other.root(), other_full));
    }

    #[test]
    fn an_edge_of_the_wrong_width_is_refused() {
        assert!(TileFrontier::new(1, vec![]).is_err());
        assert!(TileFrontier::new(257, vec![vec![[0; 32]]]).is_err());
        assert!(TileFrontier::new(256, vec![vec![], vec![[0; 32]]]).is_ok());
        assert!(TileFrontier::new(0, vec![vec![[0; 32]]]).is_err());
    }
}
