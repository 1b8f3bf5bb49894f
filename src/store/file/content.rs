//! What is in the ledger's files, seen past SQLite: whether it is what this process and its like have left there.
//!
//! SQLite keeps pages in its caches and the newest of them in the write-ahead log, and in this mode never looks whether the file
//! below was written by somebody else. A file that is copied over it in place keeps its name and its number; what is read then
//! is a mixture, and what is committed goes on from it. So before and after each batch these are compared:
//!
//! - The file's size and time change when the log is moved into it and never else, and whoever moves it says so in the shared
//!   memory. When nobody did, the file must be what it was; when somebody did, it must be something that this log has been since:
//!   its stamp (`PRAGMA user_version`, raised before each move) and its head never go back, and its head is one of the heads that
//!   were seen.
//! - The log begins with the salts, and its last frame ends in the checksum over all frames before it, which the shared memory has.
//!
//! Nothing here closes a file: of a process that closes any of its handles on a file, all locks on that file are gone.

use crate::store::columns::Columns as _;
use crate::store::values::{hash, non_negative};
use crate::store::{Hash, Head, Position, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex as SyncMutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// How often something that does not fit is looked at again before it is believed: it may be under way.
const LOOKS: u32 = 5;

/// The pause before each.
const PAUSE: Duration = Duration::from_millis(20);

/// How many heads are kept. The log is moved long before there are so many.
const HEADS: usize = 200_000;

/// What a file that is no database, or a damaged one, is refused with.
const NOT_A_LEDGER: [&str; 3] = ["1", "11", "26"];

/// A file's size, and when it was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    size: u64,
    written: (i64, i64),
}

/// How far the write-ahead log has been moved into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moved {
    salt: [u8; 8],
    frames: u32,
    attempted: u32,
}

impl Moved {
    /// Whether it is being moved at this moment.
    const fn is_under_way(&self) -> bool {
        self.frames != self.attempted
    }
}

/// What stands in the file alone, without the log beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InFile {
    stamp: i64,
    position: Position,
    root: Hash,
}

/// What was seen last that fitted.
#[derive(Debug, Default)]
struct Seen {
    stat: Option<Stat>,
    moved: Option<Moved>,
    in_file: Option<InFile>,
}

/// What the files say.
pub(super) enum Verdict {
    /// They are what they were.
    Fits,
    /// It cannot be told now.
    Unready(&'static str),
    /// They are not.
    Another(String),
}

/// The content of the ledger's files.
#[derive(Debug)]
pub(super) struct Content {
    path: PathBuf,
    log: PathBuf,
    memory: PathBuf,
    opened_log: OnceLock<ManuallyDrop<File>>,
    opened_memory: OnceLock<ManuallyDrop<File>>,
    seen: Mutex<Seen>,
    /// Whether nobody but this process appends.
    alone: AtomicBool,
    /// The heads that the log has had, from the one in the file on.
    heads: SyncMutex<BTreeMap<Position, Hash>>,
}

impl Content {
    /// That of the file at this path, whatever is in it by now.
    pub(super) fn of(path: &Path, log: &Path, memory: &Path) -> Self {
        Self {
            path: path.to_owned(),
            log: log.to_owned(),
            memory: memory.to_owned(),
            opened_log: OnceLock::new(),
            opened_memory: OnceLock::new(),
            seen: Mutex::default(),
            alone: AtomicBool::new(false),
            heads: SyncMutex::default(),
        }
    }

    /// Nobody but this process appends: a head that it has not seen is none of this log.
    pub(super) fn is_served_alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }

    /// Remembers a head that the log has.
    pub(super) fn note(&self, head: &Head) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() < HEADS {
            heads.insert(head.position, head.root);
        }
    }

    /// Compares the file with what was seen of it last.
    pub(super) async fn check_file(&self) -> Result<Verdict, StoreError> {
        let mut seen = self.seen.lock().await;
        let mut verdict = Verdict::Fits;
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let (stat, moved) = (self.stat()?, self.moved()?);
            if seen.stat == Some(stat) {
                // The log may have begun anew, which changes its salts and not the file. Only what was read while the file stayed as it
                // was says so: a log that is moved just now is another's first.
                if moved.is_some() && moved != seen.moved && self.stat()? == stat {
                    seen.moved = moved;
                }
                return Ok(Verdict::Fits);
            }
            if moved.is_some_and(|moved| moved.is_under_way()) {
                // It is written at this moment; the next look is at what comes of it.
                return Ok(Verdict::Fits);
            }
            let found = self.in_file().await?;
            if (self.stat()?, self.moved()?) != (stat, moved) {
                verdict = Verdict::Unready("the database's file is being written");
                continue;
            }
            let Some(found) = found else {
                if seen.in_file.is_none() {
                    // It is being made.
                    (seen.stat, seen.moved) = (Some(stat), moved);
                    return Ok(Verdict::Fits);
                }
                // Nobody who moves the log makes none of it: it was written over, if it stays so for these looks.
                verdict = self.written_over("it holds no ledger that can be read");
                continue;
            };
            verdict = self.judge(&seen, stat, moved, &found);
            if matches!(verdict, Verdict::Fits) {
                let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
                *heads = heads.split_off(&found.position);
                (seen.stat, seen.moved, seen.in_file) = (Some(stat), moved, Some(found));
                return Ok(verdict);
            }
        }
        Ok(verdict)
    }

    fn judge(&self, seen: &Seen, stat: Stat, moved: Option<Moved>, found: &InFile) -> Verdict {
        let Some(before) = seen.in_file else {
            return Verdict::Fits;
        };
        if moved == seen.moved {
            let same_size = seen.stat.is_some_and(|known| known.size == stat.size);
            return if same_size && before == *found {
                Verdict::Fits
            } else {
                self.written_over("nobody has moved the write-ahead log into it, and it is another")
            };
        }
        if found.stamp < before.stamp || found.position < before.position {
            return self.written_over("it is an older copy");
        }
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = if found.position == before.position {
            Some(&before.root)
        } else {
            heads.get(&found.position)
        };
        match expected {
            Some(root) if *root == found.root => Verdict::Fits,
            // Somebody else's commits are nobody's here.
            None if heads.len() >= HEADS || !self.alone.load(Ordering::Relaxed) => Verdict::Fits,
            Some(_) | None => self.written_over("its head is none that the log has had"),
        }
    }

    fn written_over(&self, why: &str) -> Verdict {
        Verdict::Another(format!(
            "{} was written over while the ledger was served ({why}): what is recorded now would be lost. Bring the right one back \
             and start again",
            self.path.display()
        ))
    }

    /// Compares the write-ahead log with what the shared memory says of it. Of what is being added at this
    /// moment the memory says nothing yet.
    pub(super) async fn check_log(&self) -> Result<Verdict, StoreError> {
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            if self.log_fits().map_err(unreadable)? {
                return Ok(Verdict::Fits);
            }
        }
        Ok(Verdict::Another(format!(
            "{} was written over while the ledger was served: what was recorded lately is not in it. Bring the right one back and \
             start again",
            self.log.display()
        )))
    }

    fn log_fits(&self) -> io::Result<bool> {
        let Some(index) = self.index()? else {
            return Ok(true);
        };
        if index.frames == 0 {
            return Ok(true);
        }
        let Some(log) = handle(&self.opened_log, &self.log)? else {
            // Told by who looks for the files themselves.
            return Ok(true);
        };
        let frame = 24 + u64::from(index.page);
        let last = 32 + u64::from(index.frames - 1) * frame;
        let (mut begin, mut end) = ([0; 32], [0; 24]);
        let read = log
            .read_exact_at(&mut begin, 0)
            .and_then(|()| log.read_exact_at(&mut end, last));
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        let whole = log.metadata()?.len() >= last + frame;
        let checksum = [be(&end[16..20]), be(&end[20..24])];
        Ok(whole && begin[16..24] == index.salt && end[8..16] == index.salt && checksum == index.checksum)
    }

    fn stat(&self) -> Result<Stat, StoreError> {
        let metadata = fs::metadata(&self.path).map_err(unreadable)?;
        Ok(Stat {
            size: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn moved(&self) -> Result<Option<Moved>, StoreError> {
        Ok(self.index().map_err(unreadable)?.map(|index| index.moved))
    }

    /// What the shared memory says of the log; `None` when there is none, or it is being changed for longer than one may take.
    fn index(&self) -> io::Result<Option<Index>> {
        let Some(memory) = handle(&self.opened_memory, &self.memory)? else {
            return Ok(None);
        };
        for _ in 0..LOOKS {
            let mut bytes = [0; 132];
            match memory.read_exact_at(&mut bytes, 0) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            // It stands there twice, so that readers see when it is being changed.
            if bytes[..48] == bytes[48..96] && bytes[12] != 0 {
                return Ok(Some(Index::read(&bytes)));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// What stands in the file alone; `None` when that is no ledger, or its head cannot be read.
    async fn in_file(&self) -> Result<Option<InFile>, StoreError> {
        let operation = "look into the database's file";
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .immutable(true)
            .create_if_missing(false)
            .disable_statement_logging();
        let read = async {
            let mut connection = SqliteConnection::connect_with(&options).await?;
            let stamp: i64 = sqlx::query_scalar("PRAGMA user_version")
                .fetch_one(&mut connection)
                .await?;
            let row = sqlx::query("SELECT position, root FROM ledger_head WHERE id = 1")
                .fetch_optional(&mut connection)
                .await?;
            connection.close().await?;
            Ok((stamp, row))
        };
        let (stamp, row) = match read.await {
            Ok((stamp, Some(row))) => (stamp, row),
            Ok((_, None)) => return Ok(None),
            Err(sqlx::Error::Database(cause))
                if cause.code().is_some_and(|code| NOT_A_LEDGER.contains(&&*code)) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(StoreError::database(operation)(error)),
        };
        let position = row.read(operation, "position");
        let position = position.and_then(|position| non_negative(operation, position));
        let root = row.read(operation, "root");
        let root = root.and_then(|root| hash(operation, root));
        // What is wrong with it is told by who needs the head: a pool that lets no connection in would only wait.
        let (Ok(position), Ok(root)) = (position, root) else {
            return Ok(None);
        };
        Ok(Some(InFile {
            stamp,
            position,
            root,
        }))
    }
}

/// What the shared memory says of the log (<https://www.sqlite.org/walformat.html>).
struct Index {
    page: u32,
    frames: u32,
    checksum: [u32; 2],
    salt: [u8; 8],
    moved: Moved,
}

impl Index {
    fn read(bytes: &[u8; 132]) -> Self {
        let mut salt = [0; 8];
        salt.copy_from_slice(&bytes[32..40]);
        let page = u32::from(u16::from_ne_bytes([bytes[14], bytes[15]]));
        Self {
            // The largest size does not fit into the field, which says 1 then.
            page: if page == 1 { 65_536 } else { page },
            frames: ne(&bytes[16..20]),
            checksum: [ne(&bytes[24..28]), ne(&bytes[28..32])],
            salt,
            moved: Moved {
                salt,
                frames: ne(&bytes[96..100]),
                attempted: ne(&bytes[128..132]),
            },
        }
    }
}

fn ne(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

fn be(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_be_bytes)
}

/// The handle on a file, opened once and never closed; `None` while there is none.
fn handle<'h>(opened: &'h OnceLock<ManuallyDrop<File>>, path: &Path) -> io::Result<Option<&'h File>> {
    if let Some(file) = opened.get() {
        return Ok(Some(file));
    }
    match File::open(path) {
        Ok(file) => {
            // Should two open it at once, the handle that comes second is kept open all the same.
            let file = ManuallyDrop::new(file);
            Ok(Some(opened.get_or_init(move || file)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn unreadable(error: io::Error) -> StoreError {
    StoreError::database("look at the database's files")(sqlx::Error::Io(error))
}
