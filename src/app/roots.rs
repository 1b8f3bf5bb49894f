//! The storage roots of a configuration, and what the ledger knows of them.

use super::backend::Store;
use super::start_error::{StartError, blame, store_option};
use super::used_key;
use crate::claims::{self, ClaimsError};
use crate::clock::SharedClock;
use crate::config::{Config, Database, JwksSource};
use crate::keyring::Keyring;
use crate::storage::roots::identify::FirstUse;
use crate::storage::roots::known::{KnownRoot, KnownRoots};
use crate::storage::roots::watch::sound_out;
use crate::storage::roots::{RootError, StorageRoots};
use crate::store::StoreError;
use crate::store::claims::{ClaimStore, PlaceKey, Whom};
use crate::store::postgres::named_files;
use crate::store::storage_roots::StorageRootStore;
use crate::telemetry;
use archive_ledger_domain::{EntityKey, EntityType};
use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a root that is in doubt is not looked at again.
const DOUBTED: Duration = Duration::from_secs(3);

/// How many names in a folder are looked at for one that is claimed.
const NAMES_LOOKED_AT: usize = 20_000;

/// How many of them together.
const NAMES_AT_ONCE: usize = 200;

/// Variables that name a file which proves this service to a cloud.
const CLOUD_FILES: [&str; 6] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_FEDERATED_TOKEN_FILE",
    "SSL_CERT_FILE",
];

impl Store {
    /// Remembers what the local storage roots are recognized by.
    #[must_use]
    pub fn storage_roots(&self) -> Arc<dyn StorageRootStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }
}

/// The roots of a ledger that is served or filled. Those that are there and were never used are taken into use; those that
/// were, and are away, are waited for.
///
/// A root that was never used is taken into use only if the ledger knows of no storage below it, or finds some of that there: else its
/// file system may not be mounted. It is unavailable then, and found out about by [`keep`].
pub(super) async fn take(
    config: &Config,
    store: &Store,
    ledger: Uuid,
    clock: &SharedClock,
    keyring: &Keyring,
) -> Result<StorageRoots, StartError> {
    let roots = configured(config)?;
    if !roots.any_local() {
        return Ok(roots);
    }
    sound_out(&roots).await;
    if let Ok(known) = store.storage_roots().storage_roots().await {
        tell_damaged(&known);
    }
    recognize(&roots, store, ledger, clock, keyring)
        .await
        .map_err(|trouble| trouble.blaming(config))?;
    Ok(roots)
}

/// Finds out about the roots that are in doubt, until `stop`.
///
/// # Errors
/// None: what fails is tried again.
pub(super) async fn keep(parts: KeepParts, stop: CancellationToken) -> Result<(), Infallible> {
    let KeepParts {
        roots,
        store,
        ledger,
        clock,
        keyring,
    } = parts;
    let mut told = String::new();
    while !roots.unidentified().is_empty() {
        if tokio::time::timeout(DOUBTED, stop.cancelled()).await.is_ok() {
            break;
        }
        if let Err(trouble) = recognize(&roots, &store, ledger, &clock, &keyring).await {
            let trouble = telemetry::chain(&trouble);
            if trouble != told {
                tracing::warn!("the storage roots that are in doubt cannot be found out about: {trouble}");
            }
            told = trouble;
        }
    }
    stop.cancelled().await;
    Ok(())
}

/// What [`keep`] works with.
#[derive(Clone)]
pub(super) struct KeepParts {
    pub(super) roots: Arc<StorageRoots>,
    pub(super) store: Store,
    pub(super) ledger: Uuid,
    pub(super) clock: SharedClock,
    pub(super) keyring: Arc<Keyring>,
}

/// Why it was not found out what the roots are recognized by.
#[derive(Debug, thiserror::Error)]
enum Unrecognized {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("what the ledger knows of its storage roots cannot be read or written")]
    Store(#[from] StoreError),
    #[error("the look at the roots broke off")]
    BrokenOff,
}

impl Unrecognized {
    fn blaming(self, config: &Config) -> StartError {
        match self {
            Self::Root(error) => StartError::Root(error),
            Self::Store(source) => blame(store_option(config), source),
            Self::BrokenOff => StartError::option("--storage-root", io::Error::other(self.to_string())),
        }
    }
}

async fn recognize(
    roots: &StorageRoots,
    store: &Store,
    ledger: Uuid,
    clock: &SharedClock,
    keyring: &Keyring,
) -> Result<(), Unrecognized> {
    let known = store.storage_roots();
    let standing = known.storage_roots().await?;
    let in_doubt = in_doubt(roots, &standing);
    let before = standing.whole;
    let doubtful = doubtful(roots, store, keyring, clock, &before).await?;
    let first_use = move |uri: &str| {
        if in_doubt.contains(uri) {
            FirstUse::Unknown
        } else if doubtful.contains(uri) {
            FirstUse::Doubtful
        } else {
            FirstUse::Allowed
        }
    };
    let new_ids = Arc::clone(clock);
    let news = blocking(roots, move |roots| {
        roots.identify(ledger, &before, &first_use, &|| new_ids.new_id())
    })
    .await?;
    for root in &news {
        known.remember_storage_root(root, clock.now()).await?;
    }
    // What stands in the database holds for all instances.
    let standing = known.storage_roots().await?;
    blocking(roots, move |roots| {
        roots.expect_all(ledger, &standing.whole);
        roots.complete_markers();
        roots.look();
        Ok(())
    })
    .await
}

/// The roots of which it is not known whether and how they were used, as their rows cannot be read.
fn in_doubt(roots: &StorageRoots, known: &KnownRoots) -> HashSet<String> {
    let unknown = roots.unidentified().into_iter().map(|root| root.uri().to_owned());
    unknown.filter(|uri| known.is_in_doubt(uri)).collect()
}

/// Tells the log of rows that cannot be read.
fn tell_damaged(known: &KnownRoots) {
    for uri in &known.damaged {
        let uri = uri.as_deref().unwrap_or("a storage root");
        tracing::error!(
            storage.root = uri,
            "what {uri} is recognized by cannot be read from the database: it counts as unavailable until its row is repaired"
        );
    }
}

/// The roots that were never used although storage below them is claimed, and that hold nothing of that.
async fn doubtful(
    roots: &StorageRoots,
    store: &Store,
    keyring: &Keyring,
    clock: &SharedClock,
    known: &[KnownRoot],
) -> Result<HashSet<String>, Unrecognized> {
    let mut doubtful = HashSet::new();
    let mut unknown = roots.unidentified();
    unknown.retain(|root| !known.iter().any(|known| known.uri == root.uri()));
    if unknown.is_empty() {
        return Ok(doubtful);
    }
    let claims = store.claims();
    match claims::complete(&*claims, keyring).await {
        Ok(_) => {}
        Err(ClaimsError::Store(error)) => return Err(error.into()),
        Err(error @ ClaimsError::Sealed { .. }) => {
            tracing::warn!(error = %telemetry::chain(&error), "it cannot be told what storage is claimed, so that no storage root is taken into use");
            return Ok(unknown.iter().map(|root| root.uri().to_owned()).collect());
        }
    }
    for root in unknown {
        let path = root.path().to_string_lossy().trim_start_matches('/').to_owned();
        if !any_claim(&*claims, clock, &[keyring.local_place(&path)]).await? {
            continue;
        }
        let looked_at = Arc::clone(&root);
        let names = spawn_blocking(move || looked_at.some_names(NAMES_LOOKED_AT)).await;
        let names = names.map_err(|_| Unrecognized::BrokenOff)?.unwrap_or_default();
        let mut found = false;
        for names in names.chunks(NAMES_AT_ONCE) {
            let places: Vec<_> = names
                .iter()
                .map(|name| keyring.local_place(&format!("{path}/{name}")))
                .collect();
            if any_claim(&*claims, clock, &places).await? {
                found = true;
                break;
            }
        }
        if !found {
            doubtful.insert(root.uri().to_owned());
        }
    }
    Ok(doubtful)
}

/// Whether anybody claims storage in, around or at one of these places.
async fn any_claim(
    claims: &dyn ClaimStore,
    clock: &SharedClock,
    places: &[PlaceKey],
) -> Result<bool, StoreError> {
    let nobody = EntityKey::new(EntityType::Backups, &clock.new_id().to_string())
        .map_err(|_| StoreError::inconsistent("ask whose storage roots hold", "a new id is no id"))?;
    Ok(claims.claimants(places, &nobody, Whom::All, 0).await?.count > 0)
}

/// The roots of a ledger that is compared with its storage: all of them must be there. Nothing is written, but for what a look whether
/// the roots share files takes where whoever asks `deletes`.
pub(super) async fn find(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
    deletes: bool,
) -> Result<StorageRoots, StartError> {
    let roots = configured(config)?;
    if !roots.any_local() {
        return Ok(roots);
    }
    sound_out(&roots).await;
    let known = store.storage_roots().storage_roots().await;
    let known = known.map_err(|source| blame(store_option(config), source))?;
    // Without an id of its own it has never used any root.
    let ledger = store.known_ledger_id().await?.unwrap_or_default();
    tell_damaged(&known);
    let in_doubt = in_doubt(&roots, &known);
    let known = known.whole;
    let new_ids = Arc::clone(clock);
    blocking(&roots, move |roots| {
        let first_use = |uri: &str| {
            if in_doubt.contains(uri) {
                FirstUse::Unknown
            } else {
                FirstUse::Refused
            }
        };
        roots.identify(ledger, &known, &first_use, &|| new_ids.new_id())?;
        roots.first_unavailable().map_or(Ok(()), Err)?;
        if deletes {
            roots.probe(ledger, &known)?;
        }
        Ok(())
    })
    .await
    .map_err(|trouble| trouble.blaming(config))?;
    Ok(roots)
}

/// The roots as they are configured, with the ledger's own files out of their reach.
fn configured(config: &Config) -> Result<StorageRoots, StartError> {
    let mut roots = StorageRoots::parse(&config.storage.roots)
        .and_then(|roots| roots.protecting(&config.data_dir))
        .map_err(StartError::Root)?;
    let mut files = vec![
        config.keyring_file.clone(),
        config.ledger_key_file.clone(),
        config.guard_file.clone(),
        config.auth.secret_file.clone(),
        config.callbacks.secret_file.clone(),
    ];
    files.extend(used_key::marks(config));
    files.push(used_key::new_mark(config));
    files.extend(config.config_file.clone());
    let cloud_files = CLOUD_FILES.iter().filter_map(std::env::var_os);
    files.extend(cloud_files.map(PathBuf::from));
    match &config.database {
        Database::Sqlite { path } => {
            files.push(path.with_extension("lock"));
            for suffix in ["", "-wal", "-shm", "-journal"] {
                let mut file = path.clone().into_os_string();
                file.push(suffix);
                files.push(file.into());
            }
        }
        Database::Postgres { url } => files.extend(named_files(url.expose())),
    }
    for path in config
        .auth
        .issuers
        .iter()
        .filter_map(|issuer| match &issuer.jwks {
            JwksSource::File(path) => Some(path),
            JwksSource::Url(_) | JwksSource::Issuer(_) => None,
        })
    {
        files.push(path.clone());
    }
    for file in files {
        roots = roots.protecting_file(&file);
    }
    Ok(roots)
}

/// Looks at the disk.
async fn blocking<T: Send + 'static>(
    roots: &StorageRoots,
    look: impl FnOnce(&StorageRoots) -> Result<T, RootError> + Send + 'static,
) -> Result<T, Unrecognized> {
    let roots = roots.clone();
    let looked = spawn_blocking(move || look(&roots)).await;
    Ok(looked.map_err(|_| Unrecognized::BrokenOff)??)
}
