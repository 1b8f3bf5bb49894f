//! What is mounted where, as this process sees it: which folders are one place by several paths.

mod overlay;

use overlay::Overlay;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The table of mounts.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    by_id: HashMap<u64, Mount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The line that it stands in: of two at one point, the later hides the other.
    line: usize,
    /// `major:minor`.
    device: String,
    /// The folder of the file system that is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
    /// What it shows, where that are folders of other file systems.
    overlay: Option<Overlay>,
}

/// A folder by its way from the root of its file system, which is the same under all mounts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    device: String,
    path: PathBuf,
}

impl Origin {
    /// Whether `self` is `other` or lies below it.
    pub(super) fn is_in(&self, other: &Self) -> bool {
        self.device == other.device && self.path.starts_with(&other.path)
    }

    /// What lies at `inner` below it.
    pub(super) fn join(&self, inner: &Path) -> Self {
        Self {
            device: self.device.clone(),
            path: self.path.join(inner),
        }
    }
}

/// A folder that an overlay shows in one of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layer<'a> {
    /// The layer, as whoever mounted it has called it.
    pub(super) base: &'a Path,
    /// The way from there.
    pub(super) inner: PathBuf,
    /// What is changed in the overlay changes it.
    pub(super) changed: bool,
    /// Where the overlay is mounted.
    pub(super) point: &'a Path,
}

impl Mounts {
    #[cfg(target_os = "linux")]
    pub(super) fn read() -> io::Result<Self> {
        std::fs::read("/proc/self/mountinfo").map(|table| Self::parse(&table))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self::default())
    }

    /// See `proc_pid_mountinfo(5)`.
    fn parse(table: &[u8]) -> Self {
        let lines = table.split(|byte| *byte == b'\n').enumerate();
        let by_id = lines.filter_map(|(line, text)| {
            let mut fields = text.split(|byte| *byte == b' ');
            let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
            let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
            let mut kind = fields.skip_while(|field| *field != b"-").skip(1);
            let overlay = (kind.next() == Some(&b"overlay"[..]))
                .then(|| kind.nth(1).map(Overlay::parse))
                .flatten();
            let mount = Mount {
                line,
                device,
                root,
                point,
                overlay,
            };
            Some((id, mount))
        });
        Self {
            by_id: by_id.collect(),
        }
    }

    /// Whether something is mounted at `path` or below it.
    pub(super) fn any_in(&self, path: &Path) -> bool {
        self.by_id.values().any(|mount| mount.point.starts_with(path))
    }

    /// All paths at which a folder can be reached, as far as this process sees its file system mounted. What else is mounted above
    /// may hide some of them.
    pub(super) fn paths_of(&self, origin: &Origin) -> Vec<PathBuf> {
        let mounts = self.by_id.values().filter(|mount| mount.device == origin.device);
        let paths = mounts.filter_map(|mount| {
            let below = origin.path.strip_prefix(&mount.root).ok()?;
            Some(mount.point.join(below))
        });
        paths.collect()
    }

    /// A folder by its canonical path and the number of its mount; `None` when the table does not tell.
    pub(super) fn origin(&self, path: &Path, mount: u64) -> Option<Origin> {
        let mount = self.by_id.get(&mount)?;
        let below = path.strip_prefix(&mount.point).ok()?;
        Some(Origin {
            device: mount.device.clone(),
            path: mount.root.join(below),
        })
    }

    /// The folder at a path as it was before `over` was mounted: an overlay can hide its own layers.
    pub(super) fn origin_below(&self, path: &Path, over: u64) -> Option<Origin> {
        let under = self.by_id.iter().filter(|(id, _)| **id != over);
        self.origin(path, nearest(under, path)?)
    }

    /// The folders that an overlay shows in this one, by its canonical path and the number of its mount; none when that is no overlay.
    pub(super) fn layers(&self, path: &Path, mount: u64) -> Vec<Layer<'_>> {
        let found = self.by_id.get(&mount).and_then(|mount| {
            let below = path.strip_prefix(&mount.point).ok()?;
            let inner = mount.root.strip_prefix("/").ok()?.join(below);
            Some((mount, mount.overlay.as_ref()?, inner))
        });
        let Some((mount, overlay, inner)) = found else {
            return Vec::new();
        };
        let layer = |base, changed| Layer {
            base,
            inner: inner.clone(),
            changed,
            point: &mount.point,
        };
        let shown = overlay.lower().map(|base| layer(base, false));
        let changed = overlay.upper().map(|base| layer(base, true));
        // The kernel's own folder, in which nothing has the place that it has in the overlay, and which is nobody else's.
        let work = overlay.work().map(|base| Layer {
            inner: PathBuf::new(),
            ..layer(base, false)
        });
        shown.chain(changed).chain(work).collect()
    }

    /// Whether a path, going by its name, lies in an overlay, or in or around a layer of one.
    pub(super) fn concerns_overlay(&self, path: &Path) -> bool {
        let covering = nearest(self.by_id.iter(), path).and_then(|id| self.by_id.get(&id));
        let mut overlays = self.by_id.values().filter_map(|mount| mount.overlay.as_ref());
        covering.is_some_and(|mount| mount.overlay.is_some())
            || overlays.any(|overlay| {
                overlay
                    .folders()
                    .any(|base| base.starts_with(path) || path.starts_with(base))
            })
    }

    /// Whether there is any overlay.
    pub(super) fn any_overlay(&self) -> bool {
        self.by_id.values().any(|mount| mount.overlay.is_some())
    }
}

/// The mount that a path leads into.
fn nearest<'a>(mounts: impl Iterator<Item = (&'a u64, &'a Mount)>, path: &Path) -> Option<u64> {
    mounts
        .filter(|(_, mount)| path.starts_with(&mount.point))
        .max_by_key(|(_, mount)| (mount.point.components().count(), mount.line))
        .map(|(id, _)| *id)
}

/// Space, tab, line break, backslash and what separates options are written in octal.
fn unescaped(field: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&unescaped_bytes(field)))
}

fn unescaped_bytes(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_mounts_names_a_folder_by_its_way_in_its_file_system() {
        let table = b"22 27 0:21 / /proc rw - proc proc rw\n\
            27 1 254:0 / / rw - ext4 /dev/vda rw\n\
            90 27 254:0 /srv/a\\040b /mnt/x rw shared:1 master:2 - ext4 /dev/vda rw\n\
            91 27 8:1 / /mnt/y rw - ext4 /dev/sda1 rw\n\
            broken\n";
        let mounts = Mounts::parse(table);
        let origin = |path: &str, mount| mounts.origin(Path::new(path), mount).unwrap();
        assert_eq!(origin("/mnt/x", 90), origin("/srv/a b", 27));
        assert!(origin("/mnt/x/deep", 90).is_in(&origin("/srv", 27)));
        assert!(!origin("/srv", 27).is_in(&origin("/mnt/x", 90)));
        assert!(!origin("/mnt/y/srv", 91).is_in(&origin("/srv", 27)));
        assert!(mounts.any_in(Path::new("/mnt")) && !mounts.any_in(Path::new("/srv")));
        assert_eq!(mounts.origin(Path::new("/x"), 7), None);
        let mut paths = mounts.paths_of(&origin("/mnt/x/deep", 90));
        paths.sort();
        assert_eq!(paths, [Path::new("/mnt/x/deep"), Path::new("/srv/a b/deep")]);
    }

    #[test]
    fn the_layers_of_an_overlay_are_found_at_the_same_way_as_in_it() {
        let table = b"27 1 254:0 / / rw - ext4 /dev/vda rw\n\
            46 27 0:39 / /merged rw,relatime - overlay overlay rw,lowerdir=/lower,upperdir=/upper,workdir=/scratch\n\
            47 27 0:39 /in /bound rw shared:3 - overlay overlay rw,lowerdir=/lower,upperdir=/upper,workdir=/scratch\n\
            48 27 0:40 / /over rw - overlay overlay ro,lowerdir=/over:/more\n";
        let mounts = Mounts::parse(table);
        let layers = |path: &str, mount| {
            let layers = mounts.layers(Path::new(path), mount).into_iter();
            let shown = layers.map(|layer| (layer.base.join(layer.inner), layer.changed));
            let shown = shown
                .map(|(path, changed)| (path.to_str().unwrap().trim_end_matches('/').to_owned(), changed));
            shown.collect::<Vec<_>>()
        };
        let of = |lower: &str, upper: &str| {
            [(lower, false), (upper, true), ("/scratch", false)]
                .map(|(path, changed)| (path.to_owned(), changed))
        };
        assert_eq!(layers("/merged", 46), of("/lower", "/upper"));
        assert_eq!(layers("/merged/a b", 46), of("/lower/a b", "/upper/a b"));
        assert_eq!(layers("/bound/x", 47), of("/lower/in/x", "/upper/in/x"));
        assert_eq!(layers("/srv", 27), []);
        // Of the folder that an overlay of it hides, the table knows what it was.
        let hidden = mounts.origin_below(Path::new("/over/x"), 48).unwrap();
        assert_eq!(hidden, mounts.origin(Path::new("/over/x"), 27).unwrap());
        for (path, concerned) in [
            ("/merged/x", true),
            ("/bound", true),
            ("/over/x", true),
            ("/lower/x", true),
            ("/more", true),
            ("/upper", true),
            ("/scratch/x", true),
            ("/srv", false),
            ("/", true),
            ("/lowered", false),
        ] {
            assert_eq!(mounts.concerns_overlay(Path::new(path)), concerned, "{path}");
        }
    }
}
