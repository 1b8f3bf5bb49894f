//! The S3 client, and another one when its credentials are no longer taken.
//!
//! The SDK keeps credentials for as long as they say they are good, and its shared files for ever. Where the server sees it
//! otherwise, everything is read anew: environment, files, web identity, container, instance.

use super::S3Options;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where clients come from.
#[derive(Debug)]
enum Source {
    /// The AWS chain, read anew each time.
    Chain(S3Options),
    /// A configuration made elsewhere, with its provider of credentials.
    Config(Box<Builder>),
}

#[derive(Debug, Clone)]
struct Current {
    client: Client,
    /// Which client it is, counted from 0.
    number: u64,
    /// Its credentials were not taken.
    spent: bool,
}

/// The client in use.
#[derive(Debug)]
pub(super) struct Clients {
    source: Source,
    current: Mutex<Current>,
    /// Held by whoever makes the next client.
    making: tokio::sync::Mutex<()>,
}

impl Clients {
    pub(super) async fn from_chain(options: S3Options) -> Self {
        let client = chain(&options).await;
        Self::new(Source::Chain(options), client)
    }

    pub(super) fn from_config(config: Builder) -> Self {
        let client = client(config.clone());
        Self::new(Source::Config(Box::new(config)), client)
    }

    fn new(source: Source, client: Client) -> Self {
        let current = Current {
            client,
            number: 0,
            spent: false,
        };
        Self {
            source,
            current: Mutex::new(current),
            making: tokio::sync::Mutex::new(()),
        }
    }

    fn look(&self) -> Current {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A client whose credentials were taken when it was last heard of, and its number.
    pub(super) async fn get(&self) -> (Client, u64) {
        let current = self.look();
        if !current.spent {
            return (current.client, current.number);
        }
        let _making = self.making.lock().await;
        let current = self.look();
        if !current.spent {
            return (current.client, current.number);
        }
        let client = match &self.source {
            Source::Chain(options) => chain(options).await,
            Source::Config(config) => client((**config).clone()),
        };
        let next = Current {
            client,
            number: current.number + 1,
            spent: false,
        };
        let taken = (next.client.clone(), next.number);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = next;
        tracing::info!("the credentials for S3 are loaded anew");
        taken
    }

    /// Has the next request load everything anew, if this client is still the one in use.
    pub(super) fn discard(&self, number: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.spent |= current.number == number;
    }
}

impl Clients {
    /// As [`Clients::discard`], whichever client is in use.
    pub(super) fn discard_current(&self) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).spent = true;
    }
}

async fn chain(options: &S3Options) -> Client {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let shared = loader.load().await;
    let region = shared
        .region()
        .cloned()
        .unwrap_or_else(|| Region::from_static("us-east-1"));
    let mut config = Builder::from(&shared)
        .force_path_style(options.force_path_style)
        .region(region);
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    client(config)
}

fn client(config: Builder) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(30))
        .build();
    let config = config
        .timeout_config(timeouts)
        .identity_cache(IdentityCache::lazy().build())
        // Retries are ours alone: those of single keys inside a 200 answer must share them.
        .retry_config(RetryConfig::disabled())
        // Other servers than AWS do not all know the newer checksums; where S3 requires one, it is sent anyway.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}
