//! Storage roots: the only places whose objects may ever be deleted.
//!
//! `root` is how one is spelled, `local_root` whether the folder at its path is the root at this moment, by its `marker` or by what is
//! `known` of it; `identify` finds that out when the ledger is opened, `watch` looks again from time to time. `overlap` and
//! `inside` refuse roots that are one place or lie in one another, `apart` and `probe` those that share files in any other way; `place` is
//! where a folder is, by everything that says so. `own_files` is what is the ledger's own wherever it lies.

mod apart;
pub mod identify;
mod inside;
pub mod known;
pub mod local_root;
pub(in crate::storage) mod marker;
pub mod overlap;
pub mod own_files;
mod place;
mod probe;
pub mod root;
pub mod tree;
pub mod watch;

use super::folder::{FileId, mount_of, mounted_in};
use super::uri::{
    BucketPlace, Cloud, LocalPlace, Place, Spelled, StorageUri, UriRefusal, below_folder, folder_uri, spell,
};
use cap_fs_ext::DirExt as _;
use cap_std::fs::Dir;
use known::KnownRoot;
use local_root::{LocalRoot, Whole};
use overlap::Endpoints;
use own_files::OwnFiles;
use root::Root;
pub use root::RootError;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tree::Tree;
use uuid::Uuid;

/// The configured storage roots, none of them inside another. Without any, every URI is refused.
///
/// A local root is unavailable until somebody has said what it is recognized by
/// ([`StorageRoots::identify`](identify)). Clones share what is known of it.
#[derive(Debug, Clone, Default)]
pub struct StorageRoots {
    roots: Vec<Root>,
    own: OwnFiles,
}

impl StorageRoots {
    /// Parses roots such as `file:///srv/backups` and `s3://bucket/prefix`. Touches no storage.
    ///
    /// # Errors
    /// [`RootError`] names the first root that is refused.
    pub fn parse(roots: &[String]) -> Result<Self, RootError> {
        let roots: Vec<Root> = roots
            .iter()
            .enumerate()
            .map(|(at, root)| Root::parse(root, at + 1))
            .collect::<Result<_, _>>()?;
        overlap::check_names(&roots)?;
        Ok(Self {
            roots,
            own: OwnFiles::default(),
        })
    }

    /// Refuses from now on whatever lies in `dir`, is `dir`, or holds `dir`: for the ledger's own data directory, should a
    /// storage root be put around it.
    ///
    /// # Errors
    /// [`RootError::Protect`] when `dir` does not exist.
    pub fn protecting(mut self, dir: &Path) -> Result<Self, RootError> {
        let resolved = dir.canonicalize().map_err(|source| RootError::Protect {
            dir: dir.display().to_string(),
            source,
        })?;
        self.own.add_folder(resolved);
        Ok(self)
    }

    /// Refuses from now on whatever is this file or holds it, also where it does not exist yet: for the ledger's keys.
    #[must_use]
    pub fn protecting_file(mut self, file: &Path) -> Self {
        self.own.add_file(file);
        self
    }

    /// Refuses roots in buckets that are one place by two endpoints.
    ///
    /// # Errors
    /// [`RootError::Overlap`] names both.
    pub fn check_endpoints(&self, endpoints: &Endpoints) -> Result<(), RootError> {
        overlap::check_endpoints(&self.roots, endpoints)
    }

    /// Refuses local roots that are there and are one folder by two names, or nested, or inside the ledger's own folder.
    pub(super) fn check_places(&self) -> Result<(), RootError> {
        overlap::check_places(&self.roots, &self.own)
    }

    /// Where an overlay is mounted, now, through which a local root shares files with another one.
    pub(super) fn shared_now(&self, root: &LocalRoot) -> io::Result<Option<PathBuf>> {
        overlap::shared_now(&self.roots, root)
    }

    /// The roots that are folders.
    pub(super) fn locals(&self) -> impl Iterator<Item = &Arc<LocalRoot>> {
        self.roots.iter().filter_map(|root| match root {
            Root::Local(root) => Some(root),
            Root::Bucket { .. } => None,
        })
    }

    /// The local root of that absolute path.
    pub(super) fn local(&self, path: &str) -> Option<&Arc<LocalRoot>> {
        self.locals().find(|root| root.path() == Path::new(path))
    }

    /// Folders and files that no purge of something in `root` may reach, by whatever path: the ledger's own, and other roots.
    pub(super) fn guarded(&self, root: &LocalRoot) -> HashSet<FileId> {
        let others = self.locals().filter(|other| other.path() != root.path());
        let mut ids = self.own.ids();
        ids.extend(others.filter_map(|other| other.seen()).map(|seen| seen.id));
        ids
    }

    /// How many local roots were unavailable when they were last asked for.
    #[must_use]
    pub fn unavailable(&self) -> usize {
        self.locals().filter(|root| root.trouble().is_some()).count()
    }

    /// One sentence for each local root that was unavailable when it was last asked for. It names the root by its number among all
    /// that are configured, as anybody may read it; the log has its path.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let away = self.locals().filter_map(|root| {
            let (number, trouble) = (root.number(), root.trouble()?);
            Some(format!("storage root number {number} is unavailable: {trouble}"))
        });
        away.collect()
    }

    /// For how long a local root has been unavailable; the longest, of several.
    #[must_use]
    pub fn away_for(&self) -> Duration {
        self.locals()
            .map(|root| root.away_for())
            .max()
            .unwrap_or_default()
    }

    /// Whether there is no root at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Whether any root is a folder.
    #[must_use]
    pub fn any_local(&self) -> bool {
        self.locals().next().is_some()
    }

    /// A bucket that a root lies in, if `cloud` has any.
    pub(crate) fn any_bucket(&self, cloud: Cloud) -> Option<&str> {
        self.buckets()
            .find(|(of, _, _)| *of == cloud)
            .map(|(_, bucket, _)| bucket)
    }

    /// Cloud, bucket and prefix (without a slash at its end, empty for the whole bucket) of every root that is none of files.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Cloud, &str, &str)> {
        self.roots.iter().filter_map(|root| match root {
            Root::Local(_) => None,
            Root::Bucket {
                cloud,
                bucket,
                prefix,
            } => Some((*cloud, bucket.as_str(), prefix.as_str())),
        })
    }

    /// The roots' URIs, each in one spelling.
    pub(crate) fn names(&self) -> Vec<String> {
        self.roots.iter().map(Root::name).collect()
    }

    /// Whether a storage URI lies below none of these roots. Goes by the name alone.
    pub(crate) fn is_outside(&self, uri: &str) -> bool {
        spell(uri).and_then(|spelled| self.place(spelled)) == Err(UriRefusal::OutsideRoots)
    }

    /// What a storage URI is called below the other paths that its root was used at: a root that moved is recognized by its marker,
    /// and what was named below either path lies in the same folder. The URI may be named by any of them.
    pub(crate) fn other_names(&self, uri: &str, known: &[KnownRoot]) -> Vec<String> {
        let Ok(Spelled::Local(components)) = spell(uri) else {
            return Vec::new();
        };
        let used = self.used(known);
        let mut names = BTreeSet::new();
        for (root, path) in &used {
            let Some(below @ [_, ..]) = components.strip_prefix(path.as_slice()) else {
                continue;
            };
            let others = used.iter().filter(|(other, at)| other == root && at != path);
            names.extend(others.map(|(_, at)| below_folder(&folder_uri(at), below)));
        }
        names.into_iter().collect()
    }

    /// The other paths that a local root was used at, which is at this absolute path now.
    pub(crate) fn other_paths(&self, path: &str, known: &[KnownRoot]) -> Vec<String> {
        let Some((root, expected)) = self.local(path).and_then(|root| Some((root, root.expected()?))) else {
            return Vec::new();
        };
        let used = self.used(known).into_iter();
        used.filter(|(other, at)| *other == expected.root && at != root.components())
            .map(|(_, at)| format!("/{}", at.join("/")))
            .collect()
    }

    /// What the local roots are recognized by, as far as that has been found out.
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        self.locals()
            .filter_map(|root| Some(root.expected()?.root))
            .collect()
    }

    /// Which local root was used at which path, by the decoded components of that.
    fn used(&self, known: &[KnownRoot]) -> BTreeSet<(Uuid, Vec<String>)> {
        let here = self.locals().filter_map(|root| {
            let expected = root.expected()?;
            Some((expected.root, root.components().to_vec()))
        });
        let before = known.iter().filter_map(|known| match spell(&known.uri) {
            Ok(Spelled::Local(components)) => Some((known.root_id, components)),
            Ok(Spelled::Bucket { .. }) | Err(_) => None,
        });
        before.chain(here).collect()
    }

    /// The roots as they are walked.
    pub(crate) fn trees(&self) -> Vec<Tree> {
        let trees = self.roots.iter().map(|root| match root {
            Root::Local(root) => Tree::Local(format!("/{}", root.components().join("/"))),
            Root::Bucket {
                cloud,
                bucket,
                prefix,
            } => Tree::Bucket {
                cloud: *cloud,
                bucket: bucket.clone(),
                prefix: prefix.clone(),
            },
        });
        trees.collect()
    }

    /// Decides whether `uri` may be deleted: spelled without tricks, strictly below a root, holding no other root, and, for
    /// files, reached without a symbolic link below the root and on the file system that the root is on.
    ///
    /// For files it looks at the disk (one `lstat` per path component, blocking). The answer holds for the moment; the
    /// purge enforces it again while it walks.
    ///
    /// # Errors
    /// [`UriRefusal`] says why not, without any part of the URI.
    pub fn check(&self, uri: &str) -> Result<StorageUri, UriRefusal> {
        let checked = self.place(spell(uri)?)?;
        match checked.place() {
            Place::Local(place) => self.resolve(place)?,
            Place::Bucket(_) => {}
        }
        Ok(checked)
    }

    fn place(&self, spelled: Spelled) -> Result<StorageUri, UriRefusal> {
        match spelled {
            Spelled::Local(components) => self.place_local(&components),
            Spelled::Bucket { cloud, bucket, key } => self.place_key(cloud, bucket, key),
        }
    }

    fn place_local(&self, components: &[String]) -> Result<StorageUri, UriRefusal> {
        let mut found: Option<(usize, &Arc<LocalRoot>)> = None;
        for (at, root) in self.roots.iter().enumerate() {
            let Root::Local(root) = root else { continue };
            if root.components().starts_with(components) {
                return Err(UriRefusal::HoldsRoot);
            }
            if components.starts_with(root.components()) {
                found = Some((at, root));
            }
        }
        let (at, root) = found.ok_or(UriRefusal::OutsideRoots)?;
        let below = components
            .get(root.components().len()..)
            .unwrap_or_default()
            .to_vec();
        if below.first().is_some_and(|name| marker::is_reserved(name)) {
            return Err(UriRefusal::Marker);
        }
        let place = LocalPlace {
            root: Arc::clone(root),
            below,
        };
        Ok(StorageUri::new(at, Place::Local(place)))
    }

    fn place_key(&self, cloud: Cloud, bucket: String, key: String) -> Result<StorageUri, UriRefusal> {
        // Slashes at its end alone do not make a name: `s3://bucket/prefix//` is the root, spelled sloppily.
        let named = key.trim_end_matches('/');
        let mut found: Option<(usize, usize)> = None;
        for (at, root) in self.roots.iter().enumerate() {
            let Root::Bucket {
                cloud: of,
                bucket: root,
                prefix,
            } = root
            else {
                continue;
            };
            if *of != cloud || *root != bucket {
                continue;
            }
            if under(prefix, named).is_some() {
                return Err(UriRefusal::HoldsRoot);
            }
            if under(&key, prefix).is_some() && found.is_none_or(|(_, depth)| prefix.len() > depth) {
                found = Some((at, prefix.len()));
            }
        }
        let (at, _) = found.ok_or(UriRefusal::OutsideRoots)?;
        let place = BucketPlace { cloud, bucket, key };
        Ok(StorageUri::new(at, Place::Bucket(place)))
    }

    /// Walks the existing part of a local path and refuses links in it, and what is mounted there.
    ///
    /// A link inside the root is refused like one that leaves it: what it points to belongs to some other entity.
    fn resolve(&self, place: &LocalPlace) -> Result<(), UriRefusal> {
        let whole = place.root.open().map_err(|_| UriRefusal::RootUnavailable)?;
        let mut path = whole.path.clone();
        let mut below = PathBuf::new();
        let own = self.own.ids();
        let unsure = || match whole.still() {
            Ok(()) => UriRefusal::Unreadable,
            Err(_) => UriRefusal::RootUnavailable,
        };
        let at_home = standing(&whole.dir).map_err(|_| unsure())?;
        let mut exists = true;
        let whole_place: PathBuf = place.below.iter().collect();
        for component in &place.below {
            path.push(component);
            if !exists {
                continue;
            }
            let meta = match path.symlink_metadata() {
                Ok(meta) => meta,
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    exists = false;
                    continue;
                }
                Err(_) => return Err(unsure()),
            };
            if meta.file_type().is_symlink() {
                return Err(UriRefusal::Symlink);
            }
            if own.contains(&FileId::from(&meta)) {
                return Err(UriRefusal::Protected);
            }
            below.push(component);
            match strangeness(&whole, at_home, &below, meta.is_dir()) {
                Ok(None) => {}
                Ok(Some(UriRefusal::InsideOtherRoot)) if below == whole_place => {
                    return Err(UriRefusal::HoldsRoot);
                }
                Ok(Some(refusal)) => return Err(refusal),
                Err(e) if e.kind() == io::ErrorKind::NotFound => exists = false,
                Err(_) => return Err(unsure()),
            }
        }
        // Without links below the root, `path` is now the resolved path of the place, so that roots and protected folders
        // that were configured through links of their own are recognised.
        if self.own.touches(&path) {
            return Err(UriRefusal::Protected);
        }
        let mut others = self.locals().filter_map(|root| root.seen());
        if others.any(|root| root.path.starts_with(&path)) {
            return Err(UriRefusal::HoldsRoot);
        }
        // What was seen through the path counts only if that led to the root all the time.
        whole.still().map_err(|_| UriRefusal::RootUnavailable)
    }
}

/// Why what lies at `below` in a root, which stands `at_home`, may not be named: it is on another file system, or on another mount
/// of the same, and would be gone from here and from nowhere else as soon as that is unmounted; or it is a root of its own.
fn strangeness(
    root: &Whole<'_>,
    at_home: (u64, u64),
    below: &Path,
    is_folder: bool,
) -> io::Result<Option<UriRefusal>> {
    if !is_folder {
        let mounted = mounted_in(&root.dir, below.as_os_str())?;
        return Ok(mounted.then_some(UriRefusal::OtherFileSystem));
    }
    let dir = root.dir.open_dir_nofollow(below)?;
    if standing(&dir)? != at_home {
        return Ok(Some(UriRefusal::OtherFileSystem));
    }
    Ok(root
        .holds_other_root(&dir)?
        .then_some(UriRefusal::InsideOtherRoot))
}

/// The mount and the device that a folder is on.
fn standing(dir: &Dir) -> io::Result<(u64, u64)> {
    Ok((mount_of(dir)?, FileId::of_folder(dir)?.device()))
}

/// What follows `prefix` and its slash in `key`, when `key` is `prefix` itself (nothing follows) or lies below it component-wise.
/// The empty prefix is the bucket, which every key lies below.
fn under<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    if prefix.is_empty() {
        return Some(key);
    }
    match key.strip_prefix(prefix)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

#[cfg(test)]
mod tests;
