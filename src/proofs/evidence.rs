//! Evidence: an entity's whole story, which anybody can check offline with the verifier key alone.
//!
//! The bundle discloses what the entries of the entity's stream commit to: the facts and the context of every event, and its
//! personal details while the entity's key exists. `archive-ledger verify --bundle` checks it (`verify/bundle.rs`).

use super::{Answer, ProofError, Proofs};
use crate::keyring::{Keyring, KeyringError};
use crate::store::{Hash, ReadStore, StoreError};
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
    /// What the ledger states of the bundle, a signed note ([`EvidenceStatement`]): which entity the entries are of, and how many there
    /// are. Bundles of older versions have none, and prove neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// What a ledger states of a bundle.
///
/// Entries name an entity by a pseudonym that only the holder of the keyring can compute, and no proof shows that nothing came after
/// the last one. The ledger says both, and signs it with the key of its checkpoints:
///
/// ```text
/// archive-ledger evidence v1
/// entity backups/497f6eca-6276-4993-bfeb-53cbbbba6f08
/// stream <pseudonym>
/// tree 1200 <root>                       as of this checkpoint
/// events 3 <leaf hash of the last one>   there are so many
/// details 1 disclosed, 0 erased, 0 unreadable
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceStatement<'a> {
    /// The entity's type.
    pub entity_type: &'a str,
    /// Its id.
    pub id: &'a str,
    /// The pseudonym of its stream.
    pub stream: &'a Hash,
    /// The size of the tree.
    pub size: u64,
    /// Its root.
    pub root: &'a Hash,
    /// How many events there are.
    pub events: usize,
    /// The leaf hash of the last one.
    pub last: &'a Hash,
    /// How many events have their details disclosed, erased, or unreadable.
    pub details: [usize; 3],
}

impl EvidenceStatement<'_> {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let [disclosed, erased, unreadable] = self.details;
        format!(
            "archive-ledger evidence v1\nentity {}/{}\nstream {}\ntree {} {}\nevents {} {}\n\
             details {disclosed} disclosed, {erased} erased, {unreadable} unreadable\n",
            self.entity_type,
            self.id,
            STANDARD.encode(self.stream),
            self.size,
            STANDARD.encode(self.root),
            self.events,
            STANDARD.encode(self.last),
        )
    }
}

impl Bundle {
    /// How many events have their details disclosed, erased, or unreadable.
    #[must_use]
    pub fn details(&self) -> [usize; 3] {
        let count = |is: fn(&Evidence) -> bool| self.events.iter().filter(|event| is(event)).count();
        [
            count(|event| event.details.is_some()),
            count(|event| event.erased),
            count(|event| event.unreadable),
        ]
    }
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
    /// Whether something is sealed with it that the ledger could not open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
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
        // The checkpoint is read first: of what it covers, nothing is missing in a stream that is read behind it.
        let checkpoint = self.checkpoint().await?;
        let Some(stream) = reads.stream(key).await? else {
            return Ok(Answer::Unknown);
        };
        let last = stream.events.last().map_or(0, |event| event.position);
        let Some(checkpoint) = checkpoint.filter(|signed| signed.size >= last) else {
            return Ok(Answer::NotYet);
        };
        let stream_id = key.stream_id();
        let disclosures = self.store().disclosures(&stream_id).await?;
        let indexes: Vec<u64> = stream.events.iter().map(|event| event.position - 1).collect();
        let proofs = self.inclusion(&indexes, checkpoint.size).await?;
        let data_key = match &stream.data_key {
            Some(wrapped) => keyring.unwrap(&stream_id, wrapped),
            None => Err(KeyringError::Lost),
        };
        let purged = stream
            .events
            .iter()
            .any(|event| event.event.name() == EventName::Purged);
        let mut events = Vec::with_capacity(stream.events.len());
        for ((stored, proof), disclosed) in stream.events.iter().zip(proofs).zip(disclosures) {
            let opened = match (&data_key, &stored.sealed) {
                (Ok(data_key), Some(sealed)) => data_key
                    .disclose_details(&stream_id, stored.event_id, sealed)
                    .inspect_err(|error| keyring.report_unreadable(&stream_id, error))
                    .ok(),
                (Ok(_), None) => None,
                (Err(error), sealed) => {
                    if sealed.is_some() {
                        keyring.report_unreadable(&stream_id, error);
                    }
                    None
                }
            };
            let details = match opened {
                Some((salt, content)) => Some(DisclosedDetails {
                    salt: STANDARD.encode(salt),
                    content: text(&content)?,
                }),
                None => None,
            };
            let entry = text(&stored.entry)?;
            let withheld = details.is_none() && entry.contains("\"kid\":");
            events.push(Evidence {
                erased: purged && withheld,
                unreadable: !purged && withheld,
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
        let mut bundle = Bundle {
            format: FORMAT.to_owned(),
            entity_type: key.entity_type().as_str().to_owned(),
            id: key.id().to_owned(),
            checkpoint: checkpoint.note,
            fork: self.identity().statement().map(ToOwned::to_owned),
            events,
            statement: None,
        };
        if let Some(last) = stream.events.last() {
            let statement = EvidenceStatement {
                entity_type: &bundle.entity_type,
                id: &bundle.id,
                stream: &keyring.stream_pseudonym(&stream_id),
                size: checkpoint.size,
                root: &checkpoint.root,
                events: bundle.events.len(),
                last: &last.leaf,
                details: bundle.details(),
            };
            bundle.statement = Some(self.identity().key().sign(&statement.text())?);
        }
        Ok(Answer::Found(bundle))
    }
}

fn text(bytes: &[u8]) -> Result<String, StoreError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| StoreError::inconsistent("disclose an event", "what was recorded is no text"))
}
