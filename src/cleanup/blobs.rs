//! Deleting what a storage URI names, whatever kind of storage it is in.

use super::azure::{AzureOptions, AzureStore};
use super::blob::{BlobError, BlobErrorKind, Cleaned};
use super::driver::BlobStore;
use super::gcs::{CloudError, GcsOptions, GcsStore};
use super::local::LocalStore;
use super::overlap::Endpoints;
use super::progress::Progress;
use super::roots::{RootError, StorageRoots};
use super::s3::{S3Options, S3Store};
use super::uri::{Cloud, Place, StorageUri};
use std::sync::Arc;

/// Every storage that the roots name, behind one door.
pub struct Blobs {
    pub(super) roots: Arc<StorageRoots>,
    local: LocalStore,
    pub(super) s3: Option<S3Store>,
    pub(super) gcs: Option<GcsStore>,
    pub(super) azure: Option<AzureStore>,
}

/// How the clouds are reached that roots name.
#[derive(Debug, Clone, Default)]
pub struct CloudOptions {
    /// S3 and its likes.
    pub s3: S3Options,
    /// Google Cloud Storage.
    pub gcs: GcsOptions,
    /// Azure Blob Storage.
    pub azure: AzureOptions,
}

/// Why storage cannot be used from the start. The text is for the operator and names the root.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Roots overlap.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A root in a bucket cannot be listed.
    #[error("storage root {root} cannot be listed: {kind}")]
    Listing {
        /// The root.
        root: String,
        /// What stands in the way.
        #[source]
        kind: BlobErrorKind,
    },
    /// The client of a cloud cannot be made.
    #[error("the {scheme}:// storage roots cannot be used: {source}")]
    Cloud {
        /// The scheme of the roots in that cloud.
        scheme: &'static str,
        /// What stands in the way.
        source: CloudError,
    },
}

impl Blobs {
    /// Prepares the stores that `roots` need. Local roots may be away; clouds are not spoken to yet (see [`Blobs::probe`]).
    ///
    /// # Errors
    /// [`ConnectError::Root`] when roots are one place by two endpoints, [`ConnectError::Cloud`] when a cloud's settings cannot
    /// be used.
    pub async fn connect(roots: StorageRoots, options: CloudOptions) -> Result<Self, ConnectError> {
        roots.check_endpoints(&Endpoints {
            s3: options.s3.endpoint.as_deref().and_then(|url| url.parse().ok()),
            gcs: options.gcs.endpoint.clone(),
            azure: options.azure.endpoint.clone(),
        })?;
        let s3 = match roots.any_bucket(Cloud::S3) {
            Some(_) => Some(S3Store::connect(options.s3).await),
            None => None,
        };
        let failed = |cloud: Cloud| {
            move |source| ConnectError::Cloud {
                scheme: cloud.scheme(),
                source,
            }
        };
        let gcs = roots
            .any_bucket(Cloud::Gcs)
            .map(|bucket| GcsStore::connect(options.gcs, bucket))
            .transpose()
            .map_err(failed(Cloud::Gcs))?;
        let azure = roots
            .any_bucket(Cloud::Azure)
            .map(|container| AzureStore::connect(options.azure, container))
            .transpose()
            .map_err(failed(Cloud::Azure))?;
        Ok(Self {
            gcs,
            azure,
            ..Self::with_stores(roots, s3)
        })
    }

    /// As [`Blobs::connect`], with an S3 store that was made elsewhere.
    #[must_use]
    pub fn with_stores(roots: StorageRoots, s3: Option<S3Store>) -> Self {
        let roots = Arc::new(roots);
        Self {
            roots: Arc::clone(&roots),
            local: LocalStore::new(Arc::clone(&roots)),
            s3,
            gcs: None,
            azure: None,
        }
    }

    /// With a GCS store that was made elsewhere.
    #[must_use]
    pub fn with_gcs(self, gcs: GcsStore) -> Self {
        Self {
            gcs: Some(gcs),
            ..self
        }
    }

    /// With an Azure store that was made elsewhere.
    #[must_use]
    pub fn with_azure(self, azure: AzureStore) -> Self {
        Self {
            azure: Some(azure),
            ..self
        }
    }

    /// The roots, for checking URIs when they come in.
    #[must_use]
    pub fn roots(&self) -> &Arc<StorageRoots> {
        &self.roots
    }

    /// Lists under every root that is in a bucket, to tell at start what would fail later.
    ///
    /// # Errors
    /// [`ConnectError::Listing`] for the first root that cannot be listed, whoever refused it. A listing that came and is not
    /// believed is only logged.
    pub async fn probe(&self) -> Result<(), ConnectError> {
        for (cloud, bucket, prefix) in self.roots.buckets() {
            let root = || format!("{}://{bucket}/{prefix}", cloud.scheme());
            let outcome = match cloud {
                Cloud::S3 => match &self.s3 {
                    Some(s3) => s3.probe(bucket, prefix).await,
                    None => Err(BlobErrorKind::NotConnected),
                },
                Cloud::Gcs => match &self.gcs {
                    Some(gcs) => gcs.probe(bucket, prefix).await,
                    None => Err(BlobErrorKind::NotConnected),
                },
                Cloud::Azure => match &self.azure {
                    Some(azure) => azure.probe(bucket, prefix).await,
                    None => Err(BlobErrorKind::NotConnected),
                },
            };
            match outcome {
                Ok(()) => {}
                // Nothing follows from such a listing, not even that the root is unusable. (A refusal is another kind.)
                Err(kind @ BlobErrorKind::Doubtful { .. }) => {
                    tracing::warn!(storage.root = root(), error = %kind, "storage root {} was not listed: {kind}", root());
                }
                Err(kind) => return Err(ConnectError::Listing { root: root(), kind }),
            }
        }
        Ok(())
    }

    fn store(&self, uri: &StorageUri) -> Option<&dyn BlobStore> {
        match uri.place() {
            Place::Local(_) => Some(&self.local),
            Place::Bucket(place) => match place.cloud() {
                Cloud::S3 => self.s3.as_ref().map(|s3| s3 as &dyn BlobStore),
                Cloud::Gcs => self.gcs.as_ref().map(|gcs| gcs as &dyn BlobStore),
                Cloud::Azure => self.azure.as_ref().map(|azure| azure as &dyn BlobStore),
            },
        }
    }

    /// As [`Blobs::purge_watched`], with nothing but the counts told: after each batch, the sum since the start.
    ///
    /// # Errors
    /// As [`Blobs::purge_watched`].
    pub async fn purge(
        &self,
        uri: &str,
        tell: &(dyn Fn(Cleaned) + Send + Sync),
    ) -> Result<Cleaned, BlobError> {
        self.purge_watched(uri, &Progress::new(tell)).await
    }

    /// Checks `uri` against the roots once more, then deletes what it names, as [`BlobStore::purge`] promises.
    ///
    /// # Errors
    /// [`BlobErrorKind::Refused`] when the check fails; otherwise as [`BlobStore::purge`].
    pub async fn purge_watched(&self, uri: &str, progress: &Progress<'_>) -> Result<Cleaned, BlobError> {
        let (roots, uri) = (Arc::clone(&self.roots), uri.to_owned());
        let uri = tokio::task::spawn_blocking(move || roots.check(&uri))
            .await
            .map_err(|_| BlobErrorKind::Interrupted.after(Cleaned::default()))?
            .map_err(|refusal| BlobErrorKind::Refused(refusal).after(Cleaned::default()))?;
        match self.store(&uri) {
            Some(store) => store.purge(&uri, progress).await,
            None => Err(BlobErrorKind::NotConnected.after(Cleaned::default())),
        }
    }
}
