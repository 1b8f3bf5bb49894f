//! Looking at the storage without touching it: whether something is there, and everything that is below a root.

mod bucket;
mod folder;

use super::blobs::{Blobs, ConnectError};
use super::uri::Place;
use crate::storage::deletion::BlobErrorKind;
use crate::storage::roots::tree::Tree;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many objects are listed ahead of whoever looks at them.
const AHEAD: usize = 2_000;

/// An object that a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
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

type Tell = mpsc::Sender<Result<Found, Unread>>;

impl Blobs {
    /// Lists under every root that is in a bucket, to tell at start what would fail later.
    ///
    /// # Errors
    /// [`ConnectError::Listing`] for the first root that cannot be listed, whoever refused it. A listing that came and is not
    /// believed is only logged.
    pub async fn probe(&self) -> Result<(), ConnectError> {
        for (cloud, bucket, prefix) in self.roots().buckets() {
            let root = || format!("{}://{bucket}/{prefix}", cloud.scheme());
            let outcome = match self.driver(cloud) {
                Ok(driver) => bucket::probe(&*driver.bucket(bucket), prefix).await,
                Err(kind) => Err(kind),
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

    /// Whether there is anything at all at what `uri` names.
    ///
    /// # Errors
    /// [`BlobErrorKind`] when that cannot be told: a root that is away is never taken for an empty one.
    pub async fn exists(&self, uri: &str) -> Result<bool, BlobErrorKind> {
        let (roots, uri) = (Arc::clone(self.roots()), uri.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let checked = roots.check(&uri).map_err(BlobErrorKind::Refused)?;
            Ok(match checked.place() {
                Place::Local(place) => Err(folder::holds(place)?),
                Place::Bucket(place) => Ok(place.clone()),
            })
        });
        match checked.await.map_err(|_| BlobErrorKind::Interrupted)?? {
            Err(there) => Ok(there),
            Ok(place) => {
                let driver = self.driver(place.cloud())?;
                bucket::holds(&*driver.bucket(place.bucket()), driver.backoff(), &place).await
            }
        }
    }

    /// The storage roots.
    #[must_use]
    pub fn trees(&self) -> Vec<Tree> {
        self.roots().trees()
    }

    /// Walks a root, folder by folder or in the order of the keys. The walk ends with the receiver.
    #[must_use]
    pub fn walk(&self, tree: &Tree) -> mpsc::Receiver<Result<Found, Unread>> {
        let (tell, told) = mpsc::channel(AHEAD);
        match tree {
            Tree::Local(root) => {
                let (name, roots) = (root.clone(), Arc::clone(self.roots()));
                tokio::task::spawn_blocking(move || match roots.local(&name) {
                    Some(root) => folder::walk(&name, root, &roots.guarded(root), &tell),
                    None => {
                        let kind = BlobErrorKind::RootUnavailable;
                        let _ = tell.blocking_send(Err(Unread { name, kind }));
                    }
                });
            }
            Tree::Bucket {
                cloud,
                bucket,
                prefix,
            } => {
                let (driver, bucket, prefix) = (self.driver(*cloud), bucket.clone(), prefix.clone());
                tokio::spawn(async move {
                    let outcome = match driver {
                        Ok(driver) => {
                            bucket::walk(&*driver.bucket(&bucket), driver.backoff(), &prefix, &tell).await
                        }
                        Err(kind) => Err(kind),
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
