//! Credentials of `object_store` for the clouds that are spoken to over `rest.rs`.

use super::request::RequestError;
use crate::storage::deletion::BlobErrorKind;
use crate::telemetry;
use object_store::client::CredentialProvider;
use object_store::{ClientOptions, RetryConfig};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why a cloud cannot be used from the start.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// A credentials file that is unreadable, or settings that contradict each other.
    #[error("its credentials cannot be used")]
    Credentials(#[source] object_store::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
    /// The address that everything is sent to.
    #[error("its address is no URL")]
    Address(#[source] url::ParseError),
    /// Azure's containers belong to an account.
    #[error("no account is named: set --azure-account")]
    NoAccount,
}

/// The settings of a cloud's credentials.
pub(super) trait Settings: Clone + Send + Sync {
    type Credential;

    /// What the cloud is called in the log.
    const CLOUD: &'static str;

    /// Reads files and asks nobody yet.
    fn load(self) -> Result<Provider<Self>, object_store::Error>;
}

pub(super) type Provider<S> = Arc<dyn CredentialProvider<Credential = <S as Settings>::Credential>>;

/// Credentials, and how to load them anew when they are no longer taken.
pub(super) struct Credentials<S: Settings> {
    settings: S,
    provider: Mutex<Provider<S>>,
}

impl<S: Settings> Credentials<S> {
    pub(super) fn new(settings: S) -> Result<Self, CloudError> {
        let provider = settings.clone().load().map_err(CloudError::Credentials)?;
        Ok(Self {
            settings,
            provider: Mutex::new(provider),
        })
    }

    /// What proves this service to the cloud now.
    pub(super) async fn get(&self) -> Result<Arc<S::Credential>, RequestError> {
        let provider = Arc::clone(&self.provider.lock().unwrap_or_else(PoisonError::into_inner));
        provider.get_credential().await.map_err(|error| none::<S>(&error))
    }

    /// Forgets tokens and files that were read.
    pub(super) fn renew(&self) {
        match self.settings.clone().load() {
            Ok(provider) => *self.provider.lock().unwrap_or_else(PoisonError::into_inner) = provider,
            Err(error) => {
                let cloud = S::CLOUD;
                tracing::warn!(error = %telemetry::chain(&error), "the credentials for {cloud} cannot be loaded anew");
            }
        }
    }
}

/// There are no credentials that a request could be signed with.
pub(super) fn none<S: Settings>(error: &object_store::Error) -> RequestError {
    let cloud = S::CLOUD;
    tracing::warn!(error = %telemetry::chain(error), "no credentials for {cloud}");
    RequestError::Permanent(BlobErrorKind::NoCredentials)
}

/// How often and for how long credentials are asked for where they come over the network.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
        ..RetryConfig::default()
    }
}

/// How long one such request may take.
pub(super) fn client_options() -> ClientOptions {
    ClientOptions::new().with_timeout(Duration::from_secs(10))
}
