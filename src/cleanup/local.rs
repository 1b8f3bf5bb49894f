//! Local folders: files first, then folders bottom-up, through directory handles that cannot leave the storage root.

use super::blob::{BlobError, BlobErrorKind, BlobStore, Cleaned, Progress};
use super::uri::{LocalPlace, Place, StorageUri, UriRefusal};
use async_trait::async_trait;
use cap_fs_ext::DirExt as _;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _, ReadDir};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Folders nested deeper than this are moved up to the top of the folder that is being purged, so that a purge holds a
/// bounded number of open directories (two each) however deep the tree is.
const MAX_DEPTH: usize = 32;

/// Progress is told after this many files.
const BATCH: u64 = 1_000;

/// How often one folder is listed again because entries were removed from it and it still was not empty.
const MAX_PASSES: u32 = 1_000;

/// How many names are tried for one folder that is moved up, past those that an interrupted purge left.
const MAX_NAMES: u32 = 100_000;

/// Deletes from local folders. A root is opened for each purge, so that a volume mounted after the start is seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalStore;

#[async_trait]
impl BlobStore for LocalStore {
    async fn purge(&self, uri: &StorageUri, progress: Progress<'_>) -> Result<Cleaned, BlobError> {
        let Place::Local(place) = uri.place() else {
            return Err(BlobErrorKind::NotConnected.after(Cleaned::default()));
        };
        let place = place.clone();
        let (tell, mut told) = mpsc::channel(1);
        let done = Arc::new(Mutex::new(Cleaned::default()));
        let counted = Arc::clone(&done);
        let work = tokio::task::spawn_blocking(move || {
            let mut sink = Sink {
                done: counted,
                tell,
                untold: 0,
            };
            purge_place(&place, &mut sink)
        });
        while let Some(so_far) = told.recv().await {
            progress(so_far);
        }
        let outcome = work.await;
        let done = *done.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(Ok(())) => {
                progress(done);
                Ok(done)
            }
            Ok(Err(kind)) => Err(kind.after(done)),
            Err(_) => Err(BlobErrorKind::Interrupted.after(done)),
        }
    }
}

/// Counts what is removed, and notices when nobody waits for the purge any more.
struct Sink {
    done: Arc<Mutex<Cleaned>>,
    tell: mpsc::Sender<Cleaned>,
    untold: u64,
}

impl Sink {
    fn removed(&mut self, bytes: u64) -> Result<(), BlobErrorKind> {
        let so_far = {
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done = done.plus(Cleaned { objects: 1, bytes });
            *done
        };
        self.untold += 1;
        if self.untold < BATCH {
            return Ok(());
        }
        self.untold = 0;
        self.tell
            .blocking_send(so_far)
            .map_err(|_| BlobErrorKind::Interrupted)
    }

    fn still_wanted(&self) -> Result<(), BlobErrorKind> {
        if self.tell.is_closed() {
            Err(BlobErrorKind::Interrupted)
        } else {
            Ok(())
        }
    }
}

fn purge_place(place: &LocalPlace, sink: &mut Sink) -> Result<(), BlobErrorKind> {
    let mut holder = Dir::open_ambient_dir(&place.root, ambient_authority()).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BlobErrorKind::RootMissing,
        _ => failure(&e),
    })?;
    let Some((name, above)) = place.below.split_last() else {
        return Err(BlobErrorKind::Refused(UriRefusal::HoldsRoot));
    };
    for component in above {
        match holder.open_dir_nofollow(component) {
            Ok(dir) => holder = dir,
            Err(e) => return gone_or_refused(&holder, component, &e),
        }
    }
    match holder.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => return Err(BlobErrorKind::Refused(UriRefusal::Symlink)),
        Ok(meta) if meta.is_dir() => match holder.open_dir_nofollow(name) {
            Ok(dir) => Emptying::new(&holder, dir, OsString::from(name), sink)?.run()?,
            Err(e) => return gone_or_refused(&holder, name, &e),
        },
        Ok(meta) => match holder.remove_file(name) {
            Ok(()) if meta.is_file() => sink.removed(meta.len())?,
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failure(&e)),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failure(&e)),
    }
    // Also when it was gone already: an earlier attempt may have ended between the removal and this.
    sync(&holder)
}

/// A path component that cannot be opened as a folder: nothing there, a file (under which nothing can be), or a link.
fn gone_or_refused(holder: &Dir, name: &str, error: &io::Error) -> Result<(), BlobErrorKind> {
    match holder.symlink_metadata(name) {
        Ok(meta) if meta.is_symlink() => Err(BlobErrorKind::Refused(UriRefusal::Symlink)),
        Ok(meta) if !meta.is_dir() => sync(holder),
        Err(e) if e.kind() == io::ErrorKind::NotFound => sync(holder),
        Ok(_) | Err(_) => Err(failure(error)),
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
    sink: &'a mut Sink,
    device: u64,
    levels: Vec<Level>,
    moved: u64,
    first_failure: Option<BlobErrorKind>,
}

impl<'a> Emptying<'a> {
    fn new(holder: &'a Dir, dir: Dir, name: OsString, sink: &'a mut Sink) -> Result<Self, BlobErrorKind> {
        let device = dir.dir_metadata().map_err(|e| failure(&e))?.dev();
        let mut new = Self {
            holder,
            sink,
            device,
            levels: Vec::new(),
            moved: 0,
            first_failure: None,
        };
        new.descend(dir, name, 0);
        match (new.levels.is_empty(), new.first_failure.take()) {
            (true, Some(kind)) => Err(kind),
            (_, kind) => {
                new.first_failure = kind;
                Ok(new)
            }
        }
    }

    fn run(mut self) -> Result<(), BlobErrorKind> {
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
                    self.note(failure(&e));
                    self.leave();
                }
                None => self.leave(),
            }
        }
        self.first_failure.map_or(Ok(()), Err)
    }

    fn note(&mut self, kind: BlobErrorKind) {
        self.first_failure.get_or_insert(kind);
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
            Err(e) => self.note(failure(&e)),
        }
    }

    fn enter(&mut self, name: OsString) {
        let Some(level) = self.levels.last() else { return };
        let dir = match level.dir.open_dir_nofollow(&name) {
            Ok(dir) => dir,
            // Not the folder any more that the listing showed: the next pass sees what it is now.
            Err(_) if level.dir.symlink_metadata(&name).is_ok_and(|meta| !meta.is_dir()) => {
                return self.removed_here();
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.removed_here(),
            Err(e) => return self.note(failure(&e)),
        };
        match dir.dir_metadata() {
            Ok(meta) if meta.dev() != self.device => self.note(BlobErrorKind::OtherFileSystem),
            Ok(_) if self.levels.len() >= MAX_DEPTH => self.move_up(&name),
            Ok(_) => self.descend(dir, name, 0),
            Err(e) => self.note(failure(&e)),
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
                self.note(failure(&e));
                return Ok(());
            }
        };
        if meta.is_dir() {
            self.enter(name);
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
            Err(e) => self.note(failure(&e)),
        }
        Ok(())
    }

    /// Moves a folder of the deepest level to the top, where a later pass of the top finds it.
    fn move_up(&mut self, name: &OsStr) {
        let (Some(top), Some(level)) = (self.levels.first(), self.levels.last()) else {
            return;
        };
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
            Err(kind) => self.note(kind),
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
                    self.note(BlobErrorKind::NotEmpty);
                }
            }
            Err(e) => self.note(failure(&e)),
        }
    }
}
