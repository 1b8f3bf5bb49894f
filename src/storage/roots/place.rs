//! Where a folder is, by everything that says so, and where its files can be changed through something else.

use crate::storage::folder::{FileId, mount_of};
use crate::storage::mounts::{Layer, Mounts, Origin};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::io;
use std::iter::once;
use std::path::{Path, PathBuf};

/// Overlays of overlays are followed this far; the kernel allows two.
const DEEPEST: usize = 4;

/// A folder.
pub(super) struct Place {
    spot: Spot,
    /// What else its files are, where it lies in an overlay.
    layers: Vec<LayerSpot>,
}

/// A folder by its names. One that is hidden, or not there yet, has not all of them.
struct Spot {
    id: Option<FileId>,
    path: Option<PathBuf>,
    origin: Option<Origin>,
}

/// A folder whose files an overlay shows.
struct LayerSpot {
    spot: Spot,
    /// What is changed in the overlay changes it.
    changed: bool,
    /// Where the overlay is mounted.
    point: PathBuf,
}

impl Place {
    pub(super) fn of(path: &Path, mounts: &Mounts) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        let path = path.canonicalize()?;
        let mount = mount_of(&dir).ok();
        let mut layers = Vec::new();
        if let Some(mount) = mount {
            add_layers(&mut layers, (&path, mount), true, mounts, DEEPEST);
        }
        Ok(Self {
            spot: Spot {
                id: Some(FileId::of_folder(&dir)?),
                origin: mount.and_then(|mount| mounts.origin(&path, mount)),
                path: Some(path),
            },
            layers,
        })
    }

    /// Whether it is `other` or lies inside it.
    pub(super) fn is_in(&self, other: &Self) -> bool {
        self.spot.is_in(&other.spot)
    }

    /// Where an overlay is mounted by which what is changed in one of both changes the other.
    pub(super) fn shares<'a>(&'a self, other: &'a Self) -> Option<&'a Path> {
        self.changes(other).or_else(|| other.changes(self))
    }

    /// Where an overlay is mounted by which what is changed in `self` changes what is in, or around, `other`. Two overlays of one folder
    /// that neither of them changes are apart.
    pub(super) fn changes<'a>(&'a self, other: &'a Self) -> Option<&'a Path> {
        let changed = self.parts().filter(|(_, changed, _)| *changed);
        let mut pairs = changed.flat_map(|one| other.parts().map(move |other| (one, other)));
        pairs.find_map(|((one, _, mount), (other, _, second))| {
            (one.is_in(other) || other.is_in(one))
                .then(|| mount.or(second))
                .flatten()
        })
    }

    fn parts(&self) -> impl Iterator<Item = (&Spot, bool, Option<&Path>)> {
        let layers = self.layers.iter();
        once((&self.spot, true, None))
            .chain(layers.map(|layer| (&layer.spot, layer.changed, Some(layer.point.as_path()))))
    }
}

impl Spot {
    fn is_in(&self, other: &Self) -> bool {
        fn both<T>(one: &Option<T>, other: &Option<T>, holds: impl Fn(&T, &T) -> bool) -> bool {
            one.as_ref()
                .zip(other.as_ref())
                .is_some_and(|(one, other)| holds(one, other))
        }
        both(&self.id, &other.id, |one, other| one == other)
            || both(&self.path, &other.path, |one, other| one.starts_with(other))
            || both(&self.origin, &other.origin, Origin::is_in)
    }
}

/// Adds the layers of a folder, and theirs.
fn add_layers(
    layers: &mut Vec<LayerSpot>,
    (path, mount): (&Path, u64),
    changed: bool,
    mounts: &Mounts,
    depth: usize,
) {
    let Some(deeper) = depth.checked_sub(1) else {
        return;
    };
    for layer in mounts.layers(path, mount) {
        let changed = changed && layer.changed;
        let (spot, there) = find(&layer, mount, mounts);
        layers.push(LayerSpot {
            spot,
            changed,
            point: layer.point.to_owned(),
        });
        if let Some((path, mount)) = there {
            add_layers(layers, (&path, mount), changed, mounts, deeper);
        }
    }
}

/// The folder that a layer has in the place of one in the overlay, and where it can be reached.
fn find(layer: &Layer<'_>, overlay: u64, mounts: &Mounts) -> (Spot, Option<(PathBuf, u64)>) {
    let base = Dir::open_ambient_dir(layer.base, ambient_authority())
        .and_then(|dir| Ok((layer.base.canonicalize()?, mount_of(&dir)?)));
    match base {
        Ok((base, mount)) if mount != overlay => {
            let path = base.join(&layer.inner);
            // It need not be there, and no overlay shows what a link leads to.
            let is_there = path.canonicalize().is_ok_and(|resolved| resolved == path);
            let spot = Spot {
                id: is_there.then(|| FileId::at(&path).ok()).flatten(),
                origin: mounts.origin(&base, mount).map(|base| base.join(&layer.inner)),
                path: Some(path.clone()),
            };
            (spot, Some((path, mount)))
        }
        // Hidden by the overlay, or known to another mount namespace only.
        Ok(_) | Err(_) => {
            let base = mounts.origin_below(layer.base, overlay);
            let spot = Spot {
                id: None,
                path: None,
                origin: base.map(|base| base.join(&layer.inner)),
            };
            (spot, None)
        }
    }
}
