//! One bucket of S3: what is listed of it, and whether that is all.

use super::super::blob::BlobErrorKind;
use super::super::listing::{self, Container, Found, Listing, Marker, Page, Removed};
use super::S3Store;
use super::failure::{Failure, Verdict};
use super::page::{self, Asked, Versioning};
use super::raw::Capture;
use super::removal;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A bucket, and what was learnt of its server in one purge.
pub(super) struct Bucket<'a> {
    pub(super) store: &'a S3Store,
    pub(super) name: &'a str,
    /// The bucket has never kept versions, and its server does not list them.
    unversioned: AtomicBool,
    /// How many bulk deletions in a row the server has not taken.
    pub(super) bulk_refused: AtomicU32,
}

impl<'a> Bucket<'a> {
    pub(super) fn new(store: &'a S3Store, name: &'a str) -> Self {
        Self {
            store,
            name,
            unversioned: AtomicBool::new(false),
            bulk_refused: AtomicU32::new(0),
        }
    }

    /// Sends a request. Credentials that are not taken are loaded anew for the next one, and for a second try at once where others
    /// may have taken their place.
    pub(super) async fn ask<T, F, Fut>(&self, request: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let mut again = true;
        loop {
            let (client, number) = self.store.clients.get().await;
            let failure = match request(client).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure.verdict {
                Verdict::Unknown => {
                    self.store.clients.discard(number);
                    if again {
                        again = false;
                        continue;
                    }
                }
                Verdict::Expired | Verdict::NoCredentials => self.store.clients.discard(number),
                Verdict::Gone
                | Verdict::Denied
                | Verdict::NotImplemented
                | Verdict::NoSuchBucket
                | Verdict::Throttled
                | Verdict::Unavailable
                | Verdict::Doubtful(_)
                | Verdict::Unreadable
                | Verdict::Rejected => {}
            }
            return Err(failure);
        }
    }

    async fn objects(&self, asked: Asked<'_>, most: Option<i32>) -> Result<Page, Failure> {
        self.ask(|client| async move {
            let capture = Capture::default();
            let outcome = client
                .list_objects_v2()
                .bucket(asked.bucket)
                .prefix(asked.prefix)
                .encoding_type(EncodingType::Url)
                .set_max_keys(most)
                .set_continuation_token(asked.from.and_then(|from| from.token.clone()))
                .customize()
                .interceptor(capture.clone())
                .send()
                .await;
            Ok(page::objects(&capture.body(outcome)?, asked)?)
        })
        .await
    }

    async fn versions(&self, asked: Asked<'_>) -> Result<Page, Failure> {
        self.ask(|client| async move {
            let capture = Capture::default();
            let outcome = client
                .list_object_versions()
                .bucket(asked.bucket)
                .prefix(asked.prefix)
                .encoding_type(EncodingType::Url)
                .set_key_marker(asked.from.and_then(|from| from.name.clone()))
                .set_version_id_marker(asked.from.and_then(|from| from.token.clone()))
                .customize()
                .interceptor(capture.clone())
                .send()
                .await;
            Ok(page::versions(&capture.body(outcome)?, asked)?)
        })
        .await
    }

    async fn uploads(&self, asked: Asked<'_>) -> Result<Page, Failure> {
        self.ask(|client| async move {
            let capture = Capture::default();
            let outcome = client
                .list_multipart_uploads()
                .bucket(asked.bucket)
                .prefix(asked.prefix)
                .encoding_type(EncodingType::Url)
                .set_key_marker(asked.from.and_then(|from| from.name.clone()))
                .set_upload_id_marker(asked.from.and_then(|from| from.token.clone()))
                .customize()
                .interceptor(capture.clone())
                .send()
                .await;
            Ok(page::uploads(&capture.body(outcome)?, asked)?)
        })
        .await
    }

    async fn versioning(&self) -> Result<Versioning, Failure> {
        self.ask(|client| async move {
            let capture = Capture::default();
            let outcome = client
                .get_bucket_versioning()
                .bucket(self.name)
                .customize()
                .interceptor(capture.clone())
                .send()
                .await;
            Ok(page::versioning(&capture.body(outcome)?)?)
        })
        .await
    }

    fn is_plain(&self) -> bool {
        self.store.plain.contains(self.name)
    }

    /// Where versions cannot be listed: whether there can be none. What keeps them out of sight is an odd answer that may pass
    /// (`odd`), or a right that is missing.
    async fn without_versions(&self, odd: bool) -> Result<Page, listing::Failure> {
        let missing = |right| {
            let kind = BlobErrorKind::MissingRight {
                what: "older versions",
                right,
                odd,
            };
            if odd {
                listing::Failure::Passing(kind)
            } else {
                listing::Failure::Stands(kind)
            }
        };
        match self.versioning().await {
            Ok(Versioning::Never) => {}
            Ok(Versioning::Kept) => {
                return Err(missing(
                    "the bucket keeps versions, and s3:ListBucketVersions is not granted",
                ));
            }
            Err(failure) => match failure.verdict {
                Verdict::NotImplemented | Verdict::Denied if self.is_plain() => {}
                Verdict::NotImplemented
                | Verdict::Denied
                | Verdict::Gone
                | Verdict::Unreadable
                | Verdict::Rejected => {
                    return Err(missing(
                        "s3:ListBucketVersions is not granted, nor s3:GetBucketVersioning to tell that the bucket has never kept any",
                    ));
                }
                Verdict::NoSuchBucket
                | Verdict::NoCredentials
                | Verdict::Expired
                | Verdict::Unknown
                | Verdict::Throttled
                | Verdict::Unavailable
                | Verdict::Doubtful(_) => return Err(failure.into()),
            },
        }
        self.unversioned.store(true, Ordering::Relaxed);
        Ok(Page::default())
    }
}

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
            Listing::Objects => match self.objects(asked, None).await {
                // Whatever speaks S3 lists objects.
                Err(failure) if failure.verdict == Verdict::NotImplemented => {
                    Err(listing::Failure::doubt("it is none that such a storage gives"))
                }
                outcome => Ok(outcome?),
            },
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
