//! The personal data of an event, and its sealed form.

use super::{DataKey, KeyringError, open, random, seal};
use crate::merkle::entry::details_commitment;
use crate::store::Hash;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// The length of a commitment's salt, in bytes.
const SALT_LEN: usize = 32;

/// What must never be written anywhere in plaintext.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// The entity's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The entity's metadata, any JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Why it was deleted, restored or purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An archive's description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where its objects are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<String>,
}

/// Personal data must not reach a log by way of a debug print.
impl std::fmt::Debug for Details {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Details").finish_non_exhaustive()
    }
}

/// Why details could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DetailsError {
    /// They cannot be written as JSON, or what was sealed is no details.
    #[error("the details are not the JSON of an event's details")]
    Json(#[from] serde_json::Error),
    /// What was sealed is shorter than its salt.
    #[error("the sealed content is too short")]
    TooShort,
}

/// Sealed details and the commitment to them.
#[derive(Debug, Clone)]
pub struct SealedDetails {
    /// The sealed bytes.
    pub sealed: Vec<u8>,
    /// The salted commitment that the entry holds.
    pub commitment: Hash,
}

impl Details {
    /// Whether there is nothing to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

impl DataKey {
    /// Seals an event's details; the salt of the commitment is sealed with them.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn seal_details(
        &self,
        stream_id: &str,
        event_id: Uuid,
        details: &Details,
    ) -> Result<SealedDetails, KeyringError> {
        let salt = random::<SALT_LEN>()?;
        // Not RFC 8785: canonical numbers are doubles, and a client's large integers must come back as they were.
        // The commitment is to these very bytes, which are disclosed with it.
        let content = zeroize::Zeroizing::new(serde_json::to_vec(details).map_err(DetailsError::from)?);
        let mut plaintext = zeroize::Zeroizing::new(Vec::with_capacity(SALT_LEN + content.len()));
        plaintext.extend_from_slice(&salt);
        plaintext.extend_from_slice(&content);
        let sealed = seal(&self.key, &self.context(stream_id, event_id), &plaintext)?;
        Ok(SealedDetails {
            sealed,
            commitment: details_commitment(&salt, &content),
        })
    }

    /// Seals something about the entity that is no event's: `context` binds it to its place.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn seal_note(&self, context: &str, plaintext: &[u8]) -> Result<Vec<u8>, KeyringError> {
        seal(&self.key, &self.note_context(context), plaintext)
    }

    /// Opens what [`DataKey::seal_note`] sealed.
    ///
    /// # Errors
    /// [`KeyringError::Forged`] when it was changed or belongs to another place.
    pub fn open_note(
        &self,
        context: &str,
        sealed: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, KeyringError> {
        open(&self.key, &self.note_context(context), sealed)
    }

    fn note_context(&self, context: &str) -> Vec<u8> {
        format!("archive-ledger/note/v1\0{context}\0{}", self.key_id).into_bytes()
    }

    /// Opens an event's details.
    ///
    /// # Errors
    /// [`KeyringError::Forged`] when they were changed or belong to another event.
    pub fn open_details(
        &self,
        stream_id: &str,
        event_id: Uuid,
        sealed: &[u8],
    ) -> Result<(Details, Hash), KeyringError> {
        let (salt, content) = self.disclose_details(stream_id, event_id, sealed)?;
        let details = serde_json::from_slice(&content).map_err(DetailsError::from)?;
        Ok((details, details_commitment(&salt, &content)))
    }

    /// Opens what the commitment to an event's details is made of: the salt, and the very bytes that were sealed.
    ///
    /// # Errors
    /// As [`DataKey::open_details`].
    pub fn disclose_details(
        &self,
        stream_id: &str,
        event_id: Uuid,
        sealed: &[u8],
    ) -> Result<([u8; 32], zeroize::Zeroizing<Vec<u8>>), KeyringError> {
        let plaintext = open(&self.key, &self.context(stream_id, event_id), sealed)?;
        let (salt, content) = plaintext
            .split_first_chunk::<SALT_LEN>()
            .ok_or(DetailsError::TooShort)?;
        Ok((*salt, zeroize::Zeroizing::new(content.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keyring;
    use super::*;

    #[test]
    fn sealed_details_open_only_for_their_own_event_and_hide_what_they_hold() {
        let keyring = Keyring::parse(&Keyring::generate(Uuid::from_u128(1)).unwrap()).unwrap();
        let (key, _) = keyring.mint("users:1", Uuid::from_u128(2)).unwrap();
        let details = Details {
            name: Some("Ada Lovelace".into()),
            ..Details::default()
        };
        let sealed = key.seal_details("users:1", Uuid::from_u128(3), &details).unwrap();
        assert!(!sealed.sealed.windows(3).any(|window| window == b"Ada"));
        let (opened, commitment) = key
            .open_details("users:1", Uuid::from_u128(3), &sealed.sealed)
            .unwrap();
        assert_eq!((opened, commitment), (details.clone(), sealed.commitment));
        assert!(
            key.open_details("users:1", Uuid::from_u128(4), &sealed.sealed)
                .is_err()
        );
        assert!(
            key.open_details("users:2", Uuid::from_u128(3), &sealed.sealed)
                .is_err()
        );
        let again = key.seal_details("users:1", Uuid::from_u128(3), &details).unwrap();
        assert_ne!(again.commitment, sealed.commitment, "the salt is fresh each time");
        assert!(!format!("{details:?}").contains("Ada"));
    }
}
