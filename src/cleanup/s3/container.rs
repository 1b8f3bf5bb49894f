//! A bucket of S3 as a purge and a comparison see it.

use super::super::blob::BlobErrorKind;
use super::super::listing::{self, Container, Found, Listing, Marker, Page, Removed};
use super::bucket::Bucket;
use super::failure::Verdict;
use super::page::Asked;
use super::removal;
use async_trait::async_trait;
use std::sync::atomic::Ordering;

#[async_trait]
impl Container for Bucket<'_> {
    fn listings(&self) -> &'static [Listing] {
        &[Listing::Uploads, Listing::Versions, Listing::Objects]
    }

    fn present(&self) -> Listing {
        Listing::Objects
    }

    fn is_unversioned(&self) -> bool {
        self.unversioned.load(Ordering::Relaxed)
    }

    async fn list(
        &self,
        listing: Listing,
        prefix: &str,
        from: Option<&Marker>,
    ) -> Result<Page, listing::Failure> {
        let asked = Asked {
            bucket: self.name,
            prefix,
            from,
        };
        let page = self.page(listing, asked).await;
        if let Err(listing::Failure::Stands(
            BlobErrorKind::PermissionDenied | BlobErrorKind::MissingRight { .. },
        )) = page
        {
            // Others may have been given the right by the next attempt.
            self.store.clients.discard_current();
        }
        page
    }

    async fn glance(&self, prefix: &str) -> Result<Page, listing::Failure> {
        let asked = Asked {
            bucket: self.name,
            prefix,
            from: None,
        };
        Ok(self.objects(asked, Some(1)).await?)
    }

    async fn remove(&self, batch: Vec<Found>) -> Removed {
        removal::remove(self, batch).await
    }
}

impl Bucket<'_> {
    async fn page(&self, listing: Listing, asked: Asked<'_>) -> Result<Page, listing::Failure> {
        match listing {
            Listing::Objects => Ok(self.objects(asked, None).await?),
            Listing::Versions if self.is_unversioned() => self.without_versions(false).await,
            Listing::Versions => match self.versions(asked).await {
                Ok(page) => Ok(page),
                Err(failure) => match failure.verdict {
                    Verdict::NotImplemented => self.without_versions(true).await,
                    Verdict::Denied => self.without_versions(false).await,
                    _ => Err(failure.into()),
                },
            },
            Listing::Uploads => match self.uploads(asked).await {
                Ok(page) => Ok(page),
                Err(failure) => match failure.verdict {
                    Verdict::NotImplemented if self.is_plain() => Ok(Page::default()),
                    Verdict::NotImplemented => Err(listing::Failure::Passing(BlobErrorKind::MissingRight {
                        what: "unfinished uploads",
                        right: "s3:ListBucketMultipartUploads is not granted",
                        odd: true,
                    })),
                    _ => Err(failure.into()),
                },
            },
        }
    }
}
