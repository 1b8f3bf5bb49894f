//! Exports of the log's events as NDJSON, CSV or Parquet.
//!
//! ```text
//! pages of rows ──▶ filter, open details ──▶ encoder ──▶ chunks of bytes ──▶ file or client
//!   (read ahead)                                             └──▶ count, positions, SHA-256 ──▶ manifest
//! ```
//!
//! - An export is bound to a snapshot, its last position: events never change, so the same request with the same `pos_to` gives
//!   the same bytes, on any instance and years later. The one exception is what `details` opens: once an entity is purged it is
//!   gone.
//! - The snapshot is covered by a checkpoint, which the manifest holds. `verify --payloads` checks an NDJSON export against the
//!   log that the checkpoint signs.
//! - A row that cannot be read is left out and told at the end; the others are written.
//! - It is streamed: what it holds in memory is bounded, whatever the size of the log.

mod csv;
mod encoding;
mod filter;
mod ndjson;
mod parquet;
pub mod record;

pub use encoding::{Encoding, UnknownEncoding};

use crate::keyring::{Keyring, KeyringError};
use crate::proofs::ProofError;
use crate::store::audit::AuditFilter;
use crate::store::proofs::{ProofStore, StoredCheckpoint};
use crate::store::{Position, StoreError};
use aws_lc_rs::digest::{self, SHA256};
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use record::{Column, Record};
use serde::Serialize;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// How many rows are read at a time.
const PAGE: u32 = 1024;

/// The same with details, each of which may take more than 64 KiB.
const PAGE_OPENED: u32 = 128;

/// How many pages are read ahead.
const AHEAD: usize = 3;

/// The format of manifests.
pub const MANIFEST_FORMAT: &str = "archive-ledger/export/v1";

/// Why an export ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store failed.
    #[error("the export failed")]
    Store(#[from] StoreError),
    /// What is stored is not what was signed.
    #[error("the export failed")]
    Proof(#[from] ProofError),
    /// Nothing was ever signed.
    #[error("the ledger has no checkpoint yet: serve it once")]
    Unsigned,
    /// The last position that was asked for is not signed yet.
    #[error("no checkpoint covers position {asked} yet: the last one covers {signed}")]
    NotCovered {
        /// What was asked for.
        asked: Position,
        /// How far the last checkpoint goes.
        signed: Position,
    },
    /// Details were asked for, and the ledger's keyring is not at hand.
    #[error("the ledger's keyring, which opens sealed details, is not at hand")]
    NoKeyring,
    /// Sealed details cannot be opened.
    #[error("sealed details could not be opened")]
    Keyring(#[from] KeyringError),
    /// A row is not what was recorded.
    #[error("the row at position {0} is not what was recorded")]
    Row(Position),
    /// Rows cannot be read; the others were written.
    #[error("{0} rows cannot be read and are left out: `archive-ledger verify` says what is wrong with them")]
    Unreadable(u64),
    /// An event cannot be written.
    #[error("an event cannot be written")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A reader ended by itself.
    #[error("a reader of the log ended")]
    Reader(#[from] tokio::task::JoinError),
}

/// How many of the rows that cannot be read are named.
const NAMED: usize = 100;

/// What is exported, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// How it is written.
    pub encoding: Encoding,
    /// Which events. Attempts are not exported: they are no part of the log.
    pub filter: AuditFilter,
    /// Whether sealed details are opened.
    pub details: bool,
}

impl Request {
    /// The query that asks for the same bytes again, as long as `pos_to` is in it.
    #[must_use]
    pub fn query(&self) -> String {
        let mut query = format!("format={}", self.encoding.as_str());
        if self.details {
            query += "&details=true";
        }
        let filter = filter::query(&self.filter);
        if filter.is_empty() {
            query
        } else {
            format!("{query}&{filter}")
        }
    }
}

/// What an export came to: deterministic, as the export is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ExportManifest)]
pub struct Manifest {
    /// `archive-ledger/export/v1`.
    pub format: &'static str,
    /// `ndjson`, `csv` or `parquet`.
    pub encoding: &'static str,
    /// The query that gives the same bytes again.
    pub query: String,
    /// The last position of the snapshot: nothing behind it was looked at.
    pub pos_to: u64,
    /// How many events were exported.
    pub count: u64,
    /// The position of the first one.
    #[schema(required = true)]
    pub first_position: Option<u64>,
    /// The position of the last one.
    #[schema(required = true)]
    pub last_position: Option<u64>,
    /// The length of the export, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the export, in hex.
    pub sha256: String,
    /// The first checkpoint that covers the snapshot, a signed note.
    pub checkpoint: String,
    /// The key that it is signed with. To trust it, compare it with the one that you got by another way.
    pub vkey: String,
    /// The ledger's number: positions are its own, as a fork uses some of them again.
    pub ledger: u64,
    /// How many rows cannot be read: they are left out, and whether the filter asks for them nobody can tell. Absent when there are none.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub unreadable: u64,
    /// The positions of the first hundred of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub unreadable_positions: Vec<u64>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands fields over by reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Opens sealed details.
#[derive(Debug)]
pub struct Openers {
    /// The ledger's keyring.
    pub keyring: Arc<Keyring>,
}

/// What an export reads from.
#[derive(Clone)]
pub struct Source {
    /// The log.
    pub store: Arc<dyn ProofStore>,
    /// The number of the current origin.
    pub ledger: u64,
    /// Its verifier key.
    pub vkey: String,
    /// For exports with details.
    pub keyring: Option<Arc<Keyring>>,
}

/// An export under way.
pub struct Export {
    request: Request,
    checkpoint: StoredCheckpoint,
    vkey: String,
    pos_to: Position,
    columns: Vec<Column>,
    pages: BoxStream<'static, Result<Page, ExportError>>,
    file: Option<parquet::File>,
    begun: bool,
    ended: bool,
    sha256: digest::Context,
    bytes: u64,
    count: u64,
    span: Option<(Position, Position)>,
    unreadable: u64,
    unreadable_positions: Vec<Position>,
}

/// A page of the log.
struct Page {
    records: Vec<Record>,
    /// The positions of rows that cannot be read.
    unreadable: Vec<Position>,
}

impl Export {
    /// Begins an export. Without `pos_to` it goes as far as the last checkpoint; with it, the smallest checkpoint that covers it
    /// stands in the manifest.
    ///
    /// # Errors
    /// [`ExportError::Unsigned`], [`ExportError::NotCovered`], [`ExportError::Store`].
    pub async fn begin(source: Source, mut request: Request) -> Result<Self, ExportError> {
        let store = &*source.store;
        let last = store.last_checkpoint(source.ledger).await?;
        let last = last.ok_or(ExportError::Unsigned)?;
        let pos_to = request.filter.pos_to.unwrap_or(last.size);
        if pos_to > last.size {
            return Err(ExportError::NotCovered {
                asked: pos_to,
                signed: last.size,
            });
        }
        let covering = store.checkpoints(source.ledger, pos_to.checked_sub(1), 1).await?;
        let checkpoint = covering.into_iter().next().unwrap_or(last);
        request.filter.pos_to = Some(pos_to);
        let (low, high) = bounds(store, &request.filter, pos_to).await?;
        let columns = Column::of(request.details);
        let openers = match (&source.keyring, request.details) {
            (Some(keyring), true) => Some(Arc::new(Openers {
                keyring: Arc::clone(keyring),
            })),
            (None, true) => return Err(ExportError::NoKeyring),
            (_, false) => None,
        };
        let file = match request.encoding {
            Encoding::Parquet => Some(parquet::File::new(columns.clone())?),
            Encoding::Ndjson | Encoding::Csv => None,
        };
        Ok(Self {
            pages: pages(&source.store, &request.filter, openers, low, high),
            request,
            checkpoint,
            vkey: source.vkey,
            pos_to,
            columns,
            file,
            begun: false,
            ended: false,
            sha256: digest::Context::new(&SHA256),
            bytes: 0,
            count: 0,
            span: None,
            unreadable: 0,
            unreadable_positions: Vec::new(),
        })
    }

    /// How many rows were left out so far because they cannot be read.
    #[must_use]
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The last position of the snapshot.
    #[must_use]
    pub const fn pos_to(&self) -> Position {
        self.pos_to
    }

    /// How many events were written so far, and the position of the last of them.
    #[must_use]
    pub fn progress(&self) -> (u64, Position) {
        (self.count, self.span.map_or(0, |(_, last)| last))
    }

    /// What was asked for; the filter names the snapshot.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ExportError`]: what was given so far is not the whole export then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        while !self.ended {
            let mut chunk = Vec::new();
            if !self.begun {
                self.begun = true;
                if self.request.encoding == Encoding::Csv {
                    csv::header(&mut chunk, &self.columns)?;
                }
            }
            match self.pages.try_next().await? {
                Some(page) => {
                    self.unreadable += page.unreadable.len() as u64;
                    let room = NAMED.saturating_sub(self.unreadable_positions.len());
                    self.unreadable_positions
                        .extend(page.unreadable.into_iter().take(room));
                    self.encode(page.records, &mut chunk)?;
                }
                None => {
                    self.ended = true;
                    if let Some(file) = &mut self.file {
                        chunk = file.finish()?;
                    }
                }
            }
            if !chunk.is_empty() {
                self.sha256.update(&chunk);
                self.bytes += chunk.len() as u64;
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    fn encode(&mut self, records: Vec<Record>, chunk: &mut Vec<u8>) -> Result<(), ExportError> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(());
        };
        let from = self.span.map_or(first.position(), |(from, _)| from);
        self.span = Some((from, last.position()));
        self.count += records.len() as u64;
        match self.request.encoding {
            Encoding::Ndjson => {
                chunk.reserve(records.len() * 1024);
                for record in &records {
                    ndjson::push(chunk, &self.columns, record)?;
                }
            }
            Encoding::Csv => csv::push(chunk, &self.columns, &records)?,
            Encoding::Parquet => {
                if let Some(file) = &mut self.file {
                    *chunk = file.push(records)?;
                }
            }
        }
        Ok(())
    }

    /// Reads what is left and throws it away, to know what it comes to.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn manifest(mut self) -> Result<Manifest, ExportError> {
        while self.next().await?.is_some() {}
        Ok(Manifest {
            format: MANIFEST_FORMAT,
            encoding: self.request.encoding.as_str(),
            query: self.request.query(),
            pos_to: self.pos_to,
            count: self.count,
            first_position: self.span.map(|(first, _)| first),
            last_position: self.span.map(|(_, last)| last),
            bytes: self.bytes,
            sha256: hex::encode(self.sha256.finish()),
            checkpoint: self.checkpoint.note,
            vkey: self.vkey,
            ledger: self.checkpoint.ledger,
            unreadable: self.unreadable,
            unreadable_positions: self.unreadable_positions,
        })
    }
}

/// The positions that can match: behind the first and up to the second.
async fn bounds(
    store: &dyn ProofStore,
    filter: &AuditFilter,
    pos_to: Position,
) -> Result<(Position, Position), ExportError> {
    let mut low = filter.pos_from.unwrap_or(1).saturating_sub(1);
    let mut high = pos_to;
    if let Some(from) = filter.from {
        low = low.max(before(store, from, pos_to).await?);
    }
    if let Some(to) = filter.to {
        high = high.min(before(store, to, pos_to).await?);
    }
    Ok((low.min(high), high))
}

/// The last position that was recorded before a time; times never go back along the log.
async fn before(
    store: &dyn ProofStore,
    time: DateTime<Utc>,
    last: Position,
) -> Result<Position, ExportError> {
    let (mut low, mut high) = (0, last);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        // Where its time cannot be read, the next one that can be decides.
        let rows = store.readable_events(middle - 1, 1).await?;
        let recorded = match rows.first().and_then(|row| row.recorded_at) {
            Some(recorded) => recorded,
            None => {
                let behind = store.readable_events(middle, PAGE).await?;
                let recorded = behind.iter().find_map(|row| row.recorded_at);
                recorded.ok_or(ExportError::Row(middle))?
            }
        };
        if recorded < time {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}

/// Pages of records, in order; some are read ahead, each on a task of its own.
fn pages(
    store: &Arc<dyn ProofStore>,
    filter: &AuditFilter,
    openers: Option<Arc<Openers>>,
    low: Position,
    high: Position,
) -> BoxStream<'static, Result<Page, ExportError>> {
    let (store, filter) = (Arc::clone(store), Arc::new(filter.clone()));
    let size = if openers.is_some() { PAGE_OPENED } else { PAGE };
    let starts = (low..high).step_by(size as usize);
    let reads = stream::iter(starts).map(move |after| {
        let (store, filter, openers) = (Arc::clone(&store), Arc::clone(&filter), openers.clone());
        let limit = u32::try_from(high - after).unwrap_or(size).min(size);
        let read =
            tokio::spawn(async move { page(&*store, &filter, openers.as_deref(), after, limit).await });
        let read = AbortOnDropHandle::new(read);
        async move { read.await? }
    });
    reads.buffered(AHEAD).boxed()
}

async fn page(
    store: &dyn ProofStore,
    filter: &AuditFilter,
    openers: Option<&Openers>,
    after: Position,
    limit: u32,
) -> Result<Page, ExportError> {
    let rows = match openers {
        Some(_) => store.raw_events(after, limit).await?,
        None => store.readable_events(after, limit).await?,
    };
    let mut records = Vec::with_capacity(rows.len());
    let mut unreadable = Vec::new();
    let mut expected = after;
    for row in rows {
        expected += 1;
        if row.position != expected {
            return Err(ExportError::Row(expected));
        }
        match Record::of(row, filter, openers) {
            Ok(record) => records.extend(record),
            Err(ExportError::Row(position)) => unreadable.push(position),
            Err(error) => return Err(error),
        }
    }
    if expected < after + u64::from(limit) {
        return Err(ExportError::Row(expected + 1));
    }
    Ok(Page { records, unreadable })
}
