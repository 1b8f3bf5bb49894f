//! The storage roots of a configuration, and what the ledger knows of them.

use super::backend::Store;
use super::start_error::{StartError, blame, store_option};
use crate::cleanup::identify::FirstUse;
use crate::cleanup::roots::{RootError, StorageRoots};
use crate::cleanup::watch::sound_out;
use crate::clock::SharedClock;
use crate::config::{Config, Database, JwksSource};
use crate::store::storage_roots::{KnownRoot, StorageRootStore};
use std::io;
use std::sync::Arc;
use tokio::task::spawn_blocking;
use uuid::Uuid;

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
pub(super) async fn take(
    config: &Config,
    store: &Store,
    ledger: Uuid,
    clock: &SharedClock,
) -> Result<StorageRoots, StartError> {
    let roots = configured(config)?;
    if !roots.any_local() {
        return Ok(roots);
    }
    sound_out(&roots).await;
    let failed = |source| blame(store_option(config), source);
    let known = store.storage_roots();
    let before = known.storage_roots().await.map_err(failed)?;
    let news = identify(&roots, ledger, before, FirstUse::Allowed, clock).await?;
    for root in &news {
        known
            .remember_storage_root(root, clock.now())
            .await
            .map_err(failed)?;
    }
    // What stands in the database holds for all instances.
    let standing = known.storage_roots().await.map_err(failed)?;
    blocking(&roots, move |roots| {
        roots.expect_all(ledger, &standing);
        roots.look();
        Ok(())
    })
    .await?;
    Ok(roots)
}

/// The roots of a ledger that is compared with its storage: all of them must be there, and nothing is written.
pub(super) async fn find(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
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
    identify(&roots, ledger, known, FirstUse::Refused, clock).await?;
    blocking(&roots, |roots| roots.first_unavailable().map_or(Ok(()), Err)).await?;
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
    if let Database::Sqlite { path } = &config.database {
        files.push(path.with_extension("lock"));
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            files.push(file.into());
        }
    }
    if let Some(JwksSource::File(path)) = &config.auth.jwks {
        files.push(path.clone());
    }
    for file in files {
        roots = roots.protecting_file(&file);
    }
    Ok(roots)
}

async fn identify(
    roots: &StorageRoots,
    ledger: Uuid,
    known: Vec<KnownRoot>,
    first_use: FirstUse,
    clock: &SharedClock,
) -> Result<Vec<KnownRoot>, StartError> {
    let clock = Arc::clone(clock);
    blocking(roots, move |roots| {
        roots.identify(ledger, &known, first_use, &|| clock.new_id())
    })
    .await
}

/// Looks at the disk.
async fn blocking<T: Send + 'static>(
    roots: &StorageRoots,
    look: impl FnOnce(&StorageRoots) -> Result<T, RootError> + Send + 'static,
) -> Result<T, StartError> {
    let roots = roots.clone();
    spawn_blocking(move || look(&roots))
        .await
        .map_err(|_| {
            StartError::option(
                "--storage-root",
                io::Error::other("the look at the roots broke off"),
            )
        })?
        .map_err(StartError::Root)
}
