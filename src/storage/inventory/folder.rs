//! Looking at local folders without touching them.

use super::{Found, Tell, Unread};
use crate::storage::deletion::BlobErrorKind;
use crate::storage::folder::{FileId, mount_of};
use crate::storage::roots::local_root::LocalRoot;
use crate::storage::roots::marker;
use crate::storage::uri::LocalPlace;
use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, ReadDir};
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

/// Whether there is a file or a folder at the place.
pub(super) fn holds(place: &LocalPlace) -> Result<bool, BlobErrorKind> {
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
        Err(error) => Err(BlobErrorKind::of_io(&error)),
    }
}

fn unread(tell: &Tell, name: &str, kind: BlobErrorKind) -> bool {
    let name = name.to_owned();
    tell.blocking_send(Err(Unread { name, kind })).is_ok()
}

/// Walks a root that is whole, and says so if it was not whole to the end: what was met then may be somebody else's, and what
/// was not met may be there.
pub(super) fn walk(name: &str, root: &LocalRoot, guarded: &HashSet<FileId>, tell: &Tell) {
    let Ok(whole) = root.open() else {
        unread(tell, name, BlobErrorKind::RootUnavailable);
        return;
    };
    let wanted = match whole.dir.try_clone() {
        Ok(dir) => walk_folder(name, dir, guarded, tell),
        Err(error) => unread(tell, name, BlobErrorKind::of_io(&error)),
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
        Err(error) => return unread(tell, root, BlobErrorKind::of_io(&error)),
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
                if !unread(tell, &path, BlobErrorKind::of_io(&error)) {
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
                tell.blocking_send(Ok(Found { name, bytes })).is_ok()
            }
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => unread(tell, &name, BlobErrorKind::of_io(&error)),
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
    let (dir, id, mount) = opened.map_err(|error| BlobErrorKind::of_io(&error))?;
    if guarded.contains(&id) {
        return Ok(None);
    }
    if (id.device(), mount) != bounds {
        return Err(BlobErrorKind::OtherFileSystem);
    }
    let entries = dir.entries().map_err(|error| BlobErrorKind::of_io(&error))?;
    Ok(Some((dir, entries)))
}
