//! What is the ledger's own and never an entity's, wherever it lies.

use super::folder::FileId;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The ledger's own folders and files. Storage roots may lie around them; no purge reaches them.
#[derive(Debug, Clone, Default)]
pub struct OwnFiles {
    /// By their resolved paths, with all that is in them.
    folders: Vec<PathBuf>,
    /// By their paths; not all need be there yet.
    files: Vec<PathBuf>,
}

impl OwnFiles {
    pub(super) fn add_folder(&mut self, resolved: PathBuf) {
        self.folders.push(resolved);
    }

    pub(super) fn add_file(&mut self, path: &Path) {
        self.files.push(path.to_owned());
    }

    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Whether a resolved path is one of them, lies in one, or holds one.
    pub(super) fn touches(&self, path: &Path) -> bool {
        let holds = |file: &PathBuf| file.starts_with(path);
        self.folders
            .iter()
            .any(|dir| dir.starts_with(path) || path.starts_with(dir))
            || self
                .files
                .iter()
                .flat_map(|file| resolved(file))
                .any(|file| holds(&file))
    }

    /// All of them that are there now, to be recognized under any path: links and bind mounts have others.
    pub(super) fn ids(&self) -> HashSet<FileId> {
        self.folders
            .iter()
            .chain(&self.files)
            .filter_map(|path| FileId::at(path).ok())
            .collect()
    }
}

/// Where a file is, and where what it links to is.
fn resolved(file: &Path) -> impl Iterator<Item = PathBuf> {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let here = parent.canonicalize().ok();
    let here = here.zip(file.file_name()).map(|(parent, name)| parent.join(name));
    here.into_iter().chain(file.canonicalize().ok())
}
