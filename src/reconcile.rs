//! Compares the storage with the ledger.
//!
//! ```text
//! entities that are not purged ──▶ is there anything at their URIs? ──▶ missing
//!            │ claim                                  ┌─ claimed: theirs
//!            ▼                                        ├─ ordered by a purge that is over: leftover ─▶ (--fix) deleted
//!   scratch: place ─▶ claim, order  ◀── look ── every object below the roots
//!            ▲                                        ├─ named by an undone deletion only: left by a restore
//! purges that are over, restores: hashes              └─ none of these: unclaimed
//! ```
//!
//! Of a purged entity the ledger knows no storage URI any more, only a keyed hash of what each named. An object is recognized by
//! the hashes of its own name and of every folder above it. Nothing grows with the number of entities or objects: both sides
//! are read in pages, and what has to be looked up lies in a temporary file of hashes.
//!
//! Deleting again what a purge ordered goes the way of every deletion, through [`Blobs::purge`] and its check of the roots; and
//! it is done only after the log was asked once more, and only where nothing is stored by an entity that is not purged.

mod claims;
mod entities;
mod findings;
mod fix;
mod names;

pub use findings::{Finding, Summary};

use crate::app::{self, StartError};
use crate::claims::{self as all_claims, ClaimsError};
use crate::config::Config;
use crate::keyring::Keyring;
use crate::ledger::LedgerError;
use crate::storage::blobs::Blobs;
use crate::storage::deletion::Cleaned;
use crate::storage::inventory::{Found, Unread};
use crate::storage::roots::tree::Tree;
use crate::store::claims::ClaimStore;
use crate::store::reconcile::scratch::{Known, Left, Ordered, Scratch};
use crate::store::reconcile::{BadRow, PurgedCursor, ReconcileStore};
use crate::store::{ReadStore, StoreError};
use claims::Claims;
use names::{Spot, spots};
use std::io;
use std::sync::Arc;

/// How many rows are read at a time.
const PAGE: u32 = 500;

/// What to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Delete what purges that are over have left.
    pub fix: bool,
    /// Tell of objects that no entity names, too.
    pub unclaimed: bool,
}

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
    /// What is sealed cannot be opened.
    #[error("what the ledger has sealed cannot be opened")]
    Ledger(#[from] LedgerError),
    /// Nobody can say what storage is claimed.
    #[error("it cannot be told what storage is claimed")]
    Claims(#[from] ClaimsError),
    /// The findings cannot be written.
    #[error("the findings cannot be written")]
    Write(#[from] io::Error),
}

/// Who is told.
pub type Tell<'a> = &'a mut (dyn FnMut(&Finding) -> io::Result<()> + Send);

/// Compares the storage under the configured roots with the ledger. Without `fix` nothing is written anywhere.
///
/// # Errors
/// [`ReconcileError`]; what was told until then stands.
pub async fn run(config: &Config, options: Options, tell: Tell<'_>) -> Result<Summary, ReconcileError> {
    app::is_there(config)?;
    // Deleting beside a running service would race with what it accepts: its process keeps the lock.
    let _lock = if options.fix { app::lock(config)? } else { None };
    let store = app::existing(config).await?;
    let keyring = app::existing_keyring(config, &store).await?;
    let blobs = app::blobs(config, &store, options.fix).await?;
    let used = store.storage_roots().storage_roots().await?;
    let used = used.by_any_name(blobs.roots().ids()).ok_or_else(|| {
        StoreError::inconsistent("compare the storage", "the row of a storage root cannot be read")
    })?;
    let claimed = store.claims();
    let mut bad = Vec::new();
    if options.fix {
        // What nobody can say is claimed must not be taken for unclaimed.
        match all_claims::complete(&*claimed, &keyring).await {
            Ok(_) => {}
            // Told with the entity itself. The claims stay incomplete, so that nothing is deleted.
            Err(ClaimsError::Sealed { .. }) => {}
            Err(ClaimsError::Store(error)) if error.is_of_one_row() => bad.push(BadRow {
                stream_id: None,
                error,
            }),
            Err(error) => return Err(error.into()),
        }
    }
    let reads = store.reads();
    let mut comparison = Comparison {
        reads: Arc::clone(&reads),
        pages: store.reconcile(),
        claimed,
        claims: Claims::new(reads, &keyring),
        keyring: &keyring,
        blobs: &blobs,
        scratch: Scratch::create().await?,
        options,
        summary: Summary::default(),
        left_unread: false,
        moved_from: Vec::new(),
        tell,
    };
    for row in bad {
        comparison.tell_bad_row(row)?;
    }
    comparison.entities().await?;
    comparison.restores().await?;
    comparison.purges().await?;
    for tree in blobs.trees() {
        comparison.moved_from = match &tree {
            Tree::Local(path) => blobs.roots().other_paths(path, &used),
            Tree::Bucket { .. } => Vec::new(),
        };
        comparison.walk(&tree).await?;
    }
    Ok(comparison.summary)
}

struct Comparison<'a> {
    reads: Arc<dyn ReadStore>,
    pages: Arc<dyn ReconcileStore>,
    claimed: Arc<dyn ClaimStore>,
    claims: Claims<'a>,
    keyring: &'a Keyring,
    blobs: &'a Blobs,
    scratch: Scratch,
    options: Options,
    summary: Summary,
    /// Something that a restore left cannot be told.
    left_unread: bool,
    /// The other paths at which the root was used that is being walked.
    moved_from: Vec<String>,
    tell: Tell<'a>,
}

/// What an object, or a folder, belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// An entity that is not purged.
    Entity,
    /// A purge that is over, by the place that it named.
    Purge(Spot, Box<Ordered>),
    /// Nobody any more: a deletion named it that was undone.
    Restore(Spot, Box<Left>),
}

impl Owner {
    /// What lies in a folder that is `self`'s and is known itself. The later of two words about a place holds: a purge cleans
    /// what a restore before it left, and what a restore left after it is none of the purge's business.
    fn within(outer: Option<Self>, spot: &Spot, known: Known) -> Option<Self> {
        // All that an entity claims is its own, whatever was ordered inside it.
        if known.owned || outer == Some(Self::Entity) {
            return Some(Self::Entity);
        }
        let holds =
            |ordered: &Ordered, left: &Left| ordered.key == left.key || ordered.position > left.restored;
        let mut owner = outer;
        if let Some(left) = known.left {
            owner = match owner {
                Some(Self::Purge(of, ordered)) if holds(&ordered, &left) => Some(Self::Purge(of, ordered)),
                Some(Self::Restore(of, outer)) => Some(Self::Restore(of, outer)),
                Some(Self::Purge(..) | Self::Entity) | None => {
                    Some(Self::Restore(spot.clone(), Box::new(left)))
                }
            };
        }
        if let Some(ordered) = known.ordered {
            owner = match owner {
                None => Some(Self::Purge(spot.clone(), Box::new(ordered))),
                Some(Self::Restore(_, left)) if holds(&ordered, &left) => {
                    Some(Self::Purge(spot.clone(), Box::new(ordered)))
                }
                Some(other) => Some(other),
            };
        }
        owner
    }
}

/// Objects of one place, as they are met one after the other.
struct Heap<T> {
    spot: Spot,
    of: T,
    cleaned: Cleaned,
}

/// Adds an object to the heap of its place; returns the heap of another place that it ends.
fn heap_up<T>(heap: &mut Option<Heap<T>>, spot: Spot, of: T, one: Cleaned) -> Option<Heap<T>> {
    match heap {
        Some(heap) if heap.spot == spot => {
            heap.cleaned = heap.cleaned.plus(one);
            None
        }
        Some(_) | None => heap.replace(Heap {
            spot,
            of,
            cleaned: one,
        }),
    }
}

/// The heap that ends where the walk has left its place.
fn ended<T>(heap: &mut Option<Heap<T>>, name: &str) -> Option<Heap<T>> {
    heap.take_if(|heap| !heap.spot.covers(name))
}

impl Comparison<'_> {
    fn tell(&mut self, finding: &Finding) -> Result<(), ReconcileError> {
        match finding {
            Finding::Missing { .. } => self.summary.missing += 1,
            Finding::Leftover { fixed: true, .. } => self.summary.fixed += 1,
            Finding::Leftover { error, .. } => {
                self.summary.leftover += 1;
                self.summary.failed += u64::from(error.is_some());
            }
            Finding::LeftByRestore { .. } => self.summary.left_by_restore += 1,
            Finding::Unclaimed { .. } => {}
            Finding::Unchecked { .. } => self.summary.failed += 1,
        }
        (self.tell)(finding).map_err(ReconcileError::Write)
    }

    /// Notes what restores left: also of entities that were purged since, of which nothing can be opened any more.
    async fn restores(&mut self) -> Result<(), ReconcileError> {
        let mut after = (0, 0);
        loop {
            let page = self.claimed.left_places(after, PAGE).await?;
            let mut left = Vec::new();
            for row in page.rows {
                match row {
                    Ok(one) => left.push((
                        one.place,
                        Left {
                            key: one.key,
                            restored: one.restored,
                        },
                    )),
                    Err(bad) => {
                        self.left_unread = true;
                        self.tell_bad_row(bad)?;
                    }
                }
            }
            self.scratch.left(&left).await?;
            let Some(next) = page.next else { return Ok(()) };
            after = next;
        }
    }

    /// Notes what purges that are over had ordered to be cleaned.
    async fn purges(&mut self) -> Result<(), ReconcileError> {
        let mut after = PurgedCursor::default();
        loop {
            let page = self.pages.purged_storage(&after, PAGE).await?;
            let mut ordered = Vec::new();
            for row in page.rows {
                match row {
                    Ok(one) => ordered.push(one),
                    Err(bad) => self.tell_bad_row(bad)?,
                }
            }
            self.summary.purged += ordered.len() as u64;
            self.scratch.ordered(&ordered).await?;
            let Some(next) = page.next else { return Ok(()) };
            after = next;
        }
    }

    async fn walk(&mut self, tree: &Tree) -> Result<(), ReconcileError> {
        let mut walk = self.blobs.walk(tree);
        // The folders above the object that was met last, outermost first, and whose each is.
        let mut above: Vec<(Spot, Option<Owner>)> = Vec::new();
        let mut leftover: Option<Heap<Box<Ordered>>> = None;
        let mut left: Option<Heap<Box<Left>>> = None;
        let mut unclaimed: Option<Heap<()>> = None;
        while let Some(found) = walk.recv().await {
            let found = match found {
                Ok(found) => found,
                Err(Unread { name, kind }) => {
                    let finding = Finding::Unchecked {
                        entity_type: None,
                        id: None,
                        uri: Some(names::uri(tree, &name)),
                        error: kind.to_string(),
                    };
                    self.tell(&finding)?;
                    continue;
                }
            };
            self.summary.objects += 1;
            let (owner, folder) = self.owner(tree, &found, &mut above).await?;
            self.leftover(tree, ended(&mut leftover, &found.name)).await?;
            self.left_by_restore(tree, ended(&mut left, &found.name))?;
            let one = Cleaned {
                objects: 1,
                bytes: found.bytes,
            };
            match owner {
                Some(Owner::Entity) => {}
                Some(Owner::Purge(spot, ordered)) => {
                    let ended = heap_up(&mut leftover, spot, ordered, one);
                    self.leftover(tree, ended).await?;
                }
                Some(Owner::Restore(spot, by)) => {
                    let ended = heap_up(&mut left, spot, by, one);
                    self.left_by_restore(tree, ended)?;
                }
                None => {
                    self.summary.unclaimed += 1;
                    let ended = heap_up(&mut unclaimed, folder, (), one);
                    self.unclaimed(tree, ended)?;
                }
            }
        }
        self.leftover(tree, leftover).await?;
        self.left_by_restore(tree, left)?;
        self.unclaimed(tree, unclaimed)
    }

    /// Whose an object is, and the folder that it lies in. Only folders that the object before did not lie in are looked up.
    async fn owner(
        &mut self,
        tree: &Tree,
        found: &Found,
        above: &mut Vec<(Spot, Option<Owner>)>,
    ) -> Result<(Option<Owner>, Spot), ReconcileError> {
        let path = spots(tree, &found.name);
        let shared = path
            .iter()
            .zip(above.iter())
            .take_while(|(spot, (known, _))| *spot == known && !spot.is_object())
            .count();
        above.truncate(shared);
        let mut owner = above.last().and_then(|(_, owner)| owner.clone());
        let mut folder = Spot::root(tree);
        for spot in path.iter().filter(|spot| !spot.is_object()) {
            folder = spot.clone();
        }
        for spot in path.into_iter().skip(shared) {
            if owner != Some(Owner::Entity) {
                let mut known = Known::default();
                for spot in self.names(tree, &spot) {
                    let (hash, place) = (spot.hash(tree, self.keyring), spot.place(tree, self.keyring));
                    known = known.and(self.scratch.look(&hash, &place).await?);
                }
                owner = Owner::within(owner, &spot, known);
            }
            above.push((spot, owner.clone()));
        }
        Ok((owner, folder))
    }

    /// A place by every path that its root was used at.
    fn names(&self, tree: &Tree, spot: &Spot) -> Vec<Spot> {
        let others = self.moved_from.iter().filter_map(|path| spot.at(tree, path));
        std::iter::once(spot.clone()).chain(others).collect()
    }

    fn left_by_restore(&mut self, tree: &Tree, heap: Option<Heap<Box<Left>>>) -> Result<(), ReconcileError> {
        let Some(Heap { spot, of, cleaned }) = heap else {
            return Ok(());
        };
        let finding = Finding::LeftByRestore {
            entity_type: of.key.entity_type().as_str(),
            id: of.key.id().to_owned(),
            uri: spot.uri(tree),
            objects: cleaned.objects,
            bytes: cleaned.bytes,
        };
        self.tell(&finding)
    }

    fn unclaimed(&mut self, tree: &Tree, heap: Option<Heap<()>>) -> Result<(), ReconcileError> {
        match heap {
            Some(heap) if self.options.unclaimed => {
                let finding = Finding::Unclaimed {
                    uri: heap.spot.uri(tree),
                    objects: heap.cleaned.objects,
                    bytes: heap.cleaned.bytes,
                };
                self.tell(&finding)
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn leftover(
        &mut self,
        tree: &Tree,
        heap: Option<Heap<Box<Ordered>>>,
    ) -> Result<(), ReconcileError> {
        let Some(Heap {
            spot,
            of: ordered,
            cleaned,
        }) = heap
        else {
            return Ok(());
        };
        let uri = spot.uri(tree);
        let error = if self.options.fix {
            self.fix(tree, &spot, &ordered, &uri).await?
        } else {
            None
        };
        let finding = Finding::Leftover {
            entity_type: ordered.key.entity_type().as_str(),
            id: ordered.key.id().to_owned(),
            purge_id: ordered.purge_id,
            storage: ordered.ordinal,
            given_up: ordered.given_up,
            uri,
            objects: cleaned.objects,
            bytes: cleaned.bytes,
            fixed: self.options.fix && error.is_none(),
            error,
        };
        self.tell(&finding)
    }
}
