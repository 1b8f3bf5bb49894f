//! What an auditor is given: checkpoints, tiles and proofs, out of what is stored.

use super::{Identity, ProofError};
use crate::merkle::proofs::{Node, consistency_path, inclusion_path, perfect_nodes, root_of};
use crate::merkle::tiles::{TILE_HEIGHT, TILE_WIDTH, Tile, TileKind, hashes_at, perfect_root, push_entry};
use crate::merkle::tlog_proof::TlogProof;
use crate::store::proofs::{ProofStore, StoredCheckpoint};
use crate::store::{Hash, StoreError};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// The answer to a question about an event.
#[derive(Debug)]
pub enum Answer<T> {
    /// The ledger has no such event.
    Unknown,
    /// The event is committed, and no checkpoint covers it yet.
    NotYet,
    /// The answer.
    Found(T),
}

/// A consistency proof, with the roots that it connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The size of the smaller tree.
    pub from: u64,
    /// Its root.
    pub from_root: Hash,
    /// The size of the larger tree.
    pub to: u64,
    /// Its root.
    pub to_root: Hash,
    /// The proof (RFC 6962, 2.1.2).
    pub hashes: Vec<Hash>,
}

/// Reads proofs.
#[derive(Clone)]
pub struct Proofs {
    store: Arc<dyn ProofStore>,
    identity: Arc<Identity>,
    tiles: Arc<TileCache>,
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Proofs {
    /// Reads what `store` holds of the ledger.
    #[must_use]
    pub fn new(store: Arc<dyn ProofStore>, identity: Arc<Identity>) -> Self {
        Self {
            store,
            identity,
            tiles: Arc::default(),
        }
    }

    /// Who signs.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What proofs are made of.
    #[must_use]
    pub fn store(&self) -> &dyn ProofStore {
        &*self.store
    }

    /// The same, to be shared.
    #[must_use]
    pub fn shared_store(&self) -> Arc<dyn ProofStore> {
        Arc::clone(&self.store)
    }

    /// The last checkpoint; `None` until the first is signed.
    ///
    /// # Errors
    /// [`ProofError::Store`].
    pub async fn checkpoint(&self) -> Result<Option<StoredCheckpoint>, ProofError> {
        Ok(self.store.last_checkpoint(self.identity.ledger()).await?)
    }

    /// The content of a tile of a tree of `size` leaves; `None` when the tree does not have it.
    ///
    /// # Errors
    /// [`ProofError::Store`].
    pub async fn tile(&self, tile: Tile, size: u64) -> Result<Option<Vec<u8>>, ProofError> {
        if !tile.is_in(size) {
            return Ok(None);
        }
        Ok(Some(tile_content(&*self.store, tile).await?))
    }

    /// The inclusion proofs of entries, by their indexes, in the tree of `size` leaves.
    ///
    /// # Errors
    /// [`ProofError::Store`].
    pub async fn inclusion(&self, indexes: &[u64], size: u64) -> Result<Vec<Vec<Hash>>, ProofError> {
        let mut tree = StoredTree::new(&*self.store, &self.tiles, size);
        let mut proofs = Vec::with_capacity(indexes.len());
        for index in indexes {
            proofs.push(tree.roots(inclusion_path(*index, size)).await?);
        }
        Ok(proofs)
    }

    /// The inclusion proof of an event, with its entry and the checkpoint that it leads to.
    ///
    /// # Errors
    /// [`ProofError::Store`].
    pub async fn proof(&self, event_id: Uuid) -> Result<Answer<TlogProof>, ProofError> {
        let Some(position) = self.store.locate(event_id).await? else {
            return Ok(Answer::Unknown);
        };
        let Some(checkpoint) = self.checkpoint().await?.filter(|last| last.size >= position) else {
            return Ok(Answer::NotYet);
        };
        let index = position - 1;
        let entry = self.store.entries(index, 1).await?.into_iter().next();
        let hashes = self.inclusion(&[index], checkpoint.size).await?.pop();
        Ok(Answer::Found(TlogProof {
            extra: entry.map(|stored| stored.entry),
            index,
            hashes: hashes.unwrap_or_default(),
            checkpoint: checkpoint.note,
        }))
    }

    /// The proof that the tree of `to` leaves begins with the tree of `from`. Both must be covered by a checkpoint, and `from`
    /// must not be the larger.
    ///
    /// # Errors
    /// [`ProofError::Store`].
    pub async fn consistency(&self, from: u64, to: u64) -> Result<Consistency, ProofError> {
        let mut tree = StoredTree::new(&*self.store, &self.tiles, to);
        Ok(Consistency {
            from,
            from_root: tree.root(0..from).await?,
            to,
            to_root: tree.root(0..to).await?,
            hashes: tree.roots(consistency_path(from, to)).await?,
        })
    }
}

/// The content of a tile that the stored tree has.
///
/// # Errors
/// [`StoreError::Inconsistent`] when it is cut short.
pub async fn tile_content(store: &dyn ProofStore, tile: Tile) -> Result<Vec<u8>, StoreError> {
    let (start, width) = (tile.start(), u32::from(tile.width));
    let content = match tile.kind {
        TileKind::Hashes(0) => store.leaves(start, width).await?.concat(),
        TileKind::Hashes(level) => store.tree_hashes(level, start, width).await?.concat(),
        TileKind::Entries => {
            let mut bundle = Vec::new();
            let entries = store.entries(start, width).await?;
            if entries.len() != usize::from(tile.width) {
                return Err(cut_short(tile));
            }
            for stored in entries {
                push_entry(&mut bundle, &stored.entry)
                    .map_err(|error| StoreError::inconsistent("bundle the entries", error.to_string()))?;
            }
            return Ok(bundle);
        }
    };
    if content.len() != 32 * usize::from(tile.width) {
        return Err(cut_short(tile));
    }
    Ok(content)
}

fn cut_short(tile: Tile) -> StoreError {
    StoreError::inconsistent("read a tile", format!("{tile} is cut short"))
}

/// A tile: its level, its index, and how many hashes it has.
type TileKey = (u8, u64, u32);

/// Tiles that many proofs go through: those above the leaves, and the one at the frontier. A full tile never changes, and a
/// partial one is kept under its width.
#[derive(Default)]
struct TileCache(Mutex<HashMap<TileKey, Arc<[Hash]>>>);

impl TileCache {
    /// 2 MiB of hashes.
    const MOST: usize = 256;

    fn get(&self, tile: TileKey) -> Option<Arc<[Hash]>> {
        let tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.get(&tile).cloned()
    }

    fn keep(&self, tile: TileKey, hashes: &Arc<[Hash]>) {
        let (level, _, width) = tile;
        let shared = level > 0 || width < u32::from(TILE_WIDTH);
        if !shared || hashes.len() != width as usize {
            return;
        }
        let mut tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tiles.len() >= Self::MOST {
            // Mostly edges of the past.
            tiles.clear();
        }
        tiles.insert(tile, Arc::clone(hashes));
    }
}

/// A tree of which every tile is read at most once.
struct StoredTree<'a> {
    store: &'a dyn ProofStore,
    cache: &'a TileCache,
    size: u64,
    tiles: HashMap<(u8, u64), Arc<[Hash]>>,
}

impl<'a> StoredTree<'a> {
    fn new(store: &'a dyn ProofStore, cache: &'a TileCache, size: u64) -> Self {
        Self {
            store,
            cache,
            size,
            tiles: HashMap::new(),
        }
    }

    async fn roots(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Hash>, ProofError> {
        let mut roots = Vec::with_capacity(ranges.len());
        for range in ranges {
            roots.push(self.root(range).await?);
        }
        Ok(roots)
    }

    async fn root(&mut self, range: Range<u64>) -> Result<Hash, ProofError> {
        let mut hashes = Vec::new();
        for node in perfect_nodes(range) {
            hashes.push(self.node(node).await?);
        }
        Ok(root_of(&hashes))
    }

    /// A perfect subtree is made of a power of two of hashes within one tile.
    async fn node(&mut self, node: Node) -> Result<Hash, ProofError> {
        let level = node.level / TILE_HEIGHT;
        let height = node.level % TILE_HEIGHT;
        let first = node.index << height;
        let (tile, wide) = (first / u64::from(TILE_WIDTH), u64::from(TILE_WIDTH));
        if !self.tiles.contains_key(&(level, tile)) {
            let start = tile * wide;
            let width = (hashes_at(level, self.size) - start).min(wide);
            let limit = u32::try_from(width).unwrap_or(0);
            let hashes = match self.cache.get((level, tile, limit)) {
                Some(hashes) => hashes,
                None => {
                    let read = if level == 0 {
                        self.store.leaves(start, limit).await?
                    } else {
                        self.store.tree_hashes(level, start, limit).await?
                    };
                    let hashes = Arc::from(read);
                    self.cache.keep((level, tile, limit), &hashes);
                    hashes
                }
            };
            self.tiles.insert((level, tile), hashes);
        }
        let offset = usize::try_from(first % wide).unwrap_or(0);
        let hashes = self
            .tiles
            .get(&(level, tile))
            .map_or(&[][..], |hashes| &hashes[..]);
        let within = hashes.get(offset..offset + (1 << height)).ok_or_else(|| {
            StoreError::inconsistent(
                "read a tile",
                format!("tile {tile} of level {level} is cut short"),
            )
        })?;
        Ok(perfect_root(within))
    }
}
