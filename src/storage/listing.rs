//! Listings of a bucket, page by page, and when one is believed.
//!
//! `s3`, `gcs` and `azure` judge each answer by its raw body: whole, of the bucket and the prefix that was asked for, and clear
//! about whether more follows. Here it is judged what only several answers show: names that were not asked for, and a marker that
//! does not move. What is not believed is a failure that may pass, never an empty page.

use super::backoff::Backoff;
use super::driver::{Bucket, Cursor, Listing, ListingPage, NextPage};
use super::request::{RequestError, patiently};
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

/// How many empty pages may follow each other: a server may pass over what was deleted, but not for ever.
const MAX_EMPTY: u32 = 10_000;

/// How many pages have to be in order before a listing's order is relied on.
const ORDERED_PAGES: u32 = 4;

/// A walk through a listing.
pub(super) struct Pages<'a> {
    bucket: &'a dyn Bucket,
    backoff: Backoff,
    listing: Listing,
    prefix: &'a str,
    from: Option<Cursor>,
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
    pub(super) fn new(bucket: &'a dyn Bucket, backoff: Backoff, listing: Listing, prefix: &'a str) -> Self {
        Self {
            bucket,
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
    pub(super) async fn look(&self) -> Result<ListingPage, RequestError> {
        patiently(self.backoff, || self.look_once()).await
    }

    /// The page at the present place, asked for once.
    pub(super) async fn look_once(&self) -> Result<ListingPage, RequestError> {
        let page = self
            .bucket
            .list(self.listing, self.prefix, self.from.as_ref())
            .await?;
        if !page
            .objects
            .iter()
            .all(|object| object.name.starts_with(self.prefix.as_bytes()))
        {
            return Err(RequestError::doubt("it has names that were not asked for"));
        }
        if let NextPage::At(next) = &page.next
            && (self.from.as_ref() == Some(next) || self.visited.contains(&self.hasher.hash_one(next)))
        {
            return Err(RequestError::doubt("it leads to a page that was listed before"));
        }
        Ok(page)
    }

    /// Goes on behind `page`; `false` at the end.
    pub(super) fn advance(&mut self, page: &ListingPage) -> Result<bool, RequestError> {
        let next = match &page.next {
            NextPage::End => return Ok(false),
            NextPage::At(next) => next.clone(),
            NextPage::Beyond => return Err(RequestError::doubt("more lies behind a name that is no text")),
        };
        self.empty = if page.objects.is_empty() {
            self.empty + 1
        } else {
            0
        };
        if self.empty > MAX_EMPTY {
            return Err(RequestError::doubt("its empty pages have no end"));
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

    fn goes_back(&self, page: &ListingPage) -> bool {
        matches!((&self.last, page.least()), (Some(last), Some(least)) if least < last.as_slice())
    }

    /// Whether a listing that keeps its order has shown everything up to `name` with this page.
    pub(super) fn is_past(&self, page: &ListingPage, name: &[u8]) -> bool {
        !self.disordered
            && page.in_order
            && !self.goes_back(page)
            && self.ordered + 1 >= ORDERED_PAGES
            && page.greatest().is_some_and(|greatest| greatest > name)
    }
}
