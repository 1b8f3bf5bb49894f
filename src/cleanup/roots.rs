//! Storage roots: the only places whose objects may ever be deleted.

use super::survey::Tree;
use super::uri::{BucketPlace, Cloud, LocalPlace, Place, Spelled, StorageUri, UriRefusal, spell};
use std::io;
use std::path::{Path, PathBuf};

/// The configured storage roots. Without any, every URI is refused.
#[derive(Debug, Clone, Default)]
pub struct StorageRoots {
    roots: Vec<Root>,
    protected: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
enum Root {
    Local {
        components: Vec<String>,
        path: PathBuf,
    },
    Bucket {
        cloud: Cloud,
        bucket: String,
        prefix: String,
    },
}

/// Why a storage root is refused. The text is for the operator and names the root, save for credentials.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Not spelled as `file:///abs/dir`, `s3://bucket[/prefix]`, `gs://bucket[/prefix]` or `az://container[/prefix]`.
    #[error("storage root {root} is refused: {reason}")]
    Malformed {
        /// The root as it was given.
        root: String,
        /// What is wrong with it.
        reason: UriRefusal,
    },
    /// User name or password in the root; credentials come from the environment.
    #[error("storage root number {number} is refused: it holds credentials")]
    Credentials {
        /// Which of the given roots, from 1.
        number: usize,
    },
    /// `file:///`: a root that allows everything protects nothing.
    #[error("storage root {root} is refused: it is the whole file system")]
    WholeFileSystem {
        /// The root as it was given.
        root: String,
    },
    /// A bucket name that its cloud does not allow.
    #[error("storage root {root} is refused: its bucket name is not valid")]
    BadBucket {
        /// The root as it was given.
        root: String,
    },
    /// The folder does not exist or is no folder.
    #[error("storage root {root} cannot be opened as a folder")]
    Missing {
        /// The folder.
        root: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The folder to protect cannot be resolved.
    #[error("the ledger's own folder {dir} cannot be resolved")]
    Protect {
        /// The folder.
        dir: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl StorageRoots {
    /// Parses roots such as `file:///srv/backups` and `s3://bucket/prefix`. Touches no storage.
    ///
    /// # Errors
    /// [`RootError`] names the first root that is refused.
    pub fn parse(roots: &[String]) -> Result<Self, RootError> {
        let roots = roots
            .iter()
            .enumerate()
            .map(|(at, root)| Root::parse(root, at + 1))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            roots,
            protected: Vec::new(),
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
        self.protected.push(resolved);
        Ok(self)
    }

    /// Whether there is no root at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
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
            Root::Local { .. } => None,
            Root::Bucket {
                cloud,
                bucket,
                prefix,
            } => Some((*cloud, bucket.as_str(), prefix.as_str())),
        })
    }

    /// The roots as they are walked, none of them inside another.
    pub(crate) fn trees(&self) -> Vec<Tree> {
        let trees: Vec<Tree> = self
            .roots
            .iter()
            .map(|root| match root {
                Root::Local { components, .. } => Tree::Local(format!("/{}", components.join("/"))),
                Root::Bucket {
                    cloud,
                    bucket,
                    prefix,
                } => Tree::Bucket {
                    cloud: *cloud,
                    bucket: bucket.clone(),
                    prefix: prefix.clone(),
                },
            })
            .collect();
        let mut apart: Vec<Tree> = Vec::new();
        for tree in &trees {
            if !apart.contains(tree) && !trees.iter().any(|outer| outer.holds(tree)) {
                apart.push(tree.clone());
            }
        }
        apart
    }

    /// Opens every local root once, to tell at start what would fail later.
    ///
    /// # Errors
    /// [`RootError::Missing`] names the first local root that is no folder.
    pub fn check_local_roots(&self) -> Result<(), RootError> {
        for root in &self.roots {
            match root {
                Root::Local { path, .. } => {
                    std::fs::read_dir(path)
                        .map(drop)
                        .map_err(|source| RootError::Missing {
                            root: path.display().to_string(),
                            source,
                        })?
                }
                Root::Bucket { .. } => {}
            }
        }
        Ok(())
    }

    /// Decides whether `uri` may be deleted: spelled without tricks, strictly below a root, holding no other root, and, for
    /// files, reached without a symbolic link below the root.
    ///
    /// For files it looks at the disk (one `lstat` per path component, blocking). The answer holds for the moment; the
    /// purge enforces it again while it walks.
    ///
    /// # Errors
    /// [`UriRefusal`] says why not, without any part of the URI.
    pub fn check(&self, uri: &str) -> Result<StorageUri, UriRefusal> {
        let checked = match spell(uri)? {
            Spelled::Local(components) => self.place_local(&components)?,
            Spelled::Bucket { cloud, bucket, key } => self.place_key(cloud, bucket, key)?,
        };
        match checked.place() {
            Place::Local(place) => self.resolve(place)?,
            Place::Bucket(_) => {}
        }
        Ok(checked)
    }

    fn place_local(&self, components: &[String]) -> Result<StorageUri, UriRefusal> {
        let mut found: Option<(usize, &PathBuf, usize)> = None;
        for (at, root) in self.roots.iter().enumerate() {
            let Root::Local {
                components: root,
                path,
            } = root
            else {
                continue;
            };
            if root.starts_with(components) {
                return Err(UriRefusal::HoldsRoot);
            }
            if components.starts_with(root) && found.is_none_or(|(_, _, depth)| root.len() > depth) {
                found = Some((at, path, root.len()));
            }
        }
        let (at, root, depth) = found.ok_or(UriRefusal::OutsideRoots)?;
        let below = components.get(depth..).unwrap_or_default().to_vec();
        Ok(StorageUri::new(
            at,
            Place::Local(LocalPlace {
                root: root.clone(),
                below,
            }),
        ))
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

    /// Walks the existing part of a local path and refuses links in it.
    ///
    /// A link inside the root is refused like one that leaves it: what it points to belongs to some other entity.
    fn resolve(&self, place: &LocalPlace) -> Result<(), UriRefusal> {
        let root = place
            .root
            .canonicalize()
            .map_err(|_| UriRefusal::RootUnavailable)?;
        let mut path = root;
        let mut exists = true;
        for component in &place.below {
            path.push(component);
            if !exists {
                continue;
            }
            match path.symlink_metadata() {
                Ok(meta) if meta.file_type().is_symlink() => return Err(UriRefusal::Symlink),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    exists = false;
                }
                Err(_) => return Err(UriRefusal::Unreadable),
            }
        }
        // Without links below the root, `path` is now the resolved path of the place, so that roots and protected folders
        // that were configured through links of their own are recognised.
        if self
            .protected
            .iter()
            .any(|dir| dir.starts_with(&path) || path.starts_with(dir))
        {
            return Err(UriRefusal::Protected);
        }
        for root in &self.roots {
            let Root::Local { path: root, .. } = root else {
                continue;
            };
            // A root that is gone holds nothing that could be lost.
            if root.canonicalize().is_ok_and(|root| root.starts_with(&path)) {
                return Err(UriRefusal::HoldsRoot);
            }
        }
        Ok(())
    }
}

impl Root {
    fn parse(root: &str, number: usize) -> Result<Self, RootError> {
        let given = || root.to_owned();
        match spell(root) {
            Err(UriRefusal::Credentials) => Err(RootError::Credentials { number }),
            Err(reason) => Err(RootError::Malformed {
                root: given(),
                reason,
            }),
            Ok(Spelled::Local(components)) if components.is_empty() => {
                Err(RootError::WholeFileSystem { root: given() })
            }
            Ok(Spelled::Local(components)) => {
                let path = Path::new("/").join(components.iter().collect::<PathBuf>());
                Ok(Self::Local { components, path })
            }
            Ok(Spelled::Bucket { cloud, bucket, key }) => {
                let named = bucket
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
                // Google's names may hold dots between parts of up to 63.
                let longest = if cloud == Cloud::Gcs { 222 } else { 63 };
                if !named || !(3..=longest).contains(&bucket.len()) {
                    return Err(RootError::BadBucket { root: given() });
                }
                let prefix = key.strip_suffix('/').unwrap_or(&key);
                if !prefix.is_empty() && prefix.split('/').any(str::is_empty) {
                    return Err(RootError::Malformed {
                        root: given(),
                        reason: UriRefusal::EmptyComponent,
                    });
                }
                Ok(Self::Bucket {
                    cloud,
                    bucket,
                    prefix: prefix.to_owned(),
                })
            }
        }
    }
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
