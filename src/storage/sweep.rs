//! One purge of a place in a bucket: rounds of listing and deleting by exact name, until a round finds nothing.
//!
//! ```text
//! page ──▶ ask for what is new on it ──▶ the same page again ──▶ what it no longer has is gone, and counts ──▶ …
//! ```
//!
//! `s3`, `gcs` and `azure` speak the protocols; here it is decided what goes, what counts, and when it is over.

use super::backoff::Backoff;
use super::driver::{Bucket, Listing, ListingPage, NextPage, Object};
use super::listing::Pages;
use super::progress::Progress;
use super::request::RequestError;
use super::unsettled::{PassNumber, Sight, Unsettled};
use super::uri::BucketPlace;
use crate::storage::deletion::{BlobError, BlobErrorKind, Cleaned, Stop};

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
    fn ends_with(&self, pages: &Pages<'_>, page: &ListingPage) -> bool {
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
    /// Why nothing went although there was something, and the name that shows it.
    fn reason(self) -> (BlobErrorKind, Option<Vec<u8>>) {
        let at = self.kept.or(self.lingering);
        let kind = if self.locked > 0 {
            BlobErrorKind::ObjectLocked {
                remaining: self.locked,
            }
        } else {
            self.refused.unwrap_or(BlobErrorKind::NotEmpty)
        };
        (kind, at)
    }
}

/// Deletes everything that `place` names, as [`Blobs::purge_watched`](super::blobs::Blobs::purge_watched) promises.
pub(super) async fn purge(
    bucket: &dyn Bucket,
    backoff: Backoff,
    place: &BucketPlace,
    progress: &Progress<'_>,
) -> Result<Cleaned, BlobError> {
    let mut sweep = Sweep {
        bucket,
        backoff,
        place,
        progress,
        done: Cleaned::default(),
        unsettled: progress.unsettled(),
    };
    let outcome = sweep.run().await;
    let done = sweep.done;
    progress.tell(done);
    progress.leave(sweep.unsettled);
    match outcome {
        Ok(()) => Ok(done),
        Err(stop) => Err(stop.after(done)),
    }
}

struct Sweep<'a> {
    bucket: &'a dyn Bucket,
    backoff: Backoff,
    place: &'a BucketPlace,
    progress: &'a Progress<'a>,
    done: Cleaned,
    unsettled: Unsettled,
}

impl Sweep<'_> {
    async fn run(&mut self) -> Result<(), Stop> {
        let place = self.place;
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
                return Err(self.fruitless(round));
            }
            if round.gone > 0 {
                fruitless = 0;
                continue;
            }
            // A listing may be behind; one that stays so is not believed, and neither is the storage.
            fruitless += 1;
            match self.backoff.after(fruitless) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(self.fruitless(round)),
            }
        }
        Err(BlobErrorKind::NotEmpty.into())
    }

    /// Nothing went in a round, although there was something.
    fn fruitless(&self, round: Tally) -> Stop {
        match round.reason() {
            (kind, Some(name)) => stop_at(self.place, kind, &name),
            (kind, None) => kind.into(),
        }
    }

    /// Looks at everything once, and asks for all of it.
    async fn round(&mut self, scopes: &[Scope<'_>]) -> Result<Tally, Stop> {
        let mut round = Tally::default();
        self.unsettled.begin_round();
        let listings = self.bucket.listings();
        for (at, scope) in scopes.iter().enumerate() {
            let mut versions = false;
            for (of, listing) in listings.iter().enumerate() {
                // While versions are left this would only put delete markers on top of those that are locked.
                if *listing == Listing::Objects && versions {
                    continue;
                }
                let number = PassNumber::try_from(at * listings.len() + of).unwrap_or(PassNumber::MAX);
                let seen = self.pass(scope, *listing, number, &mut round).await?;
                versions |= seen && *listing == Listing::Versions;
                round.seen |= seen;
            }
        }
        Ok(round)
    }

    /// Lists one kind of thing in `scope` to its end, and asks for what is there, page by page. Returns whether there was anything.
    async fn pass(
        &mut self,
        scope: &Scope<'_>,
        listing: Listing,
        number: PassNumber,
        tally: &mut Tally,
    ) -> Result<bool, Stop> {
        let (bucket, prefix) = (self.bucket, scope.prefix());
        let place = self.place;
        let stop = |error: RequestError| stop_at(place, error.kind(), prefix.as_bytes());
        let mut pages = Pages::new(bucket, self.backoff, listing, prefix);
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
                return Err(BlobErrorKind::Interrupted.into());
            }
            if !new.is_empty() {
                let crowded = still * 2 > page.objects.len() || self.unsettled.is_full();
                batch = self.ask(new, number);
                let asked = batch.take();
                let removed = bucket.remove(asked).await;
                for (found, answer) in removed.answers {
                    self.hear(tally, found, answer);
                }
                if let Some((error, at)) = removed.stopped {
                    // What went before is gone all the same.
                    if let Ok(page) = pages.look_once().await {
                        self.see(scope, &page, tally);
                        self.settle(&batch, &page, number, tally);
                    }
                    let at = at.as_deref().unwrap_or(prefix.as_bytes());
                    return Err(stop_at(place, error.kind(), at));
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
        let (counted, gone) = self.unsettled.settle_pass(number, start);
        self.done = self.done.plus(counted);
        tally.gone += gone;
        Ok(seen)
    }

    /// Which of the page's names are to be asked for, and how many were asked for in this round already.
    fn see(&mut self, scope: &Scope<'_>, page: &ListingPage, tally: &mut Tally) -> (Vec<Object>, usize) {
        self.unsettled.begin_page();
        let (mut new, mut still) = (Vec::new(), 0);
        for found in page.objects.iter().filter(|found| scope.holds(&found.name)) {
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

    fn ask(&mut self, found: Vec<Object>, number: PassNumber) -> Batch {
        let ids = found.iter().map(|one| self.unsettled.ask(one, number)).collect();
        let greatest = found.iter().map(|one| one.name.clone()).max();
        Batch {
            ids,
            greatest: greatest.unwrap_or_default(),
            found,
        }
    }

    /// Counts what was asked for from the same page, as far as that reaches now.
    fn settle(&mut self, batch: &Batch, page: &ListingPage, number: PassNumber, tally: &mut Tally) {
        let past = page.next == NextPage::End
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
    fn hear(&mut self, tally: &mut Tally, found: Object, answer: Result<(), RequestError>) {
        let kind = match answer {
            Ok(()) | Err(RequestError::Gone) => {
                tally.accepted += 1;
                return;
            }
            // It may be gone all the same: the next look tells.
            Err(RequestError::Transient(kind)) => kind,
            Err(RequestError::Permanent(kind)) => {
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

fn stop_at(place: &BucketPlace, kind: BlobErrorKind, name: &[u8]) -> Stop {
    let (scheme, bucket, name) = (
        place.cloud().scheme(),
        place.bucket(),
        String::from_utf8_lossy(name),
    );
    Stop {
        kind,
        at: Some(format!("{scheme}://{bucket}/{name}")),
    }
}

/// What was asked for from one page.
#[derive(Default)]
struct Batch {
    ids: Vec<u64>,
    greatest: Vec<u8>,
    found: Vec<Object>,
}

impl Batch {
    fn take(&mut self) -> Vec<Object> {
        std::mem::take(&mut self.found)
    }
}
