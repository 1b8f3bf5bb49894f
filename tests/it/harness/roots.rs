//! Storage roots on disk: as a first start finds them, away and back again, and with mounts in them.

use archive_ledger::clock::{Clock, SystemClock};
use archive_ledger::storage::roots::StorageRoots;
use archive_ledger::storage::roots::identify::FirstUse;
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

/// The name of the file that a root is recognized by.
pub const MARKER: &str = ".archive-ledger-root";

/// These roots, taken into use by a ledger that remembers none.
pub fn used(roots: &[String]) -> StorageRoots {
    let roots = StorageRoots::parse(roots).unwrap();
    let new_id = || SystemClock.new_id();
    roots
        .identify(Uuid::nil(), &[], &|_| FirstUse::Allowed, &new_id)
        .unwrap();
    roots
}

/// What is in a root, beside its marker.
pub fn entries(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != MARKER)
        .collect();
    names.sort();
    names
}

/// A bind mount, or another one, until it is dropped.
pub struct Bind(PathBuf);

impl Bind {
    /// Shows `from` at `to` as well, which is made where it does not exist. `None`, with a line that says so, where this
    /// process may not mount: the scenario cannot be played there.
    pub fn new(from: &Path, to: &Path) -> Option<Self> {
        if !to.exists() {
            if from.is_dir() {
                std::fs::create_dir_all(to).unwrap();
            } else {
                std::fs::write(to, "").unwrap();
            }
        }
        let mounted = Command::new("mount").arg("--bind").args([from, to]).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(to.to_owned())),
            refused => {
                eprintln!("NOT RUN: nothing can be mounted here: {refused:?}");
                None
            }
        }
    }

    /// Shows an overlay at `to`, which is there. Names are meant from `folder`, for which `{}` stands too.
    pub fn overlay(folder: &Path, options: &str, to: &str) -> Option<Self> {
        let options = options.replace("{}", folder.to_str().unwrap().trim_end_matches('/'));
        let mounted = Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &options, to])
            .current_dir(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder.join(to))),
            refused => {
                eprintln!("NOT RUN: no overlay can be mounted here: {refused:?}");
                None
            }
        }
    }

    /// As [`Bind::new`], and nothing can be written or removed there.
    pub fn read_only(from: &Path, to: &Path) -> Option<Self> {
        let bind = Self::new(from, to)?;
        let mounted = Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(to)
            .status();
        assert!(mounted.unwrap().success());
        Some(bind)
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        // Also while a process has something open in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
