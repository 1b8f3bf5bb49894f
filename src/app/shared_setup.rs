//! What this instance has of all that instances must have in common, as keyed hashes.

use super::start::Opened;
use super::start_error::StartError;
use super::tasks::Tasks;
use crate::callbacks::sign::SigningSecrets;
use crate::config::{Auth, Config, JwksSource};
use crate::keyring::Keyring;
use crate::shared_setup::{self, Differences, Shared};
use crate::small_files::{self, NOTE_MAX};
use crate::store::instance_marks::InstanceMark;
use std::path::PathBuf;
use std::sync::Arc;

/// What the hashes of each thing are of.
struct Setup {
    keyring: Arc<Keyring>,
    /// Everything that stays as it was at the start.
    fixed: Vec<InstanceMark>,
    auth: Auth,
    callback_secrets: PathBuf,
}

/// Tells and compares, as long as the service runs.
pub(super) fn start(tasks: &mut Tasks, opened: &Opened, config: &Config) -> Result<Differences, StartError> {
    let setup = Arc::new(Setup::of(config, Arc::clone(&opened.keyring))?);
    let differences = Differences::default();
    let (store, instance, told) = (
        opened.store.instance_marks(),
        opened.clock.new_id(),
        differences.clone(),
    );
    tasks.spawn("the comparison of instances", move |stop| {
        let setup = Arc::clone(&setup);
        let own = Arc::new(move || setup.marks());
        shared_setup::keep(Arc::clone(&store), instance, own, told.clone(), stop)
    });
    Ok(differences)
}

impl Setup {
    fn of(config: &Config, keyring: Arc<Keyring>) -> Result<Self, StartError> {
        SigningSecrets::load_or_create(&config.callbacks.secret_file)
            .map_err(|error| StartError::option("--callback-secret-file", error))?;
        super::auth::secrets(&config.auth, true)?;
        let (storage, callbacks) = (&config.storage, &config.callbacks);
        let guard = if config.guard_file.parent() == Some(config.data_dir.as_path()) {
            // Each has its own there, or all have one.
            "in the data directory".to_owned()
        } else {
            config.guard_file.display().to_string()
        };
        let endpoints = format!(
            "{:?} {:?} {} {:?} {:?} {:?}",
            storage.s3_endpoint,
            storage.s3_region,
            storage.s3_force_path_style,
            storage.gcs_endpoint,
            storage.azure_account,
            storage.azure_endpoint
        );
        let rules = format!(
            "{:?} {:?} {} {}",
            callbacks.allow, callbacks.schedule, callbacks.stop_on_gone, callbacks.proxy_from_env
        );
        let service = format!("{}\n{}", config.service.id, config.service.domain);
        let texts = [
            (
                Shared::Keyring,
                keyring
                    .fingerprints()
                    .iter()
                    .map(|(name, fingerprint)| format!("{name} {fingerprint}").into_bytes())
                    .collect(),
            ),
            (Shared::Guard, vec![guard.into_bytes()]),
            (Shared::Service, vec![service.into_bytes()]),
            (Shared::StorageEndpoints, vec![endpoints.into_bytes()]),
            (Shared::Callbacks, vec![rules.into_bytes()]),
        ];
        let fixed = texts
            .into_iter()
            .map(|(what, texts)| mark(&keyring, what, &texts));
        Ok(Self {
            fixed: fixed.collect(),
            keyring,
            auth: config.auth.clone(),
            callback_secrets: config.callbacks.secret_file.clone(),
        })
    }

    /// What this instance has now: secrets and a key set in a file may be replaced while it runs.
    fn marks(&self) -> Vec<InstanceMark> {
        // What cannot be read now says nothing of what it holds.
        let jwt = super::auth::secrets(&self.auth, false).ok();
        let callbacks = SigningSecrets::existing(&self.callback_secrets).ok();
        let callbacks = callbacks.map(|secrets| secrets.tags(b"archive-ledger/instance-mark/v1"));
        let texts = self.auth.issuers.iter().map(|issuer| {
            let keys = match &issuer.jwks {
                JwksSource::Issuer(name) => Some(name.clone()),
                JwksSource::Url(url) => Some(url.to_string()),
                JwksSource::File(path) => small_files::read_text(path, NOTE_MAX).ok(),
            };
            let rules = (
                &issuer.issuer,
                &issuer.audience,
                &issuer.claim_roles,
                &issuer.claim_privileges,
            );
            keys.map(|keys| format!("{rules:?} {:?} {:?}\n{keys}", issuer.role_map, issuer.algorithms))
        });
        let keys: Option<Vec<String>> = texts.collect();
        let of_all = format!(
            "{:?} {:?} {}",
            self.auth.issuer, self.auth.audience, self.auth.hs256
        );
        let issuer = keys.map(|keys| format!("{of_all}\n{}", keys.join("\n")).into_bytes());
        let now = [
            (Shared::JwtSecret, jwt),
            (Shared::CallbackSecret, callbacks),
            (Shared::TokenIssuer, issuer.map(|text| vec![text])),
        ];
        let now = now
            .into_iter()
            .filter_map(|(what, texts)| Some(mark(&self.keyring, what, &texts?)));
        self.fixed.iter().cloned().chain(now).collect()
    }
}

fn mark(keyring: &Keyring, what: Shared, texts: &[Vec<u8>]) -> InstanceMark {
    let purpose = format!("instance-mark/{}", what.as_str());
    InstanceMark {
        name: what.as_str().to_owned(),
        marks: texts
            .iter()
            .map(|text| hex::encode(keyring.keyed_hash(&purpose, text)))
            .collect(),
    }
}
