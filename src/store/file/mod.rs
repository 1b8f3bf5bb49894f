//! The file behind the open connections, and whether it still is the one at its path.
//!
//! SQLite keeps the file open that it opened: where the path leads elsewhere meanwhile, commits go to a file that nobody will
//! find again, and new connections find another ledger. The write-ahead log holds what was committed lately, and the shared
//! memory beside it tells connections of each other: the same holds for both.

mod content;

use crate::store::called::{self, failed};
use crate::store::columns::Columns as _;
use crate::store::pool::Readers;
use crate::store::values::{hash, non_negative, signed, uuid};
use crate::store::witness::{Question, Sight, Witness};
use crate::store::{Head, StoreError};
use content::{Content, Verdict};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sqlx::SqliteConnection;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What tells files apart, whatever they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl From<Metadata> for FileId {
    fn from(metadata: Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// The ledger's file as it was opened.
#[derive(Debug)]
pub(in crate::store) struct LedgerFile {
    path: PathBuf,
    opened: FileId,
    /// The files that SQLite keeps beside it, from when they are first seen on.
    beside: [(PathBuf, OnceLock<FileId>); 2],
    content: Content,
    witness: Arc<Witness>,
}

impl LedgerFile {
    /// The file that was just opened at this path.
    pub(in crate::store) fn opened(path: &Path, witness: Arc<Witness>) -> io::Result<Self> {
        let opened = FileId::from(fs::metadata(path)?);
        // Where the path is a link, SQLite keeps them beside what it leads to.
        let real = fs::canonicalize(path)?;
        let beside = ["-wal", "-shm"].map(|ending| {
            let mut name = real.clone().into_os_string();
            name.push(ending);
            (PathBuf::from(name), OnceLock::new())
        });
        let content = Content::of(&real, &beside[0].0, &beside[1].0);
        Ok(Self {
            content,
            path: path.to_owned(),
            opened,
            beside,
            witness,
        })
    }

    /// The file is where it was opened, and so is what belongs to it.
    ///
    /// # Errors
    /// [`StoreError::Diverged`] when something else is there, or nothing; [`StoreError`] when the file system does not say.
    pub(in crate::store) fn check(&self, operation: &'static str) -> Result<(), StoreError> {
        self.witness.check()?;
        self.compare(operation, &self.path, &self.opened)?;
        for (path, known) in &self.beside {
            match known.get() {
                Some(known) => self.compare(operation, path, known)?,
                None => {
                    if let Some(found) = find(operation, path)? {
                        // Whoever was first has seen the same.
                        let _ = known.set(found);
                    }
                }
            }
        }
        Ok(())
    }

    /// As [`LedgerFile::check`], and what is in the file is what was left there.
    ///
    /// # Errors
    /// As [`LedgerFile::check`].
    pub(in crate::store) async fn check_content(&self, operation: &'static str) -> Result<(), StoreError> {
        self.check(operation)?;
        let found = self.content.check_file().await?;
        self.judge(operation, found)
    }

    /// As [`LedgerFile::check_content`], and the write-ahead log is what was written there. Whoever calls has the turn to write.
    ///
    /// # Errors
    /// As [`LedgerFile::check`].
    pub(in crate::store) async fn check_all(&self, operation: &'static str) -> Result<(), StoreError> {
        self.check_content(operation).await?;
        let found = self.content.check_log().await?;
        self.judge(operation, found)
    }

    fn judge(&self, operation: &'static str, found: Verdict) -> Result<(), StoreError> {
        match found {
            Verdict::Fits => Ok(()),
            Verdict::Unready(reason) => Err(StoreError::Unready {
                operation,
                reason: reason.into(),
            }),
            Verdict::Another(reason) => Err(self.witness.declare(reason)),
        }
    }

    /// Nobody but this process appends.
    pub(in crate::store) fn is_served_alone(&self) {
        self.content.is_served_alone();
    }

    /// Remembers a head that the log has.
    pub(in crate::store) fn note(&self, head: &Head) {
        self.content.note(head);
    }

    /// Whether the file itself is where it was opened and what was left there, and so is what the handle on the log leads to,
    /// wherever that is by now.
    pub(in crate::store) async fn is_in_place(&self) -> bool {
        let at_path = find(OPERATION, &self.path).is_ok_and(|found| found == Some(self.opened));
        at_path
            && matches!(self.content.check_file().await, Ok(Verdict::Fits))
            && matches!(self.content.check_log().await, Ok(Verdict::Fits))
    }

    fn compare(&self, operation: &'static str, path: &Path, known: &FileId) -> Result<(), StoreError> {
        match find(operation, path)? {
            Some(found) if found == *known => Ok(()),
            Some(_) => Err(self.witness.declare(format!(
                "another file was put in the place of {} while the ledger was served: what is recorded now would be found by \
                 nobody. Bring the right one back and start again",
                path.display()
            ))),
            None => Err(self.witness.declare(format!(
                "{} was renamed or removed while the ledger was served: what is recorded now would be found by nobody. Bring it \
                 back and start again",
                path.display()
            ))),
        }
    }

    /// Whether a connection that was just opened leads to the ledger that this process knows.
    ///
    /// # Errors
    /// [`StoreError`], as [`crate::store::ReadStore::vouch`].
    pub(in crate::store) async fn vouch(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        self.check_content(OPERATION).await?;
        let asked = self.witness.question();
        if asked == Question::default() {
            // Before the ledger is opened there may be no table to ask.
            return Ok(());
        }
        let seen = look(connection, &asked).await?;
        self.witness.compare(OPERATION, &asked, &seen)
    }

    /// As [`LedgerFile::vouch`], of a connection that is called directly; what is in the file was checked before it was opened.
    ///
    /// # Errors
    /// As [`LedgerFile::vouch`].
    pub(in crate::store) fn vouch_called(&self, connection: &Connection) -> Result<(), StoreError> {
        self.check(OPERATION)?;
        let asked = self.witness.question();
        if asked == Question::default() {
            return Ok(());
        }
        let seen = look_called(connection, &asked)?;
        self.witness.compare(OPERATION, &asked, &seen)
    }

    /// Compares the file, and what its readers see, with what is known.
    ///
    /// # Errors
    /// As [`LedgerFile::vouch`].
    pub(in crate::store) async fn vouch_pooled(&self, reads: &Readers) -> Result<(), StoreError> {
        let mut connection = reads
            .acquire()
            .await
            .map_err(|error| StoreError::database(OPERATION)(self.witness.explain(error)))?;
        self.vouch(&mut connection).await
    }

    /// What the process knows.
    pub(in crate::store) const fn witness(&self) -> &Arc<Witness> {
        &self.witness
    }
}

const OPERATION: &str = "compare the database with what is known";

/// A table that does not exist, among other things that are wrong with a statement.
const WRONG_STATEMENT: &str = "1";

/// Tables or rows that are not there are a question: a restore that is under way looks the same.
fn no_ledger(reason: &'static str) -> StoreError {
    StoreError::Unready {
        operation: OPERATION,
        reason: reason.into(),
    }
}

fn without_tables(error: StoreError) -> StoreError {
    match &error {
        StoreError::Database {
            source: sqlx::Error::Database(cause),
            ..
        } if cause.code().as_deref() == Some(WRONG_STATEMENT) => no_ledger("the database holds no ledger"),
        _ => error,
    }
}

fn without_head() -> StoreError {
    no_ledger("the database holds no ledger: the table ledger_head has no row")
}

/// What is asked of a connection.
const LOOK: &str = "
    SELECT position, root,
           (SELECT event_id FROM events WHERE position = ?1) AS marked,
           (SELECT root FROM checkpoints WHERE ledger = ?2 AND size = ?3) AS signed,
           EXISTS (SELECT 1 FROM ledger_meta WHERE name = ?4) AS forked,
           (SELECT event_id FROM events WHERE position = ?5) AS published
    FROM ledger_head WHERE id = 1";

async fn look(connection: &mut SqliteConnection, asked: &Question) -> Result<Sight, StoreError> {
    let row = sqlx::query(LOOK)
        .bind(asked.mark.map(|mark| signed(mark.position)))
        .bind(asked.signed.map(|known| signed(known.ledger)))
        .bind(asked.signed.map(|known| signed(known.size)))
        .bind(asked.fork())
        .bind(asked.published.map(|known| signed(known.position)))
        .fetch_optional(connection)
        .await
        .map_err(|error| without_tables(StoreError::database(OPERATION)(error)))?
        .ok_or_else(without_head)?;
    let marked: Option<&str> = row.read(OPERATION, "marked")?;
    let published: Option<&str> = row.read(OPERATION, "published")?;
    let checkpoint: Option<&[u8]> = row.read(OPERATION, "signed")?;
    Ok(Sight {
        position: non_negative(OPERATION, row.read(OPERATION, "position")?)?,
        root: hash(OPERATION, row.read(OPERATION, "root")?)?,
        marked: marked.map(|id| uuid(OPERATION, id)).transpose()?,
        signed: checkpoint.map(|root| hash(OPERATION, root)).transpose()?,
        published: published.map(|id| uuid(OPERATION, id)).transpose()?,
        standby: false,
        forked: row.read(OPERATION, "forked")?,
    })
}

fn look_called(connection: &Connection, asked: &Question) -> Result<Sight, StoreError> {
    let values = params![
        asked.mark.map(|mark| signed(mark.position)),
        asked.signed.map(|known| signed(known.ledger)),
        asked.signed.map(|known| signed(known.size)),
        asked.fork(),
        asked.published.map(|known| signed(known.position)),
    ];
    connection
        .query_row(LOOK, values, |row| Ok(sight(row)))
        .optional()
        .map_err(|error| without_tables(failed(OPERATION)(error)))?
        .ok_or_else(without_head)?
}

fn sight(row: &Row<'_>) -> Result<Sight, StoreError> {
    let id = |name| {
        let id: Option<String> = called::read(row, OPERATION, name)?;
        id.map(|id| uuid(OPERATION, &id)).transpose()
    };
    let root: Vec<u8> = called::read(row, OPERATION, "root")?;
    let checkpoint: Option<Vec<u8>> = called::read(row, OPERATION, "signed")?;
    Ok(Sight {
        position: non_negative(OPERATION, called::read(row, OPERATION, "position")?)?,
        root: hash(OPERATION, &root)?,
        marked: id("marked")?,
        signed: checkpoint.map(|root| hash(OPERATION, &root)).transpose()?,
        published: id("published")?,
        standby: false,
        forked: called::read(row, OPERATION, "forked")?,
    })
}

/// What is at a path; `None` when nothing is.
fn find(operation: &'static str, path: &Path) -> Result<Option<FileId>, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.into())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(StoreError::database(operation)(sqlx::Error::Io(error))),
    }
}
