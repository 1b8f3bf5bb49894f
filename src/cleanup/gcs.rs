//! Google Cloud Storage: every generation of every object, by exact name, through its JSON API.
//!
//! The credentials are those of `object_store` (service account files, application default credentials, the machine's own);
//! its listing is not used, because it cannot name keys such as `a//b` or `a/`, and does not show older generations.
//!
//! `page` judges what is listed, `failure` reads refusals.

mod failure;
mod page;

use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, Cleaned};
use super::driver::BlobStore;
use super::listing::{Container, Failure, Found, Listing, Marker, Page, Removed};
use super::look;
use super::progress::Progress;
use super::rest::{Answer, Rest, remove_each};
use super::sweep;
use super::tree::{Met, Unread};
use super::uri::{BucketPlace, Cloud, Place, StorageUri};
use async_trait::async_trait;
use failure::failure;
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, RetryConfig};
use reqwest::Method;
use std::sync::{Arc, Mutex, PoisonError};
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
    credentials: Option<Arc<Credentials>>,
    backoff: Backoff,
}

/// Credentials, and how to load them anew when they are no longer taken.
struct Credentials {
    settings: GoogleCloudStorageBuilder,
    provider: Mutex<GcpCredentialProvider>,
}

impl Credentials {
    fn new(settings: GoogleCloudStorageBuilder) -> Result<Self, object_store::Error> {
        let provider = Mutex::new(Arc::clone(settings.clone().build()?.credentials()));
        Ok(Self { settings, provider })
    }

    fn provider(&self) -> GcpCredentialProvider {
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
                tracing::warn!(error = %crate::telemetry::chain(&error), "the credentials for Google Cloud Storage cannot be loaded anew");
            }
        }
    }
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
            Some(Arc::new(
                Credentials::new(builder).map_err(CloudError::Credentials)?,
            ))
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
        look::probe(&self.bucket(bucket), prefix).await
    }

    fn bucket<'a>(&'a self, bucket: &'a str) -> Bucket<'a> {
        Bucket { store: self, bucket }
    }

    /// Whether the object or anything in the folder is there, in its current version.
    pub(crate) async fn holds(&self, place: &BucketPlace) -> Result<bool, BlobErrorKind> {
        let bucket = place.bucket();
        look::holds(&self.bucket(bucket), self.backoff, place).await
    }

    /// Everything under a prefix, with every version, in the order of the names.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        tell: &mpsc::Sender<Result<Met, Unread>>,
    ) -> Result<(), BlobErrorKind> {
        look::walk(&self.bucket(bucket), self.backoff, prefix, tell).await
    }

    async fn send(&self, method: Method, url: Url) -> Result<Answer, Failure> {
        let mut request = reqwest::Request::new(method, url);
        if let Some(credentials) = &self.credentials {
            let no_credentials = || Failure::Stands(BlobErrorKind::NoCredentials);
            let credential = credentials.provider().get_credential().await.map_err(|error| {
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
        let answer = self.rest.send(request).await?;
        if answer.status == 401
            && let Some(credentials) = &self.credentials
        {
            credentials.renew();
        }
        Ok(answer)
    }
}

#[async_trait]
impl BlobStore for GcsStore {
    async fn purge(&self, uri: &StorageUri, progress: &Progress<'_>) -> Result<Cleaned, BlobError> {
        match uri.place() {
            Place::Bucket(place) if place.cloud() == Cloud::Gcs => {
                sweep::purge(&self.bucket(place.bucket()), self.backoff, place, progress).await
            }
            Place::Bucket(_) | Place::Local(_) => Err(BlobErrorKind::NotConnected.after(Cleaned::default())),
        }
    }
}

struct Bucket<'a> {
    store: &'a GcsStore,
    bucket: &'a str,
}

#[async_trait]
impl Container for Bucket<'_> {
    async fn list(&self, _listing: Listing, prefix: &str, from: Option<&Marker>) -> Result<Page, Failure> {
        let mut query = vec![
            ("prefix", prefix),
            ("versions", "true"),
            ("maxResults", "1000"),
            (
                "fields",
                "kind,items(bucket,name,generation,size,timeDeleted),prefixes,nextPageToken",
            ),
        ];
        let token = from.and_then(|from| from.token.as_deref());
        query.extend(token.map(|token| ("pageToken", token)));
        let url = self
            .store
            .rest
            .url(&[b"storage", b"v1", b"b", self.bucket.as_bytes(), b"o"], &query)?;
        let answer = self.store.send(Method::GET, url).await?;
        match answer.status {
            200 if answer.is_part() => Err(Failure::doubt("it is a part, and the whole was asked for")),
            200 => page::read(&answer.body, self.bucket).map_err(Failure::doubt),
            // Only the bucket can be missing where it is listed.
            404 if failure::is_own(&answer) => Err(Failure::Stands(BlobErrorKind::NoSuchBucket)),
            _ if answer.is_success() => Err(Failure::doubt("its status is not that of a whole answer")),
            _ => Err(failure(&answer)),
        }
    }

    async fn remove(&self, batch: Vec<Found>) -> Removed {
        remove_each(batch, self.store.backoff, |found| self.remove_one(found)).await
    }
}

impl Bucket<'_> {
    async fn remove_one(&self, found: Found) -> Result<(), Failure> {
        let generation = found.edition.as_deref().map(|edition| ("generation", edition));
        let query: Vec<(&str, &str)> = generation.into_iter().collect();
        let segments: [&[u8]; 6] = [b"storage", b"v1", b"b", self.bucket.as_bytes(), b"o", &found.name];
        let url = self.store.rest.url(&segments, &query)?;
        let answer = self.store.send(Method::DELETE, url).await?;
        match answer.status {
            // Whoever said so: the next look tells whether it is.
            404 => Err(Failure::Gone),
            _ if answer.is_success() => Ok(()),
            _ => Err(failure(&answer)),
        }
    }
}
