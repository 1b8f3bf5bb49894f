//! What of a command does not depend on the log: made where the command comes from, while the writer commits others.
//!
//! The writer decides commands one after the other, so what it does for each keeps all others waiting. Hashing, sealing and
//! pseudonyms need nothing that the transaction knows, save for one guess: that the entity is new. A command that finds
//! another entity than guessed costs the writer what was guessed in vain, and comes to the same.

use super::decide::decide;
use super::proposal::{Decision, Proposal};
use crate::clock::SharedClock;
use crate::keyring::{DataKey, Keyring, SealedDetails, random};
use crate::merkle::entry::{Payload, payload_commitment};
use crate::store::claims::{Claim, PlaceKey};
use crate::store::{Hash, Position, StoreError, WrappedKey};
use archive_ledger_domain::{ArchivedEntity, Event};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// A command and what could be made of it beforehand. Its ids are the same in every attempt to record it.
pub struct Prepared {
    /// The command.
    pub(super) proposal: Proposal,
    /// Its entity's stream.
    pub(super) stream_id: String,
    /// The id of its first event.
    pub(super) first_id: Uuid,
    /// The stream's pseudonym in entries.
    pub(super) stream_pseudonym: Hash,
    /// The actor's pseudonym in entries.
    pub(super) actor_pseudonym: Hash,
    /// The context of its events.
    pub(super) metadata: Value,
    /// Its first event, if the entity is new. The first attempt takes it.
    pub(super) guess: Option<Content>,
    /// Its details under a fresh key, if the entity has none.
    pub(super) fresh: Option<Fresh>,
    /// What its storage URIs name.
    places: Vec<PlaceKey>,
}

/// An event and the commitment to it.
pub(super) struct Content {
    pub(super) event: Event,
    pub(super) payload: Value,
    pub(super) salt: [u8; 32],
    pub(super) commitment: Hash,
}

/// A fresh key, and what it sealed.
pub(super) struct Fresh {
    pub(super) key: Arc<DataKey>,
    pub(super) wrapped: WrappedKey,
    pub(super) sealed: SealedDetails,
}

impl Prepared {
    /// Prepares a command.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] when its storage cannot be claimed.
    pub(super) fn new(
        keyring: &Keyring,
        clock: &SharedClock,
        proposal: Proposal,
    ) -> Result<Self, StoreError> {
        let stream_id = proposal.key.stream_id();
        let first_id = clock.new_id();
        let context = proposal.metadata.fields();
        let metadata = Value::Object(
            context
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect(),
        );
        // What goes wrong in a guess is told by the writer, if it comes to that.
        let guess = guessed(&proposal.decision)
            .and_then(|event| Content::new(event, &metadata, &proposal.metadata.actor).ok());
        let fresh = Fresh::new(keyring, clock, &stream_id, first_id, &proposal);
        // Storage that cannot be claimed could be deleted as somebody else's.
        let places = proposal
            .details
            .storage
            .iter()
            .map(|uri| keyring.place(uri))
            .collect::<Result<_, _>>()
            .map_err(|refusal| StoreError::inconsistent("claim storage", refusal.to_string()))?;
        Ok(Self {
            stream_pseudonym: keyring.stream_pseudonym(&stream_id),
            actor_pseudonym: keyring.actor_pseudonym(&proposal.metadata.actor),
            stream_id,
            first_id,
            metadata,
            guess,
            fresh,
            places,
            proposal,
        })
    }

    /// Whether it is the soft-delete of an entity that is guessed to be new, and asks for nothing that would have to be looked for:
    /// not for an entity in any version, nor for an answer that was given.
    pub(super) fn deletes_what_is_new(&self) -> bool {
        let guess = self.guess.as_ref().map(|guess| &guess.event);
        matches!(guess, Some(Event::SoftDeleted(_)))
            && self.proposal.expected_version.is_none()
            && self.proposal.idempotency.is_none()
            && self.places.is_empty()
    }

    /// The claims of its first event, which stands at `position`.
    pub(super) fn claims_at(&self, position: Position) -> impl Iterator<Item = Claim> {
        (1..).zip(&self.places).map(move |(ordinal, place)| Claim {
            position,
            ordinal,
            place: place.clone(),
        })
    }
}

/// The first event, if nothing happened to the entity before.
fn guessed(decision: &Decision) -> Option<Event> {
    let events = decide(&mut ArchivedEntity::default(), decision).ok()?;
    events.into_iter().next()
}

impl Content {
    /// Commits to an event and its context.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] when they have no JSON form, or no salt can be had.
    pub(super) fn new(event: Event, metadata: &Value, actor: &str) -> Result<Self, StoreError> {
        let inconsistent =
            |error: &dyn std::fmt::Display| StoreError::inconsistent("commit to an event", error.to_string());
        let payload = serde_json::to_value(&event).map_err(|error| inconsistent(&error))?;
        let salt = random::<32>().map_err(|error| inconsistent(&error))?;
        let content = Payload {
            payload: &payload,
            metadata,
            actor,
        };
        let commitment = payload_commitment(&salt, &content).map_err(|error| inconsistent(&error))?;
        Ok(Self {
            event,
            payload,
            salt,
            commitment,
        })
    }
}

impl Fresh {
    fn new(
        keyring: &Keyring,
        clock: &SharedClock,
        stream_id: &str,
        event_id: Uuid,
        proposal: &Proposal,
    ) -> Option<Self> {
        if proposal.details.is_empty() {
            return None;
        }
        let (key, wrapped) = keyring.mint(stream_id, clock.new_id()).ok()?;
        let sealed = key.seal_details(stream_id, event_id, &proposal.details).ok()?;
        Some(Self {
            key: Arc::new(key),
            wrapped,
            sealed,
        })
    }
}
