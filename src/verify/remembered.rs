//! What the ledger remembers of itself: the keyring that it was sealed with, key by key, and its name and forks.

use super::Finding;
use super::table::each;
use crate::app::Store;
use crate::config::Config;
use crate::keyring::Keyring;
use crate::keyring_check::{self, KEYRING, KEYS, Mismatch, kek_name};
use crate::merkle::entry_view::EntryView;
use crate::numbering::Numbering;
use crate::secret_files;
use crate::store::StoreError;
use crate::store::keys::KeyStore;
use crate::store::proofs::ProofStore;
use crate::store::side::{SideStore, SideTable};
use std::collections::{HashMap, HashSet};

/// The keyring's first name among those that are remembered of its keys.
const SERVICE: &str = "keyring/service";

/// What stands there since keys have fingerprints: every start remembers both.
const LEDGER_ID: &str = "ledger_id";

/// The ledger's keyring, if it is at hand, and what is missing of it or is another one's. Without the key that makes pseudonyms
/// there is none.
pub(super) async fn keyring(
    config: &Config,
    store: &Store,
) -> Result<(Option<Keyring>, Vec<String>), Finding> {
    let path = config.keyring_file.display();
    let content = secret_files::load(&config.keyring_file)
        .map_err(|error| Finding::Incomplete(format!("--keyring-file: {error}")))?;
    let Some(content) = content else {
        return Ok((None, Vec::new()));
    };
    let keyring = Keyring::parse(&content)
        .map_err(|error| Finding::Incomplete(format!("--keyring-file: {path} is no keyring: {error}")))?;
    let (keys, proofs) = (store.keys(), store.proofs());
    let found = match keyring_check::check(&keyring, &*keys).await {
        Ok(_) => return Ok((Some(keyring), Vec::new())),
        Err(found) => found,
    };
    let (mut gaps, mut another, mut changed) = (Vec::new(), false, Vec::new());
    for mismatch in found {
        if is_the_ledgers(&mismatch, &keyring, &*keys, &*proofs).await? {
            return Err(Finding::tampered(format!(
                "ledger_meta does not have the fingerprint of a key that the ledger was sealed with: by it, {mismatch}"
            )));
        }
        gaps.push(mismatch.to_string());
        match mismatch {
            Mismatch::Other { .. } | Mismatch::Changed { kek_id: None, .. } => {
                another |= !is_service_key(&mismatch);
            }
            Mismatch::Changed {
                kek_id: Some(kek_id), ..
            } => changed.push(kek_id),
            Mismatch::Missing { .. } => {}
            Mismatch::Store(error) => return Err(error.into()),
        }
    }
    let usable = keyring.without(changed.iter().map(String::as_str));
    Ok((Some(usable).filter(|_| !another), gaps))
}

fn is_service_key(mismatch: &Mismatch) -> bool {
    matches!(mismatch, Mismatch::Changed { name, kek_id: None } if name == keyring_check::SERVICE_KEY)
}

/// Whether a key that is not the one that is remembered is the ledger's all the same: something of the ledger was made with it.
async fn is_the_ledgers(
    mismatch: &Mismatch,
    keyring: &Keyring,
    keys: &dyn KeyStore,
    proofs: &dyn ProofStore,
) -> Result<bool, StoreError> {
    match mismatch {
        Mismatch::Changed {
            kek_id: Some(kek_id), ..
        } => keyring_check::opens_some(keyring, keys, &kek_name(kek_id)).await,
        _ if is_service_key(mismatch) => keyring_check::opens_some(keyring, keys, SERVICE).await,
        Mismatch::Other { .. } | Mismatch::Changed { .. } => {
            let first = proofs.raw_events(0, 1).await?.into_iter().next();
            Ok(first.is_some_and(|row| {
                let view = EntryView::parse(&row.entry);
                view.is_ok_and(|view| view.sid == keyring.stream_pseudonym(&row.stream_id))
            }))
        }
        Mismatch::Missing { .. } | Mismatch::Store(_) => Ok(false),
    }
}

/// A ledger that has recorded something remembers its keyring, and every key of it that wraps the key of an entity.
pub(super) async fn fingerprints(
    store: &dyn SideStore,
    recorded: bool,
    used: &HashSet<String>,
) -> Result<(), Finding> {
    let mut facts = HashMap::new();
    each(store, SideTable::Meta, "ledger_meta", |row| {
        facts.insert(row.text(0)?.to_owned(), row.text(1)?.to_owned());
        Ok(())
    })
    .await?;
    let lacks =
        |name: &str| Finding::tampered(format!("ledger_meta lacks {name:?}, the fingerprint of a key"));
    let known = |name: &str| facts.contains_key(name);
    if !recorded {
        return Ok(());
    }
    if !known(KEYRING) {
        return Err(lacks(KEYRING));
    }
    if !known(LEDGER_ID) && !facts.keys().any(|name| name.starts_with(KEYS)) {
        // Nothing has started it since keys have fingerprints.
        return Ok(());
    }
    let wraps = used.iter().map(|kek_id| kek_name(kek_id));
    let mut needed: Vec<String> = wraps.chain([SERVICE.to_owned()]).collect();
    needed.sort_unstable();
    match needed.into_iter().find(|name| !known(name)) {
        Some(name) => Err(lacks(&name)),
        None => Ok(()),
    }
}

/// What a fork is said to have lost begins where its statement says.
pub(super) async fn losses(store: &dyn SideStore, numbering: &Numbering) -> Result<(), Finding> {
    each(store, SideTable::Losses, "fork_losses", |row| {
        let ledger = row.number(0)?;
        if numbering.begun_at(ledger) == Some(row.number(1)?) {
            return Ok(());
        }
        Err(Finding::tampered(format!(
            "fork_losses has another fork {ledger} than was stated"
        )))
    })
    .await
}
