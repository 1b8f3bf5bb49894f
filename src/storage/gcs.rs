//! Google Cloud Storage: every generation of every object, by exact name, through its JSON API.
//!
//! The credentials are those of `object_store` (service account files, application default credentials, the machine's own);
//! its listing is not used, because it cannot name keys such as `a//b` or `a/`, and does not show older generations.
//!
//! `page` judges what is listed, `refusal` reads what is answered instead.

mod page;
mod refusal;

use super::backoff::Backoff;
use super::credentials::{CloudError, Credentials, Provider, Settings, client_options, retries};
use super::driver::{Bucket, Cursor, Driver, Listing, ListingPage, Object, Removed, remove_each};
use super::request::RequestError;
use super::rest::{Answer, IN_FLIGHT, Rest};
use crate::storage::deletion::BlobErrorKind;
use async_trait::async_trait;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use refusal::refusal;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use std::sync::Arc;
use url::Url;

const ADDRESS: &str = "https://storage.googleapis.com";

/// How to reach GCS. Credentials come from where Google's tools look for them.
#[derive(Debug, Clone, Default)]
pub struct GcsOptions {
    /// Another server than Google's, such as `http://127.0.0.1:4443`. Without credentials it is spoken to without any.
    pub endpoint: Option<Url>,
}

/// Deletes from GCS.
///
/// Every generation is deleted by its number, so that a bucket with object versioning is empty afterwards. What the bucket's
/// soft-delete policy retains, nobody can delete before its time; unfinished uploads are not listed by this API.
#[derive(Clone)]
pub struct GcsStore {
    rest: Rest,
    credentials: Option<Arc<Credentials<GoogleCloudStorageBuilder>>>,
    backoff: Backoff,
}

impl Settings for GoogleCloudStorageBuilder {
    type Credential = GcpCredential;

    const CLOUD: &'static str = "Google Cloud Storage";

    fn load(self) -> Result<Provider<Self>, object_store::Error> {
        Ok(Arc::clone(self.build()?.credentials()))
    }
}

impl GcsStore {
    /// Reads the credentials' settings; speaks to no storage. `bucket` is any bucket that will be asked for.
    ///
    /// # Errors
    /// [`CloudError`], when credentials are named that cannot be used.
    pub fn connect(options: GcsOptions, bucket: &str) -> Result<Self, CloudError> {
        let builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retries())
            .with_client_options(client_options());
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
            Some(Arc::new(Credentials::new(builder)?))
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

    async fn send(&self, method: Method, url: Url) -> Result<Answer, RequestError> {
        let mut request = reqwest::Request::new(method, url);
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get().await?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", credential.bearer))
                .map_err(|_| RequestError::Permanent(BlobErrorKind::NoCredentials))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
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

impl Driver for GcsStore {
    fn bucket<'a>(&'a self, name: &'a str) -> Box<dyn Bucket + 'a> {
        Box::new(GcsBucket { store: self, name })
    }

    fn backoff(&self) -> Backoff {
        self.backoff
    }
}

struct GcsBucket<'a> {
    store: &'a GcsStore,
    name: &'a str,
}

#[async_trait]
impl Bucket for GcsBucket<'_> {
    async fn list(
        &self,
        _listing: Listing,
        prefix: &str,
        from: Option<&Cursor>,
    ) -> Result<ListingPage, RequestError> {
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
            .url(&[b"storage", b"v1", b"b", self.name.as_bytes(), b"o"], &query)?;
        let answer = self.store.send(Method::GET, url).await?;
        match answer.whole()? {
            Some(body) => Ok(page::read(body, self.name)?),
            // Only the bucket can be missing where it is listed.
            None if answer.status == 404 && refusal::is_own(&answer) => {
                Err(RequestError::Permanent(BlobErrorKind::NoSuchBucket))
            }
            None => Err(refusal(&answer)),
        }
    }

    async fn remove(&self, batch: Vec<Object>) -> Removed {
        remove_each(batch, IN_FLIGHT, self.store.backoff, |object| {
            self.remove_one(object)
        })
        .await
    }
}

impl GcsBucket<'_> {
    async fn remove_one(&self, object: Object) -> Result<(), RequestError> {
        let generation = object.edition.as_deref().map(|edition| ("generation", edition));
        let query: Vec<(&str, &str)> = generation.into_iter().collect();
        let segments: [&[u8]; 6] = [b"storage", b"v1", b"b", self.name.as_bytes(), b"o", &object.name];
        let url = self.store.rest.url(&segments, &query)?;
        let answer = self.store.send(Method::DELETE, url).await?;
        match answer.status {
            // Whoever said so: the next look tells whether it is.
            404 => Err(RequestError::Gone),
            _ if answer.is_success() => Ok(()),
            _ => Err(refusal(&answer)),
        }
    }
}
