//! Entity keys, sealing, erasure.
//!
//! Every entity has a data key of its own. It seals the entity's personal data, is wrapped by a key of the keyring file,
//! and its wrapped form is destroyed and fenced when the entity is purged. The keyring lives outside the database and its
//! backups; the id of the wrapping key is stored with every wrapped key, so that wrapping keys can be rotated and destroyed.
//!
//! ```text
//! keyring file ── wraps ──▶ data key (entities) ── seals ──▶ details (events.sealed)
//!      │
//!      ├── pseudonyms of streams and actors in the entries
//!      └── the service's own key: callback URLs, idempotency hashes, cursors
//! ```

mod details;
mod places;
mod unreadable;

pub use details::{Details, DetailsError, SealedDetails};

use crate::store::{Hash, WrappedKey};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use unreadable::Unreadable;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The length of every key, in bytes.
const KEY_LEN: usize = 32;

/// The first byte of everything sealed, so that another scheme can follow.
const SEAL_VERSION: u8 = 1;

/// Why something could not be sealed, opened or wrapped.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The keyring file is not what this version writes.
    #[error("the keyring cannot be read: {0}")]
    Malformed(String),
    /// The key that wraps an entity's key is not in the keyring.
    #[error("the keyring has no key {0}")]
    UnknownKek(String),
    /// What was sealed, or the key that it was sealed with, is not there any more.
    #[error("what was sealed, or its key, is gone")]
    Lost,
    /// What is sealed was changed, or belongs to another place.
    #[error("sealed data failed its authentication")]
    Forged,
    /// The random generator failed.
    #[error("the random generator failed")]
    Random,
    /// Encryption failed.
    #[error("encryption failed")]
    Seal,
    /// The details that were sealed are not what this version writes.
    #[error("sealed details cannot be read")]
    Details(#[from] DetailsError),
}

impl KeyringError {
    /// Whether it says something of one entity's key or of what that sealed, and nothing of the others.
    #[must_use]
    pub const fn is_of_one_entity(&self) -> bool {
        match self {
            Self::UnknownKek(_) | Self::Lost | Self::Forged | Self::Details(_) => true,
            Self::Malformed(_) | Self::Random | Self::Seal => false,
        }
    }
}

/// The keyring file as it is stored: JSON, mode 0600.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    id: Uuid,
    active: String,
    keks: BTreeMap<String, String>,
    pseudonym_key: String,
    service_key: String,
    /// Keys that are given up for good: what they wrapped is shown as unreadable.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    retired: BTreeSet<String>,
}

/// The keys outside the database.
pub struct Keyring {
    id: Uuid,
    active: String,
    keks: BTreeMap<String, LessSafeKey>,
    pseudonyms: hmac::Key,
    service_hmac: hmac::Key,
    service: LessSafeKey,
    fingerprints: BTreeMap<String, String>,
    retired: BTreeSet<String>,
    unreadable: Unreadable,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("id", &self.id)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// The content of a new keyring file, with fresh random keys.
    ///
    /// # Errors
    /// [`KeyringError::Random`].
    pub fn generate(id: Uuid) -> Result<Vec<u8>, KeyringError> {
        let fresh = || Ok::<_, KeyringError>(STANDARD.encode(random::<KEY_LEN>()?));
        let active = "1".to_owned();
        let file = File {
            version: 1,
            id,
            keks: BTreeMap::from([(active.clone(), fresh()?)]),
            active,
            pseudonym_key: fresh()?,
            service_key: fresh()?,
            retired: BTreeSet::new(),
        };
        serde_json::to_vec_pretty(&file).map_err(|error| KeyringError::Malformed(error.to_string()))
    }

    /// Reads a keyring file's content.
    ///
    /// # Errors
    /// [`KeyringError::Malformed`], saying what is wrong without quoting a key.
    pub fn parse(content: &[u8]) -> Result<Self, KeyringError> {
        let file: File = serde_json::from_slice(content)
            .map_err(|error| KeyringError::Malformed(format!("line {}, not a keyring", error.line())))?;
        if file.version != 1 {
            return Err(KeyringError::Malformed(format!(
                "version {} is unknown",
                file.version
            )));
        }
        let (mut keks, mut fingerprints) = (BTreeMap::new(), BTreeMap::new());
        for (id, key) in &file.keks {
            let key = decode("keks", key)?;
            let name = format!("kek/{id}");
            fingerprints.insert(name.clone(), key_fingerprint(&name, &key));
            keks.insert(id.clone(), aead_key(&key)?);
        }
        if let Some(id) = file.retired.iter().find(|id| keks.contains_key(*id)) {
            return Err(KeyringError::Malformed(format!(
                "the key {id:?} is there, and it is retired"
            )));
        }
        if !keks.contains_key(&file.active) {
            return Err(KeyringError::UnknownKek(file.active));
        }
        let service = decode("service_key", &file.service_key)?;
        let pseudonyms = decode("pseudonym_key", &file.pseudonym_key)?;
        fingerprints.insert("service".to_owned(), key_fingerprint("service", &service));
        Ok(Self {
            id: file.id,
            active: file.active,
            keks,
            pseudonyms: hmac::Key::new(hmac::HMAC_SHA256, &pseudonyms[..]),
            service_hmac: hmac::Key::new(hmac::HMAC_SHA256, &service[..]),
            service: aead_key(&service)?,
            fingerprints,
            retired: file.retired,
            unreadable: Unreadable::default(),
        })
    }

    /// What tells each key from any other under its name (`service`, `kek/<id>`), and nothing else of it.
    #[must_use]
    pub const fn fingerprints(&self) -> &BTreeMap<String, String> {
        &self.fingerprints
    }

    /// Whether a key of this id is there.
    #[must_use]
    pub fn wraps_with(&self, kek_id: &str) -> bool {
        self.keks.contains_key(kek_id)
    }

    /// The same without some of its wrapping keys: what they wrap cannot be opened.
    #[must_use]
    pub fn without<'k>(mut self, kek_ids: impl IntoIterator<Item = &'k str>) -> Self {
        for kek_id in kek_ids {
            self.keks.remove(kek_id);
        }
        self
    }

    /// Whether the key of this id is given up.
    #[must_use]
    pub fn has_retired(&self, kek_id: &str) -> bool {
        self.retired.contains(kek_id)
    }

    /// What the ledger remembers of its keyring as a whole, to refuse another one.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let tag = hmac::sign(&self.pseudonyms, b"archive-ledger/fingerprint/v1");
        format!("{}:{}", self.id, hex::encode(&tag.as_ref()[..8]))
    }

    /// A fresh data key for a stream, and its wrapped form.
    ///
    /// # Errors
    /// [`KeyringError::Random`], [`KeyringError::Seal`].
    pub fn mint(&self, stream_id: &str, key_id: Uuid) -> Result<(DataKey, WrappedKey), KeyringError> {
        let key = Zeroizing::new(random::<KEY_LEN>()?);
        let kek = self.kek(&self.active)?;
        let wrapped = seal(kek, &wrap_context(stream_id, key_id), &key[..])?;
        let wrapped = WrappedKey {
            key_id,
            kek_id: self.active.clone(),
            wrapped,
        };
        Ok((
            DataKey {
                key_id,
                key: aead_key(&key)?,
            },
            wrapped,
        ))
    }

    /// Unwraps a stream's data key.
    ///
    /// # Errors
    /// [`KeyringError::UnknownKek`], or [`KeyringError::Forged`] when the wrapped key was changed or moved.
    pub fn unwrap(&self, stream_id: &str, wrapped: &WrappedKey) -> Result<DataKey, KeyringError> {
        let kek = self.kek(&wrapped.kek_id)?;
        let key = open(kek, &wrap_context(stream_id, wrapped.key_id), &wrapped.wrapped)?;
        let key: &[u8; KEY_LEN] = key.as_slice().try_into().map_err(|_| KeyringError::Forged)?;
        Ok(DataKey {
            key_id: wrapped.key_id,
            key: aead_key(key)?,
        })
    }

    /// The pseudonym of a stream in entries.
    #[must_use]
    pub fn stream_pseudonym(&self, stream_id: &str) -> Hash {
        keyed(&self.pseudonyms, "stream", stream_id.as_bytes())
    }

    /// The pseudonym of an actor in entries.
    #[must_use]
    pub fn actor_pseudonym(&self, actor: &str) -> Hash {
        keyed(&self.pseudonyms, "actor", actor.as_bytes())
    }

    /// A keyed hash for the service's own use; `purpose` keeps uses apart.
    #[must_use]
    pub fn keyed_hash(&self, purpose: &str, content: &[u8]) -> Hash {
        keyed(&self.service_hmac, purpose, content)
    }

    /// Seals something under the service's own key: what must outlive an entity's key. `context` binds it to its place.
    ///
    /// # Errors
    /// [`KeyringError::Random`], [`KeyringError::Seal`].
    pub fn seal_for_service(&self, context: &str, plaintext: &[u8]) -> Result<Vec<u8>, KeyringError> {
        seal(&self.service, context.as_bytes(), plaintext)
    }

    /// Opens what [`Keyring::seal_for_service`] sealed.
    ///
    /// # Errors
    /// [`KeyringError::Forged`].
    pub fn open_for_service(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        open(&self.service, context.as_bytes(), sealed)
    }

    fn kek(&self, id: &str) -> Result<&LessSafeKey, KeyringError> {
        self.keks
            .get(id)
            .ok_or_else(|| KeyringError::UnknownKek(id.to_owned()))
    }
}

/// One entity's data key, unwrapped.
pub struct DataKey {
    key_id: Uuid,
    key: LessSafeKey,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl DataKey {
    /// The key's id.
    #[must_use]
    pub const fn key_id(&self) -> Uuid {
        self.key_id
    }

    fn context(&self, stream_id: &str, event_id: Uuid) -> Vec<u8> {
        format!(
            "archive-ledger/details/v1\0{stream_id}\0{event_id}\0{}",
            self.key_id
        )
        .into_bytes()
    }
}

fn wrap_context(stream_id: &str, key_id: Uuid) -> Vec<u8> {
    format!("archive-ledger/wrap/v1\0{stream_id}\0{key_id}").into_bytes()
}

fn keyed(key: &hmac::Key, purpose: &str, content: &[u8]) -> Hash {
    let mut context = hmac::Context::with_key(key);
    context.update(purpose.as_bytes());
    context.update(b"\0");
    context.update(content);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.sign().as_ref());
    hash
}

fn key_fingerprint(name: &str, key: &[u8; KEY_LEN]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let hash = keyed(&key, "archive-ledger/key-fingerprint/v1", name.as_bytes());
    hex::encode(&hash[..16])
}

fn aead_key(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, KeyringError> {
    UnboundKey::new(&AES_256_GCM_SIV, key)
        .map(LessSafeKey::new)
        .map_err(|_| KeyringError::Seal)
}

fn decode(field: &str, text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyringError> {
    let malformed = || KeyringError::Malformed(format!("{field} is not base64 of {KEY_LEN} bytes"));
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| malformed())?);
    let key: [u8; KEY_LEN] = bytes.as_slice().try_into().map_err(|_| malformed())?;
    Ok(Zeroizing::new(key))
}

/// Fresh random bytes.
///
/// # Errors
/// [`KeyringError::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], KeyringError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| KeyringError::Random)?;
    Ok(bytes)
}

/// `version ‖ nonce ‖ ciphertext ‖ tag`
fn seal(key: &LessSafeKey, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, KeyringError> {
    let nonce = random::<NONCE_LEN>()?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plaintext.len() + 16);
    sealed.push(SEAL_VERSION);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plaintext);
    let body = &mut sealed[1 + NONCE_LEN..];
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), body)
        .map_err(|_| KeyringError::Seal)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

fn open(key: &LessSafeKey, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let Some((&SEAL_VERSION, rest)) = sealed.split_first() else {
        return Err(KeyringError::Forged);
    };
    let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(KeyringError::Forged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyringError::Forged)?;
    let mut body = Zeroizing::new(body.to_vec());
    let length = key
        .open_in_place(nonce, Aad::from(context), &mut body)
        .map_err(|_| KeyringError::Forged)?
        .len();
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Keyring {
        Keyring::parse(&Keyring::generate(Uuid::from_u128(9)).unwrap()).unwrap()
    }

    #[test]
    fn a_wrapped_key_opens_only_for_its_own_stream() {
        let keyring = keyring();
        let (key, wrapped) = keyring.mint("backups:a", Uuid::from_u128(1)).unwrap();
        assert_eq!(
            keyring.unwrap("backups:a", &wrapped).unwrap().key_id(),
            key.key_id()
        );
        assert!(matches!(
            keyring.unwrap("backups:b", &wrapped),
            Err(KeyringError::Forged)
        ));
        let other = WrappedKey {
            kek_id: "2".into(),
            ..wrapped
        };
        assert!(matches!(
            keyring.unwrap("backups:a", &other),
            Err(KeyringError::UnknownKek(_))
        ));
    }

    #[test]
    fn a_flipped_byte_in_anything_sealed_is_noticed() {
        let keyring = keyring();
        let sealed = keyring
            .seal_for_service("x", b"https://example.org/?secret")
            .unwrap();
        assert_eq!(
            &keyring.open_for_service("x", &sealed).unwrap()[..],
            b"https://example.org/?secret"
        );
        assert!(keyring.open_for_service("y", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[index] ^= 1;
            assert!(keyring.open_for_service("x", &flipped).is_err(), "byte {index}");
        }
    }

    #[test]
    fn another_keyring_has_another_fingerprint_and_other_pseudonyms() {
        let (one, two) = (keyring(), keyring());
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_ne!(one.stream_pseudonym("a"), two.stream_pseudonym("a"));
        assert_ne!(one.stream_pseudonym("a"), one.actor_pseudonym("a"));
    }

    #[test]
    fn every_key_has_a_fingerprint_that_any_changed_bit_changes_and_no_other_key_shares() {
        let mut file: File = serde_json::from_slice(&Keyring::generate(Uuid::from_u128(9)).unwrap()).unwrap();
        file.keks.insert("2".into(), file.keks["1"].clone());
        let parse = |file: &File| Keyring::parse(&serde_json::to_vec(file).unwrap()).unwrap();
        let keyring = parse(&file);
        let names: Vec<&str> = keyring.fingerprints().keys().map(String::as_str).collect();
        assert_eq!(names, ["kek/1", "kek/2", "service"]);
        let distinct: BTreeSet<&String> = keyring.fingerprints().values().collect();
        assert_eq!(distinct.len(), 3);
        let flipped = |text: &str, bit: usize| {
            let mut key = STANDARD.decode(text).unwrap();
            key[bit / 8] ^= 1 << (bit % 8);
            STANDARD.encode(key)
        };
        for bit in 0..8 * KEY_LEN {
            let (kek, service) = (file.keks["1"].clone(), file.service_key.clone());
            file.keks.insert("1".into(), flipped(&kek, bit));
            let changed = parse(&file);
            assert_ne!(changed.fingerprints()["kek/1"], keyring.fingerprints()["kek/1"]);
            assert_eq!(changed.fingerprints()["kek/2"], keyring.fingerprints()["kek/2"]);
            file.keks.insert("1".into(), kek);
            file.service_key = flipped(&service, bit);
            assert_ne!(
                parse(&file).fingerprints()["service"],
                keyring.fingerprints()["service"]
            );
            file.service_key = service;
        }
    }

    #[test]
    fn a_key_is_there_or_given_up_and_not_both() {
        let content = Keyring::generate(Uuid::from_u128(9)).unwrap();
        let mut file: File = serde_json::from_slice(&content).unwrap();
        file.retired.insert("1".into());
        let both = Keyring::parse(&serde_json::to_vec(&file).unwrap());
        assert!(matches!(both, Err(KeyringError::Malformed(_))), "{both:?}");
        file.retired = BTreeSet::from(["0".into()]);
        let keyring = Keyring::parse(&serde_json::to_vec(&file).unwrap()).unwrap();
        assert!(keyring.has_retired("0") && !keyring.wraps_with("0") && keyring.wraps_with("1"));
    }

    #[test]
    fn a_malformed_keyring_is_refused_without_quoting_a_key() {
        for content in ["", "{}", "[]", r#"{"version":2}"#] {
            assert!(
                matches!(
                    Keyring::parse(content.as_bytes()),
                    Err(KeyringError::Malformed(_))
                ),
                "{content}"
            );
        }
    }
}
