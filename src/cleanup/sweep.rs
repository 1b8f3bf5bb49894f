//! One purge of a place in a bucket: rounds of listing and deleting by exact name, until a round finds nothing.
//!
//! ```text
//! page ──▶ ask for what is new on it ──▶ the same page again ──▶ what it no longer has is gone, and counts ──▶ …
//! ```
//!
//! `s3`, `gcs` and `azure` speak the protocols; here it is decided what goes, what counts, and when it is over.

use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, Cleaned};
use super::listing::{Container, Failure, Found, Listing, Next, Page, Pages};
use super::progress::Progress;
use super::unsettled::{Sight, Sweep, Unsettled};
use super::uri::BucketPlace;

/// How much is asked for before the page is looked at again: what a crash leaves uncounted at most.
const MAX_BATCH: usize = 1_000;

/// How many rounds a purge takes at most, should a writer keep adding objects.
const MAX_ROUNDS: u32 = 100_000;

/// What of a listing is meant: the names under a folder, or one name.
enum Scope<'a> {
    Folder(&'a str),
    Object(&'a str),
}

impl Scope<'_> {
    fn prefix(&self) -> &str {
        match self {
            Self::Folder(name) | Self::Object(name) => name,
        }
    }

    /// Of all that begins with the prefix.
    fn holds(&self, name: &[u8]) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Object(key) => name == key.as_bytes(),
        }
    }

    /// Whether the listing has nothing more to show for this scope after `page`: a name sorts before all that it is a prefix of.
    fn ends_with(&self, pages: &Pages<'_>, page: &Page) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Object(key) => pages.is_past(page, key.as_bytes()),
        }
    }
}

/// What one round came to.
#[derive(Debug, Default)]
struct Tally {
    /// Something of the place was listed.
    seen: bool,
    /// How many the storage says are deleted now, or were already.
    accepted: u64,
    /// How many were seen gone.
    gone: u64,
    locked: u64,
    refused: Option<BlobErrorKind>,
    /// One that the storage refused to delete.
    kept: Option<Vec<u8>>,
    /// One that was still there after it was said to be deleted.
    lingering: Option<Vec<u8>>,
}

impl Tally {
    /// Why nothing went although there was something, and where.
    fn reason(self) -> Stop {
        let at = self.kept.or(self.lingering);
        let kind = if self.locked > 0 {
            BlobErrorKind::ObjectLocked {
                remaining: self.locked,
            }
        } else {
            self.refused.unwrap_or(BlobErrorKind::NotEmpty)
        };
        Stop { kind, at }
    }
}

/// What ends a purge before its place is empty.
struct Stop {
    kind: BlobErrorKind,
    /// The name that it failed at.
    at: Option<Vec<u8>>,
}

impl Stop {
    fn at(failure: Failure, name: &[u8]) -> Self {
        Self {
            kind: failure.kind(),
            at: Some(name.to_vec()),
        }
    }
}

/// Deletes everything that `place` names, as [`BlobStore::purge`](super::driver::BlobStore::purge) promises.
pub(super) async fn purge(
    container: &dyn Container,
    backoff: Backoff,
    place: &BucketPlace,
    progress: &Progress<'_>,
) -> Result<Cleaned, BlobError> {
    let mut purge = Purge {
        container,
        backoff,
        progress,
        done: Cleaned::default(),
        unsettled: progress.unsettled(),
    };
    let outcome = purge.run(place).await;
    let done = purge.done;
    progress.tell(done);
    progress.leave(purge.unsettled);
    match outcome {
        Ok(()) => Ok(done),
        Err(Stop { kind, at }) => {
            let (scheme, bucket) = (place.cloud().scheme(), place.bucket());
            let name = |name: Vec<u8>| format!("{scheme}://{bucket}/{}", String::from_utf8_lossy(&name));
            Err(kind.after(done).at(at.map(name)))
        }
    }
}

struct Purge<'a> {
    container: &'a dyn Container,
    backoff: Backoff,
    progress: &'a Progress<'a>,
    done: Cleaned,
    unsettled: Unsettled,
}

impl Purge<'_> {
    async fn run(&mut self, place: &BucketPlace) -> Result<(), Stop> {
        let folder = place.folder();
        let mut scopes = vec![Scope::Folder(&folder)];
        scopes.extend(place.object().map(Scope::Object));
        let mut fruitless = 0;
        for _ in 0..MAX_ROUNDS {
            let round = self.round(&scopes).await?;
            if !round.seen {
                return Ok(());
            }
            if round.accepted == 0 {
                return Err(round.reason());
            }
            if round.gone > 0 {
                fruitless = 0;
                continue;
            }
            // A listing may be behind; one that stays so is not believed, and neither is the storage.
            fruitless += 1;
            match self.backoff.after(fruitless) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(round.reason()),
            }
        }
        Err(Stop {
            kind: BlobErrorKind::NotEmpty,
            at: None,
        })
    }

    /// Looks at everything once, and asks for all of it.
    async fn round(&mut self, scopes: &[Scope<'_>]) -> Result<Tally, Stop> {
        let mut round = Tally::default();
        self.unsettled.begin_round();
        let listings = self.container.listings();
        for (at, scope) in scopes.iter().enumerate() {
            let mut versions = false;
            for (of, listing) in listings.iter().enumerate() {
                // While versions are left this would only put delete markers on top of those that are locked.
                if *listing == Listing::Objects && versions {
                    continue;
                }
                let number = Sweep::try_from(at * listings.len() + of).unwrap_or(Sweep::MAX);
                let seen = self.sweep(scope, *listing, number, &mut round).await?;
                versions |= seen && *listing == Listing::Versions;
                round.seen |= seen;
            }
        }
        Ok(round)
    }

    /// Lists one kind of thing in `scope` to its end, and asks for what is there, page by page. Returns whether there was anything.
    async fn sweep(
        &mut self,
        scope: &Scope<'_>,
        listing: Listing,
        number: Sweep,
        tally: &mut Tally,
    ) -> Result<bool, Stop> {
        let (container, prefix) = (self.container, scope.prefix());
        let stop = |failure| Stop::at(failure, prefix.as_bytes());
        let mut pages = Pages::new(container, self.backoff, listing, prefix);
        let start = self.unsettled.begin_page();
        let mut batch = Batch::default();
        let mut seen = false;
        loop {
            let page = pages.look().await.map_err(stop)?;
            let (new, still) = self.see(scope, &page, tally);
            seen |= still > 0 || !new.is_empty();
            self.settle(&batch, &page, number, tally);
            batch = Batch::default();
            self.progress.tell(self.done);
            if self.progress.is_stopped() {
                return Err(Stop {
                    kind: BlobErrorKind::Interrupted,
                    at: None,
                });
            }
            if !new.is_empty() {
                let crowded = still * 2 > page.found.len() || self.unsettled.is_full();
                batch = self.ask(new, number);
                let asked = batch.take();
                let removed = container.remove(asked).await;
                for (found, answer) in removed.answers {
                    self.hear(tally, found, answer);
                }
                if let Some((failure, at)) = removed.stopped {
                    // What went before is gone all the same.
                    if let Ok(page) = pages.look_once().await {
                        self.see(scope, &page, tally);
                        self.settle(&batch, &page, number, tally);
                    }
                    return Err(Stop::at(failure, at.as_deref().unwrap_or(prefix.as_bytes())));
                }
                // Page after page of what does not go is passed by; what else was on them is looked for in the next round.
                if !crowded {
                    continue;
                }
            }
            if scope.ends_with(&pages, &page) || !pages.advance(&page).map_err(stop)? {
                break;
            }
        }
        let (counted, gone) = self.unsettled.settle_sweep(number, start);
        self.done = self.done.plus(counted);
        tally.gone += gone;
        Ok(seen)
    }

    /// Which of the page's names are to be asked for, and how many were asked for in this round already.
    fn see(&mut self, scope: &Scope<'_>, page: &Page, tally: &mut Tally) -> (Vec<Found>, usize) {
        self.unsettled.begin_page();
        let (mut new, mut still) = (Vec::new(), 0);
        for found in page.found.iter().filter(|found| scope.holds(&found.name)) {
            match self.unsettled.see(found) {
                Sight::New if new.len() < MAX_BATCH => new.push(found.clone()),
                // Its turn comes when the page is looked at again.
                Sight::New => {}
                Sight::Still => {
                    still += 1;
                    tally.lingering.get_or_insert_with(|| found.name.clone());
                }
            }
        }
        (new, still)
    }

    fn ask(&mut self, found: Vec<Found>, number: Sweep) -> Batch {
        let ids = found.iter().map(|one| self.unsettled.ask(one, number)).collect();
        let greatest = found.iter().map(|one| one.name.clone()).max();
        Batch {
            ids,
            greatest: greatest.unwrap_or_default(),
            found,
        }
    }

    /// Counts what was asked for from the same page, as far as that reaches now.
    fn settle(&mut self, batch: &Batch, page: &Page, number: Sweep, tally: &mut Tally) {
        let past = page.next == Next::End
            || (page.in_order
                && page
                    .greatest()
                    .is_some_and(|greatest| greatest > batch.greatest.as_slice()));
        if batch.ids.is_empty() || !past {
            return;
        }
        let (counted, gone) = self.unsettled.settle(&batch.ids, &batch.greatest, number);
        self.done = self.done.plus(counted);
        tally.gone += gone;
    }

    /// Notes what the storage said to one deletion. Others are still tried, so that one that is refused keeps no other alive.
    fn hear(&mut self, tally: &mut Tally, found: Found, answer: Result<(), Failure>) {
        let kind = match answer {
            Ok(()) | Err(Failure::Gone) => {
                tally.accepted += 1;
                return;
            }
            // It may be gone all the same: the next look tells.
            Err(Failure::Passing(kind)) => kind,
            Err(Failure::Stands(kind)) => {
                self.unsettled.refuse(&found);
                kind
            }
        };
        tally.kept.get_or_insert(found.name);
        if let BlobErrorKind::ObjectLocked { remaining } = kind {
            tally.locked += remaining;
        } else {
            tally.refused.get_or_insert(kind);
        }
    }
}

/// What was asked for from one page.
#[derive(Default)]
struct Batch {
    ids: Vec<u64>,
    greatest: Vec<u8>,
    found: Vec<Found>,
}

impl Batch {
    fn take(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }
}
