//! A file that is written into one root, and must not show in another.
//!
//! Markers and the table of mounts do not tell everything: an overlay hides a marker behind its own, and names its layers as whoever
//! mounted it has called them, which may mean nothing to this process. What was written just now under a name that nobody has asked
//! for before shows wherever the folder is shown.

use super::apart::{Former, Member, joinable};
use super::known::KnownRoot;
use super::marker::{self, MarkerFile};
use super::root::RootError;
use crate::storage::folder::{FileId, mount_of, path_of};
use crate::storage::mounts::Mounts;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Refuses roots that show, or lie in a folder that shows, what is written into another one.
///
/// # Errors
/// [`RootError::Overlap`] names both.
pub(super) fn check(members: &[Member<'_>], ledger: Uuid, known: &[KnownRoot]) -> Result<(), RootError> {
    let former = joinable(members, known, &Mounts::read().unwrap_or_default());
    if members.len() + former.len() < 2 {
        return Ok(());
    }
    for member in members {
        // Where nothing can be written, nothing is deleted either.
        let Some(probe) = whole(member, ledger).and_then(|dir| Probe::put(dir).ok()) else {
            continue;
        };
        let others = members.iter().filter(|other| other.id != member.id);
        let others = others.map(|other| (other.root.path(), other.root.uri()));
        let before = former.iter().filter(|former| former.root.root_id != member.id);
        let before = before.map(|Former { root, path }| (path.as_path(), root.uri.as_str()));
        for (path, uri) in others.chain(before) {
            if probe.shows_in(path).unwrap_or(false) {
                return Err(RootError::Overlap {
                    one: member.root.uri().to_owned(),
                    other: uri.to_owned(),
                    how: "share files: what is written into the first shows in the second, or around it"
                        .to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// A root's folder, if it is the root's without a doubt.
fn whole(member: &Member<'_>, ledger: Uuid) -> Option<Dir> {
    let look = member.root.look().ok()?;
    match look.found {
        MarkerFile::Marker(marker) => {
            let is_its_own = marker.ledger == ledger && marker.root.is_none_or(|id| id == member.id);
            is_its_own.then_some(look.dir)
        }
        MarkerFile::Nothing | MarkerFile::Odd(_) => None,
    }
}

/// The file, until it is dropped.
struct Probe {
    dir: Dir,
    name: String,
    id: FileId,
    path: PathBuf,
}

impl Probe {
    fn put(dir: Dir) -> io::Result<Self> {
        let probe = Self {
            name: marker::unused_name()?,
            id: FileId::of_folder(&dir)?,
            path: path_of(&dir)?,
            dir,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        probe.dir.open_with(&probe.name, &options)?;
        Ok(probe)
    }

    /// Whether it is seen from a folder: in it, above it, or as far below it as its own root lies below something that the folder may
    /// show. What is mounted above or below is not part of what the folder shows.
    fn shows_in(&self, path: &Path) -> io::Result<bool> {
        let path = path.canonicalize()?;
        let mount = mount_of(&Dir::open_ambient_dir(&path, ambient_authority())?)?;
        let names: Vec<_> = self.path.iter().skip(1).collect();
        let below = (0..names.len()).map(|at| path.join(names.iter().skip(at).collect::<PathBuf>()));
        let mut folders = path.ancestors().map(Path::to_owned).chain(below);
        Ok(folders.any(|folder| self.shows_at(&folder, mount).unwrap_or(false)))
    }

    fn shows_at(&self, folder: &Path, mount: u64) -> io::Result<bool> {
        let dir = Dir::open_ambient_dir(folder, ambient_authority())?;
        let is_shown = mount_of(&dir)? == mount && folder.canonicalize()? == folder;
        Ok(is_shown && FileId::of_folder(&dir)? != self.id && dir.symlink_metadata(&self.name).is_ok())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.dir.remove_file(&self.name);
    }
}
