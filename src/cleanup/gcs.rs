//! Google Cloud Storage: every generation of every object, by exact name, through its JSON API.
//!
//! The credentials are those of `object_store` (service account files, application default credentials, the machine's own);
//! its listing is not used, because it cannot name keys such as `a//b` or `a/`, and does not show older generations.

use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, BlobStore, Cleaned, Progress};
use super::rest::{Answer, Rest, from_status};
use super::rounds::{self, Container, Failure, Page, Victim};
use super::survey::{Met, Unread};
use super::uri::{BucketPlace, Cloud, Place, StorageUri};
use async_trait::async_trait;
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, RetryConfig};
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::mpsc;
use url::Url;

const ADDRESS: &str = "https://storage.googleapis.com";

/// How to reach GCS. Credentials come from where Google's tools look for them.
#[derive(Debug, Clone, Default)]
pub struct GcsOptions {
    /// Another server than Google's, such as `http://127.0.0.1:4443`. Without credentials it is spoken to without any.
    pub endpoint: Option<Url>,
}

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

/// Deletes from GCS.
///
/// Every generation is deleted by its number, so that a bucket with object versioning is empty afterwards. What the bucket's
/// soft-delete policy retains, nobody can delete before its time; unfinished uploads are not listed by this API.
#[derive(Clone)]
pub struct GcsStore {
    rest: Rest,
    credentials: Option<GcpCredentialProvider>,
    backoff: Backoff,
}

impl GcsStore {
    /// Reads the credentials' settings; speaks to no storage. `bucket` is any bucket that will be asked for.
    ///
    /// # Errors
    /// [`CloudError`], when credentials are named that cannot be used.
    pub fn connect(options: GcsOptions, bucket: &str) -> Result<Self, CloudError> {
        let retry = RetryConfig {
            max_retries: 2,
            retry_timeout: Duration::from_secs(10),
            ..RetryConfig::default()
        };
        let builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_client_options(ClientOptions::new().with_timeout(Duration::from_secs(10)));
        let any = [
            GoogleConfigKey::ServiceAccount,
            GoogleConfigKey::ServiceAccountKey,
            GoogleConfigKey::ApplicationCredentials,
            GoogleConfigKey::BearerToken,
        ]
        .iter()
        .any(|key| builder.get_config_value(key).is_some());
        let unsigned = builder
            .get_config_value(&GoogleConfigKey::SkipSignature)
            .is_some_and(|value| value == "true")
            || (options.endpoint.is_some() && !any);
        let credentials = if unsigned {
            None
        } else {
            let store = builder.build().map_err(CloudError::Credentials)?;
            Some(store.credentials().clone())
        };
        let base = options
            .endpoint
            .map_or_else(|| Url::parse(ADDRESS), Ok)
            .map_err(CloudError::Address)?;
        Ok(Self {
            rest: Rest::new(&base).map_err(CloudError::Client)?,
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
    pub(crate) async fn probe(&self, bucket: &str, prefix: &str) -> Result<(), BlobErrorKind> {
        rounds::probe(&self.bucket(bucket), prefix).await
    }

    fn bucket<'a>(&'a self, bucket: &'a str) -> Bucket<'a> {
        Bucket { store: self, bucket }
    }

    /// Whether the object or anything in the folder is there, in its current version.
    pub(crate) async fn holds(&self, place: &BucketPlace) -> Result<bool, BlobErrorKind> {
        let bucket = place.bucket();
        rounds::holds(&self.bucket(bucket), self.backoff, place).await
    }

    /// Everything under a prefix, with every version, in the order of the names.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        tell: &mpsc::Sender<Result<Met, Unread>>,
    ) -> Result<(), BlobErrorKind> {
        rounds::walk(&self.bucket(bucket), self.backoff, prefix, tell).await
    }

    async fn send(&self, method: Method, url: Url) -> Result<Answer, Failure> {
        let mut request = reqwest::Request::new(method, url);
        if let Some(credentials) = &self.credentials {
            let no_credentials = || Failure::Stands(BlobErrorKind::NoCredentials);
            let credential = credentials.get_credential().await.map_err(|error| {
                tracing::warn!(error = %crate::telemetry::chain(&error), "no credentials for Google Cloud Storage");
                no_credentials()
            })?;
            let mut value = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", credential.bearer))
                .map_err(|_| no_credentials())?;
            value.set_sensitive(true);
            request
                .headers_mut()
                .insert(reqwest::header::AUTHORIZATION, value);
        }
        self.rest.send(request).await
    }
}

#[async_trait]
impl BlobStore for GcsStore {
    async fn purge(&self, uri: &StorageUri, progress: Progress<'_>) -> Result<Cleaned, BlobError> {
        match uri.place() {
            Place::Bucket(place) if place.cloud() == Cloud::Gcs => {
                rounds::purge(&self.bucket(place.bucket()), self.backoff, place, progress).await
            }
            Place::Bucket(_) | Place::Local(_) => Err(BlobErrorKind::NotConnected.after(Cleaned::default())),
        }
    }
}

struct Bucket<'a> {
    store: &'a GcsStore,
    bucket: &'a str,
}

/// <https://cloud.google.com/storage/docs/json_api/v1/objects/list>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    /// A number, written as a string.
    generation: String,
    size: Option<String>,
    /// When a newer generation took its place.
    time_deleted: Option<String>,
}

#[async_trait]
impl Container for Bucket<'_> {
    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, Failure> {
        let mut query = vec![
            ("prefix", prefix),
            ("versions", "true"),
            ("maxResults", "1000"),
            ("fields", "items(name,generation,size,timeDeleted),nextPageToken"),
        ];
        query.extend(from.map(|token| ("pageToken", token)));
        let url = self
            .store
            .rest
            .url(&["storage", "v1", "b", self.bucket, "o"], &query)?;
        let answer = self.store.send(Method::GET, url).await?;
        if answer.status == 404 {
            return Err(Failure::Stands(BlobErrorKind::NoSuchBucket));
        }
        if !answer.is_success() {
            return Err(failure(&answer));
        }
        // An answer that was cut off may be whole the next time.
        let listing: Listing =
            serde_json::from_slice(&answer.body).map_err(|_| Failure::Stands(BlobErrorKind::Unavailable))?;
        Ok(Page {
            victims: listing.items.into_iter().map(Item::into_victim).collect(),
            next: listing.next_page_token.filter(|token| !token.is_empty()),
        })
    }

    async fn remove(&self, victim: &Victim) -> Result<(), Failure> {
        let query: Vec<(&str, &str)> = victim
            .edition
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let segments = ["storage", "v1", "b", self.bucket, "o", &victim.name];
        let url = self.store.rest.url(&segments, &query)?;
        let answer = self.store.send(Method::DELETE, url).await?;
        match answer.status {
            404 => Err(Failure::Gone),
            _ if answer.is_success() => Ok(()),
            _ => Err(failure(&answer)),
        }
    }
}

impl Item {
    fn into_victim(self) -> Victim {
        Victim {
            name: self.name,
            edition: Some(("generation", self.generation)),
            current: self.time_deleted.is_none(),
            bytes: self.size.and_then(|size| size.parse().ok()).unwrap_or(0),
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    #[serde(default)]
    errors: Vec<RefusalReason>,
}

#[derive(Deserialize)]
struct RefusalReason {
    #[serde(default)]
    reason: String,
}

/// <https://cloud.google.com/storage/docs/json_api/v1/status-codes>
fn failure(answer: &Answer) -> Failure {
    let reason = serde_json::from_slice::<Refusal>(&answer.body)
        .ok()
        .and_then(|refusal| refusal.error.errors.into_iter().next())
        .map_or_else(String::new, |first| first.reason);
    match reason.as_str() {
        "retentionPolicyNotMet" | "objectUnderActiveHold" => {
            Failure::Stands(BlobErrorKind::ObjectLocked { remaining: 1 })
        }
        "rateLimitExceeded" | "userRateLimitExceeded" => Failure::Stands(BlobErrorKind::Throttled),
        _ => from_status(answer.status, &reason),
    }
}
