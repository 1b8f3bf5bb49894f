//! One bucket of S3: what is listed of it, and whether that is all.

use super::super::driver::ListingPage;
use super::super::request::RequestError;
use super::S3Store;
use super::error::{S3Error, Verdict};
use super::page::{self, Asked, Versioning};
use super::raw::Capture;
use crate::storage::deletion::BlobErrorKind;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A bucket, and what was learnt of its server in one purge.
pub(super) struct S3Bucket<'a> {
    pub(super) store: &'a S3Store,
    pub(super) name: &'a str,
    /// The bucket has never kept versions, and its server does not list them.
    pub(super) unversioned: AtomicBool,
    /// How many bulk deletions in a row the server has not taken.
    pub(super) bulk_refused: AtomicU32,
}

impl<'a> S3Bucket<'a> {
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
    pub(super) async fn ask<T, F, Fut>(&self, request: F) -> Result<T, S3Error>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, S3Error>>,
    {
        let mut again = true;
        loop {
            let (client, number) = self.store.clients.get().await;
            let error = match request(client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.verdict {
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
                | Verdict::Foreign
                | Verdict::Unreadable
                | Verdict::Rejected => {}
            }
            return Err(error);
        }
    }

    pub(super) async fn objects(&self, asked: Asked<'_>, most: Option<i32>) -> Result<ListingPage, S3Error> {
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

    pub(super) async fn versions(&self, asked: Asked<'_>) -> Result<ListingPage, S3Error> {
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

    pub(super) async fn uploads(&self, asked: Asked<'_>) -> Result<ListingPage, S3Error> {
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

    async fn versioning(&self) -> Result<Versioning, S3Error> {
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

    pub(super) fn is_plain(&self) -> bool {
        self.store.plain.contains(self.name)
    }

    /// Where versions cannot be listed: whether there can be none. What keeps them out of sight is an odd answer that may pass
    /// (`odd`), or a right that is missing.
    pub(super) async fn without_versions(&self, odd: bool) -> Result<ListingPage, RequestError> {
        let missing = |right, odd| {
            let kind = BlobErrorKind::MissingRight {
                what: "older versions",
                right,
                odd,
            };
            if odd {
                RequestError::Transient(kind)
            } else {
                RequestError::Permanent(kind)
            }
        };
        match self.versioning().await {
            Ok(Versioning::Never) => {}
            Ok(Versioning::Kept) => {
                return Err(missing(
                    "the bucket keeps versions, and s3:ListBucketVersions is not granted",
                    odd,
                ));
            }
            Err(error) => match error.verdict {
                Verdict::NotImplemented | Verdict::Denied if self.is_plain() => {}
                Verdict::NotImplemented
                | Verdict::Denied
                | Verdict::Gone
                | Verdict::Unreadable
                | Verdict::Rejected => {
                    return Err(missing(
                        "s3:ListBucketVersions is not granted, nor s3:GetBucketVersioning to tell that the bucket has never kept any",
                        odd || error.verdict == Verdict::NotImplemented,
                    ));
                }
                Verdict::NoSuchBucket
                | Verdict::NoCredentials
                | Verdict::Expired
                | Verdict::Unknown
                | Verdict::Throttled
                | Verdict::Unavailable
                | Verdict::Doubtful(_)
                | Verdict::Foreign => return Err(error.into()),
            },
        }
        self.unversioned.store(true, Ordering::Relaxed);
        Ok(ListingPage::default())
    }
}
