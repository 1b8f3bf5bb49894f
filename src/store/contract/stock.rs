//! The stock side of `cqrs-es`: aggregates loaded by its event store, commits that conflict, streams.

use super::{ContractStore, fresh_key, noon, purge, register, restore, soft_delete};
use crate::store::log::contract::verified;
use archive_ledger_domain::{
    ArchivedEntity, Command, EntityType, Event, EventName, Rejection, State, upcasters,
};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use cqrs_es::{Aggregate, AggregateError, CqrsFramework, EventStore};
use std::collections::HashMap;
use std::sync::Arc;

/// More events than the repository reads from the log at a time.
const MANY: usize = 1_050;

/// The event store of `cqrs-es` loads what the writer wrote.
pub async fn the_stock_event_store_loads_what_the_writer_wrote(store: ContractStore) {
    let writer = store.writer().await;
    let repository = store
        .backend
        .repository(writer.handle.clone(), Arc::clone(&store.clock));
    let events =
        PersistedEventStore::<_, ArchivedEntity>::new_event_store(repository).with_upcasters(upcasters());
    let key = fresh_key(EntityType::Archives);
    let stream_id = key.stream_id();

    let unknown = events.load_aggregate(&stream_id).await.unwrap();
    assert_eq!(
        (unknown.aggregate.state(), unknown.current_sequence),
        (State::Unknown, 0)
    );
    for proposal in [
        register(&key, 1),
        soft_delete(&key, 2),
        restore(&key),
        soft_delete(&key, 0),
    ] {
        writer.handle.submit(proposal).await.unwrap();
    }
    let loaded = events.load_aggregate(&stream_id).await.unwrap();
    assert_eq!(loaded.current_sequence, 4);
    assert_eq!(
        (loaded.aggregate.state(), loaded.aggregate.storage_count()),
        (State::Archived, 1)
    );
    let names: Vec<_> = events
        .load_events(&stream_id)
        .await
        .unwrap()
        .iter()
        .map(|envelope| (envelope.sequence, envelope.payload.name()))
        .collect();
    assert_eq!(
        names,
        [
            (1, EventName::Registered),
            (2, EventName::SoftDeleted),
            (3, EventName::Restored),
            (4, EventName::SoftDeleted),
        ]
    );
    let repository = store
        .backend
        .repository(writer.handle.clone(), Arc::clone(&store.clock));
    let last = repository
        .get_last_events::<ArchivedEntity>(&stream_id, 2)
        .await
        .unwrap();
    assert_eq!(
        last.iter().map(|event| event.sequence).collect::<Vec<_>>(),
        [3, 4]
    );
    writer.stop().await;
    verified(&store).await;
}

/// What a restore comes to.
async fn restored(entity: &mut ArchivedEntity) -> Vec<Event> {
    let sink = EventSink::default();
    entity.handle(Command::Restore, &(), &sink).await.unwrap();
    sink.collect().await
}

/// A commit through `cqrs-es` is recorded; one against an older version conflicts and stores nothing.
pub async fn a_commit_that_conflicts_stores_nothing(store: ContractStore) {
    let writer = store.writer().await;
    let repository = || {
        store
            .backend
            .repository(writer.handle.clone(), Arc::clone(&store.clock))
    };
    let events = PersistedEventStore::<_, ArchivedEntity>::new_event_store(repository());
    let key = fresh_key(EntityType::Projects);
    let stream_id = key.stream_id();
    writer.handle.submit(soft_delete(&key, 0)).await.unwrap();

    let mut mine = events.load_aggregate(&stream_id).await.unwrap();
    let mut theirs = events.load_aggregate(&stream_id).await.unwrap();
    let decided = restored(&mut theirs.aggregate).await;
    let context = HashMap::from([("request_id".to_owned(), "r-1".to_owned())]);
    let committed = events.commit(decided, theirs, context).await.unwrap();
    assert_eq!(committed[0].sequence, 2);

    let before = store.reads.head().await.unwrap();
    let decided = restored(&mut mine.aggregate).await;
    let conflict = events.commit(decided, mine, HashMap::new()).await;
    assert!(
        matches!(conflict, Err(AggregateError::AggregateConflict)),
        "{conflict:?}"
    );
    assert_eq!(store.reads.head().await.unwrap(), before);

    let framework = CqrsFramework::new(
        PersistedEventStore::<_, ArchivedEntity>::new_event_store(repository()),
        Vec::new(),
        (),
    );
    let again = Command::SoftDelete {
        deletion_id: super::fresh_id(),
        deleted_at: noon(),
        parent: None,
        storage_count: 0,
    };
    framework.execute(&stream_id, again.clone()).await.unwrap();
    let refused = framework.execute(&stream_id, again).await;
    assert!(
        matches!(
            refused,
            Err(AggregateError::UserError(Rejection::WrongState { .. }))
        ),
        "{refused:?}"
    );
    writer.stop().await;
    let log = verified(&store).await;
    assert_eq!(log.len(), 3);
    assert_eq!(log[1].metadata.request_id.as_deref(), Some("r-1"));
}

/// The whole log comes in the order of its positions, across the pages that it is read in.
pub async fn all_events_stream_in_the_order_of_their_positions(store: ContractStore) {
    let keys: Vec<_> = (0..MANY / 2).map(|_| fresh_key(EntityType::Users)).collect();
    // Deletions first, restores second: the order of the log is not that of any stream.
    let proposals = keys
        .iter()
        .map(|key| soft_delete(key, 0))
        .chain(keys.iter().rev().map(restore));
    for answer in store.batch(proposals.collect()).await {
        answer.unwrap();
    }
    store.batch(vec![soft_delete(&keys[0], 0), purge(&keys[0])]).await;
    let log = verified(&store).await;
    assert_eq!(log.len(), MANY + 3);

    let writer = store.writer().await;
    let repository = store
        .backend
        .repository(writer.handle.clone(), Arc::clone(&store.clock));
    let mut stream = repository.stream_all_events::<ArchivedEntity>().await.unwrap();
    let mut streamed: Vec<(String, usize, Event)> = Vec::new();
    while let Some(event) = stream.next::<ArchivedEntity>(&[]).await {
        let event = event.unwrap();
        streamed.push((event.aggregate_id, event.sequence, event.payload));
    }
    let expected: Vec<_> = log
        .iter()
        .map(|event| {
            let sequence = usize::try_from(event.sequence).unwrap();
            (event.key.stream_id(), sequence, event.event.clone())
        })
        .collect();
    assert!(streamed == expected, "{} of {}", streamed.len(), expected.len());

    let mut stream = repository
        .stream_events::<ArchivedEntity>(&keys[0].stream_id())
        .await
        .unwrap();
    let mut names = Vec::new();
    while let Some(event) = stream.next::<ArchivedEntity>(&[]).await {
        names.push(event.unwrap().payload.name());
    }
    assert_eq!(
        names,
        [
            EventName::SoftDeleted,
            EventName::Restored,
            EventName::SoftDeleted,
            EventName::PurgeRequested,
            EventName::Purged,
        ]
    );
    writer.stop().await;
}
