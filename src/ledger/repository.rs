//! `PersistedEventRepository` over the writer and the stock readers.
//!
//! `postgres-es` and `sqlite-es` read streams; our own writer writes them. Their `persist`, snapshots and streaming are not
//! used: they order by the stream's sequence instead of the log's position, apply events twice to snapshots, and end a
//! stream silently where the database fails.

use crate::clock::SharedClock;
use crate::keyring::Details;
use crate::ledger::writer::{CommandError, Decision, Proposal, WriterHandle};
use crate::patience;
use crate::store::error::is_of_a_stale_statement;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{ReadStore, StoreError, StoredEvent, decode_event};
use archive_ledger_domain::{AGGREGATE_TYPE, EntityKey, EventMetadata};
use cqrs_es::persist::{
    PersistedEventRepository, PersistenceError, ReplayStream, SerializedEvent, SerializedSnapshot,
};
use cqrs_es::{Aggregate, DomainEvent};
use futures::FutureExt as _;
use postgres_es::PostgresEventRepository;
use serde_json::Value;
use sqlite_es::SqliteEventRepository;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// How many events a replay reads from the log at a time.
const REPLAY_PAGE: u32 = 1_000;

/// What reads streams.
enum Reader {
    Postgres(PostgresEventRepository),
    Sqlite(SqliteEventRepository),
    /// Our own reads, where the stock reader's prepared statements do not last: through a pooler.
    Log,
}

/// The repository that `cqrs-es` loads aggregates from and commits to.
pub struct Repository {
    reader: Reader,
    writer: WriterHandle,
    log: Arc<dyn ReadStore>,
    clock: SharedClock,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").finish_non_exhaustive()
    }
}

impl Repository {
    /// Reads from PostgreSQL.
    #[must_use]
    pub fn postgres(store: &PostgresStore, writer: WriterHandle, clock: SharedClock) -> Self {
        let reader = store.kept_sessions().map_or(Reader::Log, |pool| {
            Reader::Postgres(PostgresEventRepository::new(pool).with_tables("entity_events", "snapshots"))
        });
        Self {
            reader,
            writer,
            log: Arc::new(store.clone()),
            clock,
        }
    }

    /// Reads from SQLite.
    #[must_use]
    pub fn sqlite(store: &SqliteStore, writer: WriterHandle, clock: SharedClock) -> Self {
        let reader = SqliteEventRepository::new(store.readers()).with_tables("entity_events", "snapshots");
        Self {
            reader: Reader::Sqlite(reader),
            writer,
            log: Arc::new(store.clone()),
            clock,
        }
    }

    /// The events of a stream after `sequence`.
    async fn read(
        &self,
        aggregate_id: &str,
        sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        let key = EntityKey::from_stream_id(aggregate_id).map_err(unknown)?;
        let stream = self.log.stream(&key).await.map_err(unknown)?;
        let events = stream.map(|stream| stream.events).unwrap_or_default();
        events
            .iter()
            .filter(|event| event.sequence > sequence as u64)
            .map(|event| serialize(event).map_err(unknown))
            .collect()
    }
}

/// The stock readers panic on a column that is not what they expect; it is an error of the read.
async fn caught(
    reading: impl Future<Output = Result<Vec<SerializedEvent>, PersistenceError>>,
) -> Result<Vec<SerializedEvent>, PersistenceError> {
    let limit = patience::of_a_statement();
    match tokio::time::timeout(limit, AssertUnwindSafe(reading).catch_unwind()).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err(unsupported("the stream's rows are not what they must be")),
        Err(_) => Err(PersistenceError::ConnectionError(Box::new(
            StoreError::TimedOut {
                operation: "load a stream",
                limit,
            },
        ))),
    }
}

/// Whether the session's prepared statement is of no use any more.
fn is_stale(error: &PersistenceError) -> bool {
    let (PersistenceError::UnknownError(source) | PersistenceError::ConnectionError(source)) = error else {
        return false;
    };
    matches!(
        source.downcast_ref::<sqlx::Error>(),
        Some(sqlx::Error::Database(answer)) if is_of_a_stale_statement(&**answer)
    )
}

impl PersistedEventRepository for Repository {
    async fn get_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        match &self.reader {
            Reader::Postgres(reader) => match caught(reader.get_events::<A>(aggregate_id)).await {
                // The stock reader's session keeps the statement; those of our own reads are replaced.
                Err(error) if is_stale(&error) => self.read(aggregate_id, 0).await,
                read => read,
            },
            Reader::Sqlite(reader) => caught(reader.get_events::<A>(aggregate_id)).await,
            Reader::Log => self.read(aggregate_id, 0).await,
        }
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
        last_sequence: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        match &self.reader {
            Reader::Postgres(reader) => {
                match caught(reader.get_last_events::<A>(aggregate_id, last_sequence)).await {
                    Err(error) if is_stale(&error) => self.read(aggregate_id, last_sequence).await,
                    read => read,
                }
            }
            Reader::Sqlite(reader) => caught(reader.get_last_events::<A>(aggregate_id, last_sequence)).await,
            Reader::Log => self.read(aggregate_id, last_sequence).await,
        }
    }

    /// Streams are a few events long: there are no snapshots.
    async fn get_snapshot<A: Aggregate>(
        &self,
        _aggregate_id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        Ok(None)
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot_update: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        if snapshot_update.is_some() {
            return Err(unsupported("snapshots are not kept"));
        }
        let Some(first) = events.first() else {
            return Ok(());
        };
        if A::TYPE != AGGREGATE_TYPE
            || events
                .iter()
                .any(|event| event.aggregate_id != first.aggregate_id)
        {
            return Err(unsupported("a commit holds the events of one archived entity"));
        }
        let key = EntityKey::from_stream_id(&first.aggregate_id).map_err(unknown)?;
        let context: HashMap<String, String> =
            serde_json::from_value(first.metadata.clone()).unwrap_or_default();
        let decided = events
            .iter()
            .cloned()
            .map(decode_event)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| PersistenceError::DeserializationError(Box::new(error)))?;
        let before = u64::try_from(first.sequence).unwrap_or(u64::MAX).checked_sub(1);
        let proposal = Proposal {
            key,
            decision: Decision::Events(decided),
            details: Details::default(),
            metadata: EventMetadata::from_map("archive-ledger".to_owned(), None, context),
            command_id: self.clock.new_id(),
            expected_version: Some(before.ok_or_else(|| unsupported("sequences start at 1"))?.into()),
            idempotency: None,
            target: None,
        };
        match self.writer.submit(proposal).await {
            Ok(_) => Ok(()),
            Err(CommandError::VersionMismatch { .. }) => Err(PersistenceError::OptimisticLockError),
            Err(
                error @ (CommandError::Unavailable(_) | CommandError::Overloaded | CommandError::Stopping),
            ) => Err(PersistenceError::ConnectionError(Box::new(error))),
            Err(error) => Err(unknown(error)),
        }
    }

    async fn stream_events<A: Aggregate>(
        &self,
        aggregate_id: &str,
    ) -> Result<ReplayStream, PersistenceError> {
        let events = self.get_events::<A>(aggregate_id).await?;
        let (mut feed, stream) = ReplayStream::new(events.len().max(1));
        for event in events {
            feed.push(Ok(event)).await?;
        }
        Ok(stream)
    }

    /// Streams the whole log in the order of its positions. An error of the database is the stream's last item.
    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        let (mut feed, stream) = ReplayStream::new(usize::try_from(REPLAY_PAGE).unwrap_or(1));
        let log = Arc::clone(&self.log);
        // The task belongs to the stream: it ends when the stream is dropped, and tells its errors through it.
        tokio::spawn(async move {
            let mut position = 0;
            loop {
                let page = match log.log_after(position, &[], REPLAY_PAGE).await {
                    Ok(page) if page.is_empty() => return,
                    Ok(page) => page,
                    Err(error) => {
                        let _ = feed.push(Err(unknown(error))).await;
                        return;
                    }
                };
                for event in page {
                    position = event.position;
                    if feed.push(serialize(&event).map_err(unknown)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(stream)
    }
}

fn serialize(event: &StoredEvent) -> Result<SerializedEvent, StoreError> {
    let operation = "serialize an event";
    let inconsistent = |error: serde_json::Error| StoreError::inconsistent(operation, error.to_string());
    Ok(SerializedEvent::new(
        event.key.stream_id(),
        usize::try_from(event.sequence).unwrap_or(usize::MAX),
        AGGREGATE_TYPE.to_owned(),
        event.event.event_type(),
        event.event.event_version(),
        serde_json::to_value(&event.event).map_err(inconsistent)?,
        serde_json::to_value(event.metadata.to_map()).map_err(inconsistent)?,
    ))
}

fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> PersistenceError {
    PersistenceError::UnknownError(Box::new(error))
}

fn unsupported(reason: &'static str) -> PersistenceError {
    PersistenceError::UnknownError(reason.into())
}
