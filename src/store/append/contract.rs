//! Appending: concurrency, refusals, conditions and what the store cannot hold.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a contract that is broken says where by panicking"
)]

pub mod erasure;
pub mod idempotency;

use crate::clock::ManualClock;
use crate::ledger::writer::{CommandError, Decision, Proposal, Receipt, WriterHandle};
use crate::store::StoredEvent;
use crate::store::contract::{
    ContractStore, fresh_id, fresh_key, minutes, noon, proposal, purge, register, restore, soft_delete,
};
use crate::store::log::contract::verified;
use archive_ledger_domain::{
    Action, Command, EntityKey, EntityType, Event, EventName, PurgeFailed, Rejection, State,
};
use futures::future::join_all;
use std::sync::Arc;

/// A submitter's part: it deletes and restores entities that others delete and restore too. Returns what was acknowledged.
async fn submit_some(
    handle: WriterHandle,
    keys: Vec<EntityKey>,
    number: usize,
    rounds: usize,
) -> Vec<Receipt> {
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let key = &keys[(number * 7 + round * 3) % keys.len()];
        let wanted = if (number / 4 + round).is_multiple_of(2) {
            soft_delete(key, 1)
        } else {
            restore(key)
        };
        match handle.submit(wanted).await {
            Ok(receipt) => acknowledged.push(receipt),
            Err(CommandError::Rejected(Rejection::WrongState { .. } | Rejection::Unknown)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    acknowledged
}

/// Each acknowledgement is one event, at the position and with the version that the receipt says.
fn assert_acknowledged(log: &[StoredEvent], acknowledged: &[Receipt]) {
    assert_eq!(
        log.len(),
        acknowledged.len(),
        "as many events as acknowledgements"
    );
    for receipt in acknowledged {
        let position = receipt.position.unwrap();
        let event = &log[usize::try_from(position).unwrap() - 1];
        assert_eq!(Some(event.event_id), receipt.event_id);
        assert_eq!(event.sequence, receipt.version);
        assert_eq!(event.recorded_at, receipt.recorded_at);
    }
}

/// 64 submitters on 20 entities: no gap, nothing lost, nothing twice.
pub async fn concurrent_submitters_leave_no_gap(store: ContractStore) {
    let writer = store.writer().await;
    let keys: Vec<_> = (0..20).map(|_| fresh_key(EntityType::Environments)).collect();
    let tasks = (0..64)
        .map(|number| tokio::spawn(submit_some(writer.handle.clone(), keys.clone(), number, 6)))
        .collect::<Vec<_>>();
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    let head = store.reads.head().await.unwrap().position;
    assert_eq!(
        *writer.handle.committed().borrow(),
        head,
        "readers are told how far the log goes"
    );
    writer.stop().await;
    let log = verified(&store).await;
    assert!(
        log.len() > keys.len(),
        "entities were deleted and restored, again and again"
    );
    assert_acknowledged(&log, &acknowledged);
}

/// Three writers with connections of their own, as three instances have them, on the same entities.
pub async fn several_writers_on_one_database_leave_no_gap(store: ContractStore) {
    let keys: Vec<_> = (0..10).map(|_| fresh_key(EntityType::Servers)).collect();
    let writers = join_all((0..3).map(|_| store.writer())).await;
    let tasks = (0..24)
        .map(|number| {
            let handle = writers[number % 3].handle.clone();
            tokio::spawn(submit_some(handle, keys.clone(), number, 8))
        })
        .collect::<Vec<_>>();
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    for writer in writers {
        writer.stop().await;
    }
    let log = verified(&store).await;
    assert!(
        log.len() > keys.len(),
        "entities were deleted and restored, again and again"
    );
    assert_acknowledged(&log, &acknowledged);
}

/// A soft-delete that comes alone is told what stands, whichever state its entity is in and whichever writer left it there: it is taken
/// for that of a new entity, and found out.
pub async fn a_soft_delete_that_comes_alone_finds_what_stands(store: ContractStore) {
    let writers = [store.writer().await, store.writer().await];
    let submit = |number: usize, one| writers[number % 2].handle.submit(one);
    let (deleted, restored, purged) = (
        fresh_key(EntityType::Backups),
        fresh_key(EntityType::Users),
        fresh_key(EntityType::Domains),
    );
    for (number, one) in [
        soft_delete(&deleted, 0),
        soft_delete(&restored, 0),
        soft_delete(&purged, 0),
        restore(&restored),
        purge(&purged),
    ]
    .into_iter()
    .enumerate()
    {
        submit(number, one).await.unwrap();
    }
    for number in 0..4 {
        let again = submit(number, soft_delete(&deleted, 0)).await;
        assert!(
            matches!(
                again,
                Err(CommandError::Rejected(Rejection::WrongState {
                    state: State::Archived,
                    ..
                }))
            ),
            "{again:?}"
        );
        let gone = submit(number, soft_delete(&purged, 0)).await;
        assert!(
            matches!(gone, Err(CommandError::Rejected(Rejection::Purged))),
            "{gone:?}"
        );
        let new = submit(number, soft_delete(&fresh_key(EntityType::Backups), 0))
            .await
            .unwrap();
        assert_eq!(new.version, 1);
    }
    assert_eq!(submit(1, soft_delete(&restored, 0)).await.unwrap().version, 3);
    for writer in writers {
        writer.stop().await;
    }
    let log = verified(&store).await;
    assert_eq!(
        log.len(),
        11,
        "six events of the three, four new ones, and the last"
    );
    assert_eq!(
        store.reads.summary().await.unwrap().get(&EntityType::Backups),
        Some(&5)
    );
}

/// A writer that stops has recorded what waited; what comes after is told so.
pub async fn a_writer_that_stops_records_what_waits(store: ContractStore) {
    let keys: Vec<_> = (0..30).map(|_| fresh_key(EntityType::Domains)).collect();
    let mut settings = store.settings();
    settings.max_batch = 4;
    let idle = store.backend.writer(settings).await;
    let handle = idle.handle.clone();
    let waiting = join_all(keys.iter().map(|key| handle.submit(soft_delete(key, 0))));
    let (answers, running) = tokio::join!(waiting, async {
        let running = idle.start();
        running.stop.cancel();
        running
    });
    for answer in answers {
        answer.unwrap();
    }
    running.stop().await;
    let late = handle
        .submit(soft_delete(&fresh_key(EntityType::Domains), 0))
        .await;
    assert!(matches!(late, Err(CommandError::Stopping)), "{late:?}");
    assert_eq!(verified(&store).await.len(), 30);
}

/// A refusal in the middle of a batch costs nobody anything.
pub async fn a_refused_command_leaves_its_neighbours_and_the_log_untouched(store: ContractStore) {
    let (one, two, three) = (
        fresh_key(EntityType::Users),
        fresh_key(EntityType::Projects),
        fresh_key(EntityType::Archives),
    );
    let answers = store
        .batch(vec![
            soft_delete(&one, 0),
            soft_delete(&one, 0),
            restore(&two),
            register(&three, 0),
            register(&three, 0),
            purge(&two),
            restore(&one),
        ])
        .await;
    let refusals: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(_) => None,
            Err(CommandError::Rejected(rejection)) => Some(rejection.clone()),
            Err(error) => panic!("{error:?}"),
        })
        .collect();
    let wrong = |action, state| Some(Rejection::WrongState { action, state });
    assert_eq!(
        refusals,
        [
            None,
            wrong(Action::SoftDelete, State::Archived),
            Some(Rejection::Unknown),
            None,
            wrong(Action::Register, State::Live),
            Some(Rejection::Unknown),
            None,
        ]
    );
    let names: Vec<_> = verified(&store)
        .await
        .iter()
        .map(|event| event.event.name())
        .collect();
    assert_eq!(
        names,
        [EventName::SoftDeleted, EventName::Registered, EventName::Restored]
    );
    assert!(store.reads.stream(&two).await.unwrap().is_none());
    let head = store.reads.head().await.unwrap();
    let again = store.batch(vec![restore(&one), restore(&two)]).await;
    assert!(
        again
            .iter()
            .all(|answer| matches!(answer, Err(CommandError::Rejected(_))))
    );
    assert_eq!(
        store.reads.head().await.unwrap(),
        head,
        "refusals alone write nothing"
    );
}

/// A command that changes nothing is acknowledged without a position.
pub async fn a_command_that_changes_nothing_is_acknowledged_without_an_event(store: ContractStore) {
    let key = fresh_key(EntityType::Archives);
    store.one(register(&key, 1)).await.unwrap();
    let requested = store.one(purge(&key)).await.unwrap();
    let joining = Command::RequestPurge {
        purge_id: fresh_id(),
        entity_type: EntityType::Archives,
        callback: false,
        join: true,
    };
    let joined = store.one(proposal(&key, joining)).await.unwrap();
    assert_eq!((joined.position, joined.event_id), (None, None));
    assert_eq!(
        (joined.version, joined.state, joined.purge_id),
        (2, State::Purging, requested.purge_id)
    );
    assert_eq!(verified(&store).await.len(), 2);
}

/// `If-Match`: another version is refused and told, in one batch and across batches.
pub async fn another_version_than_the_expected_one_is_refused_and_told(store: ContractStore) {
    let key = fresh_key(EntityType::Backups);
    let expecting = |version: u64, proposal| Proposal {
        expected_version: Some(version.into()),
        ..proposal
    };
    let mismatch = |answer: &Result<Receipt, CommandError>| match answer {
        Err(CommandError::VersionMismatch { actual }) => Some(*actual),
        _ => None,
    };
    let first = store.one(expecting(1, soft_delete(&key, 0))).await;
    assert_eq!(
        mismatch(&first),
        Some(0),
        "an unknown entity has version 0: {first:?}"
    );
    let answers = store
        .batch(vec![
            expecting(0, soft_delete(&key, 0)),
            expecting(0, restore(&key)),
            expecting(1, restore(&key)),
            expecting(1, soft_delete(&key, 0)),
        ])
        .await;
    let told: Vec<_> = answers.iter().map(mismatch).collect();
    assert_eq!(told, [None, Some(1), None, Some(2)]);
    let later = store.batch(vec![expecting(1, soft_delete(&key, 0))]).await;
    assert_eq!(mismatch(&later[0]), Some(2));
    assert_eq!(verified(&store).await.len(), 2);
}

/// What the database refuses fails alone, and its neighbours are recorded without a gap.
pub async fn a_command_that_the_store_cannot_hold_fails_alone(store: ContractStore) {
    let good: Vec<_> = (0..4).map(|_| fresh_key(EntityType::Instances)).collect();
    // A failure of a purge that nobody asked for: there is no row of purge work to mark.
    let orphan = fresh_key(EntityType::Instances);
    let poison = Proposal {
        decision: Decision::Events(vec![Event::PurgeFailed(PurgeFailed {
            purge_id: fresh_id(),
            objects: 0,
            bytes: 0,
            at_least: false,
            error: "nobody asked".into(),
        })]),
        ..proposal(&orphan, Command::Restore)
    };
    // PostgreSQL has no text with U+0000; SQLite does.
    let nul = fresh_key(EntityType::Instances);
    let mut zero = soft_delete(&nul, 0);
    zero.metadata.actor = "nul\0actor".into();
    zero.metadata.user_agent = Some("nul\0agent".into());
    zero.metadata.request_id = Some("nul\0request".into());
    let answers = store
        .batch(vec![
            soft_delete(&good[0], 0),
            poison,
            soft_delete(&good[1], 1),
            zero.clone(),
            soft_delete(&good[2], 0),
        ])
        .await;
    for number in [0, 2, 4] {
        assert!(answers[number].is_ok(), "{:?}", answers[number]);
    }
    assert!(
        matches!(answers[1], Err(CommandError::Store(_))),
        "{:?}",
        answers[1]
    );
    assert!(store.reads.stream(&orphan).await.unwrap().is_none());
    let held = match &answers[3] {
        Ok(_) => {
            let stream = store.reads.stream(&nul).await.unwrap().unwrap();
            assert_eq!(
                stream.events[0].metadata, zero.metadata,
                "what is held is held whole"
            );
            1
        }
        Err(CommandError::Store(_)) => {
            assert!(store.reads.stream(&nul).await.unwrap().is_none());
            0
        }
        Err(error) => panic!("{error:?}"),
    };
    store.one(soft_delete(&good[3], 0)).await.unwrap();
    assert_eq!(verified(&store).await.len(), 4 + held);
}

/// The machine's clock jumps back; the log's time does not.
pub async fn recording_times_never_go_back_even_where_the_clock_does(store: ContractStore) {
    let clock = Arc::new(ManualClock::new(noon()));
    let mut settings = store.settings();
    settings.clock = clock.clone();
    let mut times = Vec::new();
    for jump in [0, 5, -60, 1, 120] {
        clock.advance(minutes(jump));
        let key = fresh_key(EntityType::Users);
        let answers = store
            .batch_with(settings.clone(), vec![soft_delete(&key, 0), restore(&key)])
            .await;
        let batch: Vec<_> = answers
            .into_iter()
            .map(|answer| answer.unwrap().recorded_at)
            .collect();
        assert_eq!(batch[0], batch[1], "a batch has one time");
        times.push(batch[0] - noon());
    }
    assert_eq!(
        times,
        [minutes(0), minutes(5), minutes(5), minutes(5), minutes(66)]
    );
    verified(&store).await;
}
