//! What this instance has of all that instances must have in common, as keyed hashes.

use super::start::Opened;
use super::start_error::StartError;
use super::tasks::Tasks;
use crate::callbacks::sign::SigningSecrets;
use crate::config::{Config, JwksSource};
use crate::keyring::Keyring;
use crate::secret_files;
use crate::shared_setup::{self, Differences, Shared};
use crate::small_files::{self, NOTE_MAX};
use crate::store::instance_marks::InstanceMark;
use std::sync::Arc;

/// What the hashes of each thing are of.
struct Setup {
    keyring: Arc<Keyring>,
    /// Everything that stays as it was at the start.
    fixed: Vec<InstanceMark>,
    jwks: Option<JwksSource>,
    issuer: String,
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
        let secrets = SigningSecrets::load_or_create(&config.callbacks.secret_file)
            .map_err(|error| StartError::option("--callback-secret-file", error))?;
        let jwt =
            secret_files::jwt_secret(&config.auth.secret_file).map_err(|source| StartError::SecretFile {
                option: "--jwt-secret-file",
                source,
            })?;
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
            (Shared::JwtSecret, vec![jwt]),
            (
                Shared::CallbackSecret,
                secrets.tags(b"archive-ledger/instance-mark/v1"),
            ),
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
            jwks: config.auth.jwks.clone(),
            issuer: format!("{:?} {:?}", config.auth.issuer, config.auth.audience),
        })
    }

    /// What this instance has now: a key set in a file may be replaced while it runs.
    fn marks(&self) -> Vec<InstanceMark> {
        let keys = match &self.jwks {
            None => Some("none".to_owned()),
            Some(JwksSource::Url(url)) => Some(url.to_string()),
            Some(JwksSource::File(path)) => small_files::read_text(path, NOTE_MAX).ok(),
        };
        // What cannot be read now says nothing of what it holds.
        let issuer = keys.map(|keys| format!("{}\n{keys}", self.issuer).into_bytes());
        let issuer = issuer.map(|text| mark(&self.keyring, Shared::TokenIssuer, &[text]));
        self.fixed.iter().cloned().chain(issuer).collect()
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
