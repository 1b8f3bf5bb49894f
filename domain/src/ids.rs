//! What an entity is called: its type, its id, and the stream that holds its events.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// The kinds of entity that the ledger keeps records of (seed 000, and `archives` from seed 004).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityType {
    /// A backup of an environment.
    Backups,
    /// A branch of a project that runs somewhere.
    Environments,
    /// A running instance.
    Instances,
    /// A project.
    Projects,
    /// An organization.
    Organizations,
    /// A server.
    Servers,
    /// A domain name.
    Domains,
    /// A user.
    Users,
    /// A preserved data archive: the one type whose ids are opaque.
    Archives,
}

impl EntityType {
    /// Every type, in the order in which summaries list them.
    pub const ALL: [Self; 9] = [
        Self::Backups,
        Self::Environments,
        Self::Instances,
        Self::Projects,
        Self::Organizations,
        Self::Servers,
        Self::Domains,
        Self::Users,
        Self::Archives,
    ];

    /// The type's name in paths, events and rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backups => "backups",
            Self::Environments => "environments",
            Self::Instances => "instances",
            Self::Projects => "projects",
            Self::Organizations => "organizations",
            Self::Servers => "servers",
            Self::Domains => "domains",
            Self::Users => "users",
            Self::Archives => "archives",
        }
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text names no entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The type is none of [`EntityType::ALL`].
    #[error("unknown entity type")]
    UnknownType,
    /// The id is not a hyphenated UUID.
    #[error("the id must be a UUID")]
    NotAUuid,
    /// The id of an archive is not 1–128 of `[A-Za-z0-9_-]`.
    #[error("the id must be 1 to 128 of A-Z, a-z, 0-9, '_' and '-'")]
    NotOpaque,
}

impl FromStr for EntityType {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|entity_type| entity_type.as_str() == text)
            .ok_or(InvalidId::UnknownType)
    }
}

/// One entity: its type and its id, checked and in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntityKey {
    entity_type: EntityType,
    id: String,
}

/// The longest opaque id of an archive, in characters.
const OPAQUE_ID_MAX: usize = 128;

impl EntityKey {
    /// Checks `id` by the rule of its type; a UUID is kept in lower case.
    ///
    /// # Errors
    /// [`InvalidId::NotAUuid`] or, for archives, [`InvalidId::NotOpaque`].
    pub fn new(entity_type: EntityType, id: &str) -> Result<Self, InvalidId> {
        let id = match entity_type {
            EntityType::Archives => {
                let opaque = !id.is_empty()
                    && id.len() <= OPAQUE_ID_MAX
                    && id
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
                if !opaque {
                    return Err(InvalidId::NotOpaque);
                }
                id.to_owned()
            }
            EntityType::Backups
            | EntityType::Environments
            | EntityType::Instances
            | EntityType::Projects
            | EntityType::Organizations
            | EntityType::Servers
            | EntityType::Domains
            | EntityType::Users => {
                if id.len() != uuid::fmt::Hyphenated::LENGTH {
                    return Err(InvalidId::NotAUuid);
                }
                Uuid::try_parse(id).map_err(|_| InvalidId::NotAUuid)?.to_string()
            }
        };
        Ok(Self { entity_type, id })
    }

    /// The entity's type.
    #[must_use]
    pub const fn entity_type(&self) -> EntityType {
        self.entity_type
    }

    /// The entity's id in canonical form.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id of the aggregate's stream: `<entity_type>:<id>`.
    #[must_use]
    pub fn stream_id(&self) -> String {
        format!("{}:{}", self.entity_type, self.id)
    }

    /// The entity whose stream this is.
    ///
    /// # Errors
    /// [`InvalidId`] when `stream_id` was not made by [`EntityKey::stream_id`].
    pub fn from_stream_id(stream_id: &str) -> Result<Self, InvalidId> {
        let (entity_type, id) = stream_id.split_once(':').ok_or(InvalidId::UnknownType)?;
        Self::new(entity_type.parse()?, id)
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.entity_type, self.id)
    }
}

/// What an entity belonged to when it was soft-deleted.
///
/// The type is absent where a client names its parent by the id alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The parent's type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub entity_type: Option<EntityType>,
    /// The parent's id.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_kept_in_lower_case() {
        let key = EntityKey::new(EntityType::Backups, "497F6ECA-6276-4993-BFEB-53CBBBBA6F08").unwrap();
        assert_eq!(key.stream_id(), "backups:497f6eca-6276-4993-bfeb-53cbbbba6f08");
        assert_eq!(EntityKey::from_stream_id(&key.stream_id()).unwrap(), key);
    }

    #[test]
    fn only_the_hyphenated_form_is_a_uuid_here() {
        for id in [
            "",
            "497f6eca62764993bfeb53cbbbba6f08",
            "{497f6eca-6276-4993-bfeb-53cbbbba6f08}",
            "x",
        ] {
            assert_eq!(
                EntityKey::new(EntityType::Users, id),
                Err(InvalidId::NotAUuid),
                "{id}"
            );
        }
    }

    #[test]
    fn an_archive_id_is_opaque_but_bounded() {
        assert!(EntityKey::new(EntityType::Archives, "Ab_-9").is_ok());
        for id in ["", "a/b", "a.b", "a b", "é", &"x".repeat(129)] {
            assert_eq!(
                EntityKey::new(EntityType::Archives, id),
                Err(InvalidId::NotOpaque),
                "{id}"
            );
        }
    }
}
