//! Whether a keyring is the one that a ledger was sealed with, key by key.
//!
//! Of every key of the file the ledger remembers a fingerprint: a keyed hash that the key makes of its own name. So a byte that
//! was changed in any of them is found before anything is opened or sealed, and not when it is too late. A key that wraps an
//! entity's key must be there; one that the ledger knows and does not use may be missing.
//!
//! A ledger that is older than its fingerprints gets them at its next start, after each key has opened something of it.

use crate::callbacks::target::callback_context;
use crate::keyring::Keyring;
use crate::store::StoreError;
use crate::store::keys::KeyStore;
use std::collections::BTreeMap;

/// Where the keyring as a whole is remembered: its id, and the fingerprint of the key that makes pseudonyms.
pub const KEYRING: &str = "keyring";

/// What the names of the other keys' fingerprints begin with: `keyring/service`, `keyring/kek/<id>`.
pub const KEYS: &str = "keyring/";

/// The same for keys that wrap.
const KEKS: &str = "keyring/kek/";

/// What a [`Mismatch`] calls the service's own key.
pub const SERVICE_KEY: &str = "service_key";

/// How many sealed things a key of unknown fingerprint may try to open: single ones may be damaged.
const TRIED: u32 = 32;

/// Why a keyring is not that of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// It is another one.
    #[error("the ledger was sealed with the keyring {expected}, and this one is {actual}")]
    Other {
        /// What the ledger remembers.
        expected: String,
        /// What the file holds.
        actual: String,
    },
    /// One of its keys is another one.
    #[error("{name} is not the key that the ledger was sealed with: bring back the file as it was")]
    Changed {
        /// Its name in the file.
        name: String,
        /// Its id, if it is a key that wraps.
        kek_id: Option<String>,
    },
    /// A key that entities' keys are wrapped with is missing.
    #[error(
        "the keyring has no key {kek_id:?}, which wraps the keys of {entities} entities: bring back the newest copy of the file"
    )]
    Missing {
        /// The key's id.
        kek_id: String,
        /// How many entities' keys it wraps.
        entities: u64,
    },
    /// The ledger cannot be asked.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What was found beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Keys that the ledger knows, that wrap nothing, and that are missing: the file is an older copy, or they were taken out.
    pub unused: Vec<String>,
    /// Keys that are given up, and how many entities' keys they wrap.
    pub given_up: Vec<(String, u64)>,
}

/// Everything that is known of the keys before they are compared.
struct Known {
    facts: BTreeMap<String, String>,
    in_use: Vec<(String, u64)>,
}

/// Checks a keyring, and changes nothing.
///
/// # Errors
/// Every [`Mismatch`] that there is, the gravest first.
pub async fn check(keyring: &Keyring, store: &dyn KeyStore) -> Result<Checked, Vec<Mismatch>> {
    let failed = |error: StoreError| vec![error.into()];
    let known = known(store).await.map_err(failed)?;
    let mut found = Vec::new();
    let expected = known.facts.get(KEYRING);
    let actual = keyring.fingerprint();
    if let Some(expected) = expected.filter(|expected| **expected != actual) {
        let same_id = expected.split(':').next() == actual.split(':').next();
        found.push(if same_id {
            Mismatch::Changed {
                name: "pseudonym_key".into(),
                kek_id: None,
            }
        } else {
            Mismatch::Other {
                expected: expected.clone(),
                actual,
            }
        });
    }
    for (name, fingerprint) in names(keyring) {
        let same = match known.facts.get(&name) {
            Some(known) => known == fingerprint,
            None => opens(keyring, store, &name).await.map_err(failed)?,
        };
        if !same {
            found.push(changed(&name));
        }
    }
    for (kek_id, entities) in &known.in_use {
        if !keyring.wraps_with(kek_id) && !keyring.has_retired(kek_id) {
            found.push(Mismatch::Missing {
                kek_id: kek_id.clone(),
                entities: *entities,
            });
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let used = |kek_id: &str| known.in_use.iter().any(|(used, _)| used == kek_id);
    let unused = known.facts.keys().filter_map(|name| name.strip_prefix(KEKS));
    let unused = unused.filter(|kek_id| !keyring.wraps_with(kek_id) && !used(kek_id));
    let unused = unused.filter(|kek_id| !keyring.has_retired(kek_id));
    Ok(Checked {
        unused: unused.map(ToOwned::to_owned).collect(),
        given_up: known
            .in_use
            .iter()
            .filter(|(kek_id, _)| !keyring.wraps_with(kek_id))
            .cloned()
            .collect(),
    })
}

/// Checks a keyring, and remembers what is new of it. Of two instances that bring different keys under one name at once, one is
/// remembered and the other refuses.
///
/// # Errors
/// The gravest [`Mismatch`]; nothing is remembered then.
pub async fn check_and_remember(keyring: &Keyring, store: &dyn KeyStore) -> Result<Checked, Mismatch> {
    let checked = check(keyring, store).await.map_err(gravest)?;
    let actual = keyring.fingerprint();
    let expected = store.remember_key(KEYRING, &actual).await?;
    if expected != actual {
        return Err(Mismatch::Other { expected, actual });
    }
    for (name, fingerprint) in names(keyring) {
        if store.remember_key(&name, fingerprint).await? != fingerprint {
            return Err(changed(&name));
        }
    }
    Ok(checked)
}

/// The name that the fingerprint of a key that wraps is remembered under.
#[must_use]
pub fn kek_name(kek_id: &str) -> String {
    format!("{KEKS}{kek_id}")
}

/// The fingerprints of a keyring, by the names that they are remembered under.
fn names(keyring: &Keyring) -> impl Iterator<Item = (String, &str)> {
    let all = keyring.fingerprints().iter();
    all.map(|(name, fingerprint)| (format!("{KEYS}{name}"), fingerprint.as_str()))
}

/// The first of several.
pub fn gravest(found: Vec<Mismatch>) -> Mismatch {
    found.into_iter().next().unwrap_or_else(|| Mismatch::Changed {
        name: "a key".into(),
        kek_id: None,
    })
}

async fn known(store: &dyn KeyStore) -> Result<Known, StoreError> {
    let mut facts: BTreeMap<String, String> = store.recall_all(KEYS).await?.into_iter().collect();
    let whole = store.recall_all(KEYRING).await?.into_iter();
    facts.extend(whole.filter(|(name, _)| name == KEYRING));
    Ok(Known {
        facts,
        in_use: store.keks_in_use().await?,
    })
}

fn changed(name: &str) -> Mismatch {
    let kek_id = name.strip_prefix(KEKS).map(ToOwned::to_owned);
    Mismatch::Changed {
        name: kek_id
            .as_ref()
            .map_or_else(|| SERVICE_KEY.to_owned(), |id| format!("the key {id:?} of keks")),
        kek_id,
    }
}

/// Whether a key that the ledger has no fingerprint of opens something that was sealed with it, or there is nothing such.
async fn opens(keyring: &Keyring, store: &dyn KeyStore, name: &str) -> Result<bool, StoreError> {
    let opened = opened(keyring, store, name).await?;
    Ok(opened.is_empty() || opened.contains(&true))
}

/// Whether a key, by the name that its fingerprint is remembered under, opens something that was sealed with it.
///
/// # Errors
/// [`StoreError`].
pub async fn opens_some(keyring: &Keyring, store: &dyn KeyStore, name: &str) -> Result<bool, StoreError> {
    Ok(opened(keyring, store, name).await?.contains(&true))
}

/// Of some things that were sealed with a key, whether it opens each.
async fn opened(keyring: &Keyring, store: &dyn KeyStore, name: &str) -> Result<Vec<bool>, StoreError> {
    Ok(match name.strip_prefix(KEKS) {
        Some(kek_id) => {
            let wrapped = store.wrapped_with(kek_id, TRIED).await?.into_iter();
            wrapped
                .map(|(stream_id, wrapped)| keyring.unwrap(&stream_id, &wrapped).is_ok())
                .collect()
        }
        None => {
            let sealed = store.sealed_for_service(TRIED).await?.into_iter();
            sealed
                .map(|(stream_id, sealed)| {
                    let context = callback_context(&stream_id);
                    keyring.open_for_service(&context, &sealed).is_ok()
                })
                .collect()
        }
    })
}
