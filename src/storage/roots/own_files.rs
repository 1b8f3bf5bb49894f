//! What is the ledger's own and never an entity's, wherever it lies.

use crate::storage::folder::FileId;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// The ledger's own folders and files. Storage roots may lie around them; no purge reaches them.
#[derive(Debug, Clone, Default)]
pub struct OwnFiles {
    /// By their resolved paths, with all that is in them.
    folders: Vec<PathBuf>,
    /// By all the paths that are known of them; not all need be there yet.
    files: BTreeSet<PathBuf>,
}

impl OwnFiles {
    pub(in crate::storage) fn add_folder(&mut self, resolved: PathBuf) {
        self.folders.push(resolved);
    }

    pub(in crate::storage) fn add_file(&mut self, path: &Path) {
        self.files.extend(paths(path));
    }

    pub(in crate::storage) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Whether a resolved path is one of them, lies in one, or holds one.
    pub(in crate::storage) fn touches(&self, path: &Path) -> bool {
        self.folders
            .iter()
            .any(|dir| dir.starts_with(path) || path.starts_with(dir))
            || self.files.iter().any(|file| file.starts_with(path))
    }

    /// All of them that are there now, to be recognized under any path: links and bind mounts have others.
    pub(in crate::storage) fn ids(&self) -> HashSet<FileId> {
        self.folders
            .iter()
            .chain(&self.files)
            .filter_map(|path| FileId::at(path).ok())
            .collect()
    }
}

/// Where a file is, by its name and by its folder's, and where what it links to is.
fn paths(file: &Path) -> impl Iterator<Item = PathBuf> {
    let given = std::path::absolute(file).ok();
    let parent = given.as_deref().and_then(Path::parent).map(Path::canonicalize);
    let here = parent.and_then(Result::ok).zip(file.file_name());
    let here = here.map(|(parent, name)| parent.join(name));
    let there = file.canonicalize().ok();
    [given, here, there].into_iter().flatten()
}
