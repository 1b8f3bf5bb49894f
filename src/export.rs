//! Writes the log as files that any static host serves: `checkpoint`, `vkey`, `tile/…`, `tile/entries/…`, and `fork` when the
//! ledger was forked (C2SP tlog-tiles). `archive-ledger verify --dir` and any other tool for tiled logs read it.

use crate::app::{self, StartError, Store};
use crate::config::Config;
use crate::merkle::tiles::{Tile, TileKind};
use crate::proofs::reader::tile_content;
use crate::proofs::{Identity, ProofError};
use crate::store::StoreError;
use crate::store::proofs::{ProofStore, RawEvent, StoredCheckpoint};
use crate::verify::PayloadLine;
use crate::verify::source::{CHECKPOINT, FORK, VKEY};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// How many rows are read at a time.
const PAGE: u32 = 1024;

/// Why an export failed. What was written so far stays; the checkpoint is written last.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store failed.
    #[error("the export failed")]
    Store(#[from] StoreError),
    /// What is stored is not what was signed.
    #[error("the export failed")]
    Proof(#[from] ProofError),
    /// Nothing was ever signed.
    #[error("the ledger has no checkpoint yet: serve it once")]
    Unsigned,
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A row is missing.
    #[error("the row at position {0} is missing")]
    Row(u64),
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// The checkpoint over it.
    pub checkpoint: StoredCheckpoint,
    /// How many files were written.
    pub files: u64,
    /// The positions of rows that could not be disclosed.
    pub unreadable: Vec<u64>,
}

/// Exports the log up to its last checkpoint; entries that none covers yet are signed first when the ledger's key is at hand
/// and no instance serves the ledger. With `payloads`, what the entries commit to is written there as NDJSON: facts, context
/// and actors, and no personal details. Rows that cannot be read are left out, and named.
///
/// # Errors
/// [`ExportError`].
pub async fn export(
    config: &Config,
    directory: &Path,
    payloads: Option<&Path>,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Exported, ExportError> {
    let store = app::existing(config).await?;
    app::sign_what_is_committed(config, &store).await?;
    let (proofs, checkpoint, vkey, statement) = signed(&store).await?;
    let size = checkpoint.size;
    let mut files = 0;
    let bundles = Tile::all(TileKind::Entries, size);
    for tile in bundles.chain(Tile::hashes(size)) {
        let content = tile_content(&*proofs, tile).await?;
        write(directory, &tile.to_string(), &content)?;
        files += 1;
        if tile.kind == TileKind::Entries {
            progress(tile.start() + u64::from(tile.width), size);
        }
    }
    let unreadable = match payloads {
        Some(path) => disclose(&*proofs, path, size).await?,
        None => Vec::new(),
    };
    write(directory, VKEY, format!("{vkey}\n").as_bytes())?;
    if let Some(statement) = statement {
        write(directory, FORK, statement.as_bytes())?;
    }
    write(directory, CHECKPOINT, checkpoint.note.as_bytes())?;
    Ok(Exported {
        checkpoint,
        files: files + 2,
        unreadable,
    })
}

type Signed = (
    std::sync::Arc<dyn ProofStore>,
    StoredCheckpoint,
    String,
    Option<String>,
);

async fn signed(store: &Store) -> Result<Signed, ExportError> {
    let proofs = store.proofs();
    let (origins, statement) = Identity::remembered(&*proofs)
        .await?
        .ok_or(ExportError::Unsigned)?;
    let ledger = u64::try_from(origins.len()).unwrap_or(u64::MAX);
    let checkpoint = proofs
        .last_checkpoint(ledger)
        .await?
        .ok_or(ExportError::Unsigned)?;
    let vkey = origins.last().map(ToString::to_string).unwrap_or_default();
    Ok((proofs, checkpoint, vkey, statement))
}

/// Writes what the entries commit to, as far as it can be read; returns where it cannot.
async fn disclose(store: &dyn ProofStore, path: &Path, size: u64) -> Result<Vec<u64>, ExportError> {
    let failed = |source| ExportError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = BufWriter::new(fs::File::create(path).map_err(failed)?);
    let (mut position, mut unreadable) = (0, Vec::new());
    while position < size {
        let limit = u32::try_from(size - position).unwrap_or(PAGE).min(PAGE);
        let page = store.raw_events(position, limit).await?;
        if page.is_empty() {
            return Err(ExportError::Row(position + 1));
        }
        for row in page {
            position += 1;
            if row.position != position {
                return Err(ExportError::Row(position));
            }
            match payload_line(row) {
                Some(text) => writeln!(file, "{text}").map_err(failed)?,
                None => unreadable.push(position),
            }
        }
    }
    file.flush().map_err(failed)?;
    Ok(unreadable)
}

/// The line of a row; `None` when it cannot be read.
fn payload_line(row: RawEvent) -> Option<String> {
    if row.damaged {
        return None;
    }
    let line = PayloadLine {
        position: row.position,
        salt: STANDARD.encode(&row.salt),
        payload: serde_json::from_str(&row.payload).ok()?,
        metadata: serde_json::from_str(&row.metadata).ok()?,
        actor: row.actor,
        details: None,
    };
    serde_json::to_string(&line).ok()
}

fn write(directory: &Path, name: &str, content: &[u8]) -> Result<(), ExportError> {
    let path = directory.join(name);
    let failed = |source| ExportError::Write {
        path: path.clone(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(&path, content).map_err(failed)
}
