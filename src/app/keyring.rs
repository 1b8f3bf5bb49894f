//! The keyring that a ledger was sealed with, checked before anything is opened or sealed.

use super::backend::Store;
use super::start_error::{StartError, blame, store_option};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::keyring::Keyring;
use crate::keyring_check::{self, Checked, KEYRING, Mismatch};
use crate::secret_files;
use crate::store::StoreError;

/// The keyring of a ledger that is to be recorded in; a new one only for a ledger that was never sealed. What is new in the file
/// is remembered.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub(super) async fn open(config: &Config, store: &Store, clock: &SharedClock) -> Result<Keyring, StartError> {
    let failed = |source: StoreError| blame(store_option(config), source);
    let keys = store.keys();
    let content = match load(config)? {
        Some(content) => content,
        None => {
            if let Some(expected) = sealed_with(store).await.map_err(failed)? {
                return Err(missing(config, expected));
            }
            let fresh = Keyring::generate(clock.new_id()).map_err(StartError::Keyring)?;
            secret_files::load_or_create(&config.keyring_file, || fresh).map_err(|source| {
                StartError::SecretFile {
                    option: "--keyring-file",
                    source,
                }
            })?
        }
    };
    let keyring = Keyring::parse(&content).map_err(StartError::Keyring)?;
    let checked = keyring_check::check_and_remember(&keyring, &*keys).await;
    tell(&checked.map_err(|mismatch| refuse(config, mismatch))?);
    Ok(keyring)
}

/// The keyring that a ledger which exists was sealed with; makes and remembers none.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub async fn existing_keyring(config: &Config, store: &Store) -> Result<Keyring, StartError> {
    match keyring_at_hand(config, store).await? {
        Some(keyring) => Ok(keyring),
        None => {
            let expected = sealed_with(store).await;
            let expected = expected.map_err(|source| blame(store_option(config), source))?;
            Err(missing(config, expected.unwrap_or_default()))
        }
    }
}

/// The same, `None` where the file is not there.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub(super) async fn keyring_at_hand(config: &Config, store: &Store) -> Result<Option<Keyring>, StartError> {
    let Some(content) = load(config)? else {
        return Ok(None);
    };
    let keyring = Keyring::parse(&content).map_err(StartError::Keyring)?;
    let checked = keyring_check::check(&keyring, &*store.keys()).await;
    let checked = checked.map_err(|found| refuse(config, keyring_check::gravest(found)))?;
    tell(&checked);
    Ok(Some(keyring))
}

fn load(config: &Config) -> Result<Option<Vec<u8>>, StartError> {
    secret_files::load(&config.keyring_file).map_err(|source| StartError::SecretFile {
        option: "--keyring-file",
        source,
    })
}

/// What the ledger remembers of its keyring; `None` for one that was never sealed.
async fn sealed_with(store: &Store) -> Result<Option<String>, StoreError> {
    let remembered = store.recall(KEYRING).await?;
    let in_use = || async {
        let in_use = store.keys().keks_in_use().await?;
        Ok((!in_use.is_empty()).then(|| "of which it remembers nothing".to_owned()))
    };
    match remembered {
        Some(remembered) => Ok(Some(remembered)),
        None => in_use().await,
    }
}

fn missing(config: &Config, expected: String) -> StartError {
    StartError::KeyringMissing {
        path: config.keyring_file.display().to_string(),
        expected,
    }
}

fn refuse(config: &Config, mismatch: Mismatch) -> StartError {
    match mismatch {
        Mismatch::Store(source) => blame(store_option(config), source),
        Mismatch::Other { .. } | Mismatch::Changed { .. } | Mismatch::Missing { .. } => {
            StartError::OtherKeyring(mismatch)
        }
    }
}

fn tell(checked: &Checked) {
    for kek_id in &checked.unused {
        tracing::warn!(
            keyring.key = kek_id,
            "the keyring has no key {kek_id:?}, which the ledger knows and nothing is wrapped with: is the file an older copy?"
        );
    }
    for (kek_id, entities) in &checked.given_up {
        tracing::warn!(
            keyring.key = kek_id,
            entities,
            "the key {kek_id:?} is given up: the details of {entities} entities are unreadable"
        );
    }
}
