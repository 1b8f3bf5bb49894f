//! Whether the ledger's key has signed a ledger already that the database does not hold.
//!
//! An empty database beside a key that was used would begin a second history under the same name with the same key: whoever holds a
//! checkpoint of the first could not tell them apart from a forgery. Which ledger a key has signed lies outside the database: in
//! the guard file, and in a mark that is written beside the key once the database holds the ledger. Both can be lost with it,
//! so their absence proves nothing: a key is new only while the mark stands beside it that the service writes before it makes
//! one, and takes away once the database holds the ledger.

use super::backend::Store;
use super::start_error::{StartError, blame, refuse, store_option};
use crate::config::Config;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{VerifierKey, unverified_text};
use crate::proofs::identity::{number_of, same_ledger, verifier_of};
use crate::proofs::{Identity, ProofError};
use crate::small_files::{self, NOTE_MAX};
use crate::{secret_files, telemetry};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The first line of a mark.
const HEADER: &str = "archive-ledger used key v1";

/// What tells that the key has signed a ledger.
#[derive(Debug)]
pub(super) struct Used {
    /// The last origin that is known of.
    pub(super) origin: VerifierKey,
    /// The ledger's id, if the mark has it.
    pub(super) ledger_id: Option<Uuid>,
}

/// Where marks are: beside the key, and in the data directory, for keys in a folder that cannot be written.
pub(super) fn marks(config: &Config) -> Vec<PathBuf> {
    let mut places = vec![beside_key(config, ".used")];
    let own = config.data_dir.join("ledger.key.used");
    if !places.contains(&own) {
        places.push(own);
    }
    places
}

/// Where it stands that the key is new.
pub(super) fn new_mark(config: &Config) -> PathBuf {
    beside_key(config, ".new")
}

fn beside_key(config: &Config, extension: &str) -> PathBuf {
    let mut beside = config.ledger_key_file.clone().into_os_string();
    beside.push(extension);
    PathBuf::from(beside)
}

/// Notes, where there is no key yet, that the one which is about to be made is new.
///
/// # Errors
/// [`StartError`]: the folder of the key cannot be written, so that no key could be made in it either.
pub(super) fn expect_new(config: &Config) -> Result<(), StartError> {
    let failed = |error| StartError::option("--ledger-key-file", error);
    if config.ledger_key_file.try_exists().map_err(failed)? {
        return Ok(());
    }
    let path = new_mark(config);
    secret_files::create_private_directory(folder_of(&path)).map_err(|source| StartError::SecretFile {
        option: "--ledger-key-file",
        source,
    })?;
    write(&path, "").map_err(failed)
}

/// What the files say of the key; `None` for a key that was never used, or when there is none.
pub(super) fn find(config: &Config) -> Result<Option<Used>, StartError> {
    let seed = secret_files::ledger_seed(&config.ledger_key_file, false).map_err(|source| {
        StartError::SecretFile {
            option: "--ledger-key-file",
            source,
        }
    })?;
    let Some(seed) = seed else {
        return Ok(None);
    };
    let mut found: Option<Used> = None;
    let guard = read(&config.guard_file).map_err(|error| StartError::option("--guard-file", error))?;
    let guarded = guard.and_then(|note| {
        let origin = Checkpoint::parse(unverified_text(&note).ok()?).ok()?.origin;
        let key = verifier_of(&origin, &seed)?;
        Checkpoint::open(&note, &key).ok()?;
        Some(Used {
            origin: key,
            ledger_id: None,
        })
    });
    let mut all = Vec::from_iter(guarded);
    for path in marks(config) {
        let text = read(&path).map_err(|error| StartError::option("--ledger-key-file", error))?;
        all.extend(text.and_then(|text| parse(&text)).filter(|mark| {
            // A mark that another key left says nothing of this one.
            verifier_of(mark.origin.name(), &seed).as_ref() == Some(&mark.origin)
        }));
    }
    for used in all {
        let id = used
            .ledger_id
            .or(found.as_ref().and_then(|known| known.ledger_id));
        found = Some(match found {
            Some(known) if number_of(known.origin.name()) >= number_of(used.origin.name()) => known,
            Some(_) | None => used,
        });
        if let Some(found) = &mut found {
            found.ledger_id = id;
        }
    }
    Ok(found)
}

/// Refuses a database that holds no ledger beside a key that has signed one.
///
/// # Errors
/// [`StartError`], saying how to go on.
pub(super) async fn refuse_second_history(config: &Config, store: &Store) -> Result<(), StartError> {
    // First the files, then the database: another instance that begins the ledger at this moment writes them the other way round.
    let failed = |error| StartError::option("--ledger-key-file", error);
    let used = find(config)?;
    let there = config.ledger_key_file.try_exists().map_err(failed)?;
    let is_new = !there || new_mark(config).try_exists().map_err(failed)?;
    if used.is_none() && is_new || holds_ledger(config, store).await? {
        return Ok(());
    }
    let signed = used.map_or_else(
        || "was there before it, and may have signed one".to_owned(),
        |used| format!("has signed one, {}", used.origin.name()),
    );
    Err(StartError::option(
        store_option(config),
        format!(
            "the database holds no ledger, and the key {} {signed}: bring its database back, or begin again under another name with \
             `archive-ledger ledger fork --from-nothing --reason …`",
            config.ledger_key_file.display(),
        ),
    ))
}

/// Refuses a database that knows nothing of a fork which the key has signed.
///
/// # Errors
/// [`StartError::Proof`], saying how to go on.
pub(super) fn refuse_before_fork(config: &Config, identity: &Identity) -> Result<(), StartError> {
    match find(config)? {
        Some(used) if identity.precedes(&used.origin) => Err(refuse(
            config,
            ProofError::BeforeFork {
                newer: used.origin.name().to_owned(),
                older: identity.verifier().name().to_owned(),
            },
        )),
        Some(_) | None => Ok(()),
    }
}

/// Whether the database holds a ledger.
pub(super) async fn holds_ledger(config: &Config, store: &Store) -> Result<bool, StartError> {
    let remembered = Identity::remembered(&*store.proofs())
        .await
        .map_err(|error| refuse(config, error))?;
    if remembered.is_some() {
        return Ok(true);
    }
    let head = store.reads().head().await;
    let head = head.map_err(|source| blame(store_option(config), source))?;
    Ok(head.position > 0)
}

/// Marks the key as used, once the database holds the ledger. Where it cannot be written which ledger that is, the guard has to do.
///
/// # Errors
/// [`StartError`]: the key would still count as new.
pub(super) fn mark(config: &Config, origin: &VerifierKey, ledger_id: Option<Uuid>) -> Result<(), StartError> {
    note_ledger(config, origin, ledger_id);
    let path = new_mark(config);
    let removed = fs::remove_file(&path).and_then(|()| fs::File::open(folder_of(&path))?.sync_all());
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StartError::option("--ledger-key-file", error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes down which ledger the key has signed.
fn note_ledger(config: &Config, origin: &VerifierKey, ledger_id: Option<Uuid>) {
    let id = ledger_id.map(|id| format!("{id}\n")).unwrap_or_default();
    let text = format!("{HEADER}\n{origin}\n{id}");
    let mut failed = None;
    for path in marks(config) {
        match read(&path) {
            Ok(Some(standing)) if standing == text || is_later(&standing, origin) => return,
            Ok(_) => match write(&path, &text) {
                Ok(()) => return,
                Err(error) => failed = Some(error),
            },
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        tracing::warn!(error = %telemetry::chain(&error), "the ledger's key cannot be marked as used");
    }
}

/// Whether a mark is of a later origin of the same ledger: that one was signed, whatever this database knows.
fn is_later(mark: &str, origin: &VerifierKey) -> bool {
    parse(mark).is_some_and(|mark| {
        number_of(mark.origin.name()) > number_of(origin.name())
            && mark.origin.renamed(origin.name()) == *origin
            && same_ledger(mark.origin.name(), origin.name())
    })
}

fn parse(text: &str) -> Option<Used> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return None;
    }
    Some(Used {
        origin: lines.next()?.parse().ok()?,
        ledger_id: lines.next().and_then(|id| id.parse().ok()),
    })
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match small_files::read_text(path, NOTE_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}
