//! The folders that an overlay is made of, as its options in the table of mounts name them.
//!
//! ```text
//! lowerdir=/a:/b::/data,upperdir=/u,workdir=/w        each colon, comma and backslash in a name behind a backslash
//! lowerdir+=/a,lowerdir+=/b,datadir+=/data,…          one each, as it is
//! ```
//!
//! A name that is no absolute path was meant from a folder that the table does not tell; one that was given in another mount
//! namespace, as outside of a container, need not be there at all.

use super::unescaped_bytes;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The layers of an overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Overlay {
    lower: Vec<PathBuf>,
    upper: Vec<PathBuf>,
    work: Vec<PathBuf>,
}

impl Overlay {
    /// From the last field of a line.
    pub(super) fn parse(options: &[u8]) -> Self {
        let mut overlay = Self::default();
        for option in options.split(|byte| *byte == b',') {
            let Some(at) = option.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = option.split_at(at);
            let value = unescaped_bytes(value.get(1..).unwrap_or_default());
            match name {
                b"lowerdir" => overlay.lower.extend(split(&value, Some(b':'))),
                b"lowerdir+" | b"datadir+" => overlay.lower.extend(folder(&value)),
                b"upperdir" => overlay.upper.extend(single(&value)),
                b"workdir" => overlay.work.extend(single(&value)),
                _ => {}
            }
        }
        overlay
    }

    /// What it shows and never changes.
    pub(super) fn lower(&self) -> impl Iterator<Item = &Path> {
        self.lower.iter().map(PathBuf::as_path)
    }

    /// Where what is changed in it lies; none where it is read-only.
    pub(super) fn upper(&self) -> impl Iterator<Item = &Path> {
        self.upper.iter().map(PathBuf::as_path)
    }

    /// Where it prepares changes.
    pub(super) fn work(&self) -> impl Iterator<Item = &Path> {
        self.work.iter().map(PathBuf::as_path)
    }

    /// All of them.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.lower().chain(self.upper()).chain(self.work())
    }
}

fn folder(name: &[u8]) -> Option<PathBuf> {
    name.starts_with(b"/")
        .then(|| PathBuf::from(OsStr::from_bytes(name)))
}

/// One name, which may have been given either way: the table does not tell.
fn single(value: &[u8]) -> impl Iterator<Item = PathBuf> {
    let mut names: Vec<PathBuf> = folder(value).into_iter().chain(split(value, None)).collect();
    names.dedup();
    names.into_iter()
}

/// The names between separators, with backslashes before what is meant as it is.
fn split(value: &[u8], separator: Option<u8>) -> impl Iterator<Item = PathBuf> {
    let mut names = vec![Vec::new()];
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        if Some(byte) == separator {
            names.push(Vec::new());
            continue;
        }
        let byte = if byte == b'\\' { bytes.next() } else { Some(byte) };
        if let Some(name) = names.last_mut() {
            name.extend(byte);
        }
    }
    names.into_iter().filter_map(|name| folder(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(folders: impl Iterator<Item = &'a Path>) -> Vec<&'a str> {
        folders.map(|folder| folder.to_str().unwrap()).collect()
    }

    #[test]
    fn the_layers_of_an_overlay_are_read_however_their_names_are_written() {
        // As Linux 6 prints them.
        for (options, lower, upper, work) in [
            (
                "rw,lowerdir=/a,upperdir=/u,workdir=/w,uuid=on",
                vec!["/a"],
                vec!["/u"],
                vec!["/w"],
            ),
            (
                "ro,lowerdir=/a:/b/c:/d,redirect_dir=on",
                vec!["/a", "/b/c", "/d"],
                vec![],
                vec![],
            ),
            (
                "rw,lowerdir=/lo\\040w:/l\\134:2:/l\\134\\0543,upperdir=up,workdir=work",
                vec!["/lo w", "/l:2", "/l,3"],
                vec![],
                vec![],
            ),
            (
                "ro,lowerdir=/a\\134\\134b:/d",
                vec!["/a\\b", "/d"],
                vec![],
                vec![],
            ),
            (
                "ro,lowerdir=/a::/data::/more",
                vec!["/a", "/data", "/more"],
                vec![],
                vec![],
            ),
            (
                "ro,lowerdir+=/lo\\040w,lowerdir+=/l:2,lowerdir+=/l\\0543,datadir+=/data",
                vec!["/lo w", "/l:2", "/l,3", "/data"],
                vec![],
                vec![],
            ),
            (
                "rw,lowerdir=/a,upperdir=/u\\134\\0542,workdir=/w\\134\\1343",
                vec!["/a"],
                vec!["/u\\,2", "/u,2"],
                vec!["/w\\\\3", "/w\\3"],
            ),
            ("rw,upperdir=/u:1,workdir=/w", vec![], vec!["/u:1"], vec!["/w"]),
            (
                "rw,lowerdir=/\\303\\244\\011,upperdir=/u",
                vec!["/ä\t"],
                vec!["/u"],
                vec![],
            ),
            (
                "rw,lowerdir=relative:../up:/a,lowerdir",
                vec!["/a"],
                vec![],
                vec![],
            ),
            ("", vec![], vec![], vec![]),
            ("lowerdir=,upperdir,workdir=\\", vec![], vec![], vec![]),
        ] {
            let overlay = Overlay::parse(options.as_bytes());
            let read = (
                names(overlay.lower()),
                names(overlay.upper()),
                names(overlay.work()),
            );
            assert_eq!(read, (lower, upper, work), "{options}");
        }
    }
}
