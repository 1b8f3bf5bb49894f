//! A root that lies inside another one, by whatever path it can be reached.

use super::known::KnownRoot;
use super::local_root::{LocalRoot, Look};
use super::marker::{self, MarkerFile};
use super::root::RootError;
use crate::storage::folder::{FileId, mount_of, path_of};
use crate::storage::mounts::Mounts;
use crate::storage::uri::{Spelled, spell};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Looks for the markers of other roots in the folders above.
///
/// # Errors
/// [`RootError`] names the root that the folder lies in: one of another ledger, or one of this ledger's that has another name for it.
pub(super) fn check(
    root: &LocalRoot,
    look: &Look,
    ledger: Uuid,
    known: &[KnownRoot],
) -> Result<(), RootError> {
    Inside { root, ledger, known }.check(look)
}

struct Inside<'a> {
    root: &'a LocalRoot,
    ledger: Uuid,
    /// All roots that this ledger was ever used with.
    known: &'a [KnownRoot],
}

impl Inside<'_> {
    fn check(&self, look: &Look) -> Result<(), RootError> {
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
                how: "are one place under two names: the first lies inside the second, which this ledger has used"
                    .to_owned(),
            })
        })
    }
}
