//! Tiles ([c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles)): the tree and its entries as static files.
//!
//! ```text
//! tile/1/000.p/17                  17 hashes, each the root of a full tile below
//! tile/0/000 … tile/0/272          256 leaf hashes each
//! tile/0/273.p/112                 the rest
//! tile/entries/000 …               the entries, each behind its length in two bytes
//! ```
//!
//! The number of a tile is written in groups of three digits, all but the last behind an `x`: 1234067 is `x001/x234/067`.

use super::Hash;
use super::node_hash;
use std::fmt;

/// How many hashes or entries a full tile has.
pub const TILE_WIDTH: u16 = 256;

/// The levels of the tree that one level of tiles spans.
pub const TILE_HEIGHT: u8 = 8;

/// The highest level of tiles that a tree of 2^63 leaves can have.
pub const HIGHEST: u8 = 7;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes, of this level: leaf hashes at level 0.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// One tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub kind: TileKind,
    /// Which one of its level.
    pub index: u64,
    /// How many hashes or entries it has, 1 to [`TILE_WIDTH`].
    pub width: u16,
}

impl Tile {
    /// The tile that a path without `tile/` before it names: `0/x001/234` or `entries/000.p/7`.
    ///
    /// `None` for everything but the one way to write it.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.split_once('/')?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(level.parse().ok().filter(|level| *level <= HIGHEST)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| *width < TILE_WIDTH)?),
            None => (rest, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self { kind, index, width };
        // What it would be written as is the only spelling.
        (width > 0 && tile.to_string() == format!("tile/{path}")).then_some(tile)
    }

    /// The level whose hashes, or whose leaves' entries, it holds.
    #[must_use]
    pub const fn level(&self) -> u8 {
        match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        }
    }

    /// The index of its first hash or entry within its level.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.index * TILE_WIDTH as u64
    }

    /// Whether a tree of `size` leaves has everything in it.
    #[must_use]
    pub fn is_in(&self, size: u64) -> bool {
        let Some(start) = self.index.checked_mul(u64::from(TILE_WIDTH)) else {
            return false;
        };
        start
            .checked_add(u64::from(self.width))
            .is_some_and(|end| end <= hashes_at(self.level(), size))
    }

    /// Whether it has its full width: it never changes then and is never replaced.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// The tiles of one kind in a tree of `size` leaves, in order: full ones, then the partial one.
    pub fn all(kind: TileKind, size: u64) -> impl Iterator<Item = Self> {
        let level = match kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        let hashes = hashes_at(level, size);
        let wide = u64::from(TILE_WIDTH);
        let full = (0..hashes / wide).map(move |index| Self {
            kind,
            index,
            width: TILE_WIDTH,
        });
        let rest = u16::try_from(hashes % wide).unwrap_or(0);
        let partial = (rest > 0).then_some(Self {
            kind,
            index: hashes / wide,
            width: rest,
        });
        full.chain(partial)
    }

    /// Every tile of hashes in a tree of `size` leaves, from the leaves up.
    pub fn hashes(size: u64) -> impl Iterator<Item = Self> {
        (0..=HIGHEST).flat_map(move |level| Self::all(TileKind::Hashes(level), size))
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (index, group) in groups.iter().enumerate().rev() {
            if index == 0 {
                write!(f, "{group:03}")?;
            } else {
                write!(f, "x{group:03}/")?;
            }
        }
        if self.is_full() {
            Ok(())
        } else {
            write!(f, ".p/{}", self.width)
        }
    }
}

/// How many hashes level `level` has in a tree of `size` leaves: one for each full tile below.
#[must_use]
pub const fn hashes_at(level: u8, size: u64) -> u64 {
    match size.checked_shr(TILE_HEIGHT as u32 * level as u32) {
        Some(hashes) => hashes,
        None => 0,
    }
}

/// The root of a perfect subtree over `hashes`, whose number is a power of two.
#[must_use]
pub fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[left, right]| node_hash(left, right))
            .collect();
    }
    level.first().copied().unwrap_or_else(super::empty_root)
}

/// An entry that no bundle can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry of {0} bytes is longer than a bundle can hold")]
pub struct EntryTooLong(usize);

/// Appends an entry to a bundle.
///
/// # Errors
/// [`EntryTooLong`] beyond 65,535 bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLong> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLong(entry.len()))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle; the last item is `None` when the bundle ends within an entry.
pub fn entries(bundle: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = Some(bundle);
    std::iter::from_fn(move || {
        let bytes = rest.filter(|bytes| !bytes.is_empty())?;
        let cut = bytes
            .split_first_chunk::<2>()
            .and_then(|(length, after)| after.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        rest = cut.map(|(_, after)| after);
        Some(cut.map(|(entry, _)| entry))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |kind, index, width| Tile { kind, index, width };
        for (path, expected) in [
            ("0/000", tile(TileKind::Hashes(0), 0, 256)),
            ("0/x001/x234/067", tile(TileKind::Hashes(0), 1_234_067, 256)),
            ("1/000.p/17", tile(TileKind::Hashes(1), 0, 17)),
            ("entries/x001/000.p/255", tile(TileKind::Entries, 1000, 255)),
        ] {
            assert_eq!(Tile::parse(path), Some(expected), "{path}");
            assert_eq!(expected.to_string(), format!("tile/{path}"));
        }
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "00/000",
            "8/000",
            "-1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p",
            "0/+01",
            "data/000",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Tile::parse(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_that_the_specification_counts() {
        let count = |kind| {
            let tiles: Vec<Tile> = Tile::all(kind, 70_000).collect();
            let partial = tiles.last().filter(|tile| !tile.is_full()).map(|tile| tile.width);
            (tiles.iter().filter(|tile| tile.is_full()).count(), partial)
        };
        assert_eq!(count(TileKind::Hashes(0)), (273, Some(112)));
        assert_eq!(count(TileKind::Entries), (273, Some(112)));
        assert_eq!(count(TileKind::Hashes(1)), (1, Some(17)));
        assert_eq!(count(TileKind::Hashes(2)), (0, Some(1)));
        assert_eq!(count(TileKind::Hashes(3)), (0, None));
        assert_eq!(Tile::hashes(70_000).count(), 274 + 2 + 1);
        assert_eq!(Tile::hashes(256).count(), 2);
        assert_eq!(Tile::hashes(0).count(), 0);
        for size in [0, 1, 255, 256, 257, 65_536, 70_000] {
            assert!(Tile::hashes(size).all(|tile| tile.is_in(size)));
            assert!(Tile::hashes(size + 1).any(|tile| !tile.is_in(size)));
        }
    }

    #[test]
    fn a_bundle_gives_back_its_entries_and_says_when_it_is_cut_off() {
        let mut bundle = Vec::new();
        let long = vec![7; 65_535];
        for entry in [&b""[..], b"a", &long] {
            push_entry(&mut bundle, entry).unwrap();
        }
        let read: Option<Vec<&[u8]>> = entries(&bundle).collect();
        assert_eq!(read, Some(vec![&b""[..], b"a", &long]));
        assert_eq!(entries(&[]).count(), 0);
        for cut in [1, 3, 4, bundle.len() - 1] {
            assert_eq!(entries(&bundle[..cut]).last(), Some(None), "{cut}");
        }
        assert!(push_entry(&mut bundle, &vec![0; 65_536]).is_err());
    }
}
