//! Looking at the storage without touching it: whether something is there, and everything that is below a root.

use super::blob::BlobErrorKind;
use super::blobs::Blobs;
use super::folder::{FileId, mount_of};
use super::local_root::LocalRoot;
use super::marker;
use super::tree::{Met, Tree, Unread};
use super::uri::{BucketPlace, Cloud, LocalPlace, Place};
use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, ReadDir};
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many objects are listed ahead of whoever looks at them.
const AHEAD: usize = 2_000;

impl Blobs {
    /// Whether there is anything at all at what `uri` names.
    ///
    /// # Errors
    /// [`BlobErrorKind`] when that cannot be told: a root that is away is never taken for an empty one.
    pub async fn exists(&self, uri: &str) -> Result<bool, BlobErrorKind> {
        let (roots, uri) = (Arc::clone(&self.roots), uri.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            let checked = roots.check(&uri).map_err(BlobErrorKind::Refused)?;
            Ok(match checked.place() {
                Place::Local(place) => Err(there(place)?),
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

    /// The storage roots.
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
                let (name, roots) = (root.clone(), Arc::clone(&self.roots));
                tokio::task::spawn_blocking(move || match roots.local(&name) {
                    Some(root) => walk_root(&name, root, &roots.guarded(root), &tell),
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

fn there(place: &LocalPlace) -> Result<bool, BlobErrorKind> {
    let whole = place.root.open().map_err(|_| BlobErrorKind::RootUnavailable)?;
    let path: PathBuf = place.below().iter().collect();
    match whole.dir.symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            whole.still().map_err(|_| BlobErrorKind::RootUnavailable)?;
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

type Tell = mpsc::Sender<Result<Met, Unread>>;

fn unread(tell: &Tell, name: &str, kind: BlobErrorKind) -> bool {
    let name = name.to_owned();
    tell.blocking_send(Err(Unread { name, kind })).is_ok()
}

/// Walks a root that is whole, and says so if it was not whole to the end: what was met then may be somebody else's, and what
/// was not met may be there.
fn walk_root(name: &str, root: &LocalRoot, guarded: &HashSet<FileId>, tell: &Tell) {
    let Ok(whole) = root.open() else {
        unread(tell, name, BlobErrorKind::RootUnavailable);
        return;
    };
    let wanted = match whole.dir.try_clone() {
        Ok(dir) => walk_folder(name, dir, guarded, tell),
        Err(error) => unread(tell, name, failure(&error)),
    };
    if wanted && whole.still().is_err() {
        unread(tell, name, BlobErrorKind::RootUnavailable);
    }
}

/// Depth first, with two open folders per level; follows no links, crosses no mount, and leaves out what is the ledger's own.
/// `false` when nobody listens any more.
fn walk_folder(root: &str, dir: Dir, guarded: &HashSet<FileId>, tell: &Tell) -> bool {
    let bounds = FileId::of_folder(&dir).and_then(|id| Ok((id.device(), mount_of(&dir)?)));
    let mut levels: Vec<(String, Dir, ReadDir)> = Vec::new();
    let bounds = match bounds.and_then(|bounds| Ok((bounds, dir.entries()?))) {
        Ok((bounds, entries)) => {
            levels.push((root.to_owned(), dir, entries));
            bounds
        }
        Err(error) => return unread(tell, root, failure(&error)),
    };
    while let Some((path, dir, entries)) = levels.last_mut() {
        let Some(entry) = entries.next() else {
            levels.pop();
            continue;
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = path.clone();
                levels.pop();
                if !unread(tell, &path, failure(&error)) {
                    return false;
                }
                continue;
            }
        };
        // A name that is no UTF-8 is named by no URI; the folders above it are.
        let file_name = entry.file_name();
        let shown = file_name.to_string_lossy();
        let name = format!("{path}/{shown}");
        if path == root && marker::is_reserved(&shown) {
            continue;
        }
        let wanted = match dir.symlink_metadata(&file_name) {
            Ok(meta) if guarded.contains(&FileId::of(&meta)) => true,
            Ok(meta) if meta.is_dir() => match enter(dir, &file_name, bounds, guarded) {
                Ok(Some((dir, entries))) => {
                    levels.push((name, dir, entries));
                    true
                }
                Ok(None) => true,
                Err(kind) => unread(tell, &name, kind),
            },
            Ok(meta) => {
                let bytes = if meta.is_file() { meta.len() } else { 0 };
                tell.blocking_send(Ok(Met { name, bytes })).is_ok()
            }
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => unread(tell, &name, failure(&error)),
        };
        if !wanted {
            return false;
        }
    }
    true
}

/// Opens a folder of the same file system; `None` when it is the ledger's own, under another path than its own.
fn enter(
    holder: &Dir,
    name: &std::ffi::OsStr,
    bounds: (u64, u64),
    guarded: &HashSet<FileId>,
) -> Result<Option<(Dir, ReadDir)>, BlobErrorKind> {
    let opened = holder.open_dir_nofollow(name).and_then(|dir| {
        let (id, mount) = (FileId::of_folder(&dir)?, mount_of(&dir)?);
        Ok((dir, id, mount))
    });
    let (dir, id, mount) = opened.map_err(|error| failure(&error))?;
    if guarded.contains(&id) {
        return Ok(None);
    }
    if (id.device(), mount) != bounds {
        return Err(BlobErrorKind::OtherFileSystem);
    }
    let entries = dir.entries().map_err(|error| failure(&error))?;
    Ok(Some((dir, entries)))
}
