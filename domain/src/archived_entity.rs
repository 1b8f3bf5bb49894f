//! The aggregate: one entity's way from live to purged, and every refusal on it.
//!
//! ```text
//!            register            soft-delete             purge                cleanup done
//! (unknown) ────────▶ Live ──────────────────▶ Archived ───────▶ Purging ───────────────────▶ Purged
//!     │                 ▲  ◀──────restore──────────┘               │  ▲  cleanup failed          (terminal)
//!     └──soft-delete                                               ▼  │  purge again
//!                                                             PurgeFailed
//! ```
//!
//! From `Purging` and `PurgeFailed` a purge can also be forced to its end: [`Event::PurgeForced`] says what was given up.
//!
//! Purge and restore exclude each other: [`Event::PurgeRequested`] is the point of no return.

use crate::{
    Action, CleanupOutcome, Command, EntityType, Event, ForcedObligation, PurgeFailed, PurgeForced,
    PurgeRequested, Purged, Registered, Rejection, Restored, SoftDeleted,
};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Where an entity stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The ledger has never heard of it.
    #[default]
    Unknown,
    /// Registered or restored: not deleted.
    Live,
    /// Soft-deleted: can be restored or purged.
    Archived,
    /// A purge was requested; its storage is being cleaned.
    Purging,
    /// The storage cleanup gave up; the purge can be asked for again.
    PurgeFailed,
    /// Gone for good.
    Purged,
}

impl State {
    /// The state's name in answers and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Live => "live",
            Self::Archived => "archived",
            Self::Purging => "purging",
            Self::PurgeFailed => "purge_failed",
            Self::Purged => "purged",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entity of the ledger: what its events say of it, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedEntity {
    state: State,
    space_id: Option<String>,
    dataset_id: Option<String>,
    deletion: Option<SoftDeleted>,
    purge_id: Option<Uuid>,
    registered_storage: u32,
    registered_callback: bool,
}

impl ArchivedEntity {
    /// Where the entity stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The space that an archive belongs to.
    #[must_use]
    pub fn space_id(&self) -> Option<&str> {
        self.space_id.as_deref()
    }

    /// The data set that an archive preserves.
    #[must_use]
    pub fn dataset_id(&self) -> Option<&str> {
        self.dataset_id.as_deref()
    }

    /// The deletion that a restore would undo.
    #[must_use]
    pub const fn deletion(&self) -> Option<&SoftDeleted> {
        self.deletion.as_ref()
    }

    /// The latest purge.
    #[must_use]
    pub const fn purge_id(&self) -> Option<Uuid> {
        self.purge_id
    }

    /// How many storage URIs a purge would have to clean.
    #[must_use]
    pub fn storage_count(&self) -> u32 {
        let deleted = self
            .deletion
            .as_ref()
            .map_or(0, |deletion| deletion.storage_count);
        self.registered_storage.saturating_add(deleted)
    }

    /// Decides a command: the events that follow from it, or the refusal.
    ///
    /// # Errors
    /// The [`Rejection`] that the entity's state demands. Nothing has happened then.
    pub fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Register {
                dataset_id,
                space_id,
                storage_count,
                callback,
            } => self.register(Registered {
                callback,
                dataset_id,
                space_id,
                storage_count,
            }),
            Command::SoftDelete {
                deletion_id,
                deleted_at,
                parent,
                storage_count,
            } => self.soft_delete(SoftDeleted {
                deletion_id,
                deleted_at,
                parent,
                storage_count,
            }),
            Command::Restore => self.restore(),
            Command::RequestPurge {
                purge_id,
                entity_type,
                callback,
                join,
            } => self.request_purge(purge_id, entity_type, callback, join),
            Command::RecordCleanup { purge_id, outcome } => self.record_cleanup(purge_id, outcome),
            Command::ForcePurge {
                purge_id,
                obligations,
                reason_sealed,
            } => self.force_purge(purge_id, obligations, reason_sealed),
        }
    }

    fn register(&self, facts: Registered) -> Result<Vec<Event>, Rejection> {
        match self.state {
            State::Unknown => Ok(vec![Event::Registered(facts)]),
            State::Purged => Err(Rejection::Purged),
            State::Live | State::Archived | State::Purging | State::PurgeFailed => {
                Err(self.wrong_state(Action::Register))
            }
        }
    }

    fn soft_delete(&self, facts: SoftDeleted) -> Result<Vec<Event>, Rejection> {
        match self.state {
            State::Unknown | State::Live => Ok(vec![Event::SoftDeleted(facts)]),
            State::Purged => Err(Rejection::Purged),
            State::Archived | State::Purging | State::PurgeFailed => {
                Err(self.wrong_state(Action::SoftDelete))
            }
        }
    }

    fn restore(&self) -> Result<Vec<Event>, Rejection> {
        match (self.state, &self.deletion) {
            (State::Archived, Some(deletion)) => Ok(vec![Event::Restored(Restored {
                deletion_id: deletion.deletion_id,
            })]),
            (State::Unknown, _) => Err(Rejection::Unknown),
            (State::Purged, _) => Err(Rejection::Purged),
            (State::Live | State::Archived | State::Purging | State::PurgeFailed, _) => {
                Err(self.wrong_state(Action::Restore))
            }
        }
    }

    fn request_purge(
        &self,
        purge_id: Uuid,
        entity_type: EntityType,
        callback: bool,
        join: bool,
    ) -> Result<Vec<Event>, Rejection> {
        let allowed = match self.state {
            State::Unknown => return Err(Rejection::Unknown),
            State::Purged => return Err(Rejection::Purged),
            State::Purging if join => return Ok(Vec::new()),
            State::Archived | State::PurgeFailed => true,
            State::Live => entity_type == EntityType::Archives,
            State::Purging => false,
        };
        if !allowed {
            return Err(self.wrong_state(Action::Purge));
        }
        let storage_count = self.storage_count();
        let deletion_id = self.deletion.as_ref().map(|deletion| deletion.deletion_id);
        let callback = callback || self.registered_callback;
        let requested = Event::PurgeRequested(PurgeRequested {
            purge_id,
            deletion_id,
            storage_count,
            callback,
        });
        if storage_count > 0 {
            return Ok(vec![requested]);
        }
        // Nothing is stored anywhere, so nothing outside the log has to happen first.
        Ok(vec![
            requested,
            Event::Purged(Purged {
                purge_id,
                objects: 0,
                bytes: 0,
                at_least: false,
                forced: false,
                skipped: 0,
            }),
        ])
    }

    fn record_cleanup(&self, purge_id: Uuid, outcome: CleanupOutcome) -> Result<Vec<Event>, Rejection> {
        match self.state {
            State::Unknown => return Err(Rejection::Unknown),
            State::Live | State::Archived => return Err(self.wrong_state(Action::RecordCleanup)),
            State::Purging | State::PurgeFailed | State::Purged if self.purge_id != Some(purge_id) => {
                return Err(Rejection::StalePurge);
            }
            // The report was recorded before and is told again: the answer is the same, and so is the log.
            State::PurgeFailed | State::Purged => return Ok(Vec::new()),
            State::Purging => {}
        }
        Ok(vec![match outcome {
            CleanupOutcome::Done {
                objects,
                bytes,
                at_least,
            } => Event::Purged(Purged {
                purge_id,
                objects,
                bytes,
                at_least,
                forced: false,
                skipped: 0,
            }),
            CleanupOutcome::Failed {
                objects,
                bytes,
                at_least,
                error,
            } => Event::PurgeFailed(PurgeFailed {
                purge_id,
                objects,
                bytes,
                at_least,
                error,
            }),
        }])
    }

    fn force_purge(
        &self,
        purge_id: Uuid,
        obligations: Vec<ForcedObligation>,
        reason_sealed: String,
    ) -> Result<Vec<Event>, Rejection> {
        match self.state {
            State::Unknown => return Err(Rejection::Unknown),
            State::Purged => return Err(Rejection::Purged),
            State::Live | State::Archived => return Err(self.wrong_state(Action::ForcePurge)),
            State::Purging | State::PurgeFailed => {}
        }
        if self.purge_id != Some(purge_id) {
            return Err(Rejection::StalePurge);
        }
        let skipped = obligations.iter().filter(|one| one.skipped).count();
        if skipped == 0 {
            return Err(Rejection::NothingOwed);
        }
        let sum = |of: fn(&ForcedObligation) -> u64| obligations.iter().map(of).fold(0, u64::saturating_add);
        let ended = Purged {
            purge_id,
            objects: sum(|one| one.objects),
            bytes: sum(|one| one.bytes),
            at_least: obligations.iter().any(|one| one.at_least),
            forced: true,
            skipped: u32::try_from(skipped).unwrap_or(u32::MAX),
        };
        Ok(vec![
            Event::PurgeForced(PurgeForced {
                purge_id,
                obligations,
                reason_sealed,
            }),
            Event::Purged(ended),
        ])
    }

    const fn wrong_state(&self, action: Action) -> Rejection {
        Rejection::WrongState {
            action,
            state: self.state,
        }
    }
}

impl Aggregate for ArchivedEntity {
    const TYPE: &'static str = crate::AGGREGATE_TYPE;
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Registered(facts) => {
                self.state = State::Live;
                self.dataset_id = facts.dataset_id;
                self.space_id = facts.space_id;
                self.registered_storage = facts.storage_count;
                self.registered_callback = facts.callback;
            }
            Event::SoftDeleted(facts) => {
                self.state = State::Archived;
                self.deletion = Some(facts);
            }
            Event::Restored(_) => {
                self.state = State::Live;
                self.deletion = None;
            }
            Event::PurgeRequested(facts) => {
                self.state = State::Purging;
                self.purge_id = Some(facts.purge_id);
            }
            Event::Purged(_) => self.state = State::Purged,
            Event::PurgeFailed(_) => self.state = State::PurgeFailed,
            // On its way to the end, which follows in the same commit.
            Event::PurgeForced(_) => self.state = State::Purging,
        }
    }
}
