//! S3 and servers that speak its protocol: every version, every delete marker, every unfinished upload, by exact key.
//!
//! This file says how S3 is reached; `driver` is what a purge and a comparison see of a bucket: `bucket` lists it, `page` judges what is
//! listed, `removal` deletes, `error` reads errors, `raw` keeps answers as they came, and `clients` holds the client and its credentials.

mod bucket;
mod clients;
mod driver;
mod error;
mod page;
mod raw;
mod removal;

pub use super::backoff::Backoff;
use clients::Clients;
use std::collections::BTreeSet;
use std::env;
use std::sync::Arc;
use url::Url;

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

impl S3Options {
    /// The server that requests go to, as far as options and environment name one: the AWS chain takes it from there too.
    pub(super) fn server(&self) -> Option<Url> {
        let is_ignored = env::var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_ok_and(|value| value == "true");
        let variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        let named = || variables.iter().find_map(|name| env::var(name).ok());
        let server = self
            .endpoint
            .clone()
            .or_else(|| named().filter(|_| !is_ignored))?;
        server.parse().ok()
    }
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
}
