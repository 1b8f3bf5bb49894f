//! A ledger's own database: everything that is checked of an exported log, and everything that the database has beside it.

use super::Finding;
use super::beside::{Tables, check_beside, is_signed};
use super::followed::Followed;
use super::log::{LogReport, Request, check_log};
use super::payloads::Disclosures;
use super::remembered::keyring;
use super::rows::check_rows;
use super::source::{Database, Source};
use crate::app::{StartError, Store};
use crate::claims::ClaimsError;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::foreign_text::shown;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{VerifierKey, unverified_text};
use crate::proofs::Identity;
use crate::rebuild::{self, Mode, RebuildError};
use crate::small_files::{self, NOTE_MAX};
use crate::store::Hash;
use crate::store::proofs::ProofStore;
use crate::telemetry;
use chrono::TimeDelta;
use std::io::ErrorKind;
use std::sync::Arc;

/// How far clocks may differ before an event is dated in the future.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// How many checkpoints are read at a time.
const PAGE: u32 = 1024;

/// What is being checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Entries, streams, roots and tiles.
    Log,
    /// Rows against entries.
    Rows,
    /// Projections against a replay.
    Projections,
}

/// What is asked of a database.
pub struct DatabaseRequest<'a> {
    /// The ledger.
    pub config: &'a Config,
    /// Its store.
    pub store: &'a Store,
    /// Who must have signed it.
    pub key: VerifierKey,
    /// An old checkpoint, a signed note.
    pub since: Option<String>,
    /// Disclosed payloads.
    pub disclosures: Arc<Disclosures>,
    /// Told what is checked, how much of it, and of how much.
    pub progress: &'a (dyn Fn(Stage, u64, u64) + Send + Sync),
}

/// What was found sound.
#[derive(Debug)]
pub struct DatabaseReport {
    /// The log.
    pub log: LogReport,
    /// How many rows were compared with their entries.
    pub rows: u64,
    /// How many checkpoints were compared.
    pub checkpoints: usize,
    /// Whether sealed details were opened.
    pub opened: bool,
}

/// Checks a ledger's database, as it is at one moment. What looks wrong is looked at once more, at another moment, before anybody
/// is accused: the guard file is no part of the database, and neither is the replay of the projections.
///
/// # Errors
/// [`Finding`]: the first thing that is wrong.
pub async fn check_database(request: DatabaseRequest<'_>) -> Result<DatabaseReport, Finding> {
    match check_once(&request).await {
        Err(Finding::Tampered { .. }) => {
            request.disclosures.begin_again();
            check_once(&request).await
        }
        other => other,
    }
}

async fn check_once(request: &DatabaseRequest<'_>) -> Result<DatabaseReport, Finding> {
    // Read before the database, which the service writes first: so it cannot be the newer one.
    let guard = guard_note(request.config)?;
    let store = request.store.snapshot().await?;
    match check_snapshot(request, &store, guard.as_deref()).await {
        Err(tampered @ Finding::Tampered { .. }) => Err(tampered),
        // Whatever else is missing.
        other => match store.side().damage().await.map_err(Finding::from) {
            Ok(None) => other,
            Ok(Some(damage)) => Err(Finding::tampered(format!(
                "the database holds what it must not: {}",
                shown(&damage)
            ))),
            Err(tampered @ Finding::Tampered { .. }) => Err(tampered),
            Err(incomplete) => other.and(Err(incomplete)),
        },
    }
}

async fn check_snapshot(
    request: &DatabaseRequest<'_>,
    store: &Store,
    guard: Option<&str>,
) -> Result<DatabaseReport, Finding> {
    let (proofs, reads) = (store.proofs(), store.reads());
    let remembered = Identity::remembered(&*proofs).await;
    let remembered = remembered.map_err(|error| Finding::tampered(error.to_string()))?;
    let Some((origins, statement)) = remembered else {
        return Err(if is_signed(&*store.side()).await? {
            Finding::tampered("ledger_meta lacks the ledger's name and key, and the ledger was signed")
        } else {
            Finding::Incomplete("the ledger was never signed".into())
        });
    };
    let numbering = Identity::numbering_of(&*proofs).await;
    let numbering = numbering.map_err(|error| Finding::tampered(error.to_string()))?;
    let ledger = u64::try_from(origins.len()).unwrap_or(0);
    let mut roots = signed_roots(&*proofs, &origins).await?;
    let checkpoints = roots.len();
    let guarded = guarded(request.config, guard, &origins)?;
    if let Some(guarded) = &guarded {
        let last = proofs.last_checkpoint(ledger).await?.map_or(0, |last| last.size);
        if guarded.size > last {
            return Err(Finding::tampered(format!(
                "the guard file has a checkpoint over {} entries, and the last one in the database is over {last}",
                guarded.size
            )));
        }
        roots.push((guarded.size, guarded.root, "the guard file".to_owned()));
    }
    let source: Arc<dyn Source> = Arc::new(Database {
        store: Arc::clone(&proofs),
        ledger,
        statement,
    });
    let mut log = check_log(Request {
        source,
        key: request.key.clone(),
        since: request.since.clone(),
        disclosures: Arc::clone(&request.disclosures),
        roots,
        progress: &|done, of| (request.progress)(Stage::Log, done, of),
    })
    .await?;
    if guard.is_none() {
        log.notices
            .push("there is no guard file: whether the database was rolled back cannot be told".into());
    }
    let (keyring, gaps) = keyring(request.config, store).await?;
    let (head, followed) = check_rows(
        &*proofs,
        &*reads,
        keyring.as_ref(),
        &request.disclosures,
        &|done, of| {
            (request.progress)(Stage::Rows, done, of);
        },
    )
    .await?;
    let tables = Tables {
        side: &*store.side(),
        audit: &*store.audit(),
        reads: &*reads,
    };
    let notices = check_beside(
        &tables,
        &followed,
        keyring.as_ref().filter(|_| gaps.is_empty()),
        log.checkpoint.size,
        &numbering.unwrap_or_default(),
    )
    .await?;
    log.notices.extend(notices);
    (request.progress)(Stage::Projections, 0, 1);
    projections(request.config).await?;
    incomplete(gaps, &followed)?;
    if head
        .recorded_at
        .is_some_and(|time| time > SystemClock.now() + AHEAD)
    {
        log.notices
            .push("the last event is dated in the future: a clock ran ahead when it was recorded".into());
    }
    Ok(DatabaseReport {
        log,
        rows: head.position,
        checkpoints,
        opened: keyring.is_some(),
    })
}

/// What could not be checked because keys are missing.
fn incomplete(mut gaps: Vec<String>, followed: &Followed) -> Result<(), Finding> {
    if gaps.is_empty() {
        gaps.extend(followed.unopened.iter().map(|(kek_id, details)| {
            format!("the keyring has no key {kek_id:?}: {details} sealed details could not be opened")
        }));
    }
    if gaps.is_empty() {
        return Ok(());
    }
    Err(Finding::Incomplete(format!(
        "--keyring-file: {}; all else is sound",
        gaps.join("; ")
    )))
}

/// Every root that was ever signed, by size; each note is opened with its origin's key.
async fn signed_roots(
    store: &dyn ProofStore,
    origins: &[VerifierKey],
) -> Result<Vec<(u64, Hash, String)>, Finding> {
    let mut roots = Vec::new();
    for (ledger, key) in (1..).zip(origins) {
        let mut after = None;
        loop {
            let page = store.checkpoints(ledger, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.size);
            for stored in page {
                let changed = |what: &dyn std::fmt::Display| {
                    Finding::tampered(format!(
                        "the stored checkpoint of {} entries was changed: {what}",
                        stored.size
                    ))
                };
                let signed = Checkpoint::open(&stored.note, key).map_err(|error| changed(&error))?;
                if (signed.size, signed.root) != (stored.size, stored.root) {
                    return Err(changed(&"its row says something else"));
                }
                roots.push((
                    stored.size,
                    stored.root,
                    format!("the checkpoint of {} entries", stored.size),
                ));
            }
        }
    }
    Ok(roots)
}

/// What the guard file holds; `None` when there is none.
fn guard_note(config: &Config) -> Result<Option<String>, Finding> {
    let path = &config.guard_file;
    match small_files::read(path, NOTE_MAX) {
        Ok(note) => String::from_utf8(note)
            .map(Some)
            .map_err(|_| Finding::tampered(format!("the guard file {} is no text", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Finding::Incomplete(format!(
            "--guard-file: cannot read {}: {error}",
            path.display()
        ))),
    }
}

/// The checkpoint of the guard file, if it is of the current origin.
fn guarded(
    config: &Config,
    note: Option<&str>,
    origins: &[VerifierKey],
) -> Result<Option<Checkpoint>, Finding> {
    let Some(note) = note else { return Ok(None) };
    let ruined = |what: &dyn std::fmt::Display| {
        let path = config.guard_file.display();
        Finding::tampered(format!(
            "the guard file {path} is no checkpoint of this ledger: {what}"
        ))
    };
    let text = unverified_text(note).map_err(|error| ruined(&error))?;
    let origin = Checkpoint::parse(text).map_err(|error| ruined(&error))?.origin;
    let known = origins.iter().find(|key| key.name() == origin);
    let known = known.ok_or_else(|| ruined(&format_args!("it is of {}", shown(&origin))))?;
    let checkpoint = Checkpoint::open(note, known).map_err(|error| ruined(&error))?;
    // That of an origin that was forked may be of what was lost.
    Ok(Some(checkpoint).filter(|_| origins.last() == Some(known)))
}

/// Replays the log and compares.
async fn projections(config: &Config) -> Result<(), Finding> {
    let report = match rebuild::run(config, Mode::Check, &|_| {}).await {
        Ok(report) => report,
        Err(RebuildError::Store(error) | RebuildError::Claims(ClaimsError::Store(error))) => {
            return Err(error.into());
        }
        Err(RebuildError::Claims(error @ ClaimsError::Sealed { .. })) => {
            return Err(Finding::Incomplete(telemetry::chain(&error)));
        }
        Err(error @ (RebuildError::Start(StartError::Store { .. }) | RebuildError::UnderWay)) => {
            return Err(Finding::Incomplete(error.to_string()));
        }
        Err(error @ (RebuildError::Start(_) | RebuildError::Reader(_))) => {
            return Err(Finding::Incomplete(error.to_string()));
        }
    };
    match report.tables.iter().find(|table| table.rows() > 0) {
        None => Ok(()),
        Some(table) => Err(Finding::tampered(format!(
            "the projection {} is not what the log says ({} rows differ; `archive-ledger rebuild` replaces them)",
            table.table,
            table.rows()
        ))),
    }
}
