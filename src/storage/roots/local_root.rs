//! A local storage root, and whether the folder at its path is the root at this moment.
//!
//! A path proves nothing: the volume that belongs there may not be mounted, or another one may be. The root is whole when the
//! folder holds the marker that was written when the root was first used (`marker.rs`), or, where none could be written, when it is
//! the very folder that it was then ([`Numbers`]). It is asked again at each use, through the handle that is then used.

use super::marker::{self, MARKER, MarkerFile};
use crate::storage::folder::{FileId, numbers_of, path_of};
use crate::storage::roots::known::Numbers;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// What a root is recognized by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) struct Expected {
    /// The ledger that uses it.
    pub(in crate::storage) ledger: Uuid,
    /// Which of its roots it is.
    pub(in crate::storage) root: Uuid,
    /// The folder that it was at first, where no marker could be written.
    pub(in crate::storage) numbers: Option<Numbers>,
}

/// Why a root cannot be used at the moment. The text follows "the storage root … is unavailable: "; it holds no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootTrouble {
    /// Nobody has said yet what it is recognized by.
    #[error("it was not looked at yet")]
    Unknown,
    /// The ledger was never seen with it, knows of storage below it, and finds nothing of that there.
    #[error(
        "nothing is there of what the ledger knows below it: the file system that holds it is not mounted, or this is another folder"
    )]
    Doubtful,
    /// There is nothing.
    #[error("the folder does not exist")]
    Missing,
    /// There is something else.
    #[error("it is no folder")]
    NoFolder,
    /// The system does not let us look.
    #[error("the folder cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// It does not answer, as a network file system does not whose server is away.
    #[error("the file system does not answer")]
    Silent,
    /// No marker.
    #[error(
        "the folder has lost its file {MARKER}: the file system that holds it is not mounted, or this is another folder"
    )]
    Unmarked,
    /// No marker could ever be written, and it is not the folder that it was.
    #[error(
        "it is another folder than when the root was first used: the file system that holds it is not mounted, or its numbers have changed"
    )]
    OtherFolder,
    /// The marker of another ledger.
    #[error("its file {MARKER} says that it belongs to another ledger, {0}")]
    OtherLedger(Uuid),
    /// The marker of another root of this ledger.
    #[error("its file {MARKER} says that it is another root of this ledger, {0}")]
    OtherRoot(Uuid),
    /// Something else under the marker's name.
    #[error("its file {MARKER} is no marker: {0}")]
    Odd(&'static str),
    /// It was replaced while it was in use.
    #[error("another folder has taken its place meanwhile")]
    Replaced,
}

/// A local storage root.
#[derive(Debug)]
pub struct LocalRoot {
    components: Vec<String>,
    path: PathBuf,
    uri: String,
    number: usize,
    expected: Mutex<Option<Expected>>,
    away: Mutex<Option<Away>>,
    seen: Mutex<Option<Seen>>,
    silent: AtomicBool,
    doubted: Mutex<Option<Uuid>>,
}

/// Where the root was when it was last whole. Whoever asks this waits for no disk.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Seen {
    pub(in crate::storage) id: FileId,
    pub(in crate::storage) path: PathBuf,
}

/// Since when it is unavailable, and why.
#[derive(Debug, Clone, Copy)]
struct Away {
    since: Instant,
    trouble: RootTrouble,
}

/// The folder at a root's path, and what it says of itself.
pub(in crate::storage) struct Look {
    pub(in crate::storage) dir: Dir,
    pub(in crate::storage) found: MarkerFile,
    pub(in crate::storage) numbers: Numbers,
}

/// A root that was whole when it was opened.
pub(in crate::storage) struct Whole<'a> {
    root: &'a LocalRoot,
    expected: Expected,
    pub(in crate::storage) dir: Dir,
    /// Its resolved path.
    pub(in crate::storage) path: PathBuf,
}

impl LocalRoot {
    pub(in crate::storage) fn new(components: Vec<String>, uri: String, number: usize) -> Self {
        let path = Path::new("/").join(components.iter().collect::<PathBuf>());
        Self {
            components,
            path,
            uri,
            number,
            expected: Mutex::new(None),
            away: Mutex::new(None),
            seen: Mutex::new(None),
            silent: AtomicBool::new(false),
            doubted: Mutex::new(None),
        }
    }

    /// The decoded components of its path.
    pub(in crate::storage) fn components(&self) -> &[String] {
        &self.components
    }

    /// Its path, as it was configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its one spelling.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Which of the configured roots it is, from 1: what it is called where anybody may read.
    pub(in crate::storage) const fn number(&self) -> usize {
        self.number
    }

    pub(in crate::storage) fn expected(&self) -> Option<Expected> {
        *locked(&self.expected)
    }

    pub(in crate::storage) fn expect(&self, expected: Expected) {
        *locked(&self.expected) = Some(expected);
    }

    /// Has it be unavailable to this ledger until something shows that the folder at its path is the root.
    pub(in crate::storage) fn doubt(&self, ledger: Uuid) {
        *locked(&self.doubted) = Some(ledger);
    }

    /// Names of what lies in the folder at its path, some of the first where there are very many.
    ///
    /// # Errors
    /// [`RootTrouble`].
    pub fn some_names(&self, at_most: usize) -> Result<Vec<String>, RootTrouble> {
        let look = self.look()?;
        let entries = look
            .dir
            .entries()
            .map_err(|error| RootTrouble::Unreadable(error.kind()))?;
        let names = entries
            .take(at_most)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.collect())
    }

    /// Looks at the folder at the path, whoever's it is.
    pub(in crate::storage) fn look(&self) -> Result<Look, RootTrouble> {
        if self.silent.load(Ordering::Relaxed) {
            return Err(RootTrouble::Silent);
        }
        self.look_anyway()
    }

    fn look_anyway(&self) -> Result<Look, RootTrouble> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => RootTrouble::Missing,
            io::ErrorKind::NotADirectory => RootTrouble::NoFolder,
            kind => RootTrouble::Unreadable(kind),
        };
        let dir = Dir::open_ambient_dir(&self.path, ambient_authority()).map_err(unreadable)?;
        Ok(Look {
            found: marker::read(&dir).map_err(unreadable)?,
            numbers: numbers_of(&dir).map_err(unreadable)?,
            dir,
        })
    }

    /// Opens the root, if it is whole.
    pub(in crate::storage) fn open(&self) -> Result<Whole<'_>, RootTrouble> {
        if self.silent.load(Ordering::Relaxed) {
            return Err(RootTrouble::Silent);
        }
        self.open_anyway()
    }

    /// Opens the root also when it did not answer before. This may take as long as the file system takes.
    pub(in crate::storage) fn open_anyway(&self) -> Result<Whole<'_>, RootTrouble> {
        let opened = self.look_anyway().and_then(|look| self.whole(look));
        self.silent.store(false, Ordering::Relaxed);
        self.note(opened.as_ref().err().copied());
        opened
    }

    fn whole(&self, look: Look) -> Result<Whole<'_>, RootTrouble> {
        let expected = self.recognize(&look)?;
        let unreadable = |error: io::Error| RootTrouble::Unreadable(error.kind());
        let id = FileId::of_folder(&look.dir).map_err(unreadable)?;
        let path = path_of(&look.dir)
            .or_else(|_| self.path.canonicalize())
            .map_err(unreadable)?;
        *locked(&self.seen) = Some(Seen {
            id,
            path: path.clone(),
        });
        Ok(Whole {
            root: self,
            expected,
            dir: look.dir,
            path,
        })
    }

    fn recognize(&self, look: &Look) -> Result<Expected, RootTrouble> {
        let Some(expected) = self.expected() else {
            let doubted = locked(&self.doubted).is_some();
            return Err(if doubted {
                RootTrouble::Doubtful
            } else {
                RootTrouble::Unknown
            });
        };
        let same_folder = expected.numbers.is_some_and(|numbers| numbers.same(look.numbers));
        match look.found {
            MarkerFile::Marker(marker) if marker.ledger != expected.ledger => {
                Err(RootTrouble::OtherLedger(marker.ledger))
            }
            MarkerFile::Marker(marker) => match marker.root {
                Some(root) if root != expected.root && !same_folder => Err(RootTrouble::OtherRoot(root)),
                Some(_) | None => Ok(expected),
            },
            MarkerFile::Odd(what) => Err(RootTrouble::Odd(what)),
            MarkerFile::Nothing if same_folder => Ok(expected),
            MarkerFile::Nothing if expected.numbers.is_some() => Err(RootTrouble::OtherFolder),
            MarkerFile::Nothing => Err(RootTrouble::Unmarked),
        }
    }

    /// Has everybody who asks for the root turned away at once, until somebody has got through to it.
    pub(in crate::storage) fn give_up_on(&self) {
        self.silent.store(true, Ordering::Relaxed);
        self.note(Some(RootTrouble::Silent));
    }

    /// Where it was when it was last whole.
    pub(in crate::storage) fn seen(&self) -> Option<Seen> {
        locked(&self.seen).clone()
    }

    /// Why it was unavailable when it was last asked for.
    pub(in crate::storage) fn trouble(&self) -> Option<RootTrouble> {
        locked(&self.away).map(|away| away.trouble)
    }

    /// For how long it has been unavailable.
    pub(in crate::storage) fn away_for(&self) -> Duration {
        locked(&self.away).map_or(Duration::ZERO, |away| away.since.elapsed())
    }

    /// Notes what the last look came to; the log is told when that changes.
    fn note(&self, trouble: Option<RootTrouble>) {
        let mut away = locked(&self.away);
        let (root, number) = (&self.uri, self.number);
        match (trouble, *away) {
            (None, None) => {}
            (None, Some(_)) => {
                *away = None;
                tracing::info!(
                    storage.root = root,
                    "the storage root {root} (number {number}) is available again"
                );
            }
            (Some(trouble), Some(before)) if trouble == before.trouble => {}
            (Some(trouble), before) => {
                *away = Some(Away {
                    since: before.map_or_else(Instant::now, |before| before.since),
                    trouble,
                });
                let advice = self.advice(trouble);
                tracing::warn!(
                    storage.root = root,
                    "the storage root {root} (number {number}) is unavailable: {trouble}. Purges of what is below it wait, and what names it is \
                     refused with 503, until it is back{advice}"
                );
            }
        }
    }

    /// What a person can do about it, where waiting may not help.
    pub(in crate::storage) fn advice(&self, trouble: RootTrouble) -> String {
        let marker = self.path.join(MARKER);
        match (trouble, self.expected()) {
            (RootTrouble::Unmarked | RootTrouble::OtherFolder, Some(expected)) => format!(
                "; if this folder is the root after all, say so: printf '{}\\n{}\\n' > '{}'",
                expected.ledger,
                expected.root,
                marker.display()
            ),
            (RootTrouble::Doubtful, _) => locked(&self.doubted).map_or_else(String::new, |ledger| {
                format!(
                    "; if this folder is the root after all, say so: printf '{ledger}\\n' > '{}'",
                    marker.display()
                )
            }),
            (RootTrouble::OtherLedger(_) | RootTrouble::OtherRoot(_) | RootTrouble::Odd(_), _) => {
                format!(
                    "; look whose folder is mounted there, and remove {} only if it is nobody else's",
                    marker.display()
                )
            }
            (
                RootTrouble::Unknown
                | RootTrouble::Missing
                | RootTrouble::NoFolder
                | RootTrouble::Unreadable(_)
                | RootTrouble::Silent
                | RootTrouble::Replaced
                | RootTrouble::Unmarked
                | RootTrouble::OtherFolder,
                _,
            ) => String::new(),
        }
    }
}

impl Whole<'_> {
    /// Whether a folder below the root says that it is a root itself, another one than this: somebody else's, or one that another
    /// instance is configured with. A copy of this root's own marker is a file like any other.
    pub(in crate::storage) fn holds_other_root(&self, below: &Dir) -> io::Result<bool> {
        Ok(match marker::read(below)? {
            MarkerFile::Marker(marker) => {
                marker.ledger != self.expected.ledger
                    || marker.root.is_some_and(|root| root != self.expected.root)
            }
            MarkerFile::Nothing | MarkerFile::Odd(_) => false,
        })
    }

    /// Whether the folder still is the root, and the path still leads to it. What was seen since it was opened is true only then.
    pub(in crate::storage) fn still(&self) -> Result<(), RootTrouble> {
        let now = self.root.open()?;
        let ids = FileId::of_folder(&self.dir).and_then(|then| Ok((then, FileId::of_folder(&now.dir)?)));
        match ids {
            Ok((then, now)) if then == now => Ok(()),
            Ok(_) => Err(RootTrouble::Replaced),
            Err(error) => Err(RootTrouble::Unreadable(error.kind())),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
