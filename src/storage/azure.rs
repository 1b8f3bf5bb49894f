//! Azure Blob Storage: every blob, version and snapshot, by exact name, through its REST API.
//!
//! The credentials and signatures are those of `object_store` (access key, shared access signature, service principal,
//! workload or managed identity); its listing is not used, because it cannot name keys such as `a//b` or `a/`, and does not
//! show versions and snapshots.
//!
//! `page` judges what is listed, `refusal` reads what is answered instead.

mod page;
mod refusal;

use super::backoff::Backoff;
use super::credentials::{CloudError, Credentials, Provider, Settings, client_options, none, retries};
use super::driver::{
    Bucket, Cursor, Driver, EditionKind, Listing, ListingPage, Object, Removed, remove_each,
};
use super::request::RequestError;
use super::rest::{Answer, IN_FLIGHT, Rest, rejected};
use crate::storage::deletion::BlobErrorKind;
use async_trait::async_trait;
use object_store::azure::{AzureAuthorizer, AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::HttpRequestBody;
use refusal::refusal;
use reqwest::Method;
use reqwest::header::HeaderValue;
use std::sync::Arc;
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
    credentials: Option<Arc<Credentials<MicrosoftAzureBuilder>>>,
    backoff: Backoff,
}

impl Settings for MicrosoftAzureBuilder {
    type Credential = AzureCredential;

    const CLOUD: &'static str = "Azure";

    fn load(self) -> Result<Provider<Self>, object_store::Error> {
        Ok(Arc::clone(self.build()?.credentials()))
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
            let settings = builder
                .with_use_emulator(false)
                .with_account(&account)
                .with_container_name(container)
                .with_retry(retries())
                .with_client_options(client_options());
            Some(Arc::new(Credentials::new(settings)?))
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

    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Answer, RequestError> {
        let invalid = || rejected("aRequestThatCannotBeBuilt");
        let mut request = http::Request::builder()
            .method(method)
            .uri(url.as_str())
            .header("x-ms-version", VERSION);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_static(value));
        }
        let mut request = request.body(HttpRequestBody::empty()).map_err(|_| invalid())?;
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get().await?;
            AzureAuthorizer::new(&credential, &self.account)
                .try_authorize(&mut request)
                .map_err(|error| none::<MicrosoftAzureBuilder>(&error))?;
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
                refusal(&answer),
                RequestError::Transient(BlobErrorKind::CredentialsRefused { .. })
            )
        {
            credentials.renew();
        }
        Ok(answer)
    }
}

impl Driver for AzureStore {
    fn bucket<'a>(&'a self, name: &'a str) -> Box<dyn Bucket + 'a> {
        Box::new(AzureContainer { store: self, name })
    }

    fn backoff(&self) -> Backoff {
        self.backoff
    }
}

struct AzureContainer<'a> {
    store: &'a AzureStore,
    name: &'a str,
}

#[async_trait]
impl Bucket for AzureContainer<'_> {
    async fn list(
        &self,
        _listing: Listing,
        prefix: &str,
        from: Option<&Cursor>,
    ) -> Result<ListingPage, RequestError> {
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
        match answer.whole()? {
            Some(_) if !refusal::code(&answer).is_empty() => {
                Err(RequestError::doubt("it names an error, and its status none"))
            }
            Some(body) => Ok(page::read(body, self.name, prefix, from)?),
            None => Err(match refusal(&answer) {
                // With a code of the storage's own: only the container can be missing where it is listed.
                RequestError::Gone => RequestError::Permanent(BlobErrorKind::NoSuchBucket),
                error => error,
            }),
        }
    }

    async fn remove(&self, mut batch: Vec<Object>) -> Removed {
        // Older versions and snapshots first: the deletion of what they belong to may take them along.
        batch.sort_by_key(|object| object.current);
        remove_each(batch, IN_FLIGHT, self.store.backoff, |object| {
            self.remove_one(object)
        })
        .await
    }
}

impl AzureContainer<'_> {
    async fn remove_one(&self, object: Object) -> Result<(), RequestError> {
        if object.current {
            // A blob does not go before its snapshots; those that were made since the listing go with it.
            let include = [("x-ms-delete-snapshots", "include")];
            match self.delete(&object.name, &[], &include).await {
                Ok(()) | Err(RequestError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        match (&object.edition, object.kind) {
            (Some(snapshot), EditionKind::Snapshot) => {
                self.delete(&object.name, &[("snapshot", snapshot)], &[]).await
            }
            // What was current goes by its name alone, and stays as an older version then.
            (Some(version), EditionKind::Version | EditionKind::Upload) => {
                self.delete(&object.name, &[("versionid", version)], &[]).await
            }
            (None, _) => Ok(()),
        }
    }

    async fn delete(
        &self,
        name: &[u8],
        query: &[(&str, &str)],
        headers: &[(&'static str, &'static str)],
    ) -> Result<(), RequestError> {
        let url = self.store.rest.url(&[self.name.as_bytes(), name], query)?;
        let answer = self.store.send(Method::DELETE, url, headers).await?;
        if answer.is_success() {
            return Ok(());
        }
        Err(refusal(&answer))
    }
}
