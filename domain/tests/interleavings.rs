//! All sequences of up to six commands, against a model that knows nothing but the history.
//!
//! The aggregate decides by its state; the model decides by the last event. What both must keep, whatever the
//! order of the commands: purge and restore exclude each other, and purged is the end.

use archive_ledger_domain::{
    ArchivedEntity, CleanupOutcome, Command, EntityType, Event, EventName, ForcedObligation, Rejection,
};
use chrono::DateTime;
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use uuid::Uuid;

const LENGTH: usize = 6;

#[derive(Debug, Clone, Copy)]
enum Ask {
    Register,
    SoftDelete,
    Restore,
    Purge,
    JoiningPurge,
    /// About the latest purge.
    CleanupDone,
    CleanupFailed,
    /// About the first purge when there were several, or about one that never was.
    StaleCleanup,
    /// Of the latest purge.
    Force,
    /// Of the first purge when there were several, or of one that never was.
    StaleForce,
}

const ASKS: [Ask; 10] = [
    Ask::Register,
    Ask::SoftDelete,
    Ask::Restore,
    Ask::Purge,
    Ask::JoiningPurge,
    Ask::CleanupDone,
    Ask::CleanupFailed,
    Ask::StaleCleanup,
    Ask::Force,
    Ask::StaleForce,
];

#[derive(Debug, Clone, Copy)]
struct World {
    entity_type: EntityType,
    storage_count: u32,
}

/// What the model expects: the events that follow, or a refusal.
fn model(world: World, history: &[Event], ask: Ask) -> Option<&'static [EventName]> {
    use EventName::{PurgeFailed, PurgeForced, PurgeRequested, Purged, Registered, Restored, SoftDeleted};
    let purge: &[EventName] = if owed(history) == 0 {
        &[PurgeRequested, Purged]
    } else {
        &[PurgeRequested]
    };
    match (ask, history.last().map(Event::name)) {
        (Ask::Register, None) => Some(&[Registered]),
        (Ask::SoftDelete, None | Some(Registered | Restored)) => Some(&[SoftDeleted]),
        (Ask::Restore, Some(SoftDeleted)) => Some(&[Restored]),
        (Ask::Purge | Ask::JoiningPurge, Some(SoftDeleted | PurgeFailed)) => Some(purge),
        (Ask::Purge | Ask::JoiningPurge, Some(Registered | Restored))
            if world.entity_type == EntityType::Archives =>
        {
            Some(purge)
        }
        (Ask::JoiningPurge, Some(PurgeRequested)) => Some(&[]),
        (Ask::CleanupDone, Some(PurgeRequested)) => Some(&[Purged]),
        (Ask::CleanupFailed, Some(PurgeRequested)) => Some(&[PurgeFailed]),
        (Ask::CleanupDone | Ask::CleanupFailed, Some(Purged | PurgeFailed)) => Some(&[]),
        (Ask::Force, Some(PurgeRequested | PurgeFailed)) => Some(&[PurgeForced, Purged]),
        _ => None,
    }
}

#[test]
fn no_sequence_of_six_commands_breaks_a_rule() {
    let mut visited = 0_u64;
    for entity_type in [EntityType::Archives, EntityType::Environments] {
        for storage_count in [0, 2] {
            let world = World {
                entity_type,
                storage_count,
            };
            walk(
                world,
                &ArchivedEntity::default(),
                &mut Vec::new(),
                &mut Vec::new(),
                &mut visited,
            );
        }
    }
    let sequences: u64 = (1..=LENGTH).map(|length| 10_u64.pow(length as u32)).sum();
    assert_eq!(visited, 4 * sequences);
}

fn walk(
    world: World,
    entity: &ArchivedEntity,
    asked: &mut Vec<Ask>,
    history: &mut Vec<Event>,
    visited: &mut u64,
) {
    if asked.len() == LENGTH {
        return;
    }
    for ask in ASKS {
        asked.push(ask);
        *visited += 1;
        let expected = model(world, history, ask);
        let mut next = entity.clone();
        let decided = decide(&mut next, command(world, ask, asked.len(), history));
        match (&decided, expected) {
            (Ok(events), Some(names)) => {
                let decided: Vec<_> = events.iter().map(Event::name).collect();
                assert_eq!(decided, names, "{world:?} {asked:?}");
            }
            (Err(_), None) => {}
            (decided, expected) => panic!("{world:?} {asked:?}: {decided:?} instead of {expected:?}"),
        }
        assert!(
            decided.is_ok() || next == *entity,
            "a refusal changed it: {world:?} {asked:?}"
        );
        let before = history.len();
        history.extend(decided.unwrap_or_default());
        if history.len() > before {
            check(world, history, asked);
        }
        walk(world, &next, asked, history, visited);
        history.truncate(before);
        asked.pop();
    }
}

/// What the aggregate makes of a command. It waits for nothing, so one look is enough.
fn decide(entity: &mut ArchivedEntity, command: Command) -> Result<Vec<Event>, Rejection> {
    let decided = pin!(async {
        let sink = EventSink::default();
        entity.handle(command, &(), &sink).await?;
        Ok(sink.collect().await)
    });
    match decided.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(decided) => decided,
        Poll::Pending => panic!("the aggregate waits"),
    }
}

/// What holds of every history, read off the events alone.
fn check(world: World, history: &[Event], asked: &[Ask]) {
    let names: Vec<_> = history.iter().map(Event::name).collect();
    let count = |wanted: EventName| names.iter().filter(|name| **name == wanted).count();
    let first = |wanted: EventName| names.iter().position(|name| *name == wanted);
    let context = || format!("{world:?} {asked:?} {names:?}");

    assert!(
        count(EventName::Registered) <= 1,
        "registered twice: {}",
        context()
    );
    assert!(
        first(EventName::Registered).is_none_or(|at| at == 0),
        "registered late: {}",
        context()
    );
    assert!(count(EventName::Purged) <= 1, "purged twice: {}", context());
    assert!(
        first(EventName::Purged).is_none_or(|at| at + 1 == names.len()),
        "purged is not the end: {}",
        context()
    );
    if let Some(point_of_no_return) = first(EventName::PurgeRequested) {
        let after = &names[point_of_no_return..];
        assert!(
            !after.iter().any(|name| matches!(
                name,
                EventName::Restored | EventName::SoftDeleted | EventName::Registered
            )),
            "something came back after a purge was requested: {}",
            context()
        );
    }
    let forced_after_failure = names
        .windows(2)
        .filter(|pair| pair == &[EventName::PurgeFailed, EventName::PurgeForced])
        .count();
    let ended = count(EventName::PurgeFailed) + count(EventName::Purged) - forced_after_failure;
    assert!(
        (ended..=ended + 1).contains(&count(EventName::PurgeRequested)),
        "purges and their ends do not pair up: {}",
        context()
    );
    let open = count(EventName::SoftDeleted) - count(EventName::Restored);
    assert!(open <= 1, "two deletions stand: {}", context());
    if world.entity_type != EntityType::Archives && first(EventName::PurgeRequested).is_some() {
        assert_eq!(open, 1, "purged without having been deleted: {}", context());
    }
    let mut standing = None;
    let mut purge = None;
    for event in history {
        match event {
            Event::SoftDeleted(facts) => standing = Some(facts.deletion_id),
            Event::Restored(facts) => {
                assert_eq!(
                    standing.take(),
                    Some(facts.deletion_id),
                    "restored another: {}",
                    context()
                );
            }
            Event::PurgeRequested(facts) => {
                assert_eq!(
                    facts.deletion_id,
                    standing,
                    "purges another deletion: {}",
                    context()
                );
                purge = Some(facts.purge_id);
            }
            Event::Purged(facts) => {
                assert_eq!(purge, Some(facts.purge_id), "{}", context());
                // Whether the end was forced shows in the end itself, and only then.
                let before = names.len().checked_sub(2).and_then(|at| names.get(at));
                let forced = before == Some(&EventName::PurgeForced);
                assert_eq!(
                    (facts.forced, facts.skipped > 0),
                    (forced, forced),
                    "{}",
                    context()
                );
            }
            Event::PurgeFailed(facts) => assert_eq!(purge, Some(facts.purge_id), "{}", context()),
            Event::PurgeForced(facts) => assert_eq!(purge, Some(facts.purge_id), "{}", context()),
            Event::Registered(_) => {}
        }
    }
}

/// How many storage URIs the history leaves to clean: a deletion that was undone took its own with it.
fn owed(history: &[Event]) -> u32 {
    let (mut registered, mut deleted) = (0, 0);
    for event in history {
        match event {
            Event::Registered(facts) => registered = facts.storage_count,
            Event::SoftDeleted(facts) => deleted = facts.storage_count,
            Event::Restored(_) => deleted = 0,
            Event::PurgeRequested(_) | Event::Purged(_) | Event::PurgeFailed(_) | Event::PurgeForced(_) => {}
        }
    }
    registered + deleted
}

/// Ids are made from how many commands came before, so that each is used once.
fn command(world: World, ask: Ask, number: usize, history: &[Event]) -> Command {
    let purges: Vec<Uuid> = history
        .iter()
        .filter_map(|event| match event {
            Event::PurgeRequested(facts) => Some(facts.purge_id),
            Event::Registered(_)
            | Event::SoftDeleted(_)
            | Event::Restored(_)
            | Event::Purged(_)
            | Event::PurgeFailed(_)
            | Event::PurgeForced(_) => None,
        })
        .collect();
    let never = Uuid::from_u128(u128::MAX);
    let latest = purges.last().copied().unwrap_or(never);
    let stale = if purges.len() > 1 { purges[0] } else { never };
    let done = CleanupOutcome::Done {
        objects: 1,
        bytes: 1,
        at_least: false,
    };
    let force = |purge_id| Command::ForcePurge {
        purge_id,
        obligations: vec![ForcedObligation {
            ordinal: 1,
            skipped: true,
            objects: 0,
            bytes: 0,
            at_least: false,
        }],
        reason_sealed: "c2VhbGVk".into(),
    };
    let purge = |join| Command::RequestPurge {
        purge_id: Uuid::from_u128(0x1_0000 + number as u128),
        entity_type: world.entity_type,
        callback: false,
        join,
    };
    match ask {
        Ask::Register => Command::Register {
            dataset_id: None,
            space_id: None,
            storage_count: world.storage_count,
            callback: false,
        },
        Ask::SoftDelete => Command::SoftDelete {
            deletion_id: Uuid::from_u128(number as u128),
            deleted_at: DateTime::UNIX_EPOCH,
            parent: None,
            storage_count: world.storage_count,
        },
        Ask::Restore => Command::Restore,
        Ask::Purge => purge(false),
        Ask::JoiningPurge => purge(true),
        Ask::CleanupDone => Command::RecordCleanup {
            purge_id: latest,
            outcome: done,
        },
        Ask::CleanupFailed => Command::RecordCleanup {
            purge_id: latest,
            outcome: CleanupOutcome::Failed {
                objects: 0,
                bytes: 0,
                at_least: false,
                error: "unreachable".into(),
            },
        },
        Ask::StaleCleanup => Command::RecordCleanup {
            purge_id: stale,
            outcome: done,
        },
        Ask::Force => force(latest),
        Ask::StaleForce => force(stale),
    }
}
