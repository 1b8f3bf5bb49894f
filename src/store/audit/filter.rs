//! What an auditor asks for.

use crate::store::Position;
use archive_ledger_domain::{EntityKey, EntityType, EventName};
use chrono::{DateTime, SecondsFormat, Utc};
use std::fmt;
use std::str::FromStr;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It happened: every event of the log, and every read of the audit.
    Allowed,
    /// Nobody with the right to it asked: 401 or 403.
    Denied,
    /// An authenticated command was refused for another reason, or broke.
    Failed,
}

/// A name that stands for none of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown name")]
pub struct UnknownName;

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::Failed];

    /// The outcome's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for Outcome {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let mut all = Self::ALL.into_iter();
        all.find(|outcome| outcome.as_str() == text).ok_or(UnknownName)
    }
}

/// What was done or attempted. A command is named by the event that it asks for, so that one name finds both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuditAction {
    /// An event, or a command that asks for it.
    Event(EventName),
    /// Another try of a purge that is owed.
    PurgeRetry,
    /// Telling receivers again.
    CallbackReplay,
    /// A read of the audit.
    AuditRead,
    /// An export of the audit.
    AuditExport,
    /// Accepting a clock that has moved.
    AcceptClock,
    /// Any other read.
    Read,
    /// Anything else.
    Other,
}

impl AuditAction {
    /// Those that are no events.
    pub const OTHERS: [Self; 7] = [
        Self::PurgeRetry,
        Self::CallbackReplay,
        Self::AuditRead,
        Self::AuditExport,
        Self::AcceptClock,
        Self::Read,
        Self::Other,
    ];

    /// Every action.
    pub fn all() -> impl Iterator<Item = Self> {
        EventName::ALL.into_iter().map(Self::Event).chain(Self::OTHERS)
    }

    /// The action's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event(name) => name.as_str(),
            Self::PurgeRetry => "purge_retry",
            Self::CallbackReplay => "callback_replay",
            Self::AuditRead => "audit_read",
            Self::AuditExport => "audit_export",
            Self::AcceptClock => "accept_clock",
            Self::Read => "read",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for AuditAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuditAction {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::all()
            .find(|action| action.as_str() == text)
            .ok_or(UnknownName)
    }
}

/// What an auditor asks for: of each field any of the values, of all fields that have some. Nothing asks for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Who acted.
    pub actors: Vec<String>,
    /// What was done or attempted.
    pub actions: Vec<AuditAction>,
    /// On entities of these types.
    pub entity_types: Vec<EntityType>,
    /// On these entities; goes before their types.
    pub entities: Vec<EntityKey>,
    /// How it ended.
    pub outcomes: Vec<Outcome>,
    /// By which request.
    pub request_ids: Vec<String>,
    /// From where.
    pub ips: Vec<String>,
    /// Recorded at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before this time.
    pub to: Option<DateTime<Utc>>,
    /// At this position or behind it.
    pub pos_from: Option<Position>,
    /// At this position or before it.
    pub pos_to: Option<Position>,
}

impl AuditFilter {
    /// Whether events of the log can match.
    #[must_use]
    pub fn wants_events(&self) -> bool {
        let outcome = self.outcomes.is_empty() || self.outcomes.contains(&Outcome::Allowed);
        outcome && (self.actions.is_empty() || !self.event_names().is_empty())
    }

    /// The events among the actions.
    #[must_use]
    pub fn event_names(&self) -> Vec<&'static str> {
        let names = self.actions.iter().filter_map(|action| match action {
            AuditAction::Event(name) => Some(name.as_str()),
            AuditAction::PurgeRetry
            | AuditAction::CallbackReplay
            | AuditAction::AuditRead
            | AuditAction::AuditExport
            | AuditAction::AcceptClock
            | AuditAction::Read
            | AuditAction::Other => None,
        });
        names.collect()
    }

    /// The filter as the query that asks for it: the same text for the same filter, whatever the order of its values.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        let mut add = |name: &str, mut values: Vec<String>| {
            values.sort_unstable();
            values.dedup();
            text.extend_pairs(values.iter().map(|value| (name, value)));
        };
        let owned = |name: &str| name.to_owned();
        add("actor", self.actors.clone());
        add(
            "action",
            self.actions.iter().map(|one| owned(one.as_str())).collect(),
        );
        add(
            "entity_type",
            self.entity_types.iter().map(|one| owned(one.as_str())).collect(),
        );
        add("entity", self.entities.iter().map(EntityKey::stream_id).collect());
        add(
            "outcome",
            self.outcomes.iter().map(|one| owned(one.as_str())).collect(),
        );
        add("request_id", self.request_ids.clone());
        add("ip", self.ips.clone());
        let time = |time: Option<DateTime<Utc>>| {
            let time = time.map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
            time.into_iter().collect()
        };
        add("from", time(self.from));
        add("to", time(self.to));
        let position = |at: Option<Position>| at.map(|at| at.to_string()).into_iter().collect();
        add("pos_from", position(self.pos_from));
        add("pos_to", position(self.pos_to));
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_and_outcome_is_found_by_its_name() {
        for action in AuditAction::all() {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
        }
        assert_eq!(
            AuditAction::all().count(),
            EventName::ALL.len() + AuditAction::OTHERS.len()
        );
        assert!("Denied".parse::<Outcome>().is_err() && "".parse::<AuditAction>().is_err());
    }

    #[test]
    fn the_canonical_text_tells_filters_apart_and_not_their_spelling() {
        let filter = |actors: &[&str]| AuditFilter {
            actors: actors.iter().map(|actor| (*actor).to_owned()).collect(),
            ..AuditFilter::default()
        };
        assert_eq!(
            filter(&["b", "a", "b"]).canonical(),
            filter(&["a", "b"]).canonical()
        );
        let request = AuditFilter {
            request_ids: vec!["a".into()],
            ..AuditFilter::default()
        };
        assert_ne!(filter(&["a"]).canonical(), request.canonical());
        assert_eq!(AuditFilter::default().canonical(), "");
    }

    #[test]
    fn only_what_was_allowed_and_is_an_event_is_looked_for_in_the_log() {
        let with = |actions: &[AuditAction], outcomes: &[Outcome]| AuditFilter {
            actions: actions.to_vec(),
            outcomes: outcomes.to_vec(),
            ..AuditFilter::default()
        };
        assert!(with(&[], &[]).wants_events());
        assert!(with(&[AuditAction::Event(EventName::Purged)], &[Outcome::Allowed]).wants_events());
        assert!(!with(&[], &[Outcome::Denied]).wants_events());
        assert!(!with(&[AuditAction::AuditRead], &[]).wants_events());
    }
}
