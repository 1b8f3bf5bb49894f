//! Where a log is read from: files, HTTP, or a database. All of them give the same names, those of C2SP's tlog-tiles.

use super::Finding;
use crate::merkle::tiles::{TILE_WIDTH, Tile, TileKind};
use crate::proofs::reader::tile_content;
use crate::small_files::{self, NOTE_MAX};
use crate::store::proofs::ProofStore;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use reqwest::Client;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The name of the last checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

/// The name of the statement that the current origin was forked with.
pub const FORK: &str = "fork";

/// The name of the verifier key.
pub const VKEY: &str = "vkey";

/// The path of the log on a service.
const SERVICE_PREFIX: &str = "/api/ledger";

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a request is tried.
const ATTEMPTS: u32 = 4;

/// A log.
#[async_trait]
pub trait Source: Send + Sync {
    /// A small text, `None` when there is none.
    async fn text(&self, name: &str) -> Result<Option<String>, Finding>;

    /// A tile's content, `None` when it is missing.
    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, Finding>;

    /// How many tiles are worth asking for at the same time.
    fn parallel(&self) -> usize;
}

/// What `export` wrote.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The log in a directory.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    async fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Finding> {
        let path = self.0.join(name);
        let opened = path.clone();
        let read = tokio::task::spawn_blocking(move || small_files::read(&opened, limit)).await;
        match read.unwrap_or_else(|error| Err(error.into())) {
            Ok(content) => Ok(Some(content)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Finding::Incomplete(format!(
                "{} cannot be read: {error}",
                path.display()
            ))),
        }
    }
}

#[async_trait]
impl Source for Directory {
    async fn text(&self, name: &str) -> Result<Option<String>, Finding> {
        self.read(name, NOTE_MAX)
            .await?
            .map(|content| utf8(name, content))
            .transpose()
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, Finding> {
        Ok(self
            .read(&tile.to_string(), largest(tile))
            .await?
            .map(Bytes::from))
    }

    fn parallel(&self) -> usize {
        8
    }
}

/// A service, or what `export` wrote behind any web server.
#[derive(Debug)]
pub struct Web {
    prefix: Url,
    token: Option<String>,
    client: Client,
}

/// Why a URL cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// It is no http(s) URL.
    #[error("{0:?} is no http or https URL")]
    Url(String),
    /// No client can be made.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
}

impl Web {
    /// The log behind a URL: a prefix under which `checkpoint` is; a service's root stands for its `/api/ledger`.
    ///
    /// # Errors
    /// [`WebError`].
    pub fn new(url: &str, token: Option<String>) -> Result<Self, WebError> {
        let no_url = || WebError::Url(url.to_owned());
        let mut prefix = Url::parse(url).map_err(|_| no_url())?;
        if !matches!(prefix.scheme(), "http" | "https") || prefix.query().is_some() {
            return Err(no_url());
        }
        if prefix.path() == "/" {
            prefix.set_path(SERVICE_PREFIX);
        }
        let path = format!("{}/", prefix.path().trim_end_matches('/'));
        prefix.set_path(&path);
        let client = Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(WebError::Client)?;
        Ok(Self {
            prefix,
            token,
            client,
        })
    }

    async fn read(&self, name: &str, limit: u64) -> Result<Option<Bytes>, Finding> {
        let missing =
            |cause: &dyn std::fmt::Display| Finding::Incomplete(format!("{name} cannot be fetched: {cause}"));
        let url = self.prefix.join(name).map_err(|error| missing(&error))?;
        let mut pause = Duration::from_millis(200);
        let mut attempt = 1;
        loop {
            let mut request = self.client.get(url.clone());
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let failed = match request.send().await {
                Ok(answer) if answer.status().is_success() => match body(answer, limit).await {
                    Ok(Some(content)) => return Ok(Some(content)),
                    Ok(None) => return Err(missing(&format_args!("it is larger than {limit} bytes"))),
                    Err(error) => error.without_url().to_string(),
                },
                Ok(answer) if answer.status() == StatusCode::NOT_FOUND => return Ok(None),
                Ok(answer)
                    if answer.status().is_client_error()
                        && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
                {
                    return Err(missing(&answer.status()));
                }
                Ok(answer) => answer.status().to_string(),
                Err(error) => error.without_url().to_string(),
            };
            if attempt == ATTEMPTS {
                return Err(missing(&failed));
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
            pause *= 3;
        }
    }
}

#[async_trait]
impl Source for Web {
    async fn text(&self, name: &str) -> Result<Option<String>, Finding> {
        let content = self.read(name, NOTE_MAX).await?;
        content.map(|content| utf8(name, content.into())).transpose()
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, Finding> {
        self.read(&tile.to_string(), largest(tile)).await
    }

    fn parallel(&self) -> usize {
        16
    }
}

/// A ledger's database.
pub struct Database {
    /// What proofs are made of.
    pub store: Arc<dyn ProofStore>,
    /// The number of the current origin.
    pub ledger: u64,
    /// The statement that it was forked with.
    pub statement: Option<String>,
}

#[async_trait]
impl Source for Database {
    async fn text(&self, name: &str) -> Result<Option<String>, Finding> {
        match name {
            CHECKPOINT => Ok(self
                .store
                .last_checkpoint(self.ledger)
                .await?
                .map(|last| last.note)),
            FORK => Ok(self.statement.clone()),
            _ => Ok(None),
        }
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, Finding> {
        Ok(Some(tile_content(&*self.store, tile).await?.into()))
    }

    fn parallel(&self) -> usize {
        2
    }
}

/// The body of an answer; `None` when it is larger than `limit` bytes.
async fn body(mut answer: reqwest::Response, limit: u64) -> Result<Option<Bytes>, reqwest::Error> {
    let mut content = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        content.extend_from_slice(&chunk);
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > limit {
            return Ok(None);
        }
    }
    Ok(Some(content.freeze()))
}

/// How many bytes of a tile are read: more than it can have, so that what was added to it is found and not only refused.
fn largest(tile: Tile) -> u64 {
    let width = u64::from(TILE_WIDTH) + 1;
    match tile.kind {
        TileKind::Entries => width * (2 + u64::from(u16::MAX)),
        TileKind::Hashes(_) => width * 32,
    }
}

fn utf8(name: &str, content: Vec<u8>) -> Result<String, Finding> {
    String::from_utf8(content).map_err(|_| Finding::tampered(format!("{name} is no text")))
}
