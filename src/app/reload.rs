//! SIGHUP: secrets and whom the system trusts are read anew, while everything goes on.
//!
//! What cannot be read is told, and what was read before goes on to hold.

use super::auth;
use crate::callbacks::client::CallbackClient;
use crate::callbacks::sign::SigningSecrets;
use crate::config::Config;
use crate::http::auth::Authenticator;
use crate::telemetry;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What reads its files anew.
#[derive(Clone)]
pub(super) struct Reload {
    pub(super) config: Arc<Config>,
    pub(super) auth: Arc<Authenticator>,
    pub(super) callbacks: Arc<CallbackClient>,
}

impl Reload {
    /// Reads everything anew at each SIGHUP, until `stop`.
    ///
    /// # Errors
    /// None.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            // The service registered for it when it started: it cannot be refused now.
            stop.cancelled().await;
            return Ok(());
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = hangup.recv() => self.read(),
            }
        }
    }

    fn read(&self) {
        tracing::info!("reading secrets and certificates anew (SIGHUP)");
        let config = &self.config;
        if config.auth.hs256 {
            match auth::secrets(&config.auth, false) {
                Ok(secrets) => tell("--jwt-secret-file", self.auth.replace_secrets(&secrets)),
                // It names the option itself.
                Err(error) => tracing::error!("{error}: the former one goes on to hold"),
            }
        }
        tell("--jwks", self.auth.renew_trust());
        match SigningSecrets::existing(&config.callbacks.secret_file) {
            Ok(secrets) => self.callbacks.replace_secrets(secrets),
            Err(error) => tell("--callback-secret-file", Err(error)),
        }
        tell("the system's authorities", self.callbacks.renew_trust());
    }
}

/// Tells why something stays as it was.
fn tell(what: &str, outcome: Result<(), impl Error + 'static>) {
    if let Err(error) = outcome {
        tracing::error!(error = %telemetry::chain(&error), "{what}: cannot be read anew, and the former goes on to hold");
    }
}
