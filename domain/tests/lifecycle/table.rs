//! The whole table: six states, every command, with storage to clean and without.

use super::{DELETION, PURGE, done, failed, force, history, noon, purge, replay, report};
use State::{Archived, Live, PurgeFailed as Failed, Purged as Over, Purging, Unknown};
use archive_ledger_domain::{
    Action, ArchivedEntity, Command, EntityType, Event, EventName, Rejection, State,
};
use cqrs_es::test::TestFramework;
use uuid::Uuid;

const STALE_PURGE: Uuid = Uuid::from_u128(0x9a0);

/// What is asked in the table below.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Register,
    SoftDelete,
    Restore,
    /// Of an entity of any type but `archives`.
    Purge,
    PurgeOfArchive,
    JoiningPurge,
    JoiningPurgeOfArchive,
    CleanupDone,
    CleanupFailed,
    StaleCleanupDone,
    StaleCleanupFailed,
    Force,
    StaleForce,
    /// When every storage URI was seen empty.
    ForceOfNothing,
}

/// What comes of it.
#[derive(Debug, Clone, Copy)]
enum Comes {
    /// These events, in this order; none is an acceptance that changes nothing.
    Of(&'static [EventName]),
    /// [`Rejection::WrongState`].
    Refused,
    /// [`Rejection::Unknown`].
    Unheard,
    /// [`Rejection::Purged`].
    Gone,
    /// [`Rejection::StalePurge`].
    Stale,
    /// [`Rejection::NothingOwed`].
    NotOwed,
}

use Ask::{
    CleanupDone, CleanupFailed, Force, ForceOfNothing, JoiningPurge, JoiningPurgeOfArchive, Purge,
    PurgeOfArchive, Register, Restore, SoftDelete, StaleCleanupDone, StaleCleanupFailed, StaleForce,
};
use Comes::{Gone, NotOwed, Of, Refused, Stale, Unheard};

const ASKS: [Ask; 14] = [
    Register,
    SoftDelete,
    Restore,
    Purge,
    PurgeOfArchive,
    JoiningPurge,
    JoiningPurgeOfArchive,
    CleanupDone,
    CleanupFailed,
    StaleCleanupDone,
    StaleCleanupFailed,
    Force,
    StaleForce,
    ForceOfNothing,
];

const STATES: [State; 6] = [Unknown, Live, Archived, Purging, Failed, Over];

/// The whole table for an entity whose storage has to be cleaned. A match without a catch-all: a new state or command
/// does not compile until its cells are filled in.
const fn with_storage(state: State, ask: Ask) -> Comes {
    const PURGED: Comes = Of(&[EventName::Purged]);
    const FORCED: Comes = Of(&[EventName::PurgeForced, EventName::Purged]);
    const FAILED: Comes = Of(&[EventName::PurgeFailed]);
    const REQUESTED: Comes = Of(&[EventName::PurgeRequested]);
    const NOTHING: Comes = Of(&[]);
    match (ask, state) {
        (Register, Unknown) => Of(&[EventName::Registered]),
        (Register, Live | Archived | Purging | Failed) => Refused,
        (Register, Over) => Gone,

        (SoftDelete, Unknown | Live) => Of(&[EventName::SoftDeleted]),
        (SoftDelete, Archived | Purging | Failed) => Refused,
        (SoftDelete, Over) => Gone,

        (Restore, Archived) => Of(&[EventName::Restored]),
        (Restore, Live | Purging | Failed) => Refused,
        (Restore, Unknown) => Unheard,
        (Restore, Over) => Gone,

        (Purge | PurgeOfArchive | JoiningPurge | JoiningPurgeOfArchive, Unknown) => Unheard,
        (Purge | PurgeOfArchive | JoiningPurge | JoiningPurgeOfArchive, Over) => Gone,
        (Purge | PurgeOfArchive | JoiningPurge | JoiningPurgeOfArchive, Archived | Failed) => REQUESTED,
        (Purge | JoiningPurge, Live) => Refused,
        (PurgeOfArchive | JoiningPurgeOfArchive, Live) => REQUESTED,
        (Purge | PurgeOfArchive, Purging) => Refused,
        (JoiningPurge | JoiningPurgeOfArchive, Purging) => NOTHING,

        (CleanupDone | CleanupFailed | StaleCleanupDone | StaleCleanupFailed, Unknown) => Unheard,
        (CleanupDone | CleanupFailed | StaleCleanupDone | StaleCleanupFailed, Live | Archived) => Refused,
        (StaleCleanupDone | StaleCleanupFailed, Purging | Failed | Over) => Stale,
        (CleanupDone, Purging) => PURGED,
        (CleanupFailed, Purging) => FAILED,
        // A report that is told again changes nothing, whatever it says.
        (CleanupDone | CleanupFailed, Failed | Over) => NOTHING,

        (Force | StaleForce | ForceOfNothing, Unknown) => Unheard,
        (Force | StaleForce | ForceOfNothing, Live | Archived) => Refused,
        (Force | StaleForce | ForceOfNothing, Over) => Gone,
        (Force, Purging | Failed) => FORCED,
        (StaleForce, Purging | Failed) => Stale,
        (ForceOfNothing, Purging | Failed) => NotOwed,
    }
}

/// Without storage there is nothing to wait for: a purge is requested and done in one commit. `Purging` and
/// `PurgeFailed` are never reached then, but an event of an older log may have led there.
const fn without_storage(state: State, ask: Ask) -> Comes {
    match (ask, with_storage(state, ask)) {
        (Purge | PurgeOfArchive | JoiningPurge | JoiningPurgeOfArchive, Of([EventName::PurgeRequested])) => {
            Of(&[EventName::PurgeRequested, EventName::Purged])
        }
        (_, comes) => comes,
    }
}

#[test]
fn every_command_in_every_state_does_what_the_table_says() {
    for storage in [0, 3] {
        let table = if storage == 0 {
            without_storage
        } else {
            with_storage
        };
        for state in STATES {
            for ask in ASKS {
                let given = history(state, storage);
                let result = TestFramework::<ArchivedEntity>::with(())
                    .given(given)
                    .when(command(ask, storage))
                    .inspect_result();
                let cell = format!("{ask:?} in state {state}, {storage} storage URIs");
                match (table(state, ask), result) {
                    (Of(names), Ok(events)) => {
                        assert_eq!(
                            events.iter().map(Event::name).collect::<Vec<_>>(),
                            names,
                            "{cell}"
                        );
                    }
                    (Refused, Err(refusal)) => {
                        let action = action(ask);
                        assert_eq!(refusal, Rejection::WrongState { action, state }, "{cell}");
                    }
                    (Unheard, Err(refusal)) => assert_eq!(refusal, Rejection::Unknown, "{cell}"),
                    (Gone, Err(refusal)) => assert_eq!(refusal, Rejection::Purged, "{cell}"),
                    (Stale, Err(refusal)) => assert_eq!(refusal, Rejection::StalePurge, "{cell}"),
                    (NotOwed, Err(refusal)) => assert_eq!(refusal, Rejection::NothingOwed, "{cell}"),
                    (expected, result) => panic!("{cell}: {result:?} instead of {expected:?}"),
                }
            }
        }
    }
}

#[test]
fn the_histories_of_this_table_lead_to_their_states() {
    for storage in [0, 3] {
        for state in STATES {
            assert_eq!(replay(history(state, storage)).state(), state);
        }
    }
}

fn command(ask: Ask, storage: u32) -> Command {
    match ask {
        Register => Command::Register {
            dataset_id: None,
            space_id: None,
            storage_count: storage,
            callback: false,
        },
        SoftDelete => Command::SoftDelete {
            deletion_id: DELETION,
            deleted_at: noon(),
            parent: None,
            storage_count: storage,
        },
        Restore => Command::Restore,
        Purge => purge(false, EntityType::Backups),
        PurgeOfArchive => purge(false, EntityType::Archives),
        JoiningPurge => purge(true, EntityType::Backups),
        JoiningPurgeOfArchive => purge(true, EntityType::Archives),
        CleanupDone => report(PURGE, done()),
        CleanupFailed => report(PURGE, failed()),
        StaleCleanupDone => report(STALE_PURGE, done()),
        StaleCleanupFailed => report(STALE_PURGE, failed()),
        Force => force(PURGE, true),
        StaleForce => force(STALE_PURGE, true),
        ForceOfNothing => force(PURGE, false),
    }
}

const fn action(ask: Ask) -> Action {
    match ask {
        Register => Action::Register,
        SoftDelete => Action::SoftDelete,
        Restore => Action::Restore,
        Purge | PurgeOfArchive | JoiningPurge | JoiningPurgeOfArchive => Action::Purge,
        CleanupDone | CleanupFailed | StaleCleanupDone | StaleCleanupFailed => Action::RecordCleanup,
        Force | StaleForce | ForceOfNothing => Action::ForcePurge,
    }
}
