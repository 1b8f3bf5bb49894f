//! Looking at a bucket without touching it.

use super::backoff::Backoff;
use super::blob::BlobErrorKind;
use super::listing::{Container, Failure, Listing, Pages};
use super::tree::{Met, Unread};
use super::uri::BucketPlace;
use tokio::sync::mpsc;

/// Lists one page under a root, without patience: to tell at start what would fail later.
pub(super) async fn probe(container: &dyn Container, prefix: &str) -> Result<(), BlobErrorKind> {
    container
        .glance(&folder(prefix))
        .await
        .map(drop)
        .map_err(Failure::kind)
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
    container: &dyn Container,
    backoff: Backoff,
    place: &BucketPlace,
) -> Result<bool, BlobErrorKind> {
    if let Some(key) = place.object() {
        let mut pages = Pages::new(container, backoff, container.present(), key);
        loop {
            let page = pages.look().await.map_err(Failure::kind)?;
            if page
                .found
                .iter()
                .any(|found| found.current && found.name == key.as_bytes())
            {
                return Ok(true);
            }
            if pages.is_past(&page, key.as_bytes()) || !pages.advance(&page).map_err(Failure::kind)? {
                break;
            }
        }
    }
    let folder = place.folder();
    let mut pages = Pages::new(container, backoff, container.present(), &folder);
    loop {
        let page = pages.look().await.map_err(Failure::kind)?;
        if page.found.iter().any(|found| found.current) {
            return Ok(true);
        }
        if !pages.advance(&page).map_err(Failure::kind)? {
            return Ok(false);
        }
    }
}

/// Tells of every version of every object under a prefix, until nobody listens.
pub(super) async fn walk(
    container: &dyn Container,
    backoff: Backoff,
    prefix: &str,
    tell: &mpsc::Sender<Result<Met, Unread>>,
) -> Result<(), BlobErrorKind> {
    let folder = folder(prefix);
    let mut pages = Pages::new(container, backoff, Listing::Versions, &folder);
    let mut page = pages.look().await.map_err(Failure::kind)?;
    if container.is_unversioned() {
        pages = Pages::new(container, backoff, Listing::Objects, &folder);
        page = pages.look().await.map_err(Failure::kind)?;
    }
    loop {
        for found in &page.found {
            // Delete markers are no objects.
            let Some(bytes) = found.bytes else { continue };
            let met = Met {
                // A name that is no UTF-8 is named by no URI; the folders above it are.
                name: String::from_utf8_lossy(&found.name).into_owned(),
                bytes,
            };
            if tell.send(Ok(met)).await.is_err() {
                return Ok(());
            }
        }
        if !pages.advance(&page).map_err(Failure::kind)? {
            return Ok(());
        }
        page = pages.look().await.map_err(Failure::kind)?;
    }
}
