//! A ledger's own database: everything that is checked of an exported log, and everything that the database has beside it.

use super::Finding;
use super::log::{LogReport, Request, check_log};
use super::payloads::Disclosures;
use super::rows::check_rows;
use super::source::{Database, Source};
use crate::app::{StartError, Store};
use crate::config::Config;
use crate::keyring::Keyring;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::VerifierKey;
use crate::proofs::Identity;
use crate::rebuild::{self, Mode, RebuildError};
use crate::secret_files;
use crate::store::Hash;
use crate::store::proofs::ProofStore;
use std::sync::Arc;

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

/// Checks a ledger's database.
///
/// # Errors
/// [`Finding`]: the first thing that is wrong.
pub async fn check_database(request: DatabaseRequest<'_>) -> Result<DatabaseReport, Finding> {
    let (proofs, reads) = (request.store.proofs(), request.store.reads());
    let remembered = Identity::remembered(&*proofs).await;
    let remembered = remembered.map_err(|error| Finding::tampered(error.to_string()))?;
    let (origins, statement) =
        remembered.ok_or_else(|| Finding::Incomplete("the ledger was never signed".into()))?;
    let mut roots = signed_roots(&*proofs, &origins).await?;
    let checkpoints = roots.len();
    // Read before the last checkpoint, which the service writes first: so it cannot be the newer one.
    if let Some(guarded) = guarded(request.config, &origins)? {
        roots.push((guarded.size, guarded.root, "the guard file".to_owned()));
    }
    let source: Arc<dyn Source> = Arc::new(Database {
        store: Arc::clone(&proofs),
        ledger: u64::try_from(origins.len()).unwrap_or(0),
        statement,
    });
    let log = check_log(Request {
        source,
        key: request.key,
        since: request.since,
        disclosures: request.disclosures,
        roots,
        progress: &|done, of| (request.progress)(Stage::Log, done, of),
    })
    .await?;
    let keyring = keyring(request.config)?;
    let head = check_rows(&*proofs, &*reads, keyring.as_ref(), &|done, of| {
        (request.progress)(Stage::Rows, done, of);
    })
    .await?;
    (request.progress)(Stage::Projections, 0, 1);
    projections(request.config).await?;
    Ok(DatabaseReport {
        log,
        rows: head.position,
        checkpoints,
        opened: keyring.is_some(),
    })
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

/// The checkpoint of the guard file, if there is one of the current origin.
fn guarded(config: &Config, origins: &[VerifierKey]) -> Result<Option<Checkpoint>, Finding> {
    let path = &config.guard_file;
    let Ok(note) = std::fs::read_to_string(path) else {
        return Ok(None);
    };
    let Some(current) = origins.last() else {
        return Ok(None);
    };
    if note.starts_with(&format!("{}\n", current.name())) {
        return Checkpoint::open(&note, current)
            .map(Some)
            .map_err(|error| Finding::tampered(format!("{}: {error}", path.display())));
    }
    Ok(None)
}

/// The ledger's keyring, if it is at hand.
fn keyring(config: &Config) -> Result<Option<Keyring>, Finding> {
    let path = config.keyring_file.display();
    let content = secret_files::load(&config.keyring_file)
        .map_err(|error| Finding::Incomplete(format!("the keyring cannot be read: {error}")))?;
    let Some(content) = content else {
        return Ok(None);
    };
    Keyring::parse(&content)
        .map(Some)
        .map_err(|error| Finding::Incomplete(format!("{path} is no keyring: {error}")))
}

/// Replays the log and compares.
async fn projections(config: &Config) -> Result<(), Finding> {
    let report = match rebuild::run(config, Mode::Check, &|_| {}).await {
        Ok(report) => report,
        Err(RebuildError::Store(error)) => return Err(error.into()),
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
