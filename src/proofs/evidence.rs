//! Evidence: an entity's whole story, which anybody can check offline with the verifier key alone.
//!
//! The bundle discloses what the entries of the entity's stream commit to: the facts and the context of every event, and its
//! personal details while the entity's key exists. `archive-ledger verify --bundle` checks it (`verify/bundle.rs`).

use super::{Answer, ProofError, Proofs};
use crate::keyring::Keyring;
use crate::store::{ReadStore, StoreError};
use archive_ledger_domain::{EntityKey, EventName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The only format so far.
pub const FORMAT: &str = "archive-ledger/evidence/v1";

/// An entity's story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: String,
    /// The entity's type. Who holds the ledger's keyring can check it; entries hold a pseudonym.
    pub entity_type: String,
    /// The entity's id, as its type.
    pub id: String,
    /// The checkpoint that all proofs lead to, a signed note.
    pub checkpoint: String,
    /// The statement that the ledger's origin was forked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<String>,
    /// Every event of the entity, oldest first.
    pub events: Vec<Evidence>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The canonical entry: RFC 8785 JSON, as text.
    pub entry: String,
    /// The inclusion proof of the entry, base64.
    pub proof: Vec<String>,
    /// What the entry's `p` commits to.
    pub payload: DisclosedPayload,
    /// What the entry's `c` commits to; absent when nothing was sealed, or when it is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<DisclosedDetails>,
    /// Whether something was sealed with the event and is gone for good.
    pub erased: bool,
}

/// Facts and context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisclosedPayload {
    /// The salt, base64.
    pub salt: String,
    /// The event's facts.
    pub payload: Value,
    /// The event's context.
    pub metadata: Value,
    /// Who acted.
    pub actor: String,
}

/// Personal details.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisclosedDetails {
    /// The salt, base64.
    pub salt: String,
    /// The JSON that was sealed, byte for byte.
    pub content: String,
}

/// Personal data must not reach a log by way of a debug print.
impl std::fmt::Debug for DisclosedDetails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DisclosedDetails").finish_non_exhaustive()
    }
}

impl Proofs {
    /// The evidence of an entity.
    ///
    /// # Errors
    /// [`ProofError::Store`], [`ProofError::Keyring`].
    pub async fn evidence(
        &self,
        reads: &dyn ReadStore,
        keyring: &Keyring,
        key: &EntityKey,
    ) -> Result<Answer<Bundle>, ProofError> {
        let Some(stream) = reads.stream(key).await? else {
            return Ok(Answer::Unknown);
        };
        let last = stream.events.last().map_or(0, |event| event.position);
        let Some(checkpoint) = self.checkpoint().await?.filter(|signed| signed.size >= last) else {
            return Ok(Answer::NotYet);
        };
        let stream_id = key.stream_id();
        let disclosures = self.store().disclosures(&stream_id).await?;
        let indexes: Vec<u64> = stream.events.iter().map(|event| event.position - 1).collect();
        let proofs = self.inclusion(&indexes, checkpoint.size).await?;
        let data_key = match &stream.data_key {
            Some(wrapped) => Some(keyring.unwrap(&stream_id, wrapped)?),
            None => None,
        };
        let purged = stream
            .events
            .iter()
            .any(|event| event.event.name() == EventName::Purged);
        let mut events = Vec::with_capacity(stream.events.len());
        for ((stored, proof), disclosed) in stream.events.iter().zip(proofs).zip(disclosures) {
            let details = match (&data_key, &stored.sealed) {
                (Some(data_key), Some(sealed)) => {
                    let (salt, content) = data_key.disclose_details(&stream_id, stored.event_id, sealed)?;
                    Some(DisclosedDetails {
                        salt: STANDARD.encode(salt),
                        content: text(&content)?,
                    })
                }
                (Some(_), None) | (None, _) => None,
            };
            let entry = text(&stored.entry)?;
            events.push(Evidence {
                erased: purged && details.is_none() && entry.contains("\"kid\":"),
                entry,
                proof: proof.iter().map(|hash| STANDARD.encode(hash)).collect(),
                payload: DisclosedPayload {
                    salt: STANDARD.encode(disclosed.salt),
                    payload: disclosed.payload,
                    metadata: disclosed.metadata,
                    actor: disclosed.actor,
                },
                details,
            });
        }
        Ok(Answer::Found(Bundle {
            format: FORMAT.to_owned(),
            entity_type: key.entity_type().as_str().to_owned(),
            id: key.id().to_owned(),
            checkpoint: checkpoint.note,
            fork: self.identity().statement().map(ToOwned::to_owned),
            events,
        }))
    }
}

fn text(bytes: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| StoreError::inconsistent("disclose an event", "what was recorded is no text"))
}
