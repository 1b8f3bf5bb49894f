//! The log itself: entries, streams, roots, tiles.
//!
//! ```text
//! fetch ──▶ digest (in parallel, a bundle at a time) ──▶ follow (in order) ──▶ compare the upper tiles
//!           form, hash, tile of level 0, payloads        positions, streams, times, roots
//! ```

use super::Finding;
use super::payloads::Disclosures;
use super::source::{CHECKPOINT, FORK, Source};
use crate::foreign_text::shown;
use crate::merkle::checkpoint::{Checkpoint, statement_hash};
use crate::merkle::entry_view::EntryView;
use crate::merkle::note::VerifierKey;
use crate::merkle::tiles::{TILE_WIDTH, Tile, TileKind, entries, perfect_root};
use crate::merkle::tree::{TileFrontier, TileHash};
use crate::merkle::{Frontier, leaf_hash};
use crate::proofs::fork_statement::Statement;
use crate::store::Hash;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What is asked.
pub struct Request<'a> {
    /// The log.
    pub source: Arc<dyn Source>,
    /// Who must have signed it.
    pub key: VerifierKey,
    /// An old checkpoint that the log must go on from, a signed note.
    pub since: Option<String>,
    /// Disclosed payloads.
    pub disclosures: Arc<Disclosures>,
    /// More roots that the log must have had: by size, the root and where it is written.
    pub roots: Vec<(u64, Hash, String)>,
    /// Told how many entries were checked, and of how many.
    pub progress: &'a (dyn Fn(u64, u64) + Send + Sync),
}

/// What was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// The signed checkpoint.
    pub checkpoint: Checkpoint,
    /// How many streams the log has.
    pub streams: usize,
    /// How many disclosed payloads were compared.
    pub payloads: usize,
    /// What the auditor should know beside.
    pub notices: Vec<String>,
}

/// Checks a log.
///
/// # Errors
/// [`Finding`]: the first thing that is wrong.
pub async fn check_log(request: Request<'_>) -> Result<LogReport, Finding> {
    let note = request
        .source
        .text(CHECKPOINT)
        .await?
        .ok_or_else(|| Finding::Incomplete("there is no checkpoint".into()))?;
    let checkpoint = Checkpoint::open(&note, &request.key)
        .map_err(|error| Finding::tampered(format!("the checkpoint is not to be trusted: {error}")))?;
    let mut marks = Marks::default();
    let mut notices = Vec::new();
    let statement = statement(&*request.source, &checkpoint, &request.key).await?;
    if let Some(statement) = &statement {
        marks.add(statement.size, statement.root, "the fork statement".into());
        notices.push(forked(statement));
    }
    if let Some(since) = &request.since {
        let old = old_checkpoint(since, &request.key, &checkpoint, statement.as_ref())?;
        marks.add(old.size, old.root, "the old checkpoint".into());
    }
    for (size, root, name) in request.roots {
        if size > checkpoint.size {
            return Err(Finding::at(
                checkpoint.size + 1,
                format!("the log ends here, and {name} was signed over {size} entries"),
            ));
        }
        marks.add(size, root, name);
    }
    let mut walk = Walk::new(marks);
    walk.check_root_of_nothing()?;
    let size = checkpoint.size;
    let tiles: Vec<Tile> = Tile::all(TileKind::Entries, size).collect();
    let (source, disclosures) = (&request.source, &request.disclosures);
    let mut digests = futures::stream::iter(tiles)
        .map(|tile| digest(Arc::clone(source), Arc::clone(disclosures), tile))
        .buffered(source.parallel());
    while let Some(digest) = digests.next().await {
        walk.follow(digest?)?;
        (request.progress)(walk.tiles.size(), size);
    }
    drop(digests);
    if walk.tiles.root() != checkpoint.root {
        // Every entry has its tile's hash, so whoever changed one changed both.
        let what = format!(
            "the entries do not have the signed root; they do up to position {}",
            walk.good
        );
        return Err(Finding::tampered(what));
    }
    upper_tiles(&*request.source, &walk).await?;
    request.disclosures.all_within(size)?;
    Ok(LogReport {
        checkpoint,
        streams: walk.streams.len(),
        payloads: request.disclosures.compared(),
        notices,
    })
}

/// The fork statement that a checkpoint commits to.
async fn statement(
    source: &dyn Source,
    checkpoint: &Checkpoint,
    key: &VerifierKey,
) -> Result<Option<Statement>, Finding> {
    let Some(hash) = checkpoint.fork else {
        return Ok(None);
    };
    let text = source.text(FORK).await?.ok_or_else(|| {
        Finding::Incomplete("the fork statement that the checkpoint commits to is missing".into())
    })?;
    if statement_hash(&text) != hash {
        return Err(Finding::tampered(
            "the fork statement is not the one that the checkpoint commits to",
        ));
    }
    let statement = Statement::open(&text).map_err(Finding::tampered)?;
    if statement.new != *key {
        return Err(Finding::tampered("the fork statement is of another origin"));
    }
    Ok(Some(statement))
}

fn forked(statement: &Statement) -> String {
    let lost = statement.lost_checkpoint().map_or(0, |lost| lost.size);
    let lost = match lost.saturating_sub(statement.size) {
        0 => "nothing that was signed was lost".to_owned(),
        count => format!("{count} signed events after it were lost"),
    };
    format!(
        "the log was forked from {} at position {} on {}: {lost}; the operator says: {}",
        shown(statement.old.name()),
        statement.size,
        statement.time.format("%Y-%m-%d"),
        shown(&statement.reason)
    )
}

/// The old checkpoint, if the log can go on from it at all.
fn old_checkpoint(
    note: &str,
    key: &VerifierKey,
    current: &Checkpoint,
    statement: Option<&Statement>,
) -> Result<Checkpoint, Finding> {
    let of_old_origin = |statement: &Statement| Checkpoint::open(note, &statement.old);
    let old = match (Checkpoint::open(note, key), statement.map(of_old_origin)) {
        (Ok(old), _) => old,
        (Err(_), Some(Ok(old))) => {
            let forked = statement.map_or(0, |statement| statement.size);
            if old.size > forked {
                return Err(Finding::at(
                    forked + 1,
                    format!(
                        "the log was forked here, and the old checkpoint was signed over {} entries",
                        old.size
                    ),
                ));
            }
            old
        }
        (Err(error), _) => {
            return Err(Finding::tampered(format!(
                "the old checkpoint is not of this log: {error}"
            )));
        }
    };
    if old.size > current.size {
        return Err(Finding::at(
            current.size + 1,
            format!(
                "the log ends here, and the old checkpoint was signed over {} entries",
                old.size
            ),
        ));
    }
    Ok(old)
}

/// Roots that the log must have at certain sizes.
#[derive(Default)]
struct Marks(BTreeMap<u64, Vec<(Hash, String)>>);

impl Marks {
    fn add(&mut self, size: u64, root: Hash, name: String) {
        self.0.entry(size).or_default().push((root, name));
    }
}

/// What of an entry is followed in order.
struct Link {
    sid: Hash,
    rev: u64,
    sp: Option<Hash>,
    at: [u8; 27],
}

/// A bundle, hashed and read.
struct Digest {
    tile: Tile,
    leaves: Vec<Hash>,
    links: Vec<Link>,
    /// The root over a full bundle.
    root: Option<Hash>,
    /// What ended it early.
    failed: Option<Finding>,
}

async fn digest(
    source: Arc<dyn Source>,
    disclosures: Arc<Disclosures>,
    tile: Tile,
) -> Result<Digest, Finding> {
    let hashes = Tile {
        kind: TileKind::Hashes(0),
        ..tile
    };
    let bundle = required(&*source, tile).await?;
    let hashes = required(&*source, hashes).await?;
    tokio::task::spawn_blocking(move || read_bundle(tile, &bundle, &hashes, &disclosures))
        .await
        .map_err(|_| Finding::Incomplete(format!("{tile} could not be read")))
}

async fn required(source: &dyn Source, tile: Tile) -> Result<Bytes, Finding> {
    let content = source.tile(tile).await?;
    content.ok_or_else(|| {
        let first = tile.start() + 1;
        Finding::Incomplete(format!("{tile} is missing (positions from {first} on)"))
    })
}

fn read_bundle(tile: Tile, bundle: &[u8], hashes: &[u8], disclosures: &Disclosures) -> Digest {
    let width = usize::from(tile.width);
    let mut digest = Digest {
        tile,
        leaves: Vec::with_capacity(width),
        links: Vec::with_capacity(width),
        root: None,
        failed: None,
    };
    let mut position = tile.start();
    let (hashes, rest) = hashes.as_chunks::<32>();
    for entry in entries(bundle) {
        position += 1;
        let leaf = hashes.get(digest.leaves.len());
        if let Err(what) = read_entry(&mut digest, entry, leaf, position, disclosures) {
            digest.failed = Some(Finding::at(position, what));
            return digest;
        }
    }
    if digest.leaves.len() < width {
        digest.failed = Some(Finding::at(position + 1, format!("{tile} ends before its entry")));
    } else if hashes.len() != width || !rest.is_empty() {
        digest.failed = Some(Finding::tampered(format!("the hashes of {tile} are too many")));
    } else if tile.is_full() {
        digest.root = Some(perfect_root(&digest.leaves));
    }
    digest
}

fn read_entry(
    digest: &mut Digest,
    entry: Option<&[u8]>,
    tile: Option<&Hash>,
    position: u64,
    disclosures: &Disclosures,
) -> Result<(), String> {
    if digest.leaves.len() == usize::from(digest.tile.width) {
        return Err(format!("{} has more entries than the tree", digest.tile));
    }
    let entry = entry.ok_or("the bundle ends within the entry")?;
    let leaf = leaf_hash(entry);
    match tile {
        Some(tile) if *tile == leaf => {}
        Some(_) => return Err("the entry does not have the leaf hash that its tile holds".into()),
        None => return Err("the tile of its leaf hash is cut short".into()),
    }
    let view = EntryView::parse(entry).map_err(|error| error.to_string())?;
    if view.pos != position {
        return Err(format!("the entry says that it is at position {}", view.pos));
    }
    disclosures.compare(position, &view)?;
    let mut at = [0; 27];
    at.copy_from_slice(view.at.as_bytes());
    digest.leaves.push(leaf);
    digest.links.push(Link {
        sid: view.sid,
        rev: view.rev,
        sp: view.sp,
        at,
    });
    Ok(())
}

/// The walk along the log.
struct Walk {
    tiles: TileFrontier,
    /// The hashes of the full tiles, by level.
    above: Vec<Vec<Hash>>,
    full: Vec<TileHash>,
    streams: HashMap<Hash, (u64, Hash)>,
    last_at: [u8; 27],
    marks: Marks,
    /// The largest size at which a root was as it must be.
    good: u64,
}

impl Walk {
    fn new(marks: Marks) -> Self {
        Self {
            tiles: TileFrontier::default(),
            above: Vec::new(),
            full: Vec::new(),
            streams: HashMap::new(),
            last_at: [0; 27],
            marks,
            good: 0,
        }
    }

    fn check_root_of_nothing(&mut self) -> Result<(), Finding> {
        let root = self.tiles.root();
        self.check_marks(0, &root)
    }

    fn check_marks(&mut self, size: u64, root: &Hash) -> Result<(), Finding> {
        for (expected, name) in self.marks.0.remove(&size).unwrap_or_default() {
            if expected != *root {
                return Err(Finding::tampered(format!(
                    "the first {size} entries do not have the root of {name}; one of positions {} to {size} was changed",
                    self.good + 1
                )));
            }
            self.good = self.good.max(size);
        }
        Ok(())
    }

    fn follow(&mut self, digest: Digest) -> Result<(), Finding> {
        let first = digest.tile.start();
        for ((position, link), leaf) in (first + 1..).zip(&digest.links).zip(&digest.leaves) {
            self.link(position, link, leaf)?;
        }
        if let Some(failed) = digest.failed {
            return Err(failed);
        }
        let end = first + u64::from(digest.tile.width);
        let marked = self.marks.0.range(first + 1..end).next().is_some();
        match digest.root {
            Some(root) if !marked => self.tiles.push_tile(root, &mut self.full),
            Some(_) | None => self.push_leaves(&digest.leaves)?,
        }
        if self.marks.0.contains_key(&end) {
            let root = self.tiles.root();
            self.check_marks(end, &root)?;
        }
        for tile in self.full.drain(..) {
            let level = usize::from(tile.level) - 1;
            while self.above.len() <= level {
                self.above.push(Vec::new());
            }
            self.above[level].push(tile.hash);
        }
        Ok(())
    }

    /// Leaf by leaf, where roots have to be compared between them.
    fn push_leaves(&mut self, leaves: &[Hash]) -> Result<(), Finding> {
        let mut frontier = Frontier::new(self.tiles.size(), self.tiles.perfect_roots())
            .map_err(|error| Finding::Incomplete(error.to_string()))?;
        for leaf in leaves {
            self.tiles.push(*leaf, &mut self.full);
            frontier.push(*leaf);
            if self.marks.0.contains_key(&frontier.size()) {
                self.check_marks(frontier.size(), &frontier.root())?;
            }
        }
        Ok(())
    }

    fn link(&mut self, position: u64, link: &Link, leaf: &Hash) -> Result<(), Finding> {
        let before = self.streams.insert(link.sid, (link.rev, *leaf));
        let expected = before.map_or(1, |(rev, _)| rev + 1);
        if link.rev != expected {
            let what = format!("the stream's revision is {} and must be {expected}", link.rev);
            return Err(Finding::at(position, what));
        }
        if link.sp != before.map(|(_, leaf)| leaf) {
            return Err(Finding::at(
                position,
                "it does not follow the stream's previous entry",
            ));
        }
        // RFC 3339 with fixed digits: the order of the texts is that of the times.
        if link.at < self.last_at {
            return Err(Finding::at(
                position,
                "it was recorded before the entry before it",
            ));
        }
        self.last_at = link.at;
        Ok(())
    }
}

/// Compares every tile above level 0.
async fn upper_tiles(source: &dyn Source, walk: &Walk) -> Result<(), Finding> {
    for tile in Tile::hashes(walk.tiles.size()).filter(|tile| tile.level() > 0) {
        let content = required(source, tile).await?;
        let hashes = walk
            .above
            .get(usize::from(tile.level()) - 1)
            .map_or(&[][..], Vec::as_slice);
        let start = usize::try_from(tile.start()).unwrap_or(usize::MAX);
        let expected = hashes.get(start..start.saturating_add(usize::from(tile.width)));
        let (actual, rest) = content.as_chunks::<32>();
        if expected == Some(actual) && rest.is_empty() {
            continue;
        }
        let pairs = expected.unwrap_or_default().iter().zip(actual);
        let same = pairs.take_while(|(expected, actual)| expected == actual).count();
        let span = u64::from(TILE_WIDTH).pow(u32::from(tile.level()));
        let first = (tile.start() + u64::try_from(same).unwrap_or(0)) * span;
        return Err(Finding::at(
            first + 1,
            format!("{tile} does not hold the hashes of the entries from here on"),
        ));
    }
    Ok(())
}
