//! Wires the parts together: the only place that chooses between embedded and clustered.

mod consumers;
mod serve;
mod start;
mod tasks;

pub use serve::{ServeError, serve};
pub use start::{Opened, StartError, Store, open};

use crate::config::Config;

/// Brings the schema up to date.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn migrate(config: &Config) -> Result<(), StartError> {
    let store = start::connect(config).await?;
    store.migrate().await
}
