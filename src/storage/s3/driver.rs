//! S3 as a purge and a comparison see it.

use super::super::backoff::Backoff;
use super::super::driver::{Bucket, Cursor, Driver, Listing, ListingPage, Object, Removed};
use super::super::request::RequestError;
use super::S3Store;
use super::bucket::S3Bucket;
use super::error::Verdict;
use super::page::Asked;
use super::removal;
use crate::storage::deletion::BlobErrorKind;
use async_trait::async_trait;
use std::sync::atomic::Ordering;

impl Driver for S3Store {
    fn bucket<'a>(&'a self, name: &'a str) -> Box<dyn Bucket + 'a> {
        Box::new(S3Bucket::new(self, name))
    }

    fn backoff(&self) -> Backoff {
        self.backoff
    }
}

#[async_trait]
impl Bucket for S3Bucket<'_> {
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
        from: Option<&Cursor>,
    ) -> Result<ListingPage, RequestError> {
        let asked = Asked {
            bucket: self.name,
            prefix,
            from,
        };
        let page = self.page(listing, asked).await;
        if let Err(RequestError::Permanent(
            BlobErrorKind::PermissionDenied | BlobErrorKind::MissingRight { .. },
        )) = page
        {
            // Others may have been given the right by the next attempt.
            self.store.clients.discard_current();
        }
        page
    }

    async fn glance(&self, prefix: &str) -> Result<ListingPage, RequestError> {
        let asked = Asked {
            bucket: self.name,
            prefix,
            from: None,
        };
        Ok(self.objects(asked, Some(1)).await?)
    }

    async fn remove(&self, batch: Vec<Object>) -> Removed {
        removal::remove(self, batch).await
    }
}

impl S3Bucket<'_> {
    async fn page(&self, listing: Listing, asked: Asked<'_>) -> Result<ListingPage, RequestError> {
        match listing {
            Listing::Objects => Ok(self.objects(asked, None).await?),
            Listing::Versions if self.is_unversioned() => self.without_versions(false).await,
            Listing::Versions => match self.versions(asked).await {
                Ok(page) => Ok(page),
                Err(error) => match error.verdict {
                    Verdict::NotImplemented => self.without_versions(true).await,
                    Verdict::Denied => self.without_versions(false).await,
                    _ => Err(error.into()),
                },
            },
            Listing::Uploads => match self.uploads(asked).await {
                Ok(page) => Ok(page),
                Err(error) => match error.verdict {
                    Verdict::NotImplemented if self.is_plain() => Ok(ListingPage::default()),
                    Verdict::NotImplemented => Err(RequestError::Transient(BlobErrorKind::MissingRight {
                        what: "unfinished uploads",
                        right: "s3:ListBucketMultipartUploads is not granted",
                        odd: true,
                    })),
                    _ => Err(error.into()),
                },
            },
        }
    }
}
