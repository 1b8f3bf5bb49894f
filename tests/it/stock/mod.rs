//! The same random histories through the stock stack of `cqrs-es` and through ours: the same refusals command by command, and
//! in the end the same streams, states, lists, counts and purges that are owed.

mod histories;
mod stack;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use archive_ledger::ledger::writer::{CommandError, Proposal, WriterHandle};
use archive_ledger::store::contract::{ContractStore, details, proposal};
use archive_ledger::store::{ListPage, ReadStore};
use archive_ledger_domain::{
    ArchivedEntity, Command, EntityKey, EntityType, Event, Rejection, State, upcasters,
};
use archive_ledger_projections::{History, facts};
use chrono::{DateTime, Utc};
use cqrs_es::EventStore;
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use futures::future::join_all;
use uuid::Uuid;

use crate::harness::postgres::Postgres;
use crate::store_contract::{OnPostgres, OnSqlite};
use histories::{Step, histories};
use stack::{OnPostgresStock, OnSqliteStock, Stack, Stock};

const COMMANDS: usize = 10_000;
const SEED: u64 = 20_261_130;

/// How many commands wait for the writer at once: one batch, so that none waits too long on a machine that is busy.
const WAVE: usize = 64;

/// What came of histories.
#[derive(Default, PartialEq)]
struct Outcome {
    /// Of each command in its turn: why it was refused.
    refusals: Vec<Option<Rejection>>,
    /// Of each entity: what it is, its version, and its events.
    streams: BTreeMap<EntityKey, (ArchivedEntity, usize, Vec<Event>)>,
    /// Of each entity: what its history shows.
    histories: BTreeMap<EntityKey, History>,
    /// Of each type: the archived list in its order.
    lists: BTreeMap<EntityType, Vec<(DateTime<Utc>, EntityKey)>>,
    /// Of each type: how many are archived.
    counts: BTreeMap<EntityType, u64>,
    /// The purges that are requested and not done.
    owed: BTreeSet<(EntityKey, Uuid, bool)>,
}

/// Loads what became of the entities' streams, by the event store of `cqrs-es`.
async fn load_streams<R: PersistedEventRepository>(
    repository: R,
    keys: &BTreeSet<EntityKey>,
) -> BTreeMap<EntityKey, (ArchivedEntity, usize, Vec<Event>)> {
    let store =
        PersistedEventStore::<_, ArchivedEntity>::new_event_store(repository).with_upcasters(upcasters());
    let mut streams = BTreeMap::new();
    for key in keys {
        let stream_id = key.stream_id();
        let loaded = store.load_aggregate(&stream_id).await.unwrap();
        let events = store.load_events(&stream_id).await.unwrap();
        let events = events.into_iter().map(|event| event.payload).collect();
        streams.insert(key.clone(), (loaded.aggregate, loaded.current_sequence, events));
    }
    streams
}

/// Our stack: the writer, which gets many commands at once, some of one entity, and the tables that it keeps.
async fn ours(store: ContractStore, steps: &[Step], keys: &BTreeSet<EntityKey>) -> Outcome {
    let writer = store.writer().await;
    let mut refusals = Vec::with_capacity(steps.len());
    for wave in steps.chunks(WAVE) {
        // They are in the queue in their order.
        refusals.extend(join_all(wave.iter().map(|step| submit(&writer.handle, step))).await);
    }
    let repository = store
        .backend
        .repository(writer.handle.clone(), Arc::clone(&store.clock));
    let outcome = Outcome {
        refusals,
        streams: load_streams(repository, keys).await,
        histories: read_histories(&*store.reads, keys).await,
        lists: read_lists(&*store.reads).await,
        counts: read_counts(&*store.reads).await,
        owed: read_owed(&store).await,
    };
    writer.stop().await;
    outcome
}

/// Sends one command; why it is refused.
async fn submit(writer: &WriterHandle, step: &Step) -> Option<Rejection> {
    match writer.submit(proposed(step)).await {
        Ok(_) => None,
        Err(CommandError::Rejected(refusal)) => Some(refusal),
        Err(error) => panic!("{step:?}: {error:?}"),
    }
}

/// A command as the ledger proposes it, with something sealed where it names storage.
fn proposed(step: &Step) -> Proposal {
    let sealed = match &step.command {
        Command::Register { storage_count, .. } | Command::SoftDelete { storage_count, .. } => {
            Some(*storage_count)
        }
        Command::Restore
        | Command::RequestPurge { .. }
        | Command::RecordCleanup { .. }
        | Command::ForcePurge { .. } => None,
    };
    Proposal {
        details: sealed.map_or_else(Default::default, |count| details(&step.key, count)),
        ..proposal(&step.key, step.command.clone())
    }
}

async fn read_histories(reads: &dyn ReadStore, keys: &BTreeSet<EntityKey>) -> BTreeMap<EntityKey, History> {
    let mut histories = BTreeMap::new();
    for key in keys {
        let Some(stream) = reads.stream(key).await.unwrap() else {
            continue;
        };
        let events = stream.events.iter().map(|stored| &stored.event);
        let events = events.map(|event| (event.name(), facts(event))).collect();
        histories.insert(key.clone(), History { events });
    }
    histories
}

async fn read_lists(reads: &dyn ReadStore) -> BTreeMap<EntityType, Vec<(DateTime<Utc>, EntityKey)>> {
    let mut lists = BTreeMap::new();
    for entity_type in EntityType::ALL {
        let list: &mut Vec<_> = lists.entry(entity_type).or_default();
        let mut place = ListPage::Offset(0);
        loop {
            let page = reads.list(entity_type, &place, 7).await.unwrap();
            list.extend(page.rows.into_iter().map(|row| (row.deleted_at, row.key)));
            match list.last() {
                Some((deleted_at, key)) if page.more => {
                    place = ListPage::After(*deleted_at, key.id().to_owned());
                }
                _ => break,
            }
        }
    }
    lists
}

/// Types without any are absent from the summary.
async fn read_counts(reads: &dyn ReadStore) -> BTreeMap<EntityType, u64> {
    let counted = reads.summary().await.unwrap();
    EntityType::ALL
        .into_iter()
        .map(|entity_type| (entity_type, counted.get(&entity_type).copied().unwrap_or(0)))
        .collect()
}

async fn read_owed(store: &ContractStore) -> BTreeSet<(EntityKey, Uuid, bool)> {
    let owed = store.owed_purges(0, u32::MAX >> 1).await;
    owed.into_iter()
        .map(|purge| (purge.key, purge.purge_id, purge.state == State::PurgeFailed))
        .collect()
}

/// Both are the same; and the histories led everywhere, so that being the same says something.
fn compare(steps: &[Step], stock: &Outcome, ours: &Outcome) {
    for (index, step) in steps.iter().enumerate() {
        assert_eq!(
            ours.refusals[index], stock.refusals[index],
            "command {index}, seed {SEED}: {step:?}"
        );
    }
    for (key, stream) in &stock.streams {
        assert_eq!(ours.streams.get(key), Some(stream), "seed {SEED}: {key}");
        assert_eq!(
            ours.histories.get(key),
            stock.histories.get(key),
            "seed {SEED}: {key}"
        );
    }
    assert_eq!(ours.lists, stock.lists, "seed {SEED}");
    assert_eq!(ours.counts, stock.counts, "seed {SEED}");
    assert_eq!(ours.owed, stock.owed, "seed {SEED}");
    assert!(ours == stock, "seed {SEED}");

    let states: BTreeSet<&str> = stock
        .streams
        .values()
        .map(|(entity, ..)| entity.state().as_str())
        .collect();
    assert_eq!(states.len(), 6, "{states:?}");
    let refusals: BTreeSet<String> = stock.refusals.iter().flatten().map(ToString::to_string).collect();
    // Register in 4 states, soft-delete in 3, restore in 3, purge in 2, cleanup in 2 and force in 2; unknown, purged, stale, not owed.
    assert_eq!(refusals.len(), 20, "{refusals:?}");
    let refused = stock.refusals.iter().flatten().count();
    assert!((COMMANDS / 4..COMMANDS * 3 / 4).contains(&refused), "{refused}");
    assert!(stock.lists.values().all(|list| list.len() > 7) && stock.owed.len() > 50);
}

async fn run(stock: impl Stack, store: ContractStore) {
    let steps = histories(SEED, COMMANDS);
    eprintln!("{COMMANDS} commands of the seed {SEED}");
    let keys: BTreeSet<EntityKey> = steps.iter().map(|step| step.key.clone()).collect();
    let theirs = Stock::new(stock).run(&steps, &keys).await;
    let ours = ours(store, &steps, &keys).await;
    compare(&steps, &theirs, &ours);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_come_to_the_same_on_the_stock_stack_and_on_ours_sqlite() {
    let store = ContractStore::new(Arc::new(OnSqlite::open().await));
    run(OnSqliteStock::open().await, store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_come_to_the_same_on_the_stock_stack_and_on_ours_postgres() {
    let postgres = Postgres::shared().await;
    let url = postgres.create_database().await;
    let store = ContractStore::new(Arc::new(OnPostgres::open(url).await));
    let stock = OnPostgresStock::open(&postgres.create_database().await).await;
    run(stock, store).await;
}
