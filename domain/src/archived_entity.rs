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

    fn register(&self, facts: Registered) -> Result<Event, Rejection> {
        match self.state {
            State::Unknown => Ok(Event::Registered(facts)),
            State::Purged => Err(Rejection::Purged),
            State::Live | State::Archived | State::Purging | State::PurgeFailed => {
                Err(self.wrong_state(Action::Register))
            }
        }
    }

    fn soft_delete(&self, facts: SoftDeleted) -> Result<Event, Rejection> {
        match self.state {
            State::Unknown | State::Live => Ok(Event::SoftDeleted(facts)),
            State::Purged => Err(Rejection::Purged),
            State::Archived | State::Purging | State::PurgeFailed => {
                Err(self.wrong_state(Action::SoftDelete))
            }
        }
    }

    fn restore(&self) -> Result<Event, Rejection> {
        match (self.state, &self.deletion) {
            (State::Archived, Some(deletion)) => Ok(Event::Restored(Restored {
                deletion_id: deletion.deletion_id,
            })),
            (State::Unknown, _) => Err(Rejection::Unknown),
            (State::Purged, _) => Err(Rejection::Purged),
            (State::Live | State::Archived | State::Purging | State::PurgeFailed, _) => {
                Err(self.wrong_state(Action::Restore))
            }
        }
    }

    /// `None`: it joins the purge that is under way.
    fn request_purge(
        &self,
        purge_id: Uuid,
        entity_type: EntityType,
        callback: bool,
        join: bool,
    ) -> Result<Option<PurgeRequested>, Rejection> {
        let allowed = match self.state {
            State::Unknown => return Err(Rejection::Unknown),
            State::Purged => return Err(Rejection::Purged),
            State::Purging if join => return Ok(None),
            State::Archived | State::PurgeFailed => true,
            State::Live => entity_type == EntityType::Archives,
            State::Purging => false,
        };
        if !allowed {
            return Err(self.wrong_state(Action::Purge));
        }
        Ok(Some(PurgeRequested {
            purge_id,
            deletion_id: self.deletion.as_ref().map(|deletion| deletion.deletion_id),
            storage_count: self.storage_count(),
            callback: callback || self.registered_callback,
        }))
    }

    /// `None`: the report was recorded before and is told again. The answer is the same, and so is the log.
    fn record_cleanup(&self, purge_id: Uuid, outcome: CleanupOutcome) -> Result<Option<Event>, Rejection> {
        match self.state {
            State::Unknown => return Err(Rejection::Unknown),
            State::Live | State::Archived => return Err(self.wrong_state(Action::RecordCleanup)),
            State::Purging | State::PurgeFailed | State::Purged if self.purge_id != Some(purge_id) => {
                return Err(Rejection::StalePurge);
            }
            State::PurgeFailed | State::Purged => return Ok(None),
            State::Purging => {}
        }
        Ok(Some(match outcome {
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
        }))
    }

    /// The end that forcing comes to.
    fn force_purge(&self, purge_id: Uuid, obligations: &[ForcedObligation]) -> Result<Purged, Rejection> {
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
        Ok(Purged {
            purge_id,
            objects: sum(|one| one.objects),
            bytes: sum(|one| one.bytes),
            at_least: obligations.iter().any(|one| one.at_least),
            forced: true,
            skipped: u32::try_from(skipped).unwrap_or(u32::MAX),
        })
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

    /// The only way in. A refusal comes before the first event, so that it leaves the entity as it was; nothing here
    /// waits for anything.
    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        match command {
            Command::Register {
                dataset_id,
                space_id,
                storage_count,
                callback,
            } => {
                let registered = self.register(Registered {
                    callback,
                    dataset_id,
                    space_id,
                    storage_count,
                })?;
                sink.write(registered, self).await;
            }
            Command::SoftDelete {
                deletion_id,
                deleted_at,
                parent,
                storage_count,
            } => {
                let deleted = self.soft_delete(SoftDeleted {
                    deletion_id,
                    deleted_at,
                    parent,
                    storage_count,
                })?;
                sink.write(deleted, self).await;
            }
            Command::Restore => {
                let restored = self.restore()?;
                sink.write(restored, self).await;
            }
            Command::RequestPurge {
                purge_id,
                entity_type,
                callback,
                join,
            } => {
                let Some(requested) = self.request_purge(purge_id, entity_type, callback, join)? else {
                    return Ok(());
                };
                let owes = requested.storage_count > 0;
                sink.write(Event::PurgeRequested(requested), self).await;
                // Nothing is stored anywhere, so nothing outside the log has to happen first.
                if !owes {
                    let ended = Purged {
                        purge_id,
                        objects: 0,
                        bytes: 0,
                        at_least: false,
                        forced: false,
                        skipped: 0,
                    };
                    sink.write(Event::Purged(ended), self).await;
                }
            }
            Command::RecordCleanup { purge_id, outcome } => {
                if let Some(ended) = self.record_cleanup(purge_id, outcome)? {
                    sink.write(ended, self).await;
                }
            }
            Command::ForcePurge {
                purge_id,
                obligations,
                reason_sealed,
            } => {
                let ended = self.force_purge(purge_id, &obligations)?;
                let forced = PurgeForced {
                    purge_id,
                    obligations,
                    reason_sealed,
                };
                sink.write(Event::PurgeForced(forced), self).await;
                sink.write(Event::Purged(ended), self).await;
            }
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
