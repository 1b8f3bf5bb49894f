//! Looking at S3 without touching it.

use super::super::blob::BlobErrorKind;
use super::super::survey::{Met, Unread};
use super::super::uri::BucketPlace;
use super::S3Store;
use super::failure::{Failure, Verdict};
use super::page::{self, Listing, Marker, Page, Scope};
use tokio::sync::mpsc;

impl S3Store {
    /// Whether the object or anything in the folder is there, in its current version.
    pub(crate) async fn holds(&self, place: &BucketPlace) -> Result<bool, BlobErrorKind> {
        let object = place.object().map(|key| Scope::Object(key.to_owned()));
        for scope in object.into_iter().chain([Scope::Folder(place.folder())]) {
            let found = self
                .page(place.bucket(), Listing::Objects, &scope, &Marker::default())
                .await
                .map_err(Failure::kind)?;
            if !found.victims.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every version of every object under a prefix, in the order of the keys.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        tell: &mpsc::Sender<Result<Met, Unread>>,
    ) -> Result<(), BlobErrorKind> {
        let scope = Scope::Folder(if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        });
        let mut listing = Listing::Versions;
        let mut marker = Some(Marker::default());
        while let Some(from) = marker.take() {
            let page = match self.page(bucket, listing, &scope, &from).await {
                Err(Failure {
                    verdict: Verdict::NotImplemented,
                    ..
                }) if listing == Listing::Versions => {
                    listing = Listing::Objects;
                    marker = Some(Marker::default());
                    continue;
                }
                page => page.map_err(Failure::kind)?,
            };
            for object in page.victims {
                // Delete markers are no objects.
                let Some(bytes) = object.bytes else { continue };
                let met = Met {
                    name: object.key,
                    bytes,
                };
                if tell.send(Ok(met)).await.is_err() {
                    return Ok(());
                }
            }
            marker = page.next;
        }
        Ok(())
    }

    async fn page(
        &self,
        bucket: &str,
        listing: Listing,
        scope: &Scope,
        from: &Marker,
    ) -> Result<Page, Failure> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match page::fetch(&self.client, bucket, listing, scope, from).await {
                Err(failure) if failure.is_transient() => match self.backoff.after(attempt) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(failure),
                },
                page => return page,
            }
        }
    }
}
