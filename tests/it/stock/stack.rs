//! The stock stack, as the documentation of `cqrs-es` sets it up: `CqrsFramework` over the event stores of `postgres-es` and
//! `sqlite-es`, and a `GenericQuery` over a table of its own for each view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use archive_ledger_domain::{ArchivedEntity, EntityKey, EntityType, Rejection, upcasters};
use archive_ledger_projections::{ArchivedCount, ArchivedListing, History, UndonePurge};
use async_trait::async_trait;
use cqrs_es::persist::{GenericQuery, PersistedEventRepository, PersistedEventStore, ViewRepository};
use cqrs_es::{AggregateError, CqrsFramework, EventEnvelope, Query, View};
use futures::future::join_all;
use postgres_es::{PostgresEventRepository, PostgresViewRepository};
use sqlite_es::{SqliteEventRepository, SqliteViewRepository};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, PgPool, SqlitePool};
use tempfile::TempDir;

use super::histories::Step;
use super::{Outcome, load_streams};

const LIST: &str = "archived_list";
const COUNTS: &str = "archived_summary";
const HISTORY: &str = "history";
const PURGES: &str = "purge_work";

/// The tables as the crates ship them.
fn schema(integer: &str, json: &str) -> String {
    let mut schema = format!(
        "CREATE TABLE events (
            aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence {integer} CHECK (sequence >= 0) NOT NULL,
            event_type text NOT NULL, event_version text NOT NULL, payload {json} NOT NULL, metadata {json} NOT NULL,
            PRIMARY KEY (aggregate_type, aggregate_id, sequence)
        );"
    );
    for view in [LIST, COUNTS, HISTORY, PURGES] {
        schema += &format!(
            "CREATE TABLE {view} (
                view_id text NOT NULL, version {integer} CHECK (version >= 0) NOT NULL, payload {json} NOT NULL,
                PRIMARY KEY (view_id)
            );"
        );
    }
    schema
}

/// One of the two crates.
pub trait Stack: 'static {
    type Events: PersistedEventRepository;
    type Views<V: View<ArchivedEntity>>: ViewRepository<V, ArchivedEntity>;

    fn events(&self) -> Self::Events;
    fn views<V: View<ArchivedEntity>>(&self, table: &str) -> Self::Views<V>;
}

/// `postgres-es`.
pub struct OnPostgresStock(PgPool);

impl OnPostgresStock {
    pub async fn open(url: &str) -> Self {
        let options = PgPoolOptions::new().max_connections(EntityType::ALL.len() as u32);
        // What a crash of the server would take is no concern of this test.
        let options = options.after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("SET synchronous_commit = off").await?;
                Ok(())
            })
        });
        let pool = options.connect(url).await.unwrap();
        pool.execute(schema("bigint", "json").as_str()).await.unwrap();
        Self(pool)
    }
}

impl Stack for OnPostgresStock {
    type Events = PostgresEventRepository;
    type Views<V: View<ArchivedEntity>> = PostgresViewRepository<V, ArchivedEntity>;

    fn events(&self) -> Self::Events {
        PostgresEventRepository::new(self.0.clone())
    }

    fn views<V: View<ArchivedEntity>>(&self, table: &str) -> Self::Views<V> {
        PostgresViewRepository::new(table, self.0.clone())
    }
}

/// `sqlite-es`.
pub struct OnSqliteStock {
    pool: SqlitePool,
    _home: TempDir,
}

impl OnSqliteStock {
    pub async fn open() -> Self {
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-stock-")
            .tempdir()
            .unwrap();
        let options = SqliteConnectOptions::new()
            .filename(home.path().join("stock.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off);
        // One connection: the crate takes a file that is locked for an error.
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect_with(options).await.unwrap();
        pool.execute(schema("integer", "text").as_str()).await.unwrap();
        Self { pool, _home: home }
    }
}

impl Stack for OnSqliteStock {
    type Events = SqliteEventRepository;
    type Views<V: View<ArchivedEntity>> = SqliteViewRepository<V, ArchivedEntity>;

    fn events(&self) -> Self::Events {
        SqliteEventRepository::new(self.pool.clone())
    }

    fn views<V: View<ArchivedEntity>>(&self, table: &str) -> Self::Views<V> {
        SqliteViewRepository::new(table, self.pool.clone())
    }
}

/// `GenericQuery` keeps a view per stream; this keeps one per entity type.
struct PerType<R>(GenericQuery<R, ArchivedCount, ArchivedEntity>)
where
    R: ViewRepository<ArchivedCount, ArchivedEntity>;

#[async_trait]
impl<R: ViewRepository<ArchivedCount, ArchivedEntity>> Query<ArchivedEntity> for PerType<R> {
    async fn dispatch(&self, stream_id: &str, events: &[EventEnvelope<ArchivedEntity>]) {
        let key = EntityKey::from_stream_id(stream_id).unwrap();
        self.0.dispatch(key.entity_type().as_str(), events).await;
    }
}

/// The stack at work.
pub struct Stock<S: Stack> {
    stack: S,
    cqrs: CqrsFramework<ArchivedEntity, PersistedEventStore<S::Events, ArchivedEntity>>,
}

impl<S: Stack> Stock<S> {
    pub fn new(stack: S) -> Self {
        let store = PersistedEventStore::new_event_store(stack.events()).with_upcasters(upcasters());
        let queries: Vec<Box<dyn Query<ArchivedEntity>>> = vec![
            Box::new(query::<S, ArchivedListing>(&stack, LIST)),
            Box::new(PerType(query(&stack, COUNTS))),
            Box::new(query::<S, History>(&stack, HISTORY)),
            Box::new(query::<S, UndonePurge>(&stack, PURGES)),
        ];
        let cqrs = CqrsFramework::new(store, queries, ());
        Self { stack, cqrs }
    }

    /// Executes the commands and reads what the views say. Those of one type go one after the other, as their count is one
    /// view, and of two that change a view at the same time `GenericQuery` gives one up.
    pub async fn run(self, steps: &[Step], keys: &BTreeSet<EntityKey>) -> Outcome {
        let refused = join_all(EntityType::ALL.map(|entity_type| self.execute(steps, entity_type))).await;
        let mut outcome = Outcome {
            refusals: vec![None; steps.len()],
            streams: load_streams(self.stack.events(), keys).await,
            ..Outcome::default()
        };
        for (index, refusal) in refused.into_iter().flatten() {
            outcome.refusals[index] = Some(refusal);
        }
        self.read(keys, &mut outcome).await;
        outcome
    }

    async fn execute(&self, steps: &[Step], entity_type: EntityType) -> Vec<(usize, Rejection)> {
        let mut refusals = Vec::new();
        let steps = steps.iter().enumerate();
        for (index, step) in steps.filter(|(_, step)| step.key.entity_type() == entity_type) {
            let stream_id = step.key.stream_id();
            match self.cqrs.execute(&stream_id, step.command.clone()).await {
                Ok(()) => {}
                Err(AggregateError::UserError(refusal)) => refusals.push((index, refusal)),
                Err(error) => panic!("{step:?}: {error}"),
            }
        }
        refusals
    }

    async fn read(&self, keys: &BTreeSet<EntityKey>, outcome: &mut Outcome) {
        let listings = query::<S, ArchivedListing>(&self.stack, LIST);
        let histories = query::<S, History>(&self.stack, HISTORY);
        let purges = query::<S, UndonePurge>(&self.stack, PURGES);
        let counts = query::<S, ArchivedCount>(&self.stack, COUNTS);
        let mut lists: BTreeMap<EntityType, Vec<_>> = BTreeMap::new();
        for key in keys {
            let stream_id = key.stream_id();
            // An entity of which every command was refused has no view.
            let listing = listings.load(&stream_id).await.unwrap_or_default();
            let list = lists.entry(key.entity_type()).or_default();
            list.extend(listing.deletion.map(|one| (one.deleted_at, key.clone())));
            if let Some(history) = histories.load(&stream_id).await {
                outcome.histories.insert(key.clone(), history);
            }
            let purge = purges.load(&stream_id).await.unwrap_or_default();
            let owed = purge
                .requested
                .map(|one| (key.clone(), one.purge_id, purge.failed));
            outcome.owed.extend(owed);
        }
        for (entity_type, mut list) in lists {
            list.sort_by(|(one_time, one), (other_time, other)| {
                other_time.cmp(one_time).then_with(|| one.id().cmp(other.id()))
            });
            let count = counts.load(entity_type.as_str()).await.unwrap_or_default();
            outcome.counts.insert(entity_type, count.count() as u64);
            outcome.lists.insert(entity_type, list);
        }
    }
}

/// A view's query. What `GenericQuery` would drop in silence ends the test.
fn query<S: Stack, V: View<ArchivedEntity>>(
    stack: &S,
    table: &str,
) -> GenericQuery<S::Views<V>, V, ArchivedEntity> {
    let mut query = GenericQuery::new(Arc::new(stack.views(table)));
    query.use_error_handler(Box::new(|error| panic!("a view was not updated: {error}")));
    query
}
