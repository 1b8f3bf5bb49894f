//! Listings of a bucket, page by page, and when one is believed.
//!
//! `s3`, `gcs` and `azure` judge each answer by its raw body: whole, of the bucket and the prefix that was asked for, and clear
//! about whether more follows. Here it is judged what only several answers show: names that were not asked for, and a marker that
//! does not move. What is not believed is a failure that may pass, never an empty page.

use super::backoff::Backoff;
use super::blob::BlobErrorKind;
use async_trait::async_trait;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

/// How many empty pages may follow each other: a server may pass over what was deleted, but not for ever.
const MAX_EMPTY: u32 = 10_000;

/// How many pages have to be in order before a listing's order is relied on.
const ORDERED_PAGES: u32 = 4;

/// What is listed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// Unfinished uploads. First, because one that is completed meanwhile is then found as an object.
    Uploads,
    /// Every version of every object.
    Versions,
    /// What the names stand for now. Only listed where no versions are left, or where none are kept.
    Objects,
}

/// A bucket, listed and deleted from by exact name.
#[async_trait]
pub(super) trait Container: Send + Sync {
    /// The listings that all have to be empty before a place is.
    fn listings(&self) -> &'static [Listing] {
        &[Listing::Versions]
    }

    /// The listing that tells what the names stand for now.
    fn present(&self) -> Listing {
        Listing::Versions
    }

    /// Whether [`Listing::Versions`] was found to be of no use, because the bucket has never kept versions.
    fn is_unversioned(&self) -> bool {
        false
    }

    /// One page of what begins with `prefix`.
    async fn list(&self, listing: Listing, prefix: &str, from: Option<&Marker>) -> Result<Page, Failure>;

    /// As little as possible of what the names that begin with `prefix` stand for now.
    async fn glance(&self, prefix: &str) -> Result<Page, Failure> {
        self.list(self.present(), prefix, None).await
    }

    /// Asks for a batch to be deleted for good; what the storage said to each.
    async fn remove(&self, batch: Vec<Found>) -> Removed;
}

/// One page of a listing, whose answer was whole.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) found: Vec<Found>,
    /// The names are in the order of their bytes.
    pub(super) in_order: bool,
    pub(super) next: Next,
}

/// What comes after a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the listing is complete.
    #[default]
    End,
    /// Another page.
    At(Marker),
    /// More, behind a name that cannot be sent: what this page has must go first.
    Beyond,
}

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Marker {
    pub(super) name: Option<String>,
    pub(super) token: Option<String>,
}

impl Marker {
    pub(super) fn token(token: impl Into<String>) -> Self {
        Self {
            name: None,
            token: Some(token.into()),
        }
    }
}

/// Something to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The name, byte for byte as the storage has it.
    pub(super) name: Vec<u8>,
    /// Which version, generation, snapshot or upload of that name.
    pub(super) edition: Option<String>,
    /// The size of an object; none for what is not counted.
    pub(super) bytes: Option<u64>,
    /// It is what the name stands for now, and no older version.
    pub(super) current: bool,
    /// What `edition` is the number of.
    pub(super) kind: Kind,
}

/// What an edition is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Version,
    Snapshot,
    Upload,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// What the storage said to each; silence is missing.
    pub(super) answers: Vec<(Found, Result<(), Failure>)>,
    /// What stands in the way of all others too, and the name that it was met at.
    pub(super) stopped: Option<(Failure, Option<Vec<u8>>)>,
}

/// A failed request.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was to be deleted does not exist.
    Gone,
    /// Asking again may help; this is what stands in the way if it does not.
    Passing(BlobErrorKind),
    /// This stands in the way.
    Stands(BlobErrorKind),
}

impl Failure {
    pub(super) fn doubt(what: &'static str) -> Self {
        Self::Passing(BlobErrorKind::Doubtful { what })
    }

    pub(super) fn kind(self) -> BlobErrorKind {
        match self {
            // Nothing but what is deleted can be gone already.
            Self::Gone => BlobErrorKind::ForeignRefusal {
                code: "notFound".to_owned(),
            },
            Self::Passing(kind) | Self::Stands(kind) => kind,
        }
    }
}

impl Page {
    /// The greatest name of the page.
    pub(super) fn greatest(&self) -> Option<&[u8]> {
        self.found.iter().map(|found| found.name.as_slice()).max()
    }

    fn least(&self) -> Option<&[u8]> {
        self.found.iter().map(|found| found.name.as_slice()).min()
    }
}

/// Whether names are in the order of their bytes, as they come.
pub(super) fn in_order<'a>(names: impl IntoIterator<Item = &'a Vec<u8>>) -> bool {
    names.into_iter().is_sorted()
}

/// A walk through a listing.
pub(super) struct Pages<'a> {
    container: &'a dyn Container,
    backoff: Backoff,
    listing: Listing,
    prefix: &'a str,
    from: Option<Marker>,
    /// Where it has been.
    hasher: RandomState,
    visited: HashSet<u64>,
    empty: u32,
    /// How many pages are behind, all of them in order.
    ordered: u32,
    disordered: bool,
    last: Option<Vec<u8>>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(
        container: &'a dyn Container,
        backoff: Backoff,
        listing: Listing,
        prefix: &'a str,
    ) -> Self {
        Self {
            container,
            backoff,
            listing,
            prefix,
            from: None,
            hasher: RandomState::new(),
            visited: HashSet::new(),
            empty: 0,
            ordered: 0,
            disordered: false,
            last: None,
        }
    }

    /// The page at the present place, asked for until it is believed.
    pub(super) async fn look(&self) -> Result<Page, Failure> {
        patiently(self.backoff, || self.look_once()).await
    }

    /// The page at the present place, asked for once.
    pub(super) async fn look_once(&self) -> Result<Page, Failure> {
        let page = self
            .container
            .list(self.listing, self.prefix, self.from.as_ref())
            .await?;
        if !page
            .found
            .iter()
            .all(|found| found.name.starts_with(self.prefix.as_bytes()))
        {
            return Err(Failure::doubt("it has names that were not asked for"));
        }
        if let Next::At(next) = &page.next
            && (self.from.as_ref() == Some(next) || self.visited.contains(&self.hasher.hash_one(next)))
        {
            return Err(Failure::doubt("it leads to a page that was listed before"));
        }
        Ok(page)
    }

    /// Goes on behind `page`; `false` at the end.
    pub(super) fn advance(&mut self, page: &Page) -> Result<bool, Failure> {
        let next = match &page.next {
            Next::End => return Ok(false),
            Next::At(next) => next.clone(),
            Next::Beyond => return Err(Failure::doubt("more lies behind a name that is no text")),
        };
        self.empty = if page.found.is_empty() { self.empty + 1 } else { 0 };
        if self.empty > MAX_EMPTY {
            return Err(Failure::doubt("its empty pages have no end"));
        }
        self.disordered |= !page.in_order || self.goes_back(page);
        self.ordered += 1;
        if let Some(greatest) = page.greatest() {
            self.last = Some(greatest.to_vec());
        }
        self.visited.insert(self.hasher.hash_one(&next));
        self.from = Some(next);
        Ok(true)
    }

    fn goes_back(&self, page: &Page) -> bool {
        matches!((&self.last, page.least()), (Some(last), Some(least)) if least < last.as_slice())
    }

    /// Whether a listing that keeps its order has shown everything up to `name` with this page.
    pub(super) fn is_past(&self, page: &Page, name: &[u8]) -> bool {
        !self.disordered
            && page.in_order
            && !self.goes_back(page)
            && self.ordered + 1 >= ORDERED_PAGES
            && page.greatest().is_some_and(|greatest| greatest > name)
    }
}

/// Sends a request until it is answered, as long as the backoff has attempts left.
pub(super) async fn patiently<T, F, Fut>(backoff: Backoff, request: F) -> Result<T, Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, Failure>>,
{
    let mut attempt = 0;
    loop {
        attempt += 1;
        match request().await {
            Err(Failure::Passing(kind)) => match backoff.after(attempt) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(Failure::Passing(kind)),
            },
            outcome => return outcome,
        }
    }
}
