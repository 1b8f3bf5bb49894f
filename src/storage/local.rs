//! Local folders: files first, then folders bottom-up, through directory handles that cannot leave the storage root.

mod bounds;
mod emptying;
mod sink;

use super::folder::{FileId, mount_of};
use super::progress::Progress;
use super::roots::StorageRoots;
use super::uri::{LocalPlace, UriRefusal};
use crate::storage::deletion::{BlobError, BlobErrorKind, Cleaned, Stop};
use bounds::Bounds;
use cap_std::fs::Dir;
use emptying::{Emptying, kept, stop_at};
use sink::Sink;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Deletes what a place in a local folder names, as [`Blobs::purge_watched`](super::blobs::Blobs::purge_watched) promises. The root is
/// opened for each purge, so that a volume mounted after the start is seen.
pub(super) async fn purge(
    place: &LocalPlace,
    roots: &Arc<StorageRoots>,
    progress: &Progress<'_>,
) -> Result<Cleaned, BlobError> {
    let (place, roots) = (place.clone(), Arc::clone(roots));
    let (tell, mut told) = mpsc::channel(1);
    let done = Arc::new(Mutex::new(Cleaned::default()));
    let counted = Arc::clone(&done);
    let work = tokio::task::spawn_blocking(move || {
        let mut sink = Sink {
            done: counted,
            tell,
            untold: 0,
        };
        purge_place(&place, &roots, &mut sink)
    });
    loop {
        tokio::select! {
            biased;
            so_far = told.recv() => match so_far {
                Some(so_far) => progress.tell(so_far),
                None => break,
            },
            // The walk notices that nobody listens any more, and ends with counts that are true.
            () = progress.stopped() => told.close(),
        }
    }
    let outcome = work.await;
    let done = *done.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Ok(Ok(())) => {
            progress.tell(done);
            Ok(done)
        }
        Ok(Err(stop)) => Err(stop.after(done)),
        Err(_) => Err(BlobErrorKind::Interrupted.after(done)),
    }
}

fn purge_place(place: &LocalPlace, roots: &StorageRoots, sink: &mut Sink) -> Result<(), Stop> {
    let whole = place.root.open().map_err(|_| BlobErrorKind::RootUnavailable)?;
    if let Some(mount) = roots
        .shared_now(&place.root)
        .map_err(|e| BlobErrorKind::of_io(&e))?
    {
        return Err(stop_at(BlobErrorKind::SharedRoot, &mount));
    }
    let bounds = Bounds {
        root: &whole,
        guarded: roots.guarded(&place.root),
        device: FileId::of_folder(&whole.dir)
            .map_err(|e| BlobErrorKind::of_io(&e))?
            .device(),
        mount: mount_of(&whole.dir).map_err(|e| BlobErrorKind::of_io(&e))?,
    };
    let outcome = purge_below(place, &bounds, sink);
    // Whatever was seen, also that nothing is there, and whatever failed, says something of the root only if it is the root still.
    whole.still().map_err(|_| BlobErrorKind::RootUnavailable)?;
    outcome
}

fn purge_below(place: &LocalPlace, bounds: &Bounds<'_>, sink: &mut Sink) -> Result<(), Stop> {
    let root = &bounds.root.dir;
    let Some((name, above)) = place.below.split_last() else {
        return Err(BlobErrorKind::Refused(UriRefusal::HoldsRoot).into());
    };
    let mut path = place.root.path().to_owned();
    let mut holder = None;
    for component in above {
        let dir = holder.as_ref().unwrap_or(root);
        path.push(component);
        match bounds.open(dir, OsStr::new(component)) {
            Ok(Some(below)) => holder = Some(below),
            Ok(None) => return gone_or_refused(dir, component, &path),
            Err(kind) => return Err(stop_at(kind, &path)),
        }
    }
    let holder = holder.as_ref().unwrap_or(root);
    path.push(name);
    let stopped = |kind| stop_at(kind, &path);
    match holder.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => return Err(stopped(BlobErrorKind::Refused(UriRefusal::Symlink))),
        Ok(meta) if meta.is_dir() => match bounds.open(holder, OsStr::new(name)).map_err(stopped)? {
            Some(dir) => Emptying::new(holder, dir, &path, bounds, sink)?.run()?,
            None => return gone_or_refused(holder, name, &path),
        },
        Ok(meta) => {
            bounds.allow(&meta).map_err(stopped)?;
            match holder.remove_file(name) {
                Ok(()) if meta.is_file() => sink.removed(meta.len())?,
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(stopped(kept(&e, holder, OsStr::new(name)))),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(stopped(BlobErrorKind::of_io(&e))),
    }
    // Also when it was gone already: an earlier attempt may have ended between the removal and this.
    Ok(sync(holder)?)
}

/// A path component that is no folder: nothing there, a file (under which nothing can be), or a link.
fn gone_or_refused(holder: &Dir, name: &str, path: &Path) -> Result<(), Stop> {
    match holder.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => Err(stop_at(BlobErrorKind::Refused(UriRefusal::Symlink), path)),
        // It was none a moment ago.
        Ok(meta) if meta.is_dir() => Err(stop_at(BlobErrorKind::NotEmpty, path)),
        Ok(_) => Ok(sync(holder)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(sync(holder)?),
        Err(e) => Err(stop_at(BlobErrorKind::of_io(&e), path)),
    }
}

/// Makes removals from `dir` survive a power loss.
fn sync(dir: &Dir) -> Result<(), BlobErrorKind> {
    let outcome = dir.open(".").and_then(|file| file.sync_all());
    match outcome {
        // Some network and FUSE file systems know no fsync of a directory.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        Err(e) => Err(BlobErrorKind::of_io(&e)),
        Ok(()) => Ok(()),
    }
}
