//! Folding: what a batch of events changes is what its events change one by one, however the log is cut into batches.

mod random;

use archive_ledger_domain::{
    ArchivedEntity, EntityKey, EntityType, Event, PurgeFailed, PurgeRequested, Purged, Restored, SoftDeleted,
    State,
};
use archive_ledger_projections::{
    ArchivedCount, ArchivedEntry, ArchivedListChange, ArchivedListing, Changes, PurgeWork, PurgeWorkChange,
    Recorded, UndonePurge, facts,
};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, EventEnvelope, View};
use random::{Random, random_log};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// The tables as a store keeps them, with a store's checks.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tables {
    archived: BTreeMap<String, ArchivedEntry>,
    summary: BTreeMap<EntityType, i64>,
    purge_work: BTreeMap<String, PurgeWork>,
}

impl Tables {
    fn apply(&mut self, changes: &Changes) {
        for (stream_id, change) in &changes.archived {
            match change {
                ArchivedListChange::Put(entry) => {
                    assert_eq!(&entry.key.stream_id(), stream_id);
                    self.archived.insert(stream_id.clone(), entry.clone());
                }
                ArchivedListChange::Remove(key) => {
                    assert_eq!(&key.stream_id(), stream_id);
                    self.archived.remove(stream_id);
                }
            }
        }
        for (entity_type, delta) in changes.summary.iter() {
            assert_ne!(delta, 0, "a counter that does not change is not written");
            *self.summary.entry(entity_type).or_default() += delta;
        }
        // A counter at zero says no more than none.
        self.summary.retain(|_, count| *count != 0);
        for (stream_id, change) in &changes.purge_work {
            match change {
                PurgeWorkChange::Put(work) => {
                    assert_eq!(&work.key.stream_id(), stream_id);
                    self.purge_work.insert(stream_id.clone(), work.clone());
                }
                PurgeWorkChange::Fail(key) => {
                    assert_eq!(&key.stream_id(), stream_id);
                    let row = self.purge_work.get_mut(stream_id);
                    row.expect("a purge that fails is in the table").state = State::PurgeFailed;
                }
                PurgeWorkChange::Remove(_) => {
                    self.purge_work.remove(stream_id);
                }
            }
        }
        self.check();
    }

    /// The counters count exactly the rows that are there.
    fn check(&self) {
        for entity_type in EntityType::ALL {
            let rows = self
                .archived
                .values()
                .filter(|entry| entry.key.entity_type() == entity_type)
                .count();
            let counted = self.summary.get(&entity_type).copied().unwrap_or_default();
            assert_eq!(usize::try_from(counted).ok(), Some(rows), "{entity_type}");
        }
    }
}

/// Events in the order of their positions, each with its entity.
type Log = Vec<(EntityKey, Event)>;

/// Replays `log` in batches that end where `cuts` says, and returns the tables after each event that ends one.
fn replay(log: &Log, ends_batch: impl Fn(usize) -> bool) -> BTreeMap<usize, Tables> {
    let mut entities: BTreeMap<String, (ArchivedEntity, u64)> = BTreeMap::new();
    let mut tables = Tables::default();
    let mut after = BTreeMap::new();
    let mut changes = Changes::default();
    for (index, (key, event)) in log.iter().enumerate() {
        let (entity, sequence) = entities.entry(key.stream_id()).or_default();
        *sequence += 1;
        let position = index as u64 + 1;
        let recorded = Recorded {
            position,
            event_id: Uuid::from_u128(u128::from(position)),
            key,
            sequence: *sequence,
            recorded_at: noon() + TimeDelta::seconds(index as i64),
            event,
        };
        changes.replay(entity, recorded);
        if ends_batch(index) || index + 1 == log.len() {
            tables.apply(&std::mem::take(&mut changes));
            after.insert(index, tables.clone());
        }
    }
    after
}

#[test]
fn any_partition_into_batches_gives_the_tables_of_one_event_at_a_time() {
    for seed in 1..=300 {
        let mut random = Random(seed);
        let log = random_log(&mut random, 60);
        let one_by_one = replay(&log, |_| true);
        for mean in [2, 5, 20] {
            let cuts: Vec<bool> = log.iter().map(|_| random.below(mean) == 0).collect();
            for (index, tables) in replay(&log, |index| cuts[index]) {
                assert_eq!(tables, one_by_one[&index], "seed {seed}, after event {index}");
            }
        }
        let whole = replay(&log, |_| false);
        assert_eq!(whole.last_key_value(), one_by_one.last_key_value(), "seed {seed}");
    }
}

#[test]
fn the_tables_say_what_the_entities_are() {
    for seed in 1..=100 {
        let log = random_log(&mut Random(seed), 60);
        let mut entities: BTreeMap<String, ArchivedEntity> = BTreeMap::new();
        for (key, event) in &log {
            entities.entry(key.stream_id()).or_default().apply(event.clone());
        }
        let Some((_, tables)) = replay(&log, |_| false).pop_last() else {
            continue;
        };
        for (stream_id, entity) in entities {
            let listed = tables.archived.get(&stream_id);
            assert_eq!(listed.is_some(), entity.state() == State::Archived, "{stream_id}");
            if let Some(entry) = listed {
                let deletion = entity.deletion().expect("a listed entity was deleted");
                assert_eq!(
                    (entry.deletion_id, entry.deleted_at),
                    (deletion.deletion_id, deletion.deleted_at)
                );
            }
            let work = tables.purge_work.get(&stream_id);
            let owed = matches!(entity.state(), State::Purging | State::PurgeFailed);
            assert_eq!(
                work.map(|work| (work.state, Some(work.purge_id))),
                owed.then(|| (entity.state(), entity.purge_id())),
                "{stream_id}"
            );
        }
    }
}

#[test]
fn the_views_of_single_streams_say_what_the_tables_say() {
    for seed in 1..=100 {
        let log = random_log(&mut Random(seed), 60);
        let mut rows: BTreeMap<String, (ArchivedListing, UndonePurge)> = BTreeMap::new();
        let mut counts: BTreeMap<EntityType, ArchivedCount> = BTreeMap::new();
        let tables = replay(&log, |_| true);
        for (index, (key, event)) in log.iter().enumerate() {
            let envelope = EventEnvelope {
                aggregate_id: key.stream_id(),
                sequence: 1,
                payload: event.clone(),
                metadata: HashMap::new(),
            };
            let (listing, owed) = rows.entry(key.stream_id()).or_default();
            listing.update(&envelope);
            owed.update(&envelope);
            counts.entry(key.entity_type()).or_default().update(&envelope);
            let (tables, stream_id) = (&tables[&index], key.stream_id());
            let entry = tables.archived.get(&stream_id);
            assert_eq!(
                listing
                    .deletion
                    .as_ref()
                    .map(|one| (one.deletion_id, one.deleted_at)),
                entry.map(|entry| (entry.deletion_id, entry.deleted_at)),
                "seed {seed}, after event {index}"
            );
            let failed = if owed.failed {
                State::PurgeFailed
            } else {
                State::Purging
            };
            assert_eq!(
                owed.requested
                    .as_ref()
                    .map(|one| (one.purge_id, one.storage_count, failed)),
                tables
                    .purge_work
                    .get(&stream_id)
                    .map(|work| (work.purge_id, work.storage_count, work.state)),
                "seed {seed}, after event {index}"
            );
            for (entity_type, counted) in &counts {
                let count = tables.summary.get(entity_type).copied().unwrap_or_default();
                assert_eq!(
                    i64::try_from(counted.count()),
                    Ok(count),
                    "seed {seed}, after event {index}"
                );
            }
        }
    }
}

#[test]
fn a_replay_that_keeps_no_entities_gives_the_same_tables() {
    for seed in 1..=300 {
        let mut random = Random(seed);
        let log = random_log(&mut random, 60);
        let expected = replay(&log, |_| true);
        let mut tables = Tables::default();
        let mut changes = Changes::default();
        for (index, (key, event)) in log.iter().enumerate() {
            let recorded = Recorded {
                position: index as u64 + 1,
                event_id: Uuid::from_u128(index as u128 + 1),
                key,
                sequence: 1,
                recorded_at: noon() + TimeDelta::seconds(index as i64),
                event,
            };
            changes.record_listed(tables.archived.contains_key(&key.stream_id()), recorded);
            if random.below(8) == 0 {
                tables.apply(&std::mem::take(&mut changes));
                assert_eq!(tables, expected[&index], "seed {seed}, after event {index}");
            }
        }
    }
}

#[test]
fn the_history_names_the_state_that_the_aggregate_has_after_the_event() {
    for seed in 1..=50 {
        let mut entities: BTreeMap<String, ArchivedEntity> = BTreeMap::new();
        for (key, event) in random_log(&mut Random(seed), 60) {
            let entity = entities.entry(key.stream_id()).or_default();
            entity.apply(event.clone());
            assert_eq!(facts(&event).state, entity.state());
        }
    }
}

#[test]
fn the_history_tells_every_fact_of_the_payload() {
    for (_, event) in random_log(&mut Random(7), 60) {
        let payload = serde_json::to_value(&event).expect("an event is JSON");
        let told = facts(&event).facts;
        for (name, value) in payload.as_object().expect("an event is an object") {
            // What is sealed in a payload is opened beside the facts.
            if name != "event" && name != "reason_sealed" {
                assert_eq!(told.get(name), Some(value), "{name} of {event:?}");
            }
        }
    }
}

#[test]
fn a_deletion_that_replaces_another_in_one_batch_is_counted_once_and_listed_as_the_later() {
    let log = of_one_entity(vec![deleted(1), restored(1), deleted(2)]);
    let changes = fold(&log, ArchivedEntity::default());
    assert_eq!(
        changes.summary.iter().collect::<Vec<_>>(),
        [(EntityType::Users, 1)]
    );
    let rows: Vec<_> = changes.archived.values().collect();
    let [ArchivedListChange::Put(entry)] = rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!((entry.position, entry.deletion_id), (3, Uuid::from_u128(2)));
}

#[test]
fn a_deletion_that_is_undone_in_the_batch_that_recorded_it_changes_no_counter() {
    let changes = fold(
        &of_one_entity(vec![deleted(1), restored(1)]),
        ArchivedEntity::default(),
    );
    assert!(changes.summary.is_empty());
    assert_eq!(
        changes.archived.into_values().collect::<Vec<_>>(),
        [ArchivedListChange::Remove(key(0))]
    );
}

#[test]
fn a_batch_that_undoes_and_repeats_an_older_deletion_changes_the_row_and_no_counter() {
    let mut archived = ArchivedEntity::default();
    archived.apply(deleted(1));
    let changes = fold(&of_one_entity(vec![restored(1), deleted(2)]), archived);
    assert!(changes.summary.is_empty());
    assert!(matches!(
        changes.archived.values().next(),
        Some(ArchivedListChange::Put(_))
    ));
}

#[test]
fn a_purge_that_is_requested_and_fails_in_one_batch_is_inserted_as_failed() {
    let log = of_one_entity(vec![deleted(1), requested(5), failed(5)]);
    let changes = fold(&log, ArchivedEntity::default());
    let rows: Vec<_> = changes.purge_work.values().collect();
    let [PurgeWorkChange::Put(work)] = rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (work.state, work.purge_id, work.position),
        (State::PurgeFailed, Uuid::from_u128(5), 2)
    );
}

#[test]
fn a_purge_that_fails_and_is_requested_again_in_one_batch_is_the_new_one() {
    let mut purging = ArchivedEntity::default();
    purging.apply(deleted(1));
    purging.apply(requested(5));
    let changes = fold(&of_one_entity(vec![failed(5), requested(6)]), purging);
    let rows: Vec<_> = changes.purge_work.values().collect();
    let [PurgeWorkChange::Put(work)] = rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!((work.state, work.purge_id), (State::Purging, Uuid::from_u128(6)));
}

fn purged(purge: u128) -> Event {
    Event::Purged(Purged {
        purge_id: Uuid::from_u128(purge),
        objects: 0,
        bytes: 0,
        at_least: false,
        forced: false,
        skipped: 0,
    })
}

#[test]
fn a_purge_that_is_requested_and_done_in_one_batch_takes_the_row_that_stood_before_it_and_no_other() {
    let stood = |events: &[Event]| {
        let mut entity = ArchivedEntity::default();
        for event in events {
            entity.apply(event.clone());
        }
        entity
    };
    let taken = [PurgeWorkChange::Remove(key(0))];
    for (before, batch, wanted) in [
        (vec![deleted(1)], vec![requested(5), purged(5)], &[][..]),
        (
            vec![deleted(1)],
            vec![requested(5), failed(5), requested(6), purged(6)],
            &[][..],
        ),
        (vec![deleted(1), requested(4)], vec![purged(4)], &taken[..]),
        (
            vec![deleted(1), requested(4)],
            vec![failed(4), requested(5), purged(5)],
            &taken[..],
        ),
        (
            vec![deleted(1), requested(4), failed(4)],
            vec![requested(5), purged(5)],
            &taken[..],
        ),
    ] {
        let changes = fold(&of_one_entity(batch.clone()), stood(&before));
        assert_eq!(
            changes.purge_work.into_values().collect::<Vec<_>>(),
            wanted,
            "{batch:?} after {before:?}"
        );
    }
}

#[test]
fn a_purge_that_is_requested_and_done_in_one_batch_leaves_nothing_to_restore() {
    let log = of_one_entity(vec![deleted(1), requested(5), purged(5)]);
    let changes = fold(&log, ArchivedEntity::default());
    assert!(changes.purge_work.is_empty());
    assert_eq!(
        changes.archived.into_values().collect::<Vec<_>>(),
        [ArchivedListChange::Remove(key(0))]
    );
}

#[test]
fn an_empty_batch_changes_nothing() {
    assert!(Changes::default().is_empty());
}

fn fold(log: &Log, mut entity: ArchivedEntity) -> Changes {
    let mut changes = Changes::default();
    for (index, (key, event)) in log.iter().enumerate() {
        let position = index as u64 + 1;
        let recorded = Recorded {
            position,
            event_id: Uuid::from_u128(u128::from(position)),
            key,
            sequence: position,
            recorded_at: noon(),
            event,
        };
        changes.replay(&mut entity, recorded);
    }
    changes
}

fn of_one_entity(events: Vec<Event>) -> Log {
    events.into_iter().map(|event| (key(0), event)).collect()
}

/// Three types, two entities each; the first is a user.
fn key(which: u32) -> EntityKey {
    let entity_type = [EntityType::Users, EntityType::Archives, EntityType::Backups][which as usize % 3];
    EntityKey::new(entity_type, &Uuid::from_u128(u128::from(which)).to_string())
        .expect("a UUID suits every type")
}

fn deleted(id: u128) -> Event {
    Event::SoftDeleted(SoftDeleted {
        deletion_id: Uuid::from_u128(id),
        deleted_at: noon(),
        parent: None,
        storage_count: 1,
    })
}

fn restored(id: u128) -> Event {
    Event::Restored(Restored {
        deletion_id: Uuid::from_u128(id),
    })
}

fn requested(id: u128) -> Event {
    Event::PurgeRequested(PurgeRequested {
        purge_id: Uuid::from_u128(id),
        deletion_id: Some(Uuid::from_u128(1)),
        storage_count: 1,
        callback: false,
    })
}

fn failed(id: u128) -> Event {
    Event::PurgeFailed(PurgeFailed {
        purge_id: Uuid::from_u128(id),
        objects: 0,
        bytes: 0,
        at_least: false,
        error: "unreachable".into(),
    })
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_268_800_000_000).unwrap_or_default()
}
