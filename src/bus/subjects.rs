//! The NATS subjects of a ledger's events: `<prefix>.<entity type>.<event>.<entity id>`.
//!
//! Ids never hold a dot, a star, a `>` or a space ([`EntityKey`] checks them), so a subject always has three tokens behind its prefix.

use archive_ledger_domain::{EntityKey, EventName};
use std::fmt;
use std::sync::Arc;

/// What subjects begin with unless it is said otherwise.
const PREFIX: &str = "archive";

/// The subjects below one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects(Arc<str>);

impl Default for Subjects {
    fn default() -> Self {
        Self::below(PREFIX)
    }
}

impl Subjects {
    /// The subjects below `prefix`: tokens separated by dots.
    #[must_use]
    pub fn below(prefix: &str) -> Self {
        Self(prefix.into())
    }

    /// The subject of an event.
    #[must_use]
    pub fn of(&self, key: &EntityKey, name: EventName) -> String {
        self.with(key.entity_type(), name, key.id())
    }

    /// The filter that selects one event of every entity.
    #[must_use]
    pub fn one_event(&self, name: EventName) -> String {
        self.with("*", name, "*")
    }

    /// The filter that selects everything.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.>", self.0)
    }

    /// The subject of an event whose entity is told by placeholders.
    #[must_use]
    pub fn with(&self, entity_type: impl fmt::Display, name: EventName, id: impl fmt::Display) -> String {
        format!("{}.{entity_type}.{name}.{id}", self.0)
    }
}
