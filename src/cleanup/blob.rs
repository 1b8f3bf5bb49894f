//! Deleting what a storage URI names, whatever kind of storage it is in.

use super::azure::{AzureOptions, AzureStore};
use super::gcs::{CloudError, GcsOptions, GcsStore};
use super::local::LocalStore;
use super::overlap::Endpoints;
use super::progress::Progress;
use super::roots::{RootError, StorageRoots};
use super::s3::{S3Options, S3Store};
use super::uri::{Cloud, Place, StorageUri, UriRefusal};
use async_trait::async_trait;
use std::io;
use std::sync::Arc;

/// What was deleted: objects are regular files, or object versions with content.
///
/// In a bucket an object counts once, when it was listed and a later listing that can be believed no longer has it: that the
/// storage says it has deleted something is no proof. Folders, symbolic links, delete markers and unfinished uploads are removed
/// as well and not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Number of objects.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

impl Cleaned {
    /// Adds what was counted elsewhere, for example in an attempt before this one.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects.saturating_add(other.objects),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// A purge that did not end with everything gone.
///
/// `Display` is a short cause for the ledger and its callbacks; it holds no path, key or bucket.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct BlobError {
    /// What stood in the way.
    #[source]
    pub kind: BlobErrorKind,
    /// Whether the same purge may succeed later without anyone stepping in.
    pub retryable: bool,
    /// What was deleted before.
    pub done: Cleaned,
    /// The object, file, folder or mount that it failed at, as an absolute path or a URI without any encoding; absent for the whole
    /// place. Personal data, and no part of `Display`.
    pub at: Option<String>,
}

impl BlobError {
    /// Names what it failed at.
    pub(crate) fn at(self, at: Option<String>) -> Self {
        Self { at, ..self }
    }
}

/// What stands in the way of a purge.
#[derive(Debug, thiserror::Error)]
pub enum BlobErrorKind {
    /// The URI may not be deleted (any more).
    #[error("the storage URI is refused: {0}")]
    Refused(UriRefusal),
    /// The storage does not let this service delete.
    #[error("permission denied")]
    PermissionDenied,
    /// WORM: retention or a legal hold keeps objects.
    #[error("objects are under Object Lock: {remaining} remain")]
    ObjectLocked {
        /// How many versions are left.
        remaining: u64,
    },
    /// The storage asked to slow down for longer than one purge waits.
    #[error("the storage is throttling")]
    Throttled,
    /// No answer, or only server errors, for longer than one purge waits.
    #[error("the storage cannot be reached")]
    Unavailable,
    /// An answer that is not whole, or is not the answer to what was asked: it shows nothing, least of all that nothing is left.
    #[error("the storage's answer is not believed: {what}")]
    Doubtful {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Neither environment nor shared files nor the machine has credentials for the storage, or their source fails.
    #[error("there are no credentials for the storage")]
    NoCredentials,
    /// Credentials that have expired or are not (yet) known, or a clock that is wrong.
    #[error("the storage does not accept the credentials: {code}")]
    CredentialsRefused {
        /// The code, such as `ExpiredToken` (letters and digits only).
        code: String,
    },
    /// Something may be left that this service is not allowed to see.
    #[error("{what} may be left: {right}")]
    MissingRight {
        /// What cannot be seen.
        what: &'static str,
        /// What is needed to see it.
        right: &'static str,
        /// The storage may not have meant it: it gave an answer that such a storage does not give.
        odd: bool,
    },
    /// The bucket of a storage root does not exist: a wrong name, region or endpoint, and no proof that the objects are gone.
    #[error("the bucket of the storage root does not exist")]
    NoSuchBucket,
    /// The folder of a storage root is not there, or not the one that it was: perhaps not mounted, and no proof that the files
    /// are gone. It is waited for without end.
    #[error("the storage root is unavailable: not mounted, or not the folder that it was")]
    RootUnavailable,
    /// Something is mounted at the folder, inside it or above it; a purge does not cross into it.
    #[error("another file system is mounted at or inside the folder")]
    OtherFileSystem,
    /// Things are still there after they were deleted: someone keeps writing, or the storage does not do what it says.
    #[error("the storage is not empty after deletion")]
    NotEmpty,
    /// The storage refused a request with an error code of its own.
    #[error("the storage answered {code}")]
    Rejected {
        /// The code, such as `InvalidRequest` (letters and digits only).
        code: String,
    },
    /// A system call on the file system failed.
    #[error("the file system answered: {0}")]
    Io(io::ErrorKind),
    /// No storage of this kind is connected.
    #[error("no storage of this kind is connected")]
    NotConnected,
    /// The deleting task died.
    #[error("the cleanup was interrupted")]
    Interrupted,
}

impl BlobErrorKind {
    /// Whether time alone may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_transient(),
            Self::MissingRight { odd, .. } => *odd,
            Self::PermissionDenied
            | Self::ObjectLocked { .. }
            | Self::NoSuchBucket
            | Self::OtherFileSystem
            | Self::NotConnected => false,
            Self::Throttled
            | Self::Unavailable
            | Self::Doubtful { .. }
            | Self::NoCredentials
            | Self::CredentialsRefused { .. }
            | Self::RootUnavailable
            | Self::NotEmpty
            | Self::Interrupted => true,
            // What a code means is not known here; one that passes on its own is worth the wait for a person to look.
            Self::Rejected { .. } => false,
            Self::Io(kind) => !matches!(
                kind,
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::Unsupported
            ),
        }
    }

    /// Whether nothing is wrong with the purge, and its storage root must come back first, however long that takes.
    #[must_use]
    pub const fn waits_for_root(&self) -> bool {
        matches!(
            self,
            Self::RootUnavailable | Self::Refused(UriRefusal::RootUnavailable)
        )
    }

    pub(crate) fn after(self, done: Cleaned) -> BlobError {
        BlobError {
            retryable: self.is_retryable(),
            kind: self,
            done,
            at: None,
        }
    }
}

/// A kind of storage that objects can be deleted from.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Deletes everything that `uri` names, and returns only when a fresh and whole listing shows that nothing is left.
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
    /// [`BlobError`], when anything is left or may be left.
    async fn purge(&self, uri: &StorageUri, progress: &Progress<'_>) -> Result<Cleaned, BlobError>;
}

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
    /// [`ConnectError::Listing`] for the first root that cannot be listed. An answer that is not believed is only logged.
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
                // Nothing follows from such an answer, not even that the root is unusable.
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
