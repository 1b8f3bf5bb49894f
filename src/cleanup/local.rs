//! Local folders: files first, then folders bottom-up, through directory handles that cannot leave the storage root.

mod sink;

use super::blob::{BlobError, BlobErrorKind, Cleaned};
use super::driver::BlobStore;
use super::folder::{FileId, mount_of, mounted_in};
use super::local_root::Whole;
use super::progress::Progress;
use super::roots::StorageRoots;
use super::uri::{LocalPlace, Place, StorageUri, UriRefusal};
use async_trait::async_trait;
use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, Metadata, ReadDir};
use sink::Sink;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Folders nested deeper than this are moved up to the top of the folder that is being purged, so that a purge holds a
/// bounded number of open directories (two each) however deep the tree is.
const MAX_DEPTH: usize = 32;

/// How often one folder is listed again because entries were removed from it and it still was not empty.
const MAX_PASSES: u32 = 1_000;

/// How many names are tried for one folder that is moved up, past those that an interrupted purge left.
const MAX_NAMES: u32 = 100_000;

/// Deletes from local folders. A root is opened for each purge, so that a volume mounted after the start is seen.
#[derive(Debug, Clone)]
pub struct LocalStore {
    roots: Arc<StorageRoots>,
}

impl LocalStore {
    /// Deletes below these roots.
    #[must_use]
    pub const fn new(roots: Arc<StorageRoots>) -> Self {
        Self { roots }
    }
}

#[async_trait]
impl BlobStore for LocalStore {
    async fn purge(&self, uri: &StorageUri, progress: &Progress<'_>) -> Result<Cleaned, BlobError> {
        let Place::Local(place) = uri.place() else {
            return Err(BlobErrorKind::NotConnected.after(Cleaned::default()));
        };
        let (place, roots) = (place.clone(), Arc::clone(&self.roots));
        let (tell, mut told) = mpsc::channel(1);
        let done = Arc::new(Mutex::new(Cleaned::default()));
        let counted = Arc::clone(&done);
        let work = tokio::task::spawn_blocking(move || {
            let mut sink = Sink {
                done: counted,
                tell,
                untold: 0,
            };
            purge_place(&place, &roots, &mut sink)
        });
        loop {
            tokio::select! {
                biased;
                so_far = told.recv() => match so_far {
                    Some(so_far) => progress.tell(so_far),
                    None => break,
                },
                // The walk notices that nobody listens any more, and ends with counts that are true.
                () = progress.stopped() => told.close(),
            }
        }
        let outcome = work.await;
        let done = *done.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(Ok(())) => {
                progress.tell(done);
                Ok(done)
            }
            Ok(Err(stop)) => Err(stop.kind.after(done).at(stop.at)),
            Err(_) => Err(BlobErrorKind::Interrupted.after(done)),
        }
    }
}

/// What ends a purge, and where.
struct Stop {
    kind: BlobErrorKind,
    at: Option<String>,
}

impl From<BlobErrorKind> for Stop {
    fn from(kind: BlobErrorKind) -> Self {
        Self { kind, at: None }
    }
}

impl Stop {
    fn at(kind: BlobErrorKind, path: &Path) -> Self {
        Self {
            kind,
            at: Some(path.to_string_lossy().into_owned()),
        }
    }
}

fn purge_place(place: &LocalPlace, roots: &StorageRoots, sink: &mut Sink) -> Result<(), Stop> {
    let whole = place.root.open().map_err(|_| BlobErrorKind::RootUnavailable)?;
    let bounds = Bounds {
        root: &whole,
        guarded: roots.guarded(&place.root),
        device: FileId::of_folder(&whole.dir).map_err(|e| failure(&e))?.device(),
        mount: mount_of(&whole.dir).map_err(|e| failure(&e))?,
    };
    let outcome = purge_below(place, &bounds, sink);
    // Whatever was seen, also that nothing is there, and whatever failed, says something of the root only if it is the root still.
    whole.still().map_err(|_| BlobErrorKind::RootUnavailable)?;
    outcome
}

/// What a purge never goes beyond.
struct Bounds<'a> {
    root: &'a Whole<'a>,
    /// What is not the entity's, whatever its path.
    guarded: HashSet<FileId>,
    device: u64,
    mount: u64,
}

impl Bounds<'_> {
    /// Opens a folder inside the bounds; `None` when there is no folder.
    fn open(&self, holder: &Dir, name: &OsStr) -> Result<Option<Dir>, BlobErrorKind> {
        let dir = match holder.open_dir_nofollow(name) {
            Ok(dir) => dir,
            Err(error) => {
                return match holder.symlink_metadata(name) {
                    Ok(meta) if !meta.is_dir() => Ok(None),
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(None),
                    Ok(_) | Err(_) => Err(failure(&error)),
                };
            }
        };
        let meta = dir.dir_metadata().map_err(|e| failure(&e))?;
        self.allow(&meta)?;
        let mount = mount_of(&dir).map_err(|e| failure(&e))?;
        if mount != self.mount || FileId::of(&meta).device() != self.device {
            return Err(BlobErrorKind::OtherFileSystem);
        }
        if self.root.holds_other_root(&dir).map_err(|e| failure(&e))? {
            return Err(BlobErrorKind::Refused(UriRefusal::HoldsRoot));
        }
        Ok(Some(dir))
    }

    fn allow(&self, meta: &Metadata) -> Result<(), BlobErrorKind> {
        if self.guarded.contains(&FileId::of(meta)) {
            return Err(BlobErrorKind::Refused(UriRefusal::Protected));
        }
        Ok(())
    }
}

fn purge_below(place: &LocalPlace, bounds: &Bounds<'_>, sink: &mut Sink) -> Result<(), Stop> {
    let root = &bounds.root.dir;
    let Some((name, above)) = place.below.split_last() else {
        return Err(BlobErrorKind::Refused(UriRefusal::HoldsRoot).into());
    };
    let mut path = place.root.path().to_owned();
    let mut holder = None;
    for component in above {
        let dir = holder.as_ref().unwrap_or(root);
        path.push(component);
        match bounds.open(dir, OsStr::new(component)) {
            Ok(Some(below)) => holder = Some(below),
            Ok(None) => return gone_or_refused(dir, component, &path),
            Err(kind) => return Err(Stop::at(kind, &path)),
        }
    }
    let holder = holder.as_ref().unwrap_or(root);
    path.push(name);
    let stopped = |kind| Stop::at(kind, &path);
    match holder.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => return Err(stopped(BlobErrorKind::Refused(UriRefusal::Symlink))),
        Ok(meta) if meta.is_dir() => match bounds.open(holder, OsStr::new(name)).map_err(stopped)? {
            Some(dir) => Emptying::new(holder, dir, &path, bounds, sink)?.run()?,
            None => return gone_or_refused(holder, name, &path),
        },
        Ok(meta) => {
            bounds.allow(&meta).map_err(stopped)?;
            match holder.remove_file(name) {
                Ok(()) if meta.is_file() => sink.removed(meta.len())?,
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(stopped(kept(&e, holder, OsStr::new(name)))),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(stopped(failure(&e))),
    }
    // Also when it was gone already: an earlier attempt may have ended between the removal and this.
    Ok(sync(holder)?)
}

/// A path component that is no folder: nothing there, a file (under which nothing can be), or a link.
fn gone_or_refused(holder: &Dir, name: &str, path: &Path) -> Result<(), Stop> {
    match holder.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => Err(Stop::at(BlobErrorKind::Refused(UriRefusal::Symlink), path)),
        // It was none a moment ago.
        Ok(meta) if meta.is_dir() => Err(Stop::at(BlobErrorKind::NotEmpty, path)),
        Ok(_) => Ok(sync(holder)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(sync(holder)?),
        Err(e) => Err(Stop::at(failure(&e), path)),
    }
}

/// Makes removals from `dir` survive a power loss.
fn sync(dir: &Dir) -> Result<(), BlobErrorKind> {
    let outcome = dir.open(".").and_then(|file| file.sync_all());
    match outcome {
        // Some network and FUSE file systems know no fsync of a directory.
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        Err(e) => Err(failure(&e)),
        Ok(()) => Ok(()),
    }
}

fn failure(error: &io::Error) -> BlobErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => BlobErrorKind::PermissionDenied,
        kind => BlobErrorKind::Io(kind),
    }
}

/// Why an entry could not be removed; one that something is mounted at is busy.
fn kept(error: &io::Error, holder: &Dir, name: &OsStr) -> BlobErrorKind {
    match error.kind() {
        io::ErrorKind::ResourceBusy if mounted_in(holder, name).unwrap_or(false) => {
            BlobErrorKind::OtherFileSystem
        }
        _ => failure(error),
    }
}

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
struct Emptying<'a> {
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
    fn new(
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

    fn run(mut self) -> Result<(), Stop> {
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
                    self.note(failure(&e), None);
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
            self.first_failure = Some(Stop::at(kind, &path));
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
            Err(e) => self.note_left(failure(&e), &name),
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
                self.note(failure(&e), Some(&name));
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
            Err(e) => return self.note(failure(&e), Some(name)),
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
                Err(e) => outcome = Err(failure(&e)),
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
