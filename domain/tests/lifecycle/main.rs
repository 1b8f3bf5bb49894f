//! Every command in every state: what it records, or why it is refused.

mod facts;
mod table;

use State::{Archived, Live, PurgeFailed as Failed, Purged as Over, Purging, Unknown};
use archive_ledger_domain::{
    ArchivedEntity, CleanupOutcome, Command, EntityType, Event, ForcedObligation, PurgeFailed,
    PurgeRequested, Purged, Registered, Restored, SoftDeleted, State,
};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use uuid::Uuid;

const DELETION: Uuid = Uuid::from_u128(0xde1e);
const PURGE: Uuid = Uuid::from_u128(0x9a1);
const NEXT_PURGE: Uuid = Uuid::from_u128(0x9a2);

fn replay(events: Vec<Event>) -> ArchivedEntity {
    let mut entity = ArchivedEntity::default();
    for event in events {
        entity.apply(event);
    }
    entity
}

/// The shortest way to a state, with `storage` URIs to clean.
fn history(state: State, storage: u32) -> Vec<Event> {
    let requested = Event::PurgeRequested(PurgeRequested {
        purge_id: PURGE,
        deletion_id: Some(DELETION),
        storage_count: storage,
        callback: false,
    });
    match state {
        Unknown => Vec::new(),
        Live => vec![registered(storage, false)],
        Archived => vec![deleted(storage)],
        Purging => vec![deleted(storage), requested],
        Failed => vec![
            deleted(storage),
            requested,
            Event::PurgeFailed(PurgeFailed {
                purge_id: PURGE,
                objects: 1,
                bytes: 1,
                at_least: false,
                error: "unreachable".into(),
            }),
        ],
        Over => vec![
            deleted(storage),
            requested,
            Event::Purged(Purged {
                purge_id: PURGE,
                objects: 7,
                bytes: 70,
                at_least: false,
                forced: false,
                skipped: 0,
            }),
        ],
    }
}

const fn purge(join: bool, entity_type: EntityType) -> Command {
    Command::RequestPurge {
        purge_id: NEXT_PURGE,
        entity_type,
        callback: false,
        join,
    }
}

const fn report(purge_id: Uuid, outcome: CleanupOutcome) -> Command {
    Command::RecordCleanup { purge_id, outcome }
}

/// Gives up what a purge owes: the first storage URI was seen empty, each of the others only if `skipped` says otherwise.
fn force(purge_id: Uuid, skipped: bool) -> Command {
    Command::ForcePurge {
        purge_id,
        obligations: vec![
            obligation(1, false),
            obligation(2, skipped),
            obligation(3, skipped),
        ],
        reason_sealed: "c2VhbGVk".into(),
    }
}

fn obligation(ordinal: u32, skipped: bool) -> ForcedObligation {
    ForcedObligation {
        ordinal,
        skipped,
        objects: u64::from(ordinal),
        bytes: 10 * u64::from(ordinal),
        at_least: false,
    }
}

const fn done() -> CleanupOutcome {
    CleanupOutcome::Done {
        objects: 7,
        bytes: 70,
        at_least: false,
    }
}

fn failed() -> CleanupOutcome {
    CleanupOutcome::Failed {
        objects: 1,
        bytes: 1,
        at_least: false,
        error: "unreachable".into(),
    }
}

fn registered(storage_count: u32, callback: bool) -> Event {
    Event::Registered(Registered {
        dataset_id: Some("dataset".into()),
        space_id: Some("space".into()),
        storage_count,
        callback,
    })
}

fn deleted(storage_count: u32) -> Event {
    Event::SoftDeleted(SoftDeleted {
        deletion_id: DELETION,
        deleted_at: noon(),
        parent: None,
        storage_count,
    })
}

const fn restored() -> Event {
    Event::Restored(Restored {
        deletion_id: DELETION,
    })
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_268_800_000_000).unwrap_or_default()
}
