//! S3 and servers that speak its protocol: every version, every delete marker, every unfinished upload, by exact key.
//!
//! This file is the door; `bucket` lists, `page` judges what is listed, `removal` deletes, `failure` reads errors, `raw` keeps
//! answers as they came, and `clients` holds the client and its credentials.

mod bucket;
mod clients;
mod container;
mod failure;
mod page;
mod raw;
mod removal;

pub use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, Cleaned};
use super::driver::BlobStore;
use super::look;
use super::progress::Progress;
use super::sweep;
use super::tree::{Met, Unread};
use super::uri::{BucketPlace, Cloud, Place, StorageUri};
use async_trait::async_trait;
use bucket::Bucket;
use clients::Clients;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How to reach S3. Credentials come from the AWS chain: environment, shared files, web identity, container, instance.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// Another server than AWS, such as `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// The region; absent: from the AWS chain, or else `us-east-1`.
    pub region: Option<String>,
    /// `http://server/bucket/key` in place of `http://bucket.server/key`, which most other servers need.
    pub force_path_style: bool,
    /// Buckets whose server knows neither versions nor, perhaps, unfinished uploads, by the operator's word.
    pub plain_buckets: BTreeSet<String>,
}

/// Deletes from S3.
///
/// `Cleaned::bytes` is the size that the listing told. A bucket that has never kept versions is served by a server that does not
/// list them as well, if it says so (`GetBucketVersioning`). Directory buckets (S3 Express) keep neither; their order is not
/// relied on.
#[derive(Debug, Clone)]
pub struct S3Store {
    clients: Arc<Clients>,
    plain: Arc<BTreeSet<String>>,
    backoff: Backoff,
}

impl S3Store {
    /// Loads the AWS configuration; speaks to no storage.
    pub async fn connect(options: S3Options) -> Self {
        let plain = Arc::new(options.plain_buckets.clone());
        Self {
            clients: Arc::new(Clients::from_chain(options).await),
            plain,
            backoff: Backoff::default(),
        }
    }

    /// A store on a configuration made elsewhere; its timeouts, retries and cache of credentials are replaced by ours.
    #[must_use]
    pub fn from_config(config: aws_sdk_s3::config::Builder) -> Self {
        Self {
            clients: Arc::new(Clients::from_config(config)),
            plain: Arc::default(),
            backoff: Backoff::default(),
        }
    }

    /// Replaces the waits between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Takes the operator's word that these buckets keep no versions.
    #[must_use]
    pub fn with_plain_buckets(mut self, buckets: BTreeSet<String>) -> Self {
        self.plain = Arc::new(buckets);
        self
    }

    fn bucket<'a>(&'a self, name: &'a str) -> Bucket<'a> {
        Bucket::new(self, name)
    }

    /// Lists a page of a storage root.
    ///
    /// # Errors
    /// What stands in the way, after one attempt.
    pub(crate) async fn probe(&self, bucket: &str, prefix: &str) -> Result<(), BlobErrorKind> {
        look::probe(&self.bucket(bucket), prefix).await
    }

    /// Whether the object or anything in the folder is there, in its current version.
    pub(crate) async fn holds(&self, place: &BucketPlace) -> Result<bool, BlobErrorKind> {
        look::holds(&self.bucket(place.bucket()), self.backoff, place).await
    }

    /// Every version of every object under a prefix, in the order of the keys.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        tell: &mpsc::Sender<Result<Met, Unread>>,
    ) -> Result<(), BlobErrorKind> {
        look::walk(&self.bucket(bucket), self.backoff, prefix, tell).await
    }
}

#[async_trait]
impl BlobStore for S3Store {
    async fn purge(&self, uri: &StorageUri, progress: &Progress<'_>) -> Result<Cleaned, BlobError> {
        match uri.place() {
            Place::Bucket(place) if place.cloud() == Cloud::S3 => {
                sweep::purge(&self.bucket(place.bucket()), self.backoff, place, progress).await
            }
            Place::Bucket(_) | Place::Local(_) => Err(BlobErrorKind::NotConnected.after(Cleaned::default())),
        }
    }
}
