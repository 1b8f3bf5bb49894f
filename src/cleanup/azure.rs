//! Azure Blob Storage: every blob, version and snapshot, by exact name, through its REST API.
//!
//! The credentials and signatures are those of `object_store` (access key, shared access signature, service principal,
//! workload or managed identity); its listing is not used, because it cannot name keys such as `a//b` or `a/`, and does not
//! show versions and snapshots.
//!
//! `page` judges what is listed, `failure` reads refusals.

mod failure;
mod page;

use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, Cleaned};
use super::driver::BlobStore;
use super::gcs::CloudError;
use super::listing::{Container, Failure, Found, Kind, Listing, Marker, Page, Removed};
use super::look;
use super::progress::Progress;
use super::rest::{Answer, Rest, remove_each};
use super::sweep;
use super::tree::{Met, Unread};
use super::uri::{BucketPlace, Cloud, Place, StorageUri};
use async_trait::async_trait;
use failure::failure;
use object_store::azure::{AzureAuthorizer, AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::HttpRequestBody;
use object_store::{ClientOptions, RetryConfig};
use reqwest::Method;
use reqwest::header::HeaderValue;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use url::Url;

/// The version of the protocol, <https://learn.microsoft.com/rest/api/storageservices/versioning-for-the-azure-storage-services>.
const VERSION: &str = "2023-11-03";

/// How to reach Azure. Credentials come from the `AZURE_*` variables or the machine's own identity.
#[derive(Debug, Clone, Default)]
pub struct AzureOptions {
    /// The storage account; absent: `AZURE_STORAGE_ACCOUNT_NAME`.
    pub account: Option<String>,
    /// Another server than `https://ACCOUNT.blob.core.windows.net`, such as `http://127.0.0.1:10000/ACCOUNT`.
    pub endpoint: Option<Url>,
}

/// Deletes from Azure.
///
/// Versions and snapshots go with their blobs. What the account's soft-delete policy retains, nobody can delete before its
/// time; blocks that were never committed to a blob go by themselves within a week.
#[derive(Clone)]
pub struct AzureStore {
    rest: Rest,
    account: String,
    credentials: Option<Arc<Credentials>>,
    backoff: Backoff,
}

/// Credentials, and how to load them anew when they are no longer taken.
struct Credentials {
    settings: MicrosoftAzureBuilder,
    provider: Mutex<AzureCredentialProvider>,
}

impl Credentials {
    fn new(settings: MicrosoftAzureBuilder) -> Result<Self, object_store::Error> {
        let provider = Mutex::new(Arc::clone(settings.clone().build()?.credentials()));
        Ok(Self { settings, provider })
    }

    fn provider(&self) -> AzureCredentialProvider {
        Arc::clone(&self.provider.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets tokens and files that were read.
    fn renew(&self) {
        match self.settings.clone().build() {
            Ok(store) => {
                *self.provider.lock().unwrap_or_else(PoisonError::into_inner) =
                    Arc::clone(store.credentials());
            }
            Err(error) => {
                tracing::warn!(error = %crate::telemetry::chain(&error), "the credentials for Azure cannot be loaded anew");
            }
        }
    }
}

impl AzureStore {
    /// Reads the credentials' settings; speaks to no storage. `container` is any container that will be asked for.
    ///
    /// # Errors
    /// [`CloudError`], when no account is named or credentials that cannot be used are.
    pub fn connect(options: AzureOptions, container: &str) -> Result<Self, CloudError> {
        Self::from_builder(options, MicrosoftAzureBuilder::from_env(), container)
    }

    /// As [`AzureStore::connect`], with the account's access key in place of the environment.
    ///
    /// # Errors
    /// As [`AzureStore::connect`].
    pub fn with_access_key(options: AzureOptions, key: &str, container: &str) -> Result<Self, CloudError> {
        let builder = MicrosoftAzureBuilder::new().with_access_key(key);
        Self::from_builder(options, builder, container)
    }

    fn from_builder(
        options: AzureOptions,
        builder: MicrosoftAzureBuilder,
        container: &str,
    ) -> Result<Self, CloudError> {
        let account = options
            .account
            .or_else(|| builder.get_config_value(&AzureConfigKey::AccountName))
            .ok_or(CloudError::NoAccount)?;
        let base = match options.endpoint {
            Some(endpoint) => endpoint,
            None => Url::parse(&format!("https://{account}.blob.core.windows.net"))
                .map_err(CloudError::Address)?,
        };
        let unsigned = builder
            .get_config_value(&AzureConfigKey::SkipSignature)
            .is_some_and(|value| value == "true");
        let credentials = if unsigned {
            None
        } else {
            let retry = RetryConfig {
                max_retries: 2,
                retry_timeout: Duration::from_secs(10),
                ..RetryConfig::default()
            };
            let settings = builder
                .with_use_emulator(false)
                .with_account(&account)
                .with_container_name(container)
                .with_retry(retry)
                .with_client_options(ClientOptions::new().with_timeout(Duration::from_secs(10)));
            let credentials = Credentials::new(settings).map_err(CloudError::Credentials)?;
            Some(Arc::new(credentials))
        };
        Ok(Self {
            rest: Rest::new(&base).map_err(CloudError::Client)?,
            account,
            credentials,
            backoff: Backoff::default(),
        })
    }

    /// Replaces the waits between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Lists a page of a storage root.
    ///
    /// # Errors
    /// What stands in the way, after one attempt.
    pub(crate) async fn probe(&self, container: &str, prefix: &str) -> Result<(), BlobErrorKind> {
        look::probe(&self.container(container), prefix).await
    }

    fn container<'a>(&'a self, name: &'a str) -> AzureContainer<'a> {
        AzureContainer { store: self, name }
    }

    /// Whether the object or anything in the folder is there, in its current version.
    pub(crate) async fn holds(&self, place: &BucketPlace) -> Result<bool, BlobErrorKind> {
        let bucket = place.bucket();
        look::holds(&self.container(bucket), self.backoff, place).await
    }

    /// Everything under a prefix, with every version, in the order of the names.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        tell: &mpsc::Sender<Result<Met, Unread>>,
    ) -> Result<(), BlobErrorKind> {
        look::walk(&self.container(bucket), self.backoff, prefix, tell).await
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Answer, Failure> {
        let invalid = || super::rest::rejected("aRequestThatCannotBeBuilt");
        let mut request = http::Request::builder()
            .method(method)
            .uri(url.as_str())
            .header("x-ms-version", VERSION);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_static(value));
        }
        let mut request = request.body(HttpRequestBody::empty()).map_err(|_| invalid())?;
        if let Some(credentials) = &self.credentials {
            let no_credentials = |error: object_store::Error| {
                tracing::warn!(error = %crate::telemetry::chain(&error), "no credentials for Azure");
                Failure::Stands(BlobErrorKind::NoCredentials)
            };
            let credential = credentials
                .provider()
                .get_credential()
                .await
                .map_err(no_credentials)?;
            AzureAuthorizer::new(&credential, &self.account)
                .try_authorize(&mut request)
                .map_err(no_credentials)?;
        }
        let (parts, _) = request.into_parts();
        // A shared access signature is in the address.
        let signed: Url = parts.uri.to_string().parse().map_err(|_| invalid())?;
        if signed.path() != url.path() {
            return Err(invalid());
        }
        let mut request = reqwest::Request::new(parts.method, signed);
        *request.headers_mut() = parts.headers;
        let answer = self.rest.send(request).await?;
        if let Some(credentials) = &self.credentials
            && matches!(
                failure(&answer),
                Failure::Passing(BlobErrorKind::CredentialsRefused { .. })
            )
        {
            credentials.renew();
        }
        Ok(answer)
    }
}

#[async_trait]
impl BlobStore for AzureStore {
    async fn purge(&self, uri: &StorageUri, progress: &Progress<'_>) -> Result<Cleaned, BlobError> {
        match uri.place() {
            Place::Bucket(place) if place.cloud() == Cloud::Azure => {
                let container = self.container(place.bucket());
                sweep::purge(&container, self.backoff, place, progress).await
            }
            Place::Bucket(_) | Place::Local(_) => Err(BlobErrorKind::NotConnected.after(Cleaned::default())),
        }
    }
}

struct AzureContainer<'a> {
    store: &'a AzureStore,
    name: &'a str,
}

#[async_trait]
impl Container for AzureContainer<'_> {
    async fn list(&self, _listing: Listing, prefix: &str, from: Option<&Marker>) -> Result<Page, Failure> {
        let mut query = vec![
            ("restype", "container"),
            ("comp", "list"),
            ("prefix", prefix),
            ("include", "snapshots,versions"),
            ("maxresults", "1000"),
        ];
        let token = from.and_then(|from| from.token.as_deref());
        query.extend(token.map(|token| ("marker", token)));
        let url = self.store.rest.url(&[self.name.as_bytes()], &query)?;
        let answer = self.store.send(Method::GET, url, &[]).await?;
        match answer.status {
            200 if answer.is_part() => Err(Failure::doubt("it is a part, and the whole was asked for")),
            200 if !failure::code(&answer).is_empty() => {
                Err(Failure::doubt("it names an error, and its status none"))
            }
            200 => page::read(&answer.body, self.name, prefix, from).map_err(|doubt| Failure::doubt(doubt.0)),
            _ if answer.is_success() => Err(Failure::doubt("its status is not that of a whole answer")),
            _ => Err(match failure(&answer) {
                // With a code of the storage's own: only the container can be missing where it is listed.
                Failure::Gone => Failure::Stands(BlobErrorKind::NoSuchBucket),
                failure => failure,
            }),
        }
    }

    async fn remove(&self, mut batch: Vec<Found>) -> Removed {
        // Older versions and snapshots first: the deletion of what they belong to may take them along.
        batch.sort_by_key(|found| found.current);
        remove_each(batch, self.store.backoff, |found| self.remove_one(found)).await
    }
}

impl AzureContainer<'_> {
    async fn remove_one(&self, found: Found) -> Result<(), Failure> {
        if found.current {
            // A blob does not go before its snapshots; those that were made since the listing go with it.
            let include = [("x-ms-delete-snapshots", "include")];
            match self.delete(&found.name, &[], &include).await {
                Ok(()) | Err(Failure::Gone) => {}
                Err(failure) => return Err(failure),
            }
        }
        match (&found.edition, found.kind) {
            (Some(snapshot), Kind::Snapshot) => {
                self.delete(&found.name, &[("snapshot", snapshot)], &[]).await
            }
            // What was current goes by its name alone, and stays as an older version then.
            (Some(version), Kind::Version | Kind::Upload) => {
                self.delete(&found.name, &[("versionid", version)], &[]).await
            }
            (None, _) => Ok(()),
        }
    }

    async fn delete(
        &self,
        name: &[u8],
        query: &[(&str, &str)],
        headers: &[(&'static str, &'static str)],
    ) -> Result<(), Failure> {
        let url = self.store.rest.url(&[self.name.as_bytes(), name], query)?;
        let answer = self.store.send(Method::DELETE, url, headers).await?;
        if answer.is_success() {
            return Ok(());
        }
        Err(failure(&answer))
    }
}
