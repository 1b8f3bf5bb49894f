//! Deleting what a storage URI names, whatever kind of storage it is in.

use super::azure::{AzureOptions, AzureStore};
use super::credentials::CloudError;
use super::driver::Driver;
use super::gcs::{GcsOptions, GcsStore};
use super::local;
use super::progress::Progress;
use super::roots::{RootError, StorageRoots};
use super::s3::{S3Options, S3Store};
use super::sweep;
use super::uri::{Cloud, Place};
use crate::storage::deletion::{BlobError, BlobErrorKind, Cleaned};
use crate::storage::roots::overlap::Endpoints;
use std::collections::HashMap;
use std::sync::Arc;

/// Every storage that the roots name, behind one door.
pub struct Blobs {
    roots: Arc<StorageRoots>,
    clouds: HashMap<Cloud, Arc<dyn Driver>>,
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
            s3: options.s3.server(),
            gcs: options.gcs.endpoint.clone(),
            azure: options.azure.endpoint.clone(),
        })?;
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
        let s3 = match roots.any_bucket(Cloud::S3) {
            Some(_) => Some(S3Store::connect(options.s3).await),
            None => None,
        };
        let blobs = Self::with_stores(roots, s3);
        let blobs = match gcs {
            Some(gcs) => blobs.with_gcs(gcs),
            None => blobs,
        };
        Ok(match azure {
            Some(azure) => blobs.with_azure(azure),
            None => blobs,
        })
    }

    /// As [`Blobs::connect`], with an S3 store that was made elsewhere.
    #[must_use]
    pub fn with_stores(roots: StorageRoots, s3: Option<S3Store>) -> Self {
        let blobs = Self {
            roots: Arc::new(roots),
            clouds: HashMap::new(),
        };
        match s3 {
            Some(s3) => blobs.with(Cloud::S3, s3),
            None => blobs,
        }
    }

    /// With a GCS store that was made elsewhere.
    #[must_use]
    pub fn with_gcs(self, gcs: GcsStore) -> Self {
        self.with(Cloud::Gcs, gcs)
    }

    /// With an Azure store that was made elsewhere.
    #[must_use]
    pub fn with_azure(self, azure: AzureStore) -> Self {
        self.with(Cloud::Azure, azure)
    }

    fn with(mut self, cloud: Cloud, driver: impl Driver + 'static) -> Self {
        self.clouds.insert(cloud, Arc::new(driver));
        self
    }

    /// The roots, for checking URIs when they come in.
    #[must_use]
    pub fn roots(&self) -> &Arc<StorageRoots> {
        &self.roots
    }

    pub(super) fn driver(&self, cloud: Cloud) -> Result<Arc<dyn Driver>, BlobErrorKind> {
        let driver = self.clouds.get(&cloud).map(Arc::clone);
        driver.ok_or(BlobErrorKind::NotConnected)
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

    /// Checks `uri` against the roots once more, then deletes everything that it names, and returns only when a fresh and whole
    /// listing shows that nothing is left.
    ///
    /// Idempotent: what is already gone is a success with zero objects, and a purge that was cut off anywhere is finished by
    /// the next one. Nothing outside `uri` is touched. Memory does not grow with the number of objects beyond a bound. Dropping
    /// the future stops the purge, and may leave deletions uncounted; stopped by [`Progress::until`] it ends between two batches
    /// with [`BlobErrorKind::Interrupted`] and counts that are true.
    ///
    /// One request may be retried for minutes before it fails, without progress being told: a lease on this work has to be
    /// renewed by a timer, not by `progress`.
    ///
    /// # Errors
    /// [`BlobErrorKind::Refused`] when the check fails; otherwise whatever stands in the way, when anything is left or may be left.
    pub async fn purge_watched(&self, uri: &str, progress: &Progress<'_>) -> Result<Cleaned, BlobError> {
        let (roots, uri) = (Arc::clone(&self.roots), uri.to_owned());
        let uri = tokio::task::spawn_blocking(move || roots.check(&uri))
            .await
            .map_err(|_| BlobErrorKind::Interrupted.after(Cleaned::default()))?
            .map_err(|refusal| BlobErrorKind::Refused(refusal).after(Cleaned::default()))?;
        match uri.place() {
            Place::Local(place) => local::purge(place, &self.roots, progress).await,
            Place::Bucket(place) => {
                let driver = self.driver(place.cloud());
                let driver = driver.map_err(|kind| kind.after(Cleaned::default()))?;
                sweep::purge(&*driver.bucket(place.bucket()), driver.backoff(), place, progress).await
            }
        }
    }
}
