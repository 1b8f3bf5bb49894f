//! Compares the storage with the ledger.
//!
//! ```text
//! entities that are not purged ──▶ is there anything at their URIs? ──▶ missing
//!            │ claim                                  ┌─ claimed: theirs
//!            ▼                                        ├─ ordered by a purge that is over: leftover ─▶ (--fix) deleted
//!   scratch: hash ─▶ claim, order   ◀── look ── every object below the roots
//!            ▲                                        └─ neither: unclaimed
//! purges that are over: hashes of what they named
//! ```
//!
//! Of a purged entity the ledger knows no storage URI any more, only a keyed hash of what each named. An object is recognized by
//! the hashes of its own name and of every folder above it. Nothing grows with the number of entities or objects: both sides
//! are read in pages, and what has to be looked up lies in a temporary file of hashes.
//!
//! Deleting again what a purge ordered goes the way of every deletion, through [`Blobs::purge`] and its check of the roots; and
//! it is done only after the log was asked once more, and only where nothing is stored by an entity that is not purged.

mod claims;
mod findings;
mod fix;
mod names;

pub use findings::{Finding, Summary};

use crate::app::{self, StartError};
use crate::cleanup::blob::{Blobs, Cleaned};
use crate::cleanup::survey::{Met, Tree, Unread};
use crate::config::Config;
use crate::keyring::Keyring;
use crate::ledger::LedgerError;
use crate::store::reconcile::ReconcileStore;
use crate::store::sqlite::scratch::{Claim, Ordered, Scratch};
use crate::store::{Position, ReadStore, StoreError};
use archive_ledger_domain::State;
use claims::Claims;
use names::{Spot, spots};
use std::io;
use std::sync::Arc;
use uuid::Uuid;

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
    // Deleting beside a running service would race with what it accepts: its process keeps the lock.
    let _lock = if options.fix { app::lock(config)? } else { None };
    let store = app::existing(config).await?;
    let keyring = app::existing_keyring(config, &store).await?;
    let blobs = app::blobs(config, &store).await?;
    let reads = store.reads();
    let seen = reads.head().await?.position;
    let mut comparison = Comparison {
        reads: Arc::clone(&reads),
        pages: store.reconcile(),
        claims: Claims::new(reads, &keyring),
        keyring: &keyring,
        blobs: &blobs,
        scratch: Scratch::create().await?,
        seen,
        options,
        summary: Summary::default(),
        tell,
    };
    comparison.entities().await?;
    comparison.purges().await?;
    for tree in blobs.trees() {
        comparison.walk(&tree).await?;
    }
    Ok(comparison.summary)
}

struct Comparison<'a> {
    reads: Arc<dyn ReadStore>,
    pages: Arc<dyn ReconcileStore>,
    claims: Claims<'a>,
    keyring: &'a Keyring,
    blobs: &'a Blobs,
    scratch: Scratch,
    /// Up to where the log's claims are in the scratch.
    seen: Position,
    options: Options,
    summary: Summary,
    tell: Tell<'a>,
}

/// What an object, or a folder, belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// An entity that is not purged.
    Entity,
    /// A purge that is over, by the place that it named.
    Purge(Spot, Box<Ordered>),
}

/// Objects of one place, as they are met one after the other.
struct Heap {
    spot: Spot,
    ordered: Option<Box<Ordered>>,
    cleaned: Cleaned,
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
            Finding::Unclaimed { .. } => {}
            Finding::Unchecked { .. } => self.summary.failed += 1,
        }
        (self.tell)(finding).map_err(ReconcileError::Write)
    }

    /// Notes what entities that are not purged claim, and looks whether it is there.
    async fn entities(&mut self) -> Result<(), ReconcileError> {
        let mut after = String::new();
        loop {
            let page = self.pages.sealed_entities(&after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.stream_id();
            for key in &page {
                let Some(claimed) = self.claims.of(key).await? else {
                    continue;
                };
                self.summary.entities += 1;
                self.scratch
                    .claim(&names::claims(self.keyring, &claimed.ever))
                    .await?;
                // What is being purged is being deleted.
                match claimed.state {
                    State::Live | State::Archived => {}
                    State::Unknown | State::Purging | State::PurgeFailed | State::Purged => continue,
                }
                for (index, uri) in claimed.standing.iter().enumerate() {
                    let finding = match self.blobs.exists(uri).await {
                        Ok(true) => continue,
                        Ok(false) => Finding::Missing {
                            entity_type: key.entity_type().as_str(),
                            id: key.id().to_owned(),
                            state: claimed.state.as_str(),
                            storage: index + 1,
                            uri: uri.clone(),
                        },
                        Err(kind) => Finding::Unchecked {
                            entity_type: Some(key.entity_type().as_str()),
                            id: Some(key.id().to_owned()),
                            uri: Some(uri.clone()),
                            error: kind.to_string(),
                        },
                    };
                    // A purge may have come between the two looks.
                    let still = self.claims.of(key).await?;
                    if still.is_some_and(|now| now.state == claimed.state) {
                        self.tell(&finding)?;
                    }
                }
            }
        }
    }

    /// Notes what purges that are over had ordered to be cleaned.
    async fn purges(&mut self) -> Result<(), ReconcileError> {
        let mut after = (Uuid::nil(), 0);
        loop {
            let page = self.pages.purged_storage(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.event_id, last.ordinal);
            self.summary.purged += page.len() as u64;
            self.scratch.ordered(&page).await?;
        }
    }

    async fn walk(&mut self, tree: &Tree) -> Result<(), ReconcileError> {
        let mut walk = self.blobs.walk(tree);
        // The folders above the object that was met last, outermost first, and whose each is.
        let mut above: Vec<(Spot, Option<Owner>)> = Vec::new();
        let mut left: Option<Heap> = None;
        let mut unclaimed: Option<Heap> = None;
        while let Some(met) = walk.recv().await {
            let met = match met {
                Ok(met) => met,
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
            let (owner, folder) = self.owner(tree, &met, &mut above).await?;
            // A heap ends where the walk leaves its place.
            if left.as_ref().is_some_and(|heap| !heap.spot.covers(&met.name)) {
                self.leftover(tree, left.take()).await?;
            }
            let one = Cleaned {
                objects: 1,
                bytes: met.bytes,
            };
            match owner {
                Some(Owner::Entity) => {}
                Some(Owner::Purge(spot, ordered)) => {
                    let heap = left.get_or_insert(Heap {
                        spot,
                        ordered: Some(ordered),
                        cleaned: Cleaned::default(),
                    });
                    heap.cleaned = heap.cleaned.plus(one);
                }
                None => {
                    self.summary.unclaimed += 1;
                    if unclaimed.as_ref().is_some_and(|heap| heap.spot != folder) {
                        self.unclaimed(tree, unclaimed.take())?;
                    }
                    let heap = unclaimed.get_or_insert(Heap {
                        spot: folder,
                        ordered: None,
                        cleaned: Cleaned::default(),
                    });
                    heap.cleaned = heap.cleaned.plus(one);
                }
            }
        }
        self.leftover(tree, left).await?;
        self.unclaimed(tree, unclaimed)
    }

    /// Whose an object is, and the folder that it lies in. Only folders that the object before did not lie in are looked up.
    async fn owner(
        &mut self,
        tree: &Tree,
        met: &Met,
        above: &mut Vec<(Spot, Option<Owner>)>,
    ) -> Result<(Option<Owner>, Spot), ReconcileError> {
        let path = spots(tree, &met.name);
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
            // All that an entity claims is its own, whatever was ordered inside it.
            if owner != Some(Owner::Entity) {
                let known = self.scratch.look(&spot.hash(tree, self.keyring)).await?;
                if known.claim == Claim::Own {
                    owner = Some(Owner::Entity);
                } else if let (None, Some(ordered)) = (&owner, known.ordered) {
                    owner = Some(Owner::Purge(spot.clone(), Box::new(ordered)));
                }
            }
            above.push((spot, owner.clone()));
        }
        Ok((owner, folder))
    }

    fn unclaimed(&mut self, tree: &Tree, heap: Option<Heap>) -> Result<(), ReconcileError> {
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

    async fn leftover(&mut self, tree: &Tree, heap: Option<Heap>) -> Result<(), ReconcileError> {
        let Some(Heap {
            spot,
            ordered: Some(ordered),
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
