//! Rebuilds the projections from the log, beside live traffic, without any side effect.
//!
//! 1. The log is replayed in pages into shadow tables; nothing is locked, and the live tables are not touched.
//! 2. In one snapshot of the ledger, the last few events are replayed and the shadow tables compared with the live ones.
//! 3. Only if they differ, and only if asked to: under the head lock, what came since is replayed and the rows that differ
//!    are replaced, in one transaction.
//!
//! While commands are recorded beside it, the replay rests twice as long as it works: the commands are what the machine is for.
//!
//! The claims on storage follow from what is sealed and not from what is readable of the log, so they have no shadow table: where
//! the keyring is at hand, they are compared event by event, and replaced where they differ.
//!
//! A ledger whose projections are right is never locked by its rebuild. Memory is bounded by a few pages of the log: of an
//! entity's past, projections ask only whether the archived list held it, and the shadow list knows.

use crate::app::{self, StartError};
use crate::claims::{self, ClaimsError};
use crate::config::Config;
use crate::store::audit::blocks;
use crate::store::rebuild::{Hold, RebuildStore, ReplayLog, ReplayedEvent, ShadowTables, TableDifferences};
use crate::store::{Position, ReadStore, StoreError};
use archive_ledger_domain::EntityKey;
use archive_ledger_projections::Changes;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

/// The table that is compared beside the projections.
pub const AUDIT_INDEX: &str = "audit_blocks";

/// How many events are replayed at a time.
const PAGE: u32 = 5_000;

/// How many pages are read ahead.
const AHEAD: usize = 2;

/// How often the head lock is asked for; each time it is waited for as long as the store waits for any lock.
const ATTEMPTS: u32 = 5;

/// How long it rests at the most for each page.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What a rebuild is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Compare, and change nothing at all.
    Check,
    /// Compare, and replace what differs.
    Replace,
}

/// How far a rebuild has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The log is being replayed.
    Replaying {
        /// The position that is reached.
        position: Position,
        /// The head of the log when the rebuild began.
        head: Position,
    },
    /// The tables are being compared.
    Comparing,
    /// What differs is being replaced.
    Replacing,
}

/// What a rebuild found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The position at which the tables were compared.
    pub position: Position,
    /// How the live tables differed from what the log says, each of them.
    pub tables: Vec<TableDifferences>,
    /// Whether what differed was replaced.
    pub replaced: bool,
    /// Up to where the claims on storage were compared: as far as they are complete. `None` without the keyring, as nobody can
    /// tell what they should be.
    pub claims: Option<Position>,
    /// How long the replay took, up to the comparison.
    pub replay: Duration,
}

impl Report {
    /// How many rows differed.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(TableDifferences::rows).sum()
    }
}

/// Why a rebuild ended without a result. The live tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Two would only do the same work twice.
    #[error("another rebuild of this ledger is under way")]
    UnderWay,
    /// The store failed, or the log contradicts itself.
    #[error("the rebuild failed, and nothing was replaced")]
    Store(#[from] StoreError),
    /// The claims on storage could not be compared. The projections were, and are replaced if that was asked for.
    #[error("the claims on storage could not be compared")]
    Claims(#[from] ClaimsError),
    /// The task that reads the log did not end by itself.
    #[error("the log's reader broke off, and nothing was replaced")]
    Reader(#[source] JoinError),
}

/// Rebuilds the projections of the ledger that the configuration names. Dropping the future leaves the live tables as they
/// are, and nothing behind.
///
/// # Errors
/// [`RebuildError`]; nothing was replaced then.
pub async fn run(
    config: &Config,
    mode: Mode,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Report, RebuildError> {
    let store = app::existing(config).await?;
    let keyring = match app::existing_keyring(config, &store).await {
        Ok(keyring) => Some(keyring),
        Err(StartError::KeyringMissing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let reads = store.reads();
    let head = reads.head().await?.position;
    let RebuildStore { log, shadow } = store.rebuild().await?.ok_or(RebuildError::UnderWay)?;
    let mut rebuild = Rebuild {
        log,
        shadow,
        reads,
        head,
        position: 0,
        report_progress: &|position| progress(Progress::Replaying { position, head }),
    };
    let started = Instant::now();
    rebuild.catch_up().await?;
    rebuild.freeze(Hold::Snapshot).await?;
    let replay = started.elapsed();
    let position = rebuild.position;
    progress(Progress::Comparing);
    let mut tables = rebuild.shadow.differences().await?;
    rebuild.shadow.thaw().await?;
    let differ = |tables: &[TableDifferences]| tables.iter().any(|table| table.rows() > 0);
    let replace = mode == Mode::Replace;
    if replace && differ(&tables) {
        progress(Progress::Replacing);
        // Once more without the lock, so that little is left to replay under it.
        rebuild.catch_up().await?;
        rebuild.freeze(Hold::HeadLock).await?;
        rebuild.shadow.replace().await?;
    }
    rebuild.shadow.close().await?;
    tables.push(audit_index(&store, mode).await?);
    let mut compared = None;
    if let Some(keyring) = keyring {
        progress(Progress::Comparing);
        let (claims, reached) = claims::compare(&*store.claims(), &keyring, replace).await?;
        tables.push(claims);
        compared = Some(reached);
    }
    Ok(Report {
        position,
        replaced: replace && differ(&tables),
        tables,
        claims: compared,
        replay,
    })
}

/// Compares the index of the audit with the log; where it differs, it is built again, and searches read the log meanwhile.
async fn audit_index(store: &app::Store, mode: Mode) -> Result<TableDifferences, StoreError> {
    let audit = match mode {
        Mode::Check => store.snapshot().await?.audit(),
        Mode::Replace => store.audit(),
    };
    let head = audit.audit_snapshot().await?.position;
    let found = blocks::compare(&*audit, head).await?;
    let mut table = TableDifferences::none(AUDIT_INDEX);
    (table.missing, table.surplus) = (found.missing, found.surplus);
    if found.first_block.is_some() && mode == Mode::Replace {
        audit.empty_index().await?;
        while blocks::index_next(&*audit, head, 1).await? {}
    }
    Ok(table)
}

struct Rebuild<'a> {
    log: Arc<dyn ReplayLog>,
    shadow: Box<dyn ShadowTables>,
    reads: Arc<dyn ReadStore>,
    /// The head of the log when it was last looked at.
    head: Position,
    /// The last position that the shadow tables hold.
    position: Position,
    report_progress: &'a (dyn Fn(Position) + Send + Sync),
}

impl Rebuild<'_> {
    /// Replays what is committed, reading ahead while the shadow tables are written.
    async fn catch_up(&mut self) -> Result<(), RebuildError> {
        let (sender, mut pages) = mpsc::channel(AHEAD);
        let mut reader = JoinSet::new();
        reader.spawn(read(Arc::clone(&self.log), self.position, sender));
        let mut started = Instant::now();
        while let Some(page) = pages.recv().await {
            self.fold(&page).await?;
            self.give_way(started.elapsed()).await?;
            started = Instant::now();
        }
        match reader.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(error)) => Err(RebuildError::Reader(error)),
        }
    }

    /// Rests if commands were recorded while the last page was replayed. At a third of its speed the replay still is several times
    /// faster than commands are, so it comes to its end.
    async fn give_way(&mut self, worked: Duration) -> Result<(), StoreError> {
        let head = self.reads.head().await?.position;
        if std::mem::replace(&mut self.head, head) < head {
            tokio::time::sleep((worked * 2).min(LONGEST_REST)).await;
        }
        Ok(())
    }

    /// Holds the ledger still, and replays it to its head.
    async fn freeze(&mut self, hold: Hold) -> Result<(), StoreError> {
        let mut attempt = 1;
        let head = loop {
            match self.shadow.freeze(hold).await {
                Ok(head) => break head,
                Err(error) if error.is_transient() && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        };
        while self.position < head {
            let page = self.shadow.frozen_page(self.position, PAGE).await?;
            if page.is_empty() {
                break;
            }
            self.fold(&page).await?;
        }
        if self.position != head {
            return Err(StoreError::inconsistent(
                "replay the log",
                format!("it ends at position {}, and its head at {head}", self.position),
            ));
        }
        Ok(())
    }

    async fn fold(&mut self, page: &[ReplayedEvent]) -> Result<(), StoreError> {
        // An entity's first event needs no look back, and so needs none at all in most of a log.
        let mut seen = HashSet::with_capacity(page.len());
        let asked: Vec<&EntityKey> = page
            .iter()
            .filter(|event| seen.insert(&event.key) && event.sequence > 1)
            .map(|event| &event.key)
            .collect();
        let listed = if asked.is_empty() {
            HashSet::new()
        } else {
            self.shadow.listed(&asked).await?
        };
        let mut changes = Changes::default();
        for event in page {
            if event.position != self.position + 1 {
                return Err(StoreError::inconsistent(
                    "replay the log",
                    format!("position {} is followed by {}", self.position, event.position),
                ));
            }
            changes.record_listed(listed.contains(&event.key), event.recorded());
            self.position = event.position;
        }
        self.shadow.apply(&changes).await?;
        (self.report_progress)(self.position);
        Ok(())
    }
}

/// Sends pages until one is not full: the head is near then.
async fn read(
    log: Arc<dyn ReplayLog>,
    mut position: Position,
    pages: mpsc::Sender<Vec<ReplayedEvent>>,
) -> Result<(), StoreError> {
    loop {
        let page = log.page(position, PAGE).await?;
        let full = page.len() >= PAGE as usize;
        let Some(last) = page.last() else {
            return Ok(());
        };
        position = last.position;
        // The rebuild failed meanwhile, and tells so itself.
        if pages.send(page).await.is_err() || !full {
            return Ok(());
        }
    }
}
