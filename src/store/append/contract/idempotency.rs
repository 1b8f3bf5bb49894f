//! Idempotency keys: the same request gets the same answer, however often and wherever it is sent.

use crate::ledger::writer::{CommandError, Decision, Proposal};
use crate::store::contract::{ContractStore, fresh_key, idempotency, proposal, purge, restore, soft_delete};
use crate::store::log::contract::verified;
use archive_ledger_domain::{Action, Command, EntityKey, EntityType, Event, Registered, Rejection, State};
use futures::future::join_all;

fn keyed(key: u8, request: u8, proposal: Proposal) -> Proposal {
    Proposal {
        idempotency: idempotency(key, request),
        ..proposal
    }
}

/// The same key and body: the same receipt, from the same writer, from another, and after a restart.
pub async fn the_same_request_gets_the_same_receipt_across_writers(store: ContractStore) {
    let key = fresh_key(EntityType::Users);
    // Each repetition comes with fresh ids, as the application makes them: those of the first one count.
    let ask = || keyed(1, 1, soft_delete(&key, 1));
    let first = store.one(ask()).await.unwrap();
    let again = store.one(ask()).await.unwrap();
    assert_eq!(again, first);
    store.one(restore(&key)).await.unwrap();
    let later = store.one(ask()).await.unwrap();
    assert_eq!(later, first, "the answer is the one of then, not of now");

    let other = store.one(keyed(1, 2, soft_delete(&key, 1))).await;
    assert!(
        matches!(other, Err(CommandError::IdempotencyKeyReused)),
        "{other:?}"
    );
    let elsewhere = store.one(keyed(2, 1, soft_delete(&key, 1))).await.unwrap();
    assert_ne!(elsewhere, first, "another key is another request");
    assert_eq!(verified(&store).await.len(), 3);
}

/// A refusal is an answer too, and it stays the answer when the state has changed.
pub async fn a_refusal_is_remembered(store: ContractStore) {
    let key = fresh_key(EntityType::Projects);
    let ask = || keyed(7, 7, restore(&key));
    let refused = |answer: Result<_, CommandError>| match answer {
        Err(CommandError::Rejected(rejection)) => rejection,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(store.one(ask()).await), Rejection::Unknown);
    store.one(soft_delete(&key, 0)).await.unwrap();
    assert_eq!(refused(store.one(ask()).await), Rejection::Unknown);

    let wrong = || keyed(8, 8, soft_delete(&key, 0));
    let expected = Rejection::WrongState {
        action: Action::SoftDelete,
        state: State::Archived,
    };
    assert_eq!(refused(store.one(wrong()).await), expected);
    assert_eq!(refused(store.one(wrong()).await), expected);
    assert_eq!(verified(&store).await.len(), 1);
}

/// What may turn out differently next time is decided again: conditions, and failures of the store.
pub async fn a_mismatch_and_a_failure_are_not_remembered(store: ContractStore) {
    let key = fresh_key(EntityType::Servers);
    let ask = || Proposal {
        expected_version: Some(1.into()),
        ..keyed(3, 3, restore(&key))
    };
    let mismatch = store.one(ask()).await;
    assert!(
        matches!(mismatch, Err(CommandError::VersionMismatch { actual: 0 })),
        "{mismatch:?}"
    );
    store.one(soft_delete(&key, 0)).await.unwrap();
    store.one(ask()).await.unwrap();

    let other = fresh_key(EntityType::Servers);
    let failing = || Proposal {
        // A failed purge that nobody asked for cannot be stored.
        decision: Decision::Events(vec![Event::PurgeFailed(archive_ledger_domain::PurgeFailed {
            purge_id: crate::store::contract::fresh_id(),
            objects: 0,
            bytes: 0,
            at_least: false,
            error: String::new(),
        })]),
        ..keyed(4, 4, proposal(&other, Command::Restore))
    };
    for _ in 0..2 {
        let failed = store.one(failing()).await;
        assert!(matches!(failed, Err(CommandError::Store(_))), "{failed:?}");
    }
    let stored = store
        .one(Proposal {
            decision: Decision::Events(vec![Event::Registered(Registered {
                dataset_id: None,
                space_id: None,
                storage_count: 0,
                callback: false,
            })]),
            ..failing()
        })
        .await;
    assert!(stored.is_ok(), "{stored:?}");
    assert_eq!(verified(&store).await.len(), 3);
}

/// Twice in one batch: recorded once, answered twice.
pub async fn a_request_that_comes_twice_in_one_batch_is_recorded_once(store: ContractStore) {
    let (one, two) = (fresh_key(EntityType::Users), fresh_key(EntityType::Users));
    let answers = store
        .batch(vec![
            keyed(1, 1, soft_delete(&one, 0)),
            keyed(1, 1, soft_delete(&one, 0)),
            keyed(1, 2, restore(&one)),
            keyed(2, 1, restore(&two)),
            soft_delete(&two, 0),
            keyed(2, 1, restore(&two)),
        ])
        .await;
    assert_eq!(answers[0].as_ref().unwrap(), answers[1].as_ref().unwrap());
    assert!(matches!(answers[2], Err(CommandError::IdempotencyKeyReused)));
    for number in [3, 5] {
        assert!(
            matches!(answers[number], Err(CommandError::Rejected(Rejection::Unknown))),
            "{:?}",
            answers[number]
        );
    }
    assert_eq!(verified(&store).await.len(), 2);
}

/// Many instances get the same request at once, as a client's retries may reach them.
pub async fn a_request_that_reaches_several_writers_at_once_is_recorded_once(store: ContractStore) {
    let writers = join_all((0..3).map(|_| store.writer())).await;
    let keys: Vec<EntityKey> = (0..8).map(|_| fresh_key(EntityType::Backups)).collect();
    let asked = writers.iter().flat_map(|writer| {
        keys.iter()
            .zip(0_u8..)
            .map(|(key, number)| writer.handle.submit(keyed(number, number, soft_delete(key, 0))))
    });
    let answers: Vec<_> = join_all(asked)
        .await
        .into_iter()
        .map(|answer| answer.unwrap())
        .collect();
    let (first, rest) = answers.split_at(keys.len());
    for others in rest.chunks(keys.len()) {
        assert_eq!(others, first);
    }
    for writer in writers {
        writer.stop().await;
    }
    assert_eq!(verified(&store).await.len(), keys.len());
}

/// An answer outlives what it was about: it holds no personal data that a purge would have to take.
pub async fn an_answer_outlives_the_purge_of_its_entity(store: ContractStore) {
    let key = fresh_key(EntityType::Users);
    let deleted = store.one(keyed(1, 1, soft_delete(&key, 0))).await.unwrap();
    let purged = store.one(keyed(2, 2, purge(&key))).await.unwrap();
    assert_eq!(purged.state, State::Purged);
    assert_eq!(
        store.one(keyed(1, 1, soft_delete(&key, 0))).await.unwrap(),
        deleted
    );
    assert_eq!(store.one(keyed(2, 2, purge(&key))).await.unwrap(), purged);
    assert_eq!(verified(&store).await.len(), 3);
}
