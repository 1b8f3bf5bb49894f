//! Which version an entity must have for a command to be recorded: what `If-Match` and `If-None-Match` ask for (RFC 9110,
//! section 13.1). It is looked at where the command is decided, so that nothing comes in between.

use serde::{Serialize, Serializer};

/// Some of an entity's versions. What does not exist has version 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Versions {
    /// Any that it can have: it exists.
    Any,
    /// One of these.
    OneOf(Vec<u64>),
}

impl Versions {
    fn hold(&self, version: u64) -> bool {
        match self {
            Self::Any => version > 0,
            Self::OneOf(versions) => versions.contains(&version),
        }
    }
}

/// A condition on an entity's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCondition {
    /// It has one of these.
    pub matches: Option<Versions>,
    /// It has none of these.
    pub none_matches: Option<Versions>,
}

impl VersionCondition {
    /// Whether an entity of this version fulfils it.
    #[must_use]
    pub fn holds(&self, version: u64) -> bool {
        self.matches
            .as_ref()
            .is_none_or(|versions| versions.hold(version))
            && !self
                .none_matches
                .as_ref()
                .is_some_and(|versions| versions.hold(version))
    }

    /// The same where the entity is not there, or is no more, and the command is refused for that (RFC 9110, section 13.2.1):
    /// only a version that its sender has seen and that has changed since is told instead.
    #[must_use]
    pub fn holds_without_entity(&self, version: u64) -> bool {
        match &self.matches {
            Some(seen @ Versions::OneOf(_)) => seen.hold(version),
            Some(Versions::Any) | None => true,
        }
    }
}

/// Exactly this version.
impl From<u64> for VersionCondition {
    fn from(version: u64) -> Self {
        Self {
            matches: Some(Versions::OneOf(vec![version])),
            none_matches: None,
        }
    }
}

/// One version alone is its number: so it was hashed into remembered requests when nothing else could be asked for.
impl Serialize for VersionCondition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (Some(Versions::OneOf(versions)), None) = (&self.matches, &self.none_matches)
            && let [version] = versions[..]
        {
            return serializer.serialize_u64(version);
        }
        (&self.matches, &self.none_matches).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_has_version_0_and_fulfils_no_asterisk() {
        let condition = |matches: Option<Versions>, none_matches| VersionCondition {
            matches,
            none_matches,
        };
        let any = Some(Versions::Any);
        assert!(!condition(any.clone(), None).holds(0) && condition(any.clone(), None).holds(1));
        assert!(condition(None, any.clone()).holds(0) && !condition(None, any.clone()).holds(7));
        let some = Some(Versions::OneOf(vec![0, 3]));
        assert!(condition(some.clone(), None).holds(0) && condition(some.clone(), None).holds(3));
        assert!(!condition(some.clone(), None).holds(1) && condition(None, some.clone()).holds(1));
        assert!(!condition(None, some.clone()).holds(3));
        let nothing = Some(Versions::OneOf(Vec::new()));
        assert!(!condition(nothing.clone(), None).holds(1) && condition(None, nothing).holds(1));
        assert!(!condition(some, any).holds(3));
        assert!(condition(None, None).holds(0));
        let seen = Some(Versions::OneOf(vec![3]));
        assert!(!condition(seen.clone(), None).holds_without_entity(0));
        assert!(condition(seen.clone(), None).holds_without_entity(3));
        assert!(condition(Some(Versions::Any), None).holds_without_entity(0));
        assert!(condition(None, Some(Versions::Any)).holds_without_entity(3));
        assert!(condition(None, seen).holds_without_entity(3));
    }

    #[test]
    fn one_version_is_written_as_its_number() {
        let text = |condition: &VersionCondition| serde_json::to_string(condition).unwrap();
        assert_eq!(text(&3.into()), "3");
        let create = VersionCondition {
            matches: None,
            none_matches: Some(Versions::Any),
        };
        assert_eq!(text(&create), r#"[null,"any"]"#);
        let either = VersionCondition {
            matches: Some(Versions::OneOf(vec![1, 2])),
            none_matches: None,
        };
        assert_eq!(text(&either), r#"[{"one_of":[1,2]},null]"#);
    }
}
