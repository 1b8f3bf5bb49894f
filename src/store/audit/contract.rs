//! The audit: one order, whatever is written meanwhile; filters that find what is there; attempts without a gap.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a contract that is broken says where by panicking"
)]

use super::blocks::{BLOCK, block_tokens, index_next};
use super::{
    Attempt, AttemptsWrite, AuditAction, AuditFilter, AuditPlace, AuditQuery, AuditRecord, AuditSnapshot,
    AuditStore, Order, Outcome, page,
};
use crate::clock::ManualClock;
use crate::ledger::writer::Proposal;
use crate::store::contract::{
    ContractStore, Settings, fresh_id, fresh_key, noon, proposal, purge, restore, soft_delete,
};
use archive_ledger_domain::{Command, EntityKey, EntityType, EventName};
use chrono::TimeDelta;
use futures::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A walk from one end to the other; the places in the order in which they came, and the snapshot.
async fn walk(
    store: &dyn AuditStore,
    filter: &AuditFilter,
    order: Order,
    limit: u32,
) -> (Vec<AuditRecord>, AuditSnapshot) {
    let snapshot = store.audit_snapshot().await.unwrap();
    let mut query = AuditQuery {
        filter: filter.clone(),
        snapshot,
        order,
        after: None,
        limit,
    };
    let mut walked = Vec::new();
    loop {
        let found = page(store, &query).await.unwrap();
        assert!(found.records.len() <= limit as usize, "a page is too long");
        walked.extend(found.records);
        let Some(next) = found.next else {
            return (walked, snapshot);
        };
        if let Some(before) = query.after {
            let on = match order {
                Order::Ascending => next > before,
                Order::Descending => next < before,
            };
            assert!(on, "a walk does not get on: {before:?} to {next:?}");
        }
        query.after = Some(next);
    }
}

/// Everything that there is in a snapshot, once, in order.
fn assert_whole(walked: &[AuditRecord], snapshot: AuditSnapshot, order: Order) {
    let mut places: Vec<AuditPlace> = walked.iter().map(AuditRecord::place).collect();
    if order == Order::Descending {
        places.reverse();
    }
    assert!(
        places.windows(2).all(|pair| pair[0] < pair[1]),
        "out of order, or doubled"
    );
    let events = places.iter().filter(|place| place.sequence == 0);
    let events: Vec<u64> = events.map(|place| place.position).collect();
    assert_eq!(
        events,
        (1..=snapshot.position).collect::<Vec<_>>(),
        "events are lost"
    );
    let mut attempts: Vec<u64> = places.iter().map(|place| place.sequence).collect();
    attempts.retain(|sequence| *sequence > 0);
    assert_eq!(
        attempts,
        (1..=snapshot.sequence).collect::<Vec<_>>(),
        "attempts are lost, or out of order"
    );
}

fn attempt(number: u64) -> Attempt {
    let outcome = Outcome::ALL[usize::try_from(number % 3).unwrap()];
    Attempt {
        outcome,
        action: if outcome == Outcome::Allowed {
            AuditAction::AuditRead
        } else {
            AuditAction::Event(EventName::Purged)
        },
        reason: Some("forbidden".into()),
        actor: Some(format!("actor {}", number % 5)),
        token_issuer: None,
        token_id_hash: None,
        ip: Some(format!("192.0.2.{}", number % 7)),
        user_agent: None,
        request_id: Some(format!("attempt {number}")),
        key: None,
        detail: None,
        first_at: noon(),
        last_at: noon(),
        count: 1,
    }
}

async fn add(store: &dyn AuditStore, attempts: Vec<Attempt>) -> Vec<u64> {
    let write = AttemptsWrite {
        added: attempts,
        grown: Vec::new(),
    };
    store.add_attempts(&write).await.unwrap()
}

/// The clock stands still: every event has the same time.
fn still(store: &ContractStore) -> Settings {
    Settings {
        clock: Arc::new(ManualClock::new(noon())),
        ..store.settings()
    }
}

fn by(number: u64, mut proposal: Proposal) -> Proposal {
    proposal.metadata.actor = format!("actor {}", number % 5);
    proposal.metadata.ip = Some(format!("192.0.2.{}", number % 7));
    proposal.metadata.request_id = Some(format!("request {number}"));
    proposal
}

/// Four writers append, one adds attempts, three readers page both ways meanwhile; everything has the same time.
pub async fn walks_beside_writers_miss_and_double_nothing(store: ContractStore) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 60;
    let audit = store.backend.audit();
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(store.backend.writer(still(&store)).await.start());
    }
    let reading = (0..3u32).map(|reader| {
        let (audit, done) = (Arc::clone(&audit), Arc::clone(&done));
        async move {
            let mut walks = 0;
            loop {
                // The last walk begins after the last write.
                let last = done.load(Ordering::SeqCst);
                for order in [Order::Ascending, Order::Descending] {
                    let filter = AuditFilter::default();
                    let (walked, snapshot) = walk(&*audit, &filter, order, 3 + reader * 7).await;
                    assert_whole(&walked, snapshot, order);
                }
                walks += 1;
                if last {
                    return walks;
                }
            }
        }
    });
    let writing = async {
        let commands = writers.iter().map(|writer| {
            let handle = writer.handle.clone();
            async move {
                for number in 0..EACH {
                    let key = fresh_key(EntityType::Users);
                    handle.submit(by(number, soft_delete(&key, 0))).await.unwrap();
                }
            }
        });
        let attempts = async {
            for number in 0..EACH {
                add(&*audit, vec![attempt(number), attempt(number + 1)]).await;
            }
        };
        tokio::join!(join_all(commands), attempts);
        done.store(true, Ordering::SeqCst);
    };
    let (walks, ()) = tokio::join!(join_all(reading), writing);
    assert!(walks.iter().all(|walks| *walks > 0));
    let last = audit.audit_snapshot().await.unwrap();
    assert_eq!((last.position, last.sequence), (WRITERS * EACH, EACH * 2));
    for writer in writers {
        writer.stop().await;
    }
    crate::store::log::contract::verified(&store).await;
}

/// Whether a record matches, by itself.
fn matches(filter: &AuditFilter, record: &AuditRecord) -> bool {
    let any = |empty: bool, found: bool| empty || found;
    let (outcome, action, actor, ip, request, key) = match record {
        AuditRecord::Event(event) => (
            Outcome::Allowed,
            AuditAction::Event(event.event.name()),
            Some(event.metadata.actor.clone()),
            event.metadata.ip.clone(),
            event.metadata.request_id.clone(),
            Some(event.key.clone()),
        ),
        AuditRecord::Attempt(stored) => {
            let attempt = stored.attempt.clone();
            (
                attempt.outcome,
                attempt.action,
                attempt.actor,
                attempt.ip,
                attempt.request_id,
                attempt.key,
            )
        }
        AuditRecord::Unreadable(_) => return false,
    };
    let has = |values: &[String], value: &Option<String>| {
        any(
            values.is_empty(),
            value.as_ref().is_some_and(|value| values.contains(value)),
        )
    };
    let place = record.place();
    any(filter.outcomes.is_empty(), filter.outcomes.contains(&outcome))
        && any(filter.actions.is_empty(), filter.actions.contains(&action))
        && has(&filter.actors, &actor)
        && has(&filter.ips, &ip)
        && has(&filter.request_ids, &request)
        && any(
            filter.entities.is_empty(),
            key.as_ref().is_some_and(|key| filter.entities.contains(key)),
        )
        && any(
            filter.entity_types.is_empty(),
            key.as_ref()
                .is_some_and(|key| filter.entity_types.contains(&key.entity_type())),
        )
        && filter.pos_from.is_none_or(|from| place.position >= from)
        && filter.pos_to.is_none_or(|to| place.position <= to)
}

/// Filters find exactly what matches, both ways, with no index, with one of a part of the log, and with one of all of it.
pub async fn filters_find_what_matches_however_much_is_indexed(store: ContractStore) {
    let audit = store.backend.audit();
    let rare = fresh_key(EntityType::Servers);
    let mut proposals = Vec::new();
    for number in 0..BLOCK * 16 + 40 {
        let key = match number {
            // Restored in between, so that it can be deleted again.
            9 | 500 => rare.clone(),
            _ if number % 2 == 0 => fresh_key(EntityType::Users),
            _ => fresh_key(EntityType::Projects),
        };
        proposals.push(by(number, soft_delete(&key, 0)));
        if number % 9 == 0 {
            proposals.push(by(number, restore(&key)));
        }
    }
    let rare_actor = |proposal: Proposal| {
        let mut proposal = by(1, proposal);
        proposal.metadata.actor = "rare".into();
        proposal
    };
    proposals.push(rare_actor(soft_delete(&fresh_key(EntityType::Domains), 0)));
    let (early, late) = proposals.split_at(BLOCK as usize * 9);
    store.batch(early.to_vec()).await;
    add(&*audit, (0..40).map(attempt).collect()).await;
    store.batch(late.to_vec()).await;
    add(&*audit, (40..50).map(attempt).collect()).await;
    let everything = AuditFilter::default();
    let (all, snapshot) = walk(&*audit, &everything, Order::Ascending, 1_000).await;
    assert_whole(&all, snapshot, Order::Ascending);
    let texts = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let default = AuditFilter::default;
    let filters = [
        everything,
        AuditFilter {
            actors: texts(&["actor 3"]),
            ..default()
        },
        AuditFilter {
            actors: texts(&["rare"]),
            ..default()
        },
        AuditFilter {
            actors: texts(&["nobody"]),
            ..default()
        },
        AuditFilter {
            ips: texts(&["192.0.2.1", "192.0.2.2"]),
            actors: texts(&["actor 1"]),
            ..default()
        },
        AuditFilter {
            actions: vec![AuditAction::Event(EventName::Restored)],
            ..default()
        },
        AuditFilter {
            actions: vec![AuditAction::AuditRead],
            ..default()
        },
        AuditFilter {
            outcomes: vec![Outcome::Denied, Outcome::Failed],
            ..default()
        },
        AuditFilter {
            outcomes: vec![Outcome::Allowed],
            actors: texts(&["actor 0"]),
            ..default()
        },
        AuditFilter {
            request_ids: texts(&["request 300", "attempt 5"]),
            ..default()
        },
        AuditFilter {
            entity_types: vec![EntityType::Servers],
            ..default()
        },
        AuditFilter {
            entity_types: vec![EntityType::Users],
            pos_from: Some(250),
            pos_to: Some(262),
            ..default()
        },
        AuditFilter {
            entities: vec![rare],
            ..default()
        },
        AuditFilter {
            pos_from: Some(snapshot.position + 1),
            ..default()
        },
    ];
    let mut indexed = 0;
    loop {
        for filter in &filters {
            for (order, limit) in [
                (Order::Ascending, 1_000),
                (Order::Ascending, 7),
                (Order::Descending, 1_000),
                (Order::Descending, 5),
            ] {
                let (walked, _) = walk(&*audit, filter, order, limit).await;
                let walked: Vec<AuditPlace> = walked.iter().map(AuditRecord::place).collect();
                let mut expected: Vec<AuditPlace> = all
                    .iter()
                    .filter(|record| matches(filter, record))
                    .map(AuditRecord::place)
                    .collect();
                if order == Order::Descending {
                    expected.reverse();
                }
                assert_eq!(
                    walked, expected,
                    "{filter:?} {order:?} {limit}, {indexed} blocks indexed"
                );
            }
        }
        let before = audit.indexed_blocks().await.unwrap();
        if before == snapshot.position / BLOCK {
            break;
        }
        if before == 0 {
            // A part only, as when the index is behind.
            let first = block_tokens(&*audit, 0, 1).await.unwrap().concat();
            let entries: Vec<_> = first.into_iter().map(|token| (token, 0)).collect();
            audit.add_blocks(0, 1, &entries).await.unwrap();
        } else {
            let waiting = snapshot.position / BLOCK - before;
            assert!(!index_next(&*audit, snapshot.position, waiting + 1).await.unwrap());
            assert_eq!(
                audit.indexed_blocks().await.unwrap(),
                before,
                "there are not so many"
            );
            while index_next(&*audit, snapshot.position, 1).await.unwrap() {}
        }
        indexed = audit.indexed_blocks().await.unwrap();
        assert!(indexed > before, "the index does not get on");
        // Whoever was slower adds nothing twice.
        audit.add_blocks(0, 1, &[(1, 0)]).await.unwrap();
        assert_eq!(audit.indexed_blocks().await.unwrap(), indexed);
    }
    let more = index_next(&*audit, snapshot.position, 1).await.unwrap();
    assert!(!more, "nothing is left to index");
}

/// Sequences have no gap and positions never go back along them, however many add at once; a row grows in place.
pub async fn attempts_have_no_gap_and_stand_where_they_were_written(store: ContractStore) {
    let audit = store.backend.audit();
    let writer = store.writer().await;
    let key = fresh_key(EntityType::Users);
    let adding = (0..4).map(|_| async {
        for number in 0..20 {
            add(&*audit, vec![attempt(number)]).await;
        }
    });
    let appending = async {
        for _ in 0..20 {
            writer.handle.submit(soft_delete(&key, 0)).await.unwrap();
            writer.handle.submit(restore(&key)).await.unwrap();
        }
    };
    tokio::join!(join_all(adding), appending);
    writer.stop().await;
    let (walked, snapshot) = walk(&*audit, &AuditFilter::default(), Order::Ascending, 11).await;
    assert_eq!((snapshot.position, snapshot.sequence), (40, 80));
    assert_whole(&walked, snapshot, Order::Ascending);

    let later = noon() + TimeDelta::seconds(30);
    let write = AttemptsWrite {
        added: vec![attempt(1)],
        grown: vec![(3, 9, later), (80, 1, later)],
    };
    assert_eq!(audit.add_attempts(&write).await.unwrap(), [81]);
    let (grown, _) = walk(&*audit, &AuditFilter::default(), Order::Descending, 500).await;
    let grown = grown.iter().find_map(|record| match record {
        AuditRecord::Attempt(stored) if stored.place.sequence == 3 => Some(stored.attempt.clone()),
        AuditRecord::Attempt(_) | AuditRecord::Event(_) | AuditRecord::Unreadable(_) => None,
    });
    let grown = grown.unwrap();
    assert_eq!((grown.count, grown.first_at, grown.last_at), (10, noon(), later));
    // All or none.
    let broken = AttemptsWrite {
        added: vec![attempt(1)],
        grown: vec![(1_000, 1, later)],
    };
    assert!(audit.add_attempts(&broken).await.is_err());
    assert_eq!(audit.audit_snapshot().await.unwrap().sequence, 81);
    let during = AuditFilter {
        from: Some(later),
        to: Some(later + TimeDelta::seconds(1)),
        outcomes: vec![Outcome::Allowed, Outcome::Denied, Outcome::Failed],
        actors: vec!["actor 2".into()],
        ..AuditFilter::default()
    };
    let (found, _) = walk(&*audit, &during, Order::Ascending, 500).await;
    let mut found = found.iter().map(|record| record.place().sequence);
    assert!(found.all(|sequence| [3, 80].contains(&sequence)));
}

/// Times find the positions between them, also where many events share one.
pub async fn a_time_finds_its_positions_however_many_share_it(store: ContractStore) {
    let clock = Arc::new(ManualClock::new(noon()));
    let audit = store.backend.audit();
    let settings = Settings {
        clock: Arc::<ManualClock>::clone(&clock),
        ..store.settings()
    };
    for _ in 0..3 {
        let proposals = (0..10).map(|_| soft_delete(&fresh_key(EntityType::Users), 0));
        store.batch_with(settings.clone(), proposals.collect()).await;
        clock.advance(TimeDelta::seconds(1));
    }
    let at = |seconds| noon() + TimeDelta::seconds(seconds);
    for (time, position) in [
        (at(-1), 0),
        (at(0), 0),
        (at(0) + TimeDelta::microseconds(1), 10),
        (at(1), 10),
        (at(2), 20),
        (at(3), 30),
        (at(1_000_000), 30),
    ] {
        assert_eq!(audit.position_before(time, 30).await.unwrap(), position, "{time}");
    }
    assert_eq!(audit.position_before(at(3), 15).await.unwrap(), 15);
    assert_eq!(audit.position_before(at(3), 0).await.unwrap(), 0);
    let filter = AuditFilter {
        from: Some(at(1)),
        to: Some(at(2)),
        ..AuditFilter::default()
    };
    let (walked, _) = walk(&*audit, &filter, Order::Descending, 3).await;
    let positions: Vec<u64> = walked.iter().map(|record| record.place().position).collect();
    assert_eq!(positions, (11..=20).rev().collect::<Vec<_>>());
}

/// What stands behind an event is there as it was recorded, and outlives a purge.
pub async fn the_context_of_an_event_outlives_its_purge(store: ContractStore) {
    let key: EntityKey = fresh_key(EntityType::Users);
    let mut asked = purge(&key);
    asked.metadata.reason_code = Some("gdpr-17".into());
    asked.metadata.causation_id = Some(fresh_id());
    let expected = asked.metadata.clone();
    store.batch(vec![soft_delete(&key, 0), asked]).await;
    let refused = store.one(proposal(&key, Command::Restore)).await;
    assert!(refused.is_err());
    let filter = AuditFilter {
        entities: vec![key],
        ..AuditFilter::default()
    };
    let (walked, _) = walk(&*store.backend.audit(), &filter, Order::Descending, 10).await;
    let metadata: Vec<_> = walked
        .iter()
        .filter_map(|record| match record {
            AuditRecord::Event(event) => Some(event.metadata.clone()),
            AuditRecord::Attempt(_) | AuditRecord::Unreadable(_) => None,
        })
        .collect();
    assert_eq!(metadata.len(), 3);
    assert_eq!(metadata[..2], [expected.clone(), expected]);
}
