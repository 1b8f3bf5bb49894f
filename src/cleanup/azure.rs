//! Azure Blob Storage: every blob, version and snapshot, by exact name, through its REST API.
//!
//! The credentials and signatures are those of `object_store` (access key, shared access signature, service principal,
//! workload or managed identity); its listing is not used, because it cannot name keys such as `a//b` or `a/`, and does not
//! show versions and snapshots.

use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, BlobStore, Cleaned, Progress};
use super::gcs::CloudError;
use super::rest::{Answer, Rest, from_status};
use super::rounds::{self, Container, Failure, Page, Victim};
use super::survey::{Met, Unread};
use super::uri::{BucketPlace, Cloud, Place, StorageUri};
use async_trait::async_trait;
use object_store::azure::{AzureAuthorizer, AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::HttpRequestBody;
use object_store::{ClientOptions, RetryConfig};
use percent_encoding::percent_decode_str;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde::Deserialize;
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
    credentials: Option<AzureCredentialProvider>,
    backoff: Backoff,
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
            let store = builder
                .with_use_emulator(false)
                .with_account(&account)
                .with_container_name(container)
                .with_retry(retry)
                .with_client_options(ClientOptions::new().with_timeout(Duration::from_secs(10)))
                .build()
                .map_err(CloudError::Credentials)?;
            Some(store.credentials().clone())
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
        rounds::probe(&self.container(container), prefix).await
    }

    fn container<'a>(&'a self, name: &'a str) -> AzureContainer<'a> {
        AzureContainer { store: self, name }
    }

    /// Whether the object or anything in the folder is there, in its current version.
    pub(crate) async fn holds(&self, place: &BucketPlace) -> Result<bool, BlobErrorKind> {
        let bucket = place.bucket();
        rounds::holds(&self.container(bucket), self.backoff, place).await
    }

    /// Everything under a prefix, with every version, in the order of the names.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        tell: &mpsc::Sender<Result<Met, Unread>>,
    ) -> Result<(), BlobErrorKind> {
        rounds::walk(&self.container(bucket), self.backoff, prefix, tell).await
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
            let credential = credentials.get_credential().await.map_err(no_credentials)?;
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
        self.rest.send(request).await
    }
}

#[async_trait]
impl BlobStore for AzureStore {
    async fn purge(&self, uri: &StorageUri, progress: Progress<'_>) -> Result<Cleaned, BlobError> {
        match uri.place() {
            Place::Bucket(place) if place.cloud() == Cloud::Azure => {
                let container = self.container(place.bucket());
                rounds::purge(&container, self.backoff, place, progress).await
            }
            Place::Bucket(_) | Place::Local(_) => Err(BlobErrorKind::NotConnected.after(Cleaned::default())),
        }
    }
}

struct AzureContainer<'a> {
    store: &'a AzureStore,
    name: &'a str,
}

/// <https://learn.microsoft.com/rest/api/storageservices/list-blobs>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    blobs: Blobs,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
struct Blobs {
    #[serde(default, rename = "Blob")]
    blob: Vec<Blob>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Blob {
    name: Name,
    snapshot: Option<String>,
    version_id: Option<String>,
    is_current_version: Option<bool>,
    properties: Properties,
}

#[derive(Deserialize)]
struct Name {
    /// The name is percent-encoded, because XML cannot hold it.
    #[serde(default, rename = "@Encoded")]
    encoded: bool,
    #[serde(default, rename = "$text")]
    text: String,
}

#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "Content-Length")]
    length: Option<u64>,
}

#[async_trait]
impl Container for AzureContainer<'_> {
    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, Failure> {
        let mut query = vec![
            ("restype", "container"),
            ("comp", "list"),
            ("prefix", prefix),
            ("include", "snapshots,versions"),
            ("maxresults", "1000"),
        ];
        query.extend(from.map(|marker| ("marker", marker)));
        let url = self.store.rest.url(&[self.name], &query)?;
        let answer = self.store.send(Method::GET, url, &[]).await?;
        if answer.status == 404 {
            return Err(Failure::Stands(BlobErrorKind::NoSuchBucket));
        }
        if !answer.is_success() {
            return Err(failure(&answer));
        }
        // An answer that was cut off may be whole the next time.
        let unreadable = || Failure::Stands(BlobErrorKind::Unavailable);
        let body = str::from_utf8(&answer.body).map_err(|_| unreadable())?;
        let listing: Listing =
            quick_xml::de::from_str(body.trim_start_matches('\u{feff}')).map_err(|_| unreadable())?;
        let victims: Option<Vec<Victim>> = listing.blobs.blob.into_iter().map(Blob::into_victim).collect();
        Ok(Page {
            victims: victims.ok_or_else(unreadable)?,
            next: listing.next_marker.filter(|marker| !marker.is_empty()),
        })
    }

    async fn remove(&self, victim: &Victim) -> Result<(), Failure> {
        let query: Vec<(&str, &str)> = victim
            .edition
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        // A blob does not go before its snapshots; those that were made since the listing go with it.
        let headers: &[_] = match victim.edition {
            None => &[("x-ms-delete-snapshots", "include")],
            Some(_) => &[],
        };
        let url = self.store.rest.url(&[self.name, &victim.name], &query)?;
        let answer = self.store.send(Method::DELETE, url, headers).await?;
        if answer.is_success() {
            return Ok(());
        }
        Err(failure(&answer))
    }
}

impl Blob {
    fn into_victim(self) -> Option<Victim> {
        let name = if self.name.encoded {
            percent_decode_str(&self.name.text)
                .decode_utf8()
                .ok()?
                .into_owned()
        } else {
            self.name.text
        };
        let edition = match (self.snapshot, self.version_id) {
            (Some(snapshot), _) => Some(("snapshot", snapshot)),
            // What is current goes by its name alone, and is listed as an older version then.
            (None, Some(version)) if self.is_current_version != Some(true) => Some(("versionid", version)),
            (None, _) => None,
        };
        Some(Victim {
            name,
            current: edition.is_none(),
            edition,
            bytes: self.properties.length.unwrap_or(0),
        })
    }
}

/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>
fn failure(answer: &Answer) -> Failure {
    let code = answer
        .headers
        .get("x-ms-error-code")
        .and_then(|code| code.to_str().ok())
        .unwrap_or_default();
    match (code, answer.status) {
        ("ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled", _) => {
            Failure::Stands(BlobErrorKind::NoSuchBucket)
        }
        ("BlobNotFound" | "BlobVersionNotFound" | "SnapshotNotFound", _) | (_, 404) => Failure::Gone,
        ("BlobImmutableDueToPolicy", _) => Failure::Stands(BlobErrorKind::ObjectLocked { remaining: 1 }),
        ("ServerBusy" | "AccountIsThrottled", _) => Failure::Stands(BlobErrorKind::Throttled),
        ("OperationTimedOut" | "InternalError", _) => Failure::Stands(BlobErrorKind::Unavailable),
        (code, status) => from_status(status, code),
    }
}
