//! Looking at the storage without touching it: whether something is there, and everything that is below a root.

use super::blob::{BlobErrorKind, Blobs};
use super::uri::{BucketPlace, Cloud, Place};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many objects are listed ahead of whoever looks at them.
const AHEAD: usize = 2_000;

/// A storage root, to be walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// A local folder: its absolute path without a slash at the end.
    Local(String),
    /// A prefix of a bucket, without a slash at its end; empty for the whole bucket.
    Bucket {
        /// Whose it is.
        cloud: Cloud,
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
}

/// An object that a walk met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Its absolute path, or its key.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A place that a walk could not look into; it goes on behind it.
#[derive(Debug)]
pub struct Unread {
    /// Its absolute path, or the prefix.
    pub name: String,
    /// Why.
    pub kind: BlobErrorKind,
}

impl Blobs {
    /// Whether there is anything at all at what `uri` names.
    ///
    /// # Errors
    /// [`BlobErrorKind`] when that cannot be told: a root that is missing is never taken for an empty one.
    pub async fn exists(&self, uri: &str) -> Result<bool, BlobErrorKind> {
        let (roots, uri) = (Arc::clone(&self.roots), uri.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let checked = roots.check(&uri).map_err(BlobErrorKind::Refused)?;
            Ok(match checked.place() {
                Place::Local(place) => {
                    let path = place
                        .below()
                        .iter()
                        .fold(place.root().to_owned(), |path, name| path.join(name));
                    Err(there(&path)?)
                }
                Place::Bucket(place) => Ok(place.clone()),
            })
        });
        match checked.await.map_err(|_| BlobErrorKind::Interrupted)?? {
            Err(there) => Ok(there),
            Ok(place) => self.holds(&place).await,
        }
    }

    async fn holds(&self, place: &BucketPlace) -> Result<bool, BlobErrorKind> {
        let missing = || BlobErrorKind::NotConnected;
        match place.cloud() {
            Cloud::S3 => self.s3.as_ref().ok_or_else(missing)?.holds(place).await,
            Cloud::Gcs => self.gcs.as_ref().ok_or_else(missing)?.holds(place).await,
            Cloud::Azure => self.azure.as_ref().ok_or_else(missing)?.holds(place).await,
        }
    }

    /// The storage roots, none of them inside another.
    #[must_use]
    pub fn trees(&self) -> Vec<Tree> {
        self.roots.trees()
    }

    /// Walks a root, folder by folder or in the order of the keys. The walk ends with the receiver.
    #[must_use]
    pub fn walk(&self, tree: &Tree) -> mpsc::Receiver<Result<Met, Unread>> {
        let (tell, told) = mpsc::channel(AHEAD);
        match tree {
            Tree::Local(root) => {
                let root = root.clone();
                tokio::task::spawn_blocking(move || walk_folder(&root, &tell));
            }
            Tree::Bucket {
                cloud,
                bucket,
                prefix,
            } => {
                let (cloud, bucket, prefix) = (*cloud, bucket.clone(), prefix.clone());
                let (s3, gcs, azure) = (self.s3.clone(), self.gcs.clone(), self.azure.clone());
                tokio::spawn(async move {
                    let outcome = match (cloud, s3, gcs, azure) {
                        (Cloud::S3, Some(s3), _, _) => s3.list(&bucket, &prefix, &tell).await,
                        (Cloud::Gcs, _, Some(gcs), _) => gcs.list(&bucket, &prefix, &tell).await,
                        (Cloud::Azure, _, _, Some(azure)) => azure.list(&bucket, &prefix, &tell).await,
                        (Cloud::S3 | Cloud::Gcs | Cloud::Azure, _, _, _) => Err(BlobErrorKind::NotConnected),
                    };
                    if let Err(kind) = outcome {
                        // Nobody listens any more: nobody misses it.
                        let _ = tell.send(Err(Unread { name: prefix, kind })).await;
                    }
                });
            }
        }
        told
    }
}

fn there(path: &Path) -> Result<bool, BlobErrorKind> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &io::Error) -> BlobErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => BlobErrorKind::PermissionDenied,
        kind => BlobErrorKind::Io(kind),
    }
}

/// Depth first, with one open folder per level; follows no links and crosses into no other file system.
fn walk_folder(root: &str, tell: &mpsc::Sender<Result<Met, Unread>>) {
    let unread = |name: &str, kind| {
        let name = name.to_owned();
        tell.blocking_send(Err(Unread { name, kind })).is_ok()
    };
    let device = match Path::new(root).metadata() {
        Ok(meta) => meta.dev(),
        Err(error) => {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => BlobErrorKind::RootMissing,
                _ => failure(&error),
            };
            unread(root, kind);
            return;
        }
    };
    let mut levels = Vec::new();
    match std::fs::read_dir(root) {
        Ok(entries) => levels.push((root.to_owned(), entries)),
        Err(error) => {
            unread(root, failure(&error));
        }
    }
    while let Some((path, entries)) = levels.last_mut() {
        let Some(entry) = entries.next() else {
            levels.pop();
            continue;
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = path.clone();
                levels.pop();
                if !unread(&path, failure(&error)) {
                    return;
                }
                continue;
            }
        };
        // A name that is no UTF-8 is named by no URI; the folders above it are.
        let name = format!("{path}/{}", entry.file_name().to_string_lossy());
        let wanted = match entry.metadata() {
            Ok(meta) if meta.is_dir() && meta.dev() != device => {
                unread(&name, BlobErrorKind::OtherFileSystem)
            }
            Ok(meta) if meta.is_dir() => match std::fs::read_dir(entry.path()) {
                Ok(entries) => {
                    levels.push((name, entries));
                    true
                }
                Err(error) => unread(&name, failure(&error)),
            },
            Ok(meta) => {
                let bytes = if meta.is_file() { meta.len() } else { 0 };
                tell.blocking_send(Ok(Met { name, bytes })).is_ok()
            }
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => unread(&name, failure(&error)),
        };
        if !wanted {
            return;
        }
    }
}

impl Tree {
    /// Whether the other root lies inside this one.
    pub(super) fn holds(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(outer), Self::Local(inner)) => {
                Path::new(inner).starts_with(PathBuf::from(outer)) && inner != outer
            }
            (
                Self::Bucket {
                    cloud,
                    bucket,
                    prefix,
                },
                Self::Bucket {
                    cloud: of,
                    bucket: other,
                    prefix: inner,
                },
            ) => {
                cloud == of
                    && bucket == other
                    && inner != prefix
                    && (prefix.is_empty() || inner.starts_with(&format!("{prefix}/")))
            }
            (Self::Local(_), Self::Bucket { .. }) | (Self::Bucket { .. }, Self::Local(_)) => false,
        }
    }
}
