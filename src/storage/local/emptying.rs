//! Removing a folder with everything in it.

use super::bounds::Bounds;
use super::sink::Sink;
use crate::storage::deletion::{BlobErrorKind, Stop};
use crate::storage::folder::mounted_in;
use cap_std::fs::{Dir, ReadDir};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// Folders nested deeper than this are moved up to the top of the folder that is being purged, so that a purge holds a
/// bounded number of open directories (two each) however deep the tree is.
const MAX_DEPTH: usize = 32;

/// How often one folder is listed again because entries were removed from it and it still was not empty.
const MAX_PASSES: u32 = 1_000;

/// How many names are tried for one folder that is moved up, past those that an interrupted purge left.
const MAX_NAMES: u32 = 100_000;

/// One folder on the way down.
struct Level {
    dir: Dir,
    /// Its name in the level above.
    name: OsString,
    entries: ReadDir,
    passes: u32,
    /// Something was removed in this pass.
    removed: bool,
}

/// Removes a folder: depth first, with a stack of at most [`MAX_DEPTH`] open folders.
///
/// What cannot be removed is left and the rest goes on, so that one protected file does not keep everything else alive; the
/// first such failure is the outcome.
pub(super) struct Emptying<'a> {
    holder: &'a Dir,
    /// Where it is, for messages.
    path: &'a Path,
    bounds: &'a Bounds<'a>,
    sink: &'a mut Sink,
    levels: Vec<Level>,
    moved: u64,
    first_failure: Option<Stop>,
}

impl<'a> Emptying<'a> {
    pub(super) fn new(
        holder: &'a Dir,
        dir: Dir,
        path: &'a Path,
        bounds: &'a Bounds<'a>,
        sink: &'a mut Sink,
    ) -> Result<Self, Stop> {
        let mut new = Self {
            holder,
            path,
            bounds,
            sink,
            levels: Vec::new(),
            moved: 0,
            first_failure: None,
        };
        let name = path.file_name().unwrap_or_default().to_owned();
        new.descend(dir, name, 0);
        match (new.levels.is_empty(), new.first_failure.take()) {
            (true, Some(stop)) => Err(stop),
            (_, stop) => {
                new.first_failure = stop;
                Ok(new)
            }
        }
    }

    pub(super) fn run(mut self) -> Result<(), Stop> {
        while let Some(level) = self.levels.last_mut() {
            self.sink.still_wanted()?;
            match level.entries.next() {
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    // Not every file system tells the type with the name; `remove` looks.
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        self.enter(name);
                    } else {
                        self.remove(name)?;
                    }
                }
                Some(Err(e)) => {
                    self.note(BlobErrorKind::of_io(&e), None);
                    self.leave();
                }
                None => self.leave(),
            }
        }
        self.first_failure.map_or(Ok(()), Err)
    }

    /// Notes what stands in the way at the deepest level, or at something in it.
    fn note(&mut self, kind: BlobErrorKind, name: Option<&OsStr>) {
        if self.first_failure.is_none() {
            let mut path: PathBuf = self.path.to_owned();
            path.extend(self.levels.iter().skip(1).map(|level| &level.name));
            path.extend(name);
            self.first_failure = Some(stop_at(kind, &path));
        }
    }

    /// Notes what stands in the way of a folder that was the deepest level.
    fn note_left(&mut self, kind: BlobErrorKind, name: &OsStr) {
        let name = (!self.levels.is_empty()).then_some(name);
        self.note(kind, name);
    }

    fn descend(&mut self, dir: Dir, name: OsString, passes: u32) {
        match dir.entries() {
            Ok(entries) => self.levels.push(Level {
                dir,
                name,
                entries,
                passes,
                removed: false,
            }),
            Err(e) => self.note_left(BlobErrorKind::of_io(&e), &name),
        }
    }

    fn enter(&mut self, name: OsString) {
        let Some(level) = self.levels.last() else { return };
        match self.bounds.open(&level.dir, &name) {
            Ok(Some(_)) if self.levels.len() >= MAX_DEPTH => self.move_up(&name),
            Ok(Some(dir)) => self.descend(dir, name, 0),
            // Not the folder any more that the listing showed: the next pass sees what it is now.
            Ok(None) => self.removed_here(),
            Err(kind) => self.note(kind, Some(&name)),
        }
    }

    fn removed_here(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.removed = true;
        }
    }

    fn remove(&mut self, name: OsString) -> Result<(), BlobErrorKind> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(());
        };
        let meta = match level.dir.symlink_metadata(&name) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => {
                self.note(BlobErrorKind::of_io(&e), Some(&name));
                return Ok(());
            }
        };
        if meta.is_dir() {
            self.enter(name);
            return Ok(());
        }
        if let Err(kind) = self.bounds.allow(&meta) {
            self.note(kind, Some(&name));
            return Ok(());
        }
        match level.dir.remove_file(&name) {
            Ok(()) => {
                level.removed = true;
                if meta.is_file() {
                    self.sink.removed(meta.len())?;
                }
            }
            // Gone, or a folder since the look at it: the next pass tells.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
                level.removed = true;
            }
            Err(e) => {
                let kind = kept(&e, &level.dir, &name);
                self.note(kind, Some(&name));
            }
        }
        Ok(())
    }

    /// Moves a folder of the deepest level to the top, where a later pass of the top finds it.
    fn move_up(&mut self, name: &OsStr) {
        let (Some(top), Some(level)) = (self.levels.first(), self.levels.last()) else {
            return;
        };
        // A mount inside would move along, and whoever needs it would not find it any more.
        match mounted_in(&level.dir, name) {
            Ok(false) => {}
            Ok(true) => return self.note(BlobErrorKind::OtherFileSystem, Some(name)),
            Err(e) => return self.note(BlobErrorKind::of_io(&e), Some(name)),
        }
        let mut outcome = Err(BlobErrorKind::NotEmpty);
        for _ in 0..MAX_NAMES {
            let free = format!(".purging-{}", self.moved);
            self.moved += 1;
            match level.dir.rename(name, &top.dir, free) {
                Ok(()) => outcome = Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => outcome = Ok(()),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::AlreadyExists
                            | io::ErrorKind::DirectoryNotEmpty
                            | io::ErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(e) => outcome = Err(BlobErrorKind::of_io(&e)),
            }
            break;
        }
        match outcome {
            Ok(()) => {
                self.removed_here();
                if let Some(top) = self.levels.first_mut() {
                    top.removed = true;
                }
            }
            Err(kind) => self.note(kind, Some(name)),
        }
    }

    /// Ends a pass over the deepest level: the folder goes, or is listed again if this pass got anywhere.
    fn leave(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        let above = self.levels.last().map_or(self.holder, |above| &above.dir);
        match above.remove_dir(&level.name) {
            Ok(()) => self.removed_here(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.removed_here(),
            // A folder may hide entries from a listing that entries are removed under; and someone may have added some.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                if level.removed && level.passes < MAX_PASSES {
                    self.descend(level.dir, level.name, level.passes + 1);
                } else {
                    self.note_left(BlobErrorKind::NotEmpty, &level.name);
                }
            }
            Err(e) => self.note_left(kept(&e, above, &level.name), &level.name),
        }
    }
}

pub(super) fn stop_at(kind: BlobErrorKind, path: &Path) -> Stop {
    Stop {
        kind,
        at: Some(path.to_string_lossy().into_owned()),
    }
}

/// Why an entry could not be removed; one that something is mounted at is busy.
pub(super) fn kept(error: &io::Error, holder: &Dir, name: &OsStr) -> BlobErrorKind {
    match error.kind() {
        io::ErrorKind::ResourceBusy if mounted_in(holder, name).unwrap_or(false) => {
            BlobErrorKind::OtherFileSystem
        }
        _ => BlobErrorKind::of_io(error),
    }
}
