//! Who and what stands behind an event: its context, stored with it.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use uuid::Uuid;

/// The context that every event is stored with, beside its payload.
///
/// It is kept as a flat map of strings because that is what `cqrs-es` stores as metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMetadata {
    /// Who acted: the token's `sub`, or the service's own name for its own commands.
    pub actor: String,
    /// The request that carried the command.
    pub request_id: Option<String>,
    /// The event that made the service issue the command itself.
    pub causation_id: Option<Uuid>,
    /// The token's issuer.
    pub token_issuer: Option<String>,
    /// The token's id (`jti`), of events that were recorded before its hash was.
    pub token_id: Option<String>,
    /// The SHA-256 of the token's id, in hexadecimal.
    pub token_id_hash: Option<String>,
    /// The caller's address.
    pub ip: Option<String>,
    /// The caller's program.
    pub user_agent: Option<String>,
    /// Why, as a code of the caller's own: unlike a reason in words it is not sealed, and outlives a purge.
    pub reason_code: Option<String>,
}

impl EventMetadata {
    /// The context of a command that the service itself issues.
    #[must_use]
    pub fn internal(actor: &str, causation_id: Option<Uuid>) -> Self {
        Self {
            actor: actor.to_owned(),
            request_id: None,
            causation_id,
            token_issuer: None,
            token_id: None,
            token_id_hash: None,
            ip: None,
            user_agent: None,
            reason_code: None,
        }
    }

    /// What is stored in the `metadata` column, by name; the actor and the causation have columns of their own.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let fields = [
            ("request_id", &self.request_id),
            ("token_issuer", &self.token_issuer),
            ("token_id", &self.token_id),
            ("token_id_hash", &self.token_id_hash),
            ("ip", &self.ip),
            ("user_agent", &self.user_agent),
            ("reason_code", &self.reason_code),
        ];
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }

    /// The map that is stored in the `metadata` column ([`EventMetadata::fields`]).
    #[must_use]
    pub fn to_map(&self) -> HashMap<String, String> {
        self.fields()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Puts the context together again from what is stored.
    #[must_use]
    pub fn from_map(actor: String, causation_id: Option<Uuid>, mut map: HashMap<String, String>) -> Self {
        Self {
            actor,
            request_id: map.remove("request_id"),
            causation_id,
            token_issuer: map.remove("token_issuer"),
            token_id: map.remove("token_id"),
            token_id_hash: map.remove("token_id_hash"),
            ip: map.remove("ip"),
            user_agent: map.remove("user_agent"),
            reason_code: map.remove("reason_code"),
        }
    }
}
