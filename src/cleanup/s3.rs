//! S3 and servers that speak its protocol: every version, every delete marker, every unfinished upload, by exact key.
//!
//! This file configures the client; `purge` deletes and decides when it is over, `page` lists, `failure` reads errors, `survey` only looks.

mod failure;
mod page;
mod purge;
mod survey;

pub use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, BlobStore, Cleaned, Progress};
use super::uri::{Cloud, Place, StorageUri};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use failure::Failure;
use purge::Purge;
use std::time::Duration;

/// How to reach S3. Credentials come from the AWS chain: environment, shared files, web identity, container, instance.
#[derive(Debug, Clone, Default)]
pub struct S3Options {
    /// Another server than AWS, such as `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// The region; absent: from the AWS chain, or else `us-east-1`.
    pub region: Option<String>,
    /// `http://server/bucket/key` in place of `http://bucket.server/key`, which most other servers need.
    pub force_path_style: bool,
}

/// Deletes from S3.
///
/// `Cleaned::bytes` is the size that the listing told. A bucket without versioning and a server without the versioning API
/// (501 to `ListObjectVersions`) are served as well. Directory buckets (S3 Express) are not: their listings are unsorted.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    backoff: Backoff,
}

impl S3Store {
    /// Loads the AWS configuration; speaks to no storage.
    pub async fn connect(options: S3Options) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = options.region {
            loader = loader.region(Region::new(region));
        }
        let shared = loader.load().await;
        let region = shared
            .region()
            .cloned()
            .unwrap_or_else(|| Region::from_static("us-east-1"));
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(options.force_path_style)
            .region(region);
        if let Some(endpoint) = options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self::from_config(config)
    }

    /// A store on a configuration made elsewhere; its timeouts and retries are replaced by ours.
    #[must_use]
    pub fn from_config(config: aws_sdk_s3::config::Builder) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(Duration::from_secs(30))
            .build();
        let config = config
            .timeout_config(timeouts)
            // Retries are ours alone: those of single keys inside a 200 answer must share them.
            .retry_config(RetryConfig::disabled())
            // Other servers than AWS do not all know the newer checksums; where S3 requires one, it is sent anyway.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self {
            client: Client::from_conf(config),
            backoff: Backoff::default(),
        }
    }

    /// Replaces the waits between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Lists at most one object of a storage root.
    ///
    /// # Errors
    /// What stands in the way, after one attempt.
    pub(crate) async fn probe(&self, bucket: &str, prefix: &str) -> Result<(), BlobErrorKind> {
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        let request = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .max_keys(1);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(e) => Err(Failure::read(&e).kind()),
        }
    }
}

#[async_trait]
impl BlobStore for S3Store {
    async fn purge(&self, uri: &StorageUri, progress: Progress<'_>) -> Result<Cleaned, BlobError> {
        let place = match uri.place() {
            Place::Bucket(place) if place.cloud() == Cloud::S3 => place,
            Place::Bucket(_) | Place::Local(_) => {
                return Err(BlobErrorKind::NotConnected.after(Cleaned::default()));
            }
        };
        let purge = Purge::new(&self.client, self.backoff, place.bucket(), progress);
        let outcome = purge.run(place).await;
        let done = purge.done();
        match outcome {
            Ok(()) => {
                progress(done);
                Ok(done)
            }
            Err(kind) => Err(kind.after(done)),
        }
    }
}
