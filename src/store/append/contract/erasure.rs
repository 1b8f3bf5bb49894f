//! Purges: what is owed until the storage is clean, and what is gone for good after it.

use crate::ledger::writer::{CommandError, Decision, Proposal};
use crate::store::contract::{
    ContractStore, Traces, cleaned, details, fresh_id, fresh_key, gave_up, proposal, purge, register, report,
    restore, soft_delete,
};
use crate::store::log::contract::verified;
use crate::store::{ListPage, StoredEvent};
use archive_ledger_domain::{
    Command, EntityKey, EntityType, Event, EventName, Rejection, SoftDeleted, State,
};

/// What a purged entity leaves behind: its fence.
const ERASED: Traces = Traces {
    keys: 0,
    fences: 1,
    sealed: 0,
    listed: 0,
    owed: 0,
};

async fn assert_erased(store: &ContractStore, key: &EntityKey) {
    assert_eq!(store.traces_of(key).await, ERASED, "{key}");
    let stream = store.reads.stream(key).await.unwrap().unwrap();
    assert!(stream.data_key.is_none());
    assert!(stream.events.iter().all(|event| event.sealed.is_none()));
    let page = store
        .reads
        .list(key.entity_type(), &ListPage::Offset(0), 100)
        .await
        .unwrap();
    assert!(page.rows.iter().all(|row| row.key != *key));
    let commands = [soft_delete(key, 0), restore(key), purge(key), register(key, 0)];
    for answer in store.batch(commands.to_vec()).await {
        assert!(
            matches!(answer, Err(CommandError::Rejected(Rejection::Purged))),
            "{answer:?}"
        );
    }
}

fn entry_has(event: &StoredEvent, field: &str) -> bool {
    let entry: serde_json::Value = serde_json::from_slice(&event.entry).unwrap();
    entry.get(field).is_some()
}

/// Without storage a purge is done with its request, and takes key, sealed details and list row along.
pub async fn a_purge_without_storage_erases_at_once(store: ContractStore) {
    let key = fresh_key(EntityType::Users);
    let neighbour = fresh_key(EntityType::Users);
    store
        .batch(vec![
            soft_delete(&key, 0),
            restore(&key),
            soft_delete(&key, 0),
            soft_delete(&neighbour, 0),
        ])
        .await;
    let before = store.traces_of(&key).await;
    assert_eq!(
        before,
        Traces {
            keys: 1,
            fences: 0,
            sealed: 2,
            listed: 1,
            owed: 0
        }
    );
    let receipt = store.one(purge(&key)).await.unwrap();
    assert_eq!(
        (receipt.state, receipt.version, receipt.position),
        (State::Purged, 5, Some(6))
    );
    assert_erased(&store, &key).await;
    let left = store.traces_of(&neighbour).await;
    assert_eq!((left.keys, left.sealed, left.listed), (1, 1, 1));
    let log = verified(&store).await;
    assert!(
        entry_has(&log[0], "c") && entry_has(&log[0], "kid"),
        "the commitment outlives what it commits to"
    );
}

/// A batch that deletes and purges writes neither the key that it minted nor what it sealed.
pub async fn an_entity_that_is_deleted_and_purged_in_one_batch_leaves_nothing_sealed(store: ContractStore) {
    let key = fresh_key(EntityType::Backups);
    let neighbour = fresh_key(EntityType::Backups);
    let known = fresh_key(EntityType::Backups);
    store.one(soft_delete(&known, 0)).await.unwrap();
    let answers = store
        .batch(vec![
            soft_delete(&neighbour, 0),
            soft_delete(&key, 0),
            purge(&key),
            soft_delete(&key, 0),
            restore(&known),
            soft_delete(&known, 0),
            purge(&known),
            restore(&neighbour),
        ])
        .await;
    let outcomes: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(outcomes, [true, true, true, false, true, true, true, true]);
    assert_erased(&store, &key).await;
    assert_erased(&store, &known).await;
    let left = store.traces_of(&neighbour).await;
    assert_eq!((left.keys, left.fences, left.sealed), (1, 0, 1));
    verified(&store).await;
}

/// With storage the entity is owed until the cleanup is done; only then its key goes.
pub async fn a_purge_with_storage_is_owed_until_its_cleanup_is_done(store: ContractStore) {
    let keys: Vec<_> = (0..3).map(|_| fresh_key(EntityType::Archives)).collect();
    for key in &keys {
        store.one(register(key, 2)).await.unwrap();
    }
    let mut purges = Vec::new();
    for key in &keys {
        let receipt = store.one(purge(key)).await.unwrap();
        assert_eq!(receipt.state, State::Purging);
        purges.push(receipt.purge_id.unwrap());
    }
    let owed = store.owed_purges(0, 10).await;
    assert_eq!(
        owed.iter().map(|purge| purge.purge_id).collect::<Vec<_>>(),
        purges,
        "oldest first"
    );
    let log = verified(&store).await;
    for (owed, key) in owed.iter().zip(&keys) {
        let event = &log[usize::try_from(owed.position).unwrap() - 1];
        assert_eq!(
            (owed.event_id, &owed.key, owed.requested_at, owed.state),
            (event.event_id, key, event.recorded_at, State::Purging)
        );
        assert_eq!(event.event.name(), EventName::PurgeRequested);
    }
    let page = store.owed_purges(owed[0].position, 1).await;
    assert_eq!(page, owed[1..2]);

    // The details are still there: the cleanup needs the URIs.
    let stream = store.reads.stream(&keys[0]).await.unwrap().unwrap();
    let stream_id = keys[0].stream_id();
    let data_key = store
        .keyring
        .unwrap(&stream_id, &stream.data_key.unwrap())
        .unwrap();
    let registered = &stream.events[0];
    let (opened, _) = data_key
        .open_details(
            &stream_id,
            registered.event_id,
            registered.sealed.as_ref().unwrap(),
        )
        .unwrap();
    assert_eq!(opened.storage, details(&keys[0], 2).storage);

    store.one(report(&keys[0], purges[0], cleaned())).await.unwrap();
    store.one(report(&keys[1], purges[1], gave_up())).await.unwrap();
    let stale = store.one(report(&keys[2], purges[0], cleaned())).await;
    assert!(
        matches!(stale, Err(CommandError::Rejected(Rejection::StalePurge))),
        "{stale:?}"
    );
    assert_erased(&store, &keys[0]).await;
    let owed = store.owed_purges(0, 10).await;
    assert_eq!(
        owed.iter()
            .map(|purge| (purge.purge_id, purge.state))
            .collect::<Vec<_>>(),
        [(purges[1], State::PurgeFailed), (purges[2], State::Purging)]
    );

    // A failed purge is asked for again, with a new id at a new place, and may then succeed.
    let again = store.one(purge(&keys[1])).await.unwrap();
    let owed = store.owed_purges(0, 10).await;
    assert_eq!(owed.last().map(|purge| purge.purge_id), again.purge_id);
    assert_eq!(owed.last().map(|purge| purge.state), Some(State::Purging));
    store
        .one(report(&keys[1], again.purge_id.unwrap(), cleaned()))
        .await
        .unwrap();
    let repeated = store
        .one(report(&keys[1], again.purge_id.unwrap(), cleaned()))
        .await
        .unwrap();
    assert_eq!(
        repeated.position, None,
        "a report that is told again changes nothing"
    );
    assert_erased(&store, &keys[1]).await;
    verified(&store).await;
}

/// Requested and failed, failed and requested again, in one batch: the work says what came last.
pub async fn purge_work_folds_within_a_batch(store: ContractStore) {
    let (one, two) = (fresh_key(EntityType::Archives), fresh_key(EntityType::Archives));
    let purge_ids = [fresh_id(), fresh_id()];
    let request = |key: &EntityKey, purge_id| {
        proposal(
            key,
            Command::RequestPurge {
                purge_id,
                entity_type: EntityType::Archives,
                callback: false,
                join: false,
            },
        )
    };
    let answers = store
        .batch(vec![
            register(&one, 1),
            request(&one, purge_ids[0]),
            report(&one, purge_ids[0], gave_up()),
            register(&two, 1),
            request(&two, purge_ids[0]),
            report(&two, purge_ids[0], cleaned()),
        ])
        .await;
    for answer in answers {
        answer.unwrap();
    }
    let owed = store.owed_purges(0, 10).await;
    assert_eq!(owed.len(), 1);
    assert_eq!((&owed[0].key, owed[0].state), (&one, State::PurgeFailed));
    store
        .batch(vec![
            request(&one, purge_ids[1]),
            report(&one, purge_ids[1], gave_up()),
            request(&one, purge_ids[0]),
        ])
        .await;
    let owed = store.owed_purges(0, 10).await;
    assert_eq!((owed[0].purge_id, owed[0].state), (purge_ids[0], State::Purging));
    verified(&store).await;
}

/// The fence holds even for events that were decided elsewhere: nothing is sealed for an erased entity again.
pub async fn nothing_is_sealed_for_an_erased_entity_again(store: ContractStore) {
    let key = fresh_key(EntityType::Users);
    store.batch(vec![soft_delete(&key, 0), purge(&key)]).await;
    let before = store.reads.head().await.unwrap();
    let forced = Proposal {
        decision: Decision::Events(vec![Event::SoftDeleted(SoftDeleted {
            deletion_id: fresh_id(),
            deleted_at: crate::store::contract::noon(),
            parent: None,
            storage_count: 0,
        })]),
        ..soft_delete(&key, 0)
    };
    let answer = store.one(forced).await;
    assert!(matches!(answer, Err(CommandError::Store(_))), "{answer:?}");
    assert_eq!(store.reads.head().await.unwrap(), before);
    assert_erased(&store, &key).await;
}
