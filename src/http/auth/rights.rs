//! What a token's bearer may do.

use crate::merkle::sha256;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// One right, as the `scope` claim names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// `archived:read`: lists, summaries, single entities and their histories.
    ArchivedRead,
    /// `archived:write`: soft-delete, register and restore.
    ArchivedWrite,
    /// `archived:purge`: delete for good.
    ArchivedPurge,
    /// `archived:purge-force`: give up what a purge still owes.
    ArchivedPurgeForce,
    /// `audit:read`: the ledger's proofs and the audit.
    AuditRead,
    /// `callbacks:manage`: deliveries and their replay.
    CallbacksManage,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 6] = [
        Self::ArchivedRead,
        Self::ArchivedWrite,
        Self::ArchivedPurge,
        Self::ArchivedPurgeForce,
        Self::AuditRead,
        Self::CallbacksManage,
    ];

    /// The right's name in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ArchivedRead => "archived:read",
            Self::ArchivedWrite => "archived:write",
            Self::ArchivedPurge => "archived:purge",
            Self::ArchivedPurgeForce => "archived:purge-force",
            Self::AuditRead => "audit:read",
            Self::CallbacksManage => "callbacks:manage",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of rights.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct RightSet(u8);

impl RightSet {
    /// No rights.
    pub const NONE: Self = Self(0);

    /// Adds a right.
    pub const fn insert(&mut self, right: Right) {
        self.0 |= right.bit();
    }

    /// Whether the right is in the set.
    #[must_use]
    pub const fn contains(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// The rights of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The rights in the set, in the order of [`Right::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.contains(*right))
    }
}

impl FromIterator<Right> for RightSet {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        rights.into_iter().fold(Self::NONE, |mut set, right| {
            set.insert(right);
            set
        })
    }
}

impl fmt::Debug for RightSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Right::as_str)).finish()
    }
}

/// A bundle of rights, as the `roles` claim names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Every right.
    Admin,
    /// Every right but the two to purge.
    Operator,
    /// Reads entities and the audit.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Operator, Self::Auditor];

    /// The role's name in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }

    /// The rights that the role grants.
    #[must_use]
    pub fn rights(self) -> RightSet {
        let granted: &[Right] = match self {
            Self::Admin => &Right::ALL,
            Self::Operator => &[
                Right::ArchivedRead,
                Right::ArchivedWrite,
                Right::AuditRead,
                Right::CallbacksManage,
            ],
            Self::Auditor => &[Right::ArchivedRead, Right::AuditRead],
        };
        granted.iter().copied().collect()
    }
}

/// A name that is no right or no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: {allowed}")]
pub struct UnknownName {
    allowed: String,
}

fn find<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Result<T, UnknownName> {
    let allowed = || all.iter().map(|item| name(*item)).collect::<Vec<_>>().join(", ");
    all.iter()
        .copied()
        .find(|item| name(*item) == text)
        .ok_or_else(|| UnknownName { allowed: allowed() })
}

impl FromStr for Right {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        find(&Self::ALL, Self::as_str, text)
    }
}

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        find(&Self::ALL, Self::as_str, text)
    }
}

/// What is recorded of a token's id: its SHA-256, in hexadecimal.
#[must_use]
pub fn token_id_hash(token_id: &str) -> String {
    hex::encode(sha256(&[token_id.as_bytes()]))
}

/// Onedata's privileges by name, for one space or for all.
pub type Privileges = BTreeSet<String>;

/// Who a request comes from, and what its token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The actor (`sub`).
    pub subject: String,
    /// Who vouches for the actor (`iss`).
    pub issuer: Option<String>,
    /// What is recorded of the token's id (`jti`): [`token_id_hash`], made once, where the token is verified.
    pub token_id_hash: Option<String>,
    /// When the token stops being accepted: its `exp` and the leeway.
    pub valid_until: DateTime<Utc>,
    /// The rights of its roles and scopes.
    pub rights: RightSet,
    /// Privileges that hold in every space.
    pub privileges: Privileges,
    /// Privileges that hold in one space, by the space's id.
    pub spaces: BTreeMap<String, Privileges>,
}

impl Principal {
    /// Whether the token grants a right.
    #[must_use]
    pub const fn has(&self, right: Right) -> bool {
        self.rights.contains(right)
    }

    /// Whether the token grants a privilege in `space`; without a space, whether it does everywhere.
    #[must_use]
    pub fn has_privilege(&self, space: Option<&str>, privilege: &str) -> bool {
        let in_space = || {
            space
                .and_then(|space| self.spaces.get(space))
                .is_some_and(|names| names.contains(privilege))
        };
        self.privileges.contains(privilege) || in_space()
    }

    /// Whether there can be a space in which the token grants all of `privileges`: what can be checked before it is known
    /// whether the entity exists, and which space it is in.
    #[must_use]
    pub fn any_space_with(&self, privileges: &[&str]) -> bool {
        let everywhere = [None].into_iter();
        let spaces = self.spaces.keys().map(|space| Some(space.as_str()));
        everywhere
            .chain(spaces)
            .any(|space| privileges.iter().all(|name| self.has_privilege(space, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal() -> Principal {
        Principal {
            subject: "alice".into(),
            issuer: None,
            token_id_hash: None,
            valid_until: DateTime::<Utc>::MAX_UTC,
            rights: Role::Auditor.rights(),
            privileges: ["space_view".to_owned()].into(),
            spaces: [
                ("s1".to_owned(), ["space_manage_datasets".to_owned()].into()),
                (
                    "s2".to_owned(),
                    [
                        "space_manage_datasets".to_owned(),
                        "space_remove_archives".to_owned(),
                    ]
                    .into(),
                ),
            ]
            .into(),
        }
    }

    #[test]
    fn an_admin_has_every_right_an_operator_all_but_purging_and_an_auditor_reads() {
        let names = |role: Role| role.rights().iter().map(Right::as_str).collect::<Vec<_>>();
        assert_eq!(
            names(Role::Admin),
            [
                "archived:read",
                "archived:write",
                "archived:purge",
                "archived:purge-force",
                "audit:read",
                "callbacks:manage"
            ]
        );
        assert_eq!(
            names(Role::Operator),
            [
                "archived:read",
                "archived:write",
                "audit:read",
                "callbacks:manage"
            ]
        );
        assert_eq!(names(Role::Auditor), ["archived:read", "audit:read"]);
    }

    #[test]
    fn every_right_and_role_is_found_by_its_name_and_nothing_else_is() {
        for right in Right::ALL {
            assert_eq!(right.as_str().parse(), Ok(right));
        }
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!(
            "root".parse::<Role>().unwrap_err().to_string(),
            "must be one of: admin, operator, auditor"
        );
        for text in ["", "Admin", " admin", "archived:*", "archived"] {
            assert!(text.parse::<Right>().is_err() && text.parse::<Role>().is_err());
        }
    }

    #[test]
    fn a_principal_has_the_rights_of_its_token_only() {
        assert!(principal().has(Right::ArchivedRead));
        assert!(!principal().has(Right::ArchivedWrite));
    }

    #[test]
    fn a_privilege_holds_in_its_space_and_a_general_one_everywhere() {
        let principal = principal();
        assert!(principal.has_privilege(None, "space_view"));
        assert!(principal.has_privilege(Some("anywhere"), "space_view"));
        assert!(principal.has_privilege(Some("s1"), "space_manage_datasets"));
        assert!(!principal.has_privilege(Some("s1"), "space_remove_archives"));
        assert!(!principal.has_privilege(Some("s3"), "space_manage_datasets"));
        assert!(!principal.has_privilege(None, "space_manage_datasets"));
    }

    #[test]
    fn privileges_count_together_only_within_one_space() {
        let mut principal = principal();
        assert!(principal.any_space_with(&["space_manage_datasets", "space_remove_archives"]));
        assert!(principal.any_space_with(&["space_view", "space_remove_archives"]));
        principal
            .spaces
            .insert("s2".into(), ["space_remove_archives".to_owned()].into());
        assert!(!principal.any_space_with(&["space_manage_datasets", "space_remove_archives"]));
        principal.spaces.clear();
        assert!(!principal.any_space_with(&["space_remove_archives"]));
        assert!(principal.any_space_with(&["space_view"]));
    }
}
