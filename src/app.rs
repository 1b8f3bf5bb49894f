//! Wires the parts together: the only place that chooses between embedded and clustered.

mod auth;
mod backend;
mod clock_watch;
mod consumers;
mod descriptors;
mod keyring;
mod ledger;
mod ledger_id;
mod nats;
mod only_serve;
mod reload;
mod roots;
mod serve;
mod shared_setup;
mod start;
mod start_error;
mod tasks;
mod tidy;
mod used_key;
mod vouch;
mod writer_thread;

pub use backend::Store;
pub use clock_watch::accept_clock;
pub use keyring::existing_keyring;
pub use ledger::{export_source, fork, fork_from_nothing, losses, sign_what_is_committed, verifier_key};
pub use only_serve::find_keys;
pub use serve::{ServeError, serve};
pub use start::{Opened, open};
pub use start_error::StartError;

pub(crate) use ledger::sign;
pub(crate) use serve::lock;

use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, Database};
use crate::storage::blobs::Blobs;
use std::sync::Arc;

/// Connects to a ledger that exists, with a schema that this version works on; makes neither.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn existing(config: &Config) -> Result<Store, StartError> {
    let store = found(config).await?;
    if !store.is_current().await? {
        return Err(StartError::option(
            start_error::store_option(config),
            "the schema is not that of this version: run `archive-ledger migrate`",
        ));
    }
    store.check_rights(false).await?;
    Ok(store)
}

/// That there is a database; for one on a server, connecting tells.
///
/// # Errors
/// [`StartError`], naming the file that was looked for.
pub(crate) fn is_there(config: &Config) -> Result<(), StartError> {
    if let Database::Sqlite { path } = &config.database
        && !path.exists()
    {
        return Err(StartError::option(
            start_error::store_option(config),
            format!("{} does not exist: there is no ledger", path.display()),
        ));
    }
    Ok(())
}

/// Connects to a database that exists.
async fn found(config: &Config) -> Result<Store, StartError> {
    is_there(config)?;
    backend::connect(config).await
}

/// The storage under the configured roots, all of which are there and can be listed; for a ledger that is compared with it.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn blobs(config: &Config, store: &Store, deletes: bool) -> Result<Blobs, StartError> {
    let clock: SharedClock = Arc::new(SystemClock);
    let roots = roots::find(config, store, &clock, deletes).await?;
    consumers::blobs(roots, config).await
}

/// Brings the schema up to date.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn migrate(config: &Config) -> Result<(), StartError> {
    let store = backend::connect(config).await?;
    store.migrate().await
}
