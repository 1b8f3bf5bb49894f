//! What each local root is recognized by: found out when the ledger is opened, and remembered in its database.
//!
//! ```text
//! remembered?  marker in the folder        what happens
//! no           none                        first use: the marker is written; where it cannot be, the folder's numbers are remembered.
//!                                          But where the ledger knows of storage below the root and nothing of that is there, as
//!                                          below a mount that a ledger from before there were markers misses: unavailable
//! no           this ledger's               remembered
//! yes          none, or no folder          the root is unavailable until it is back
//! yes          the one that is remembered  whole
//! any          another one, or none at all refused: somebody else's folder, or another root's
//! no           no folder                   refused: nobody knows what should be there; unavailable where the ledger knows
//! ```
//!
//! A root that lies inside another one, of another ledger or of this one under another name, is refused: what is named through one
//! would not be known to be what is named through the other.

use super::local_root::{Expected, LocalRoot, Look, RootTrouble};
use super::marker::{self, MarkerFile};
use crate::storage::folder::{FileId, Mounts, mount_of, path_of};
use crate::storage::roots::known::KnownRoot;
use crate::storage::roots::{RootError, StorageRoots};
use crate::storage::uri::{Spelled, spell};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Whether a root that was never used may be taken into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstUse {
    /// Whoever asks serves or fills the ledger.
    Allowed,
    /// Whoever asks serves or fills the ledger, which knows of storage below the root, and nothing of that is there.
    Doubtful,
    /// Whoever asks only compares.
    Refused,
}

impl StorageRoots {
    /// Finds out what every local root is recognized by for which that was not found out yet, and writes markers where none is. The
    /// roots can be used from here on; those that are away can be once they are back. Returns what the database does not know yet.
    ///
    /// Whether a root may be taken into use that never was, `first_use` says by its URI. A doubtful one stays unavailable, and is
    /// found out about by the next call.
    ///
    /// Also of several instances that do this at once, all come to recognize the same: the marker that is written first stays,
    /// and of two rows the first.
    ///
    /// # Errors
    /// [`RootError`] names the root that cannot be this ledger's.
    pub fn identify(
        &self,
        ledger: Uuid,
        known: &[KnownRoot],
        first_use: &dyn Fn(&str) -> FirstUse,
        new_id: &dyn Fn() -> Uuid,
    ) -> Result<Vec<KnownRoot>, RootError> {
        self.check_places()?;
        let mut news = Vec::new();
        for root in self.locals().filter(|root| root.expected().is_none()) {
            let uri = root.uri();
            let before = known.iter().find(|known| known.uri == uri);
            let Some(found) = (Candidate {
                root,
                ledger,
                known,
                before,
            })
            .settle(first_use(uri), new_id)?
            else {
                root.doubt(ledger);
                continue;
            };
            if before != Some(&found) {
                news.push(found.clone());
            }
            root.expect(Expected {
                ledger,
                root: found.root_id,
                numbers: found.numbers,
            });
        }
        self.check_ids()?;
        Ok(news)
    }

    /// Takes over what stands in the database. Of two instances that use a root first at once, the other may have been faster.
    pub fn expect_all(&self, ledger: Uuid, known: &[KnownRoot]) {
        for root in self.locals() {
            let uri = root.uri();
            if let Some(known) = known.iter().find(|known| known.uri == uri) {
                root.expect(Expected {
                    ledger,
                    root: known.root_id,
                    numbers: known.numbers,
                });
            }
        }
    }

    /// The local roots of which nobody has found out yet what they are recognized by.
    pub fn unidentified(&self) -> Vec<Arc<LocalRoot>> {
        let unknown = self.locals().filter(|root| root.expected().is_none());
        unknown.map(Arc::clone).collect()
    }

    /// Looks at every local root, so that the log tells which of them are away.
    pub fn look(&self) {
        for root in self.locals() {
            drop(root.open());
        }
    }

    /// Two roots that are recognized by the same are two copies of one, and nobody can tell them apart.
    fn check_ids(&self) -> Result<(), RootError> {
        let mut seen: Vec<(Uuid, &LocalRoot)> = Vec::new();
        for root in self.locals() {
            let Some(expected) = root.expected() else { continue };
            if let Some((_, first)) = seen.iter().find(|(id, _)| *id == expected.root) {
                return Err(RootError::Copy {
                    root: root.uri().to_owned(),
                    of: first.uri().to_owned(),
                });
            }
            seen.push((expected.root, root));
        }
        Ok(())
    }

    /// The first local root that is not whole now, and why.
    #[must_use]
    pub fn first_unavailable(&self) -> Option<RootError> {
        self.locals().find_map(|root| {
            let trouble = root.open().err()?;
            Some(RootError::Unavailable {
                root: root.uri().to_owned(),
                advice: root.advice(trouble),
                trouble,
            })
        })
    }
}

/// A root, and what is known of it.
struct Candidate<'a> {
    root: &'a LocalRoot,
    ledger: Uuid,
    /// All roots that this ledger was ever used with.
    known: &'a [KnownRoot],
    before: Option<&'a KnownRoot>,
}

impl Candidate<'_> {
    /// What the root is recognized by; `None` while that is in doubt.
    fn settle(&self, first_use: FirstUse, new_id: &dyn Fn() -> Uuid) -> Result<Option<KnownRoot>, RootError> {
        let look = match (self.root.look(), self.before) {
            (Ok(look), _) => look,
            // Once it is back it must be what it was.
            (Err(_), Some(before)) => return Ok(Some(before.clone())),
            (Err(_), None) if first_use == FirstUse::Doubtful => return Ok(None),
            (Err(trouble), None) => return Err(self.missing(trouble)),
        };
        self.check_above(&look)?;
        let same_folder = self
            .before
            .and_then(|before| before.numbers)
            .is_some_and(|numbers| numbers.same(look.numbers));
        let marked = |root_id| KnownRoot {
            uri: self.root.uri().to_owned(),
            root_id,
            numbers: None,
        };
        let root_id = match (look.found, self.before) {
            (MarkerFile::Odd(what), _) => return Err(self.refused(RootTrouble::Odd(what))),
            (MarkerFile::Marker(marker), _) if marker.ledger != self.ledger => {
                return Err(self.refused(RootTrouble::OtherLedger(marker.ledger)));
            }
            (MarkerFile::Marker(marker), None) => {
                return Ok(Some(marked(marker.root.unwrap_or_else(new_id))));
            }
            (MarkerFile::Marker(marker), Some(before)) => {
                return match marker.root {
                    None => Ok(Some(marked(before.root_id))),
                    Some(id) if id == before.root_id || same_folder => Ok(Some(marked(id))),
                    Some(id) => Err(self.refused(RootTrouble::OtherRoot(id))),
                };
            }
            // The marker could not be written before; perhaps it can be by now.
            (MarkerFile::Nothing, Some(before)) if same_folder => Some(before.root_id),
            (MarkerFile::Nothing, Some(before)) => return Ok(Some(before.clone())),
            (MarkerFile::Nothing, None) => None,
        };
        match (first_use, self.before) {
            (FirstUse::Refused, Some(before)) => return Ok(Some(before.clone())),
            (FirstUse::Refused, None) => {
                return Err(RootError::NeverUsed {
                    root: self.root.uri().to_owned(),
                });
            }
            (FirstUse::Doubtful, None) => return Ok(None),
            (FirstUse::Doubtful, Some(_)) | (FirstUse::Allowed, _) => {}
        }
        let root_id = root_id.unwrap_or_else(new_id);
        let written = marker::write(&look.dir, self.ledger, root_id);
        match marker::read(&look.dir) {
            // Perhaps another instance's, which was faster.
            Ok(MarkerFile::Marker(marker)) if marker.ledger == self.ledger => {
                Ok(Some(marked(marker.root.unwrap_or(root_id))))
            }
            Ok(MarkerFile::Marker(marker)) => Err(self.refused(RootTrouble::OtherLedger(marker.ledger))),
            Ok(MarkerFile::Odd(what)) => Err(self.refused(RootTrouble::Odd(what))),
            Ok(MarkerFile::Nothing) => {
                let cause = written
                    .err()
                    .map_or(io::ErrorKind::NotFound, |error| error.kind());
                let root = self.root.uri().to_owned();
                tracing::warn!(
                    storage.root = %root,
                    "no marker can be written into the storage root {root} ({cause}): it is recognized by its device, its inode and \
                     the time at which it was made, and counts as unavailable when these change"
                );
                Ok(Some(KnownRoot {
                    uri: root,
                    root_id,
                    numbers: Some(look.numbers),
                }))
            }
            Err(error) => Err(self.missing(RootTrouble::Unreadable(error.kind()))),
        }
    }

    /// Looks for the markers of other roots in the folders above, by whatever path the folder can be reached.
    fn check_above(&self, look: &Look) -> Result<(), RootError> {
        for path in self.paths(look) {
            for above in path.ancestors().skip(1) {
                let found =
                    Dir::open_ambient_dir(above, ambient_authority()).and_then(|dir| marker::read(&dir));
                // Where we may not look, we do not know of any.
                let Ok(MarkerFile::Marker(marker)) = found else {
                    continue;
                };
                if marker.ledger != self.ledger {
                    return Err(RootError::InsideOther {
                        root: self.root.uri().to_owned(),
                        dir: above.display().to_string(),
                        ledger: marker.ledger,
                    });
                }
                let below = path.strip_prefix(above).unwrap_or(Path::new(""));
                self.check_name_in(marker.root, below)?;
            }
        }
        Ok(())
    }

    /// The paths at which the folder is: its own, and where it can be reached through other mounts of its file system.
    fn paths(&self, look: &Look) -> Vec<PathBuf> {
        let resolved = path_of(&look.dir).or_else(|_| self.root.path().canonicalize());
        let (Ok(resolved), Ok(id)) = (resolved, FileId::of_folder(&look.dir)) else {
            return Vec::new();
        };
        let origin = Mounts::read().and_then(|mounts| {
            let origin = mounts.origin(&resolved, mount_of(&look.dir)?);
            Ok(origin.map_or_else(Vec::new, |origin| mounts.paths_of(&origin)))
        });
        let mut paths = origin.unwrap_or_default();
        // Something else may be mounted there by now, or above it.
        paths.retain(|path| *path != resolved && FileId::at(path).is_ok_and(|there| there == id));
        paths.push(resolved);
        paths
    }

    /// A root that was given up may have held this one: what was named through either has the same name then. Anything else is the
    /// same place under two names.
    fn check_name_in(&self, root: Option<Uuid>, below: &Path) -> Result<(), RootError> {
        let holders = self.known.iter().filter(|known| Some(known.root_id) == root);
        let mut other = None;
        for holder in holders {
            let Ok(Spelled::Local(mut components)) = spell(&holder.uri) else {
                continue;
            };
            components.extend(below.iter().map(|name| name.to_string_lossy().into_owned()));
            if components == self.root.components() {
                return Ok(());
            }
            other = Some(holder);
        }
        other.map_or(Ok(()), |other| {
            Err(RootError::Overlap {
                one: self.root.uri().to_owned(),
                other: other.uri.clone(),
                how: "are one place under two names: the first lies inside the second, which this ledger has used",
            })
        })
    }

    fn refused(&self, trouble: RootTrouble) -> RootError {
        RootError::Unavailable {
            root: self.root.uri().to_owned(),
            trouble,
            advice: self.root.advice(trouble),
        }
    }

    fn missing(&self, trouble: RootTrouble) -> RootError {
        RootError::Missing {
            root: self.root.uri().to_owned(),
            trouble,
        }
    }
}
