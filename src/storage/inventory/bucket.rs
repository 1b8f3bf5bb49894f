//! Looking at a bucket without touching it.

use super::{Found, Tell};
use crate::storage::backoff::Backoff;
use crate::storage::deletion::BlobErrorKind;
use crate::storage::driver::{Bucket, Listing};
use crate::storage::listing::Pages;
use crate::storage::request::RequestError;
use crate::storage::uri::BucketPlace;

/// Lists one page under a root, without patience: to tell at start what would fail later.
pub(super) async fn probe(bucket: &dyn Bucket, prefix: &str) -> Result<(), BlobErrorKind> {
    bucket
        .glance(&folder(prefix))
        .await
        .map(drop)
        .map_err(RequestError::kind)
}

fn folder(prefix: &str) -> String {
    if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    }
}

/// Whether there is a current object at the place, or below it.
pub(super) async fn holds(
    bucket: &dyn Bucket,
    backoff: Backoff,
    place: &BucketPlace,
) -> Result<bool, BlobErrorKind> {
    if let Some(key) = place.object() {
        let mut pages = Pages::new(bucket, backoff, bucket.present(), key);
        loop {
            let page = pages.look().await.map_err(RequestError::kind)?;
            if page
                .objects
                .iter()
                .any(|object| object.current && object.name == key.as_bytes())
            {
                return Ok(true);
            }
            if pages.is_past(&page, key.as_bytes()) || !pages.advance(&page).map_err(RequestError::kind)? {
                break;
            }
        }
    }
    let folder = place.folder();
    let mut pages = Pages::new(bucket, backoff, bucket.present(), &folder);
    loop {
        let page = pages.look().await.map_err(RequestError::kind)?;
        if page.objects.iter().any(|object| object.current) {
            return Ok(true);
        }
        if !pages.advance(&page).map_err(RequestError::kind)? {
            return Ok(false);
        }
    }
}

/// Tells of every version of every object under a prefix, until nobody listens.
pub(super) async fn walk(
    bucket: &dyn Bucket,
    backoff: Backoff,
    prefix: &str,
    tell: &Tell,
) -> Result<(), BlobErrorKind> {
    let folder = folder(prefix);
    let mut pages = Pages::new(bucket, backoff, Listing::Versions, &folder);
    let mut page = pages.look().await.map_err(RequestError::kind)?;
    if bucket.is_unversioned() {
        pages = Pages::new(bucket, backoff, Listing::Objects, &folder);
        page = pages.look().await.map_err(RequestError::kind)?;
    }
    loop {
        for object in &page.objects {
            // Delete markers are no objects.
            let Some(bytes) = object.bytes else { continue };
            let found = Found {
                // A name that is no UTF-8 is named by no URI; the folders above it are.
                name: String::from_utf8_lossy(&object.name).into_owned(),
                bytes,
            };
            if tell.send(Ok(found)).await.is_err() {
                return Ok(());
            }
        }
        if !pages.advance(&page).map_err(RequestError::kind)? {
            return Ok(());
        }
        page = pages.look().await.map_err(RequestError::kind)?;
    }
}
