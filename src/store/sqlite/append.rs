//! SQLite: the append transaction.

mod load;
mod pages;

use super::super::witness::{Sight, Witness};
use super::super::{
    AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, Head, IdempotencyRecord, NewEvent, PageSizes,
    Position, StoreError, WrappedKey, ensure_rows,
};
use super::SqliteStore;
use super::file::LedgerFile;
use crate::store::chunks::chunks;
use crate::store::claims::sqlite::{insert_claims, release_claims};
use crate::store::columns::Columns as _;
use crate::store::log::sqlite::head_from_row;
use crate::store::values::{micros, rows, signed, uuid};
use crate::telemetry;
use archive_ledger_domain::AGGREGATE_TYPE;
use archive_ledger_projections::{ArchivedEntry, ArchivedListChange, Changes, PurgeWork, PurgeWorkChange};
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::types::Json;
use sqlx::{Connection, Executor, QueryBuilder, Sqlite, SqliteConnection};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

/// The turn on the writing connection.
#[derive(Debug)]
pub struct SqliteAppend {
    options: SqliteConnectOptions,
    write: Arc<Mutex<SqliteConnection>>,
    /// Held from `begin` to `commit` or `rollback`.
    turn: Option<OwnedMutexGuard<SqliteConnection>>,
    /// How large the list's pages may become.
    pages: PageSizes,
    file: Arc<LedgerFile>,
    /// Whether the connection could not be replaced although its state is not known.
    doubtful: bool,
}

impl SqliteAppend {
    pub(super) fn new(store: &SqliteStore) -> Self {
        Self {
            options: store.options.clone(),
            write: Arc::clone(&store.write),
            turn: None,
            pages: PageSizes::default(),
            file: Arc::clone(&store.file),
            doubtful: false,
        }
    }

    /// With other sizes of the list's pages.
    #[must_use]
    pub const fn with_pages(mut self, pages: PageSizes) -> Self {
        self.pages = pages;
        self
    }

    /// The writing connection, with no transaction of anybody's left in it.
    async fn begin_turn(&mut self) -> Result<OwnedMutexGuard<SqliteConnection>, StoreError> {
        let mut turn = Arc::clone(&self.write).lock_owned().await;
        self.file.check_all("begin the batch").await?;
        if self.doubtful {
            self.replace(&mut turn).await?;
        }
        match begin_immediate(&mut turn).await {
            Err(error) if !error.is_transient() => {
                // Something that nobody ended is still open in it.
                self.replace(&mut turn).await?;
                begin_immediate(&mut turn).await?;
            }
            begun => begun?,
        }
        Ok(turn)
    }

    /// Ends a transaction that failed, before anybody else has a turn: what others write must not become part of it.
    async fn clean_up(&mut self, turn: &mut SqliteConnection, error: &StoreError) {
        let clean = match turn.execute("ROLLBACK").await {
            Ok(_) => error.leaves_connection_clean(),
            // SQLite has rolled it back by itself.
            Err(sqlx::Error::Database(cause)) if cause.code().as_deref() == Some(NO_TRANSACTION) => {
                error.leaves_connection_clean()
            }
            Err(_) => false,
        };
        if !clean && let Err(error) = self.replace(turn).await {
            tracing::warn!(error = %telemetry::chain(&error), "the writer's connection cannot be replaced yet");
        }
    }

    async fn replace(&mut self, turn: &mut SqliteConnection) -> Result<(), StoreError> {
        self.doubtful = true;
        // Before anything is opened: where the file was emptied, SQLite would remove the log that still has it all.
        self.file.check_content("open the database again").await?;
        let mut fresh = SqliteConnection::connect_with(&self.options)
            .await
            .map_err(StoreError::database("open the database again"))?;
        self.file.vouch(&mut fresh).await?;
        *turn = fresh;
        self.doubtful = false;
        Ok(())
    }
}

/// What `ROLLBACK` fails with when there is nothing to roll back, among other things that are wrong with a statement.
const NO_TRANSACTION: &str = "1";

/// IMMEDIATE: the write lock is the head lock, and it is taken before anything is read.
async fn begin_immediate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    connection
        .execute("BEGIN IMMEDIATE")
        .await
        .map_err(StoreError::database("begin the batch"))?;
    Ok(())
}

#[async_trait]
impl AppendBackend for SqliteAppend {
    async fn begin(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        let mut turn = self.begin_turn().await?;
        match load::load(&mut turn, &self.file, needs).await {
            Ok(snapshot) => {
                self.turn = Some(turn);
                Ok(snapshot)
            }
            Err(error) => {
                self.clean_up(&mut turn, &error).await;
                Err(error)
            }
        }
    }

    async fn commit(&mut self, write: &BatchWrite) -> Result<(), StoreError> {
        let mut turn = self.take_turn("commit the batch")?;
        let written = async {
            write_all(&mut turn, write, self.pages).await?;
            turn.execute("COMMIT")
                .await
                .map_err(StoreError::database("commit the batch"))
        };
        if let Err(error) = written.await {
            self.clean_up(&mut turn, &error).await;
            return Err(error);
        }
        self.file.note(&write.head);
        // What went to a file that is not there any more, or is another's, is not to be acknowledged.
        self.file.check_all("commit the batch").await
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        let mut turn = self.take_turn("roll the batch back")?;
        let rolled_back = turn.execute("ROLLBACK").await;
        if let Err(error) = rolled_back.map_err(StoreError::database("roll the batch back")) {
            self.clean_up(&mut turn, &error).await;
            return Err(error);
        }
        Ok(())
    }

    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError> {
        let mut connection = self.write.lock().await;
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM events WHERE position = ?1 AND event_id = ?2)")
            .bind(signed(position))
            .bind(event_id.to_string())
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::database("look a commit up"))
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.turn = None;
        let mut turn = Arc::clone(&self.write).lock_owned().await;
        self.replace(&mut turn).await
    }

    async fn look(&mut self, prove: bool) -> Result<(), StoreError> {
        let mut turn = self.begin_turn().await?;
        match look(&mut turn, &self.file, prove).await {
            Ok(()) => self.file.check_all("look at the head").await,
            Err(error) => {
                self.clean_up(&mut turn, &error).await;
                Err(error)
            }
        }
    }

    fn witness(&self) -> &Arc<Witness> {
        self.file.witness()
    }
}

impl SqliteAppend {
    fn take_turn(
        &mut self,
        operation: &'static str,
    ) -> Result<OwnedMutexGuard<SqliteConnection>, StoreError> {
        self.turn
            .take()
            .ok_or_else(|| StoreError::inconsistent(operation, "no transaction is open"))
    }
}

/// Reads the head, which must be one that follows on what the process knows.
async fn read_head(connection: &mut SqliteConnection, file: &LedgerFile) -> Result<Head, StoreError> {
    let (operation, witness) = ("read the head", file.witness());
    let asked = witness.known();
    let row = sqlx::query(
        "SELECT position, frontier, root, recorded_at,
                EXISTS (SELECT 1 FROM ledger_meta WHERE name = ?1) AS forked
         FROM ledger_head WHERE id = 1",
    )
    .bind(asked.fork())
    .fetch_one(&mut *connection)
    .await
    .map_err(StoreError::database(operation))?;
    let head = head_from_row(&row)?;
    let forked = row.read(operation, "forked")?;
    let marked = match asked.mark {
        // The root says as much as the event.
        Some(mark) if (mark.position, mark.root) == (head.position, head.root) => Some(mark.event_id),
        Some(mark) => {
            let found: Option<String> = sqlx::query_scalar("SELECT event_id FROM events WHERE position = ?1")
                .bind(signed(mark.position))
                .fetch_optional(connection)
                .await
                .map_err(StoreError::database(operation))?;
            found.map(|id| uuid(operation, &id)).transpose()?
        }
        None => None,
    };
    let seen = Sight {
        position: head.position,
        root: head.root,
        marked,
        // Of the size that was signed the event is enough; the checkpoint is asked for at each new connection; so is what was published.
        signed: None,
        published: None,
        standby: false,
        forked,
    };
    witness.compare(operation, &asked, &seen)?;
    file.note(&head);
    Ok(head)
}

/// Looks at the head, in a transaction that was begun; with `prove`, writes it back as it is.
async fn look(connection: &mut SqliteConnection, file: &LedgerFile, prove: bool) -> Result<(), StoreError> {
    read_head(connection, file).await?;
    let end = if prove {
        connection
            .execute("UPDATE ledger_head SET position = position WHERE id = 1")
            .await
            .map_err(StoreError::database("write the head"))?;
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    connection
        .execute(end)
        .await
        .map_err(StoreError::database("end the look at the head"))?;
    Ok(())
}

async fn write_all(
    connection: &mut SqliteConnection,
    write: &BatchWrite,
    sizes: PageSizes,
) -> Result<(), StoreError> {
    insert_events(connection, &write.events).await?;
    insert_keys(connection, &write.keys).await?;
    insert_claims(connection, &write.claims).await?;
    if !write.erased.is_empty() {
        erase(connection, &write.erased).await?;
    }
    if !write.released.is_empty() {
        release_claims(connection, &write.released).await?;
    }
    write_changes(connection, &write.changes).await?;
    pages::count(connection, &write.changes, sizes).await?;
    for target in &write.targets {
        sqlx::query(
            "INSERT INTO callback_targets
                 (target_id, aggregate_id, url_hash, url_sealed, host, dataset_id, registered, created_at, receiver)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (aggregate_id, url_hash) DO UPDATE
             SET registered = callback_targets.registered AND excluded.registered",
        )
        .bind(target.target_id.to_string())
        .bind(target.key.stream_id())
        .bind(&target.url_hash[..])
        .bind(&target.url_sealed)
        .bind(&target.host)
        .bind(&target.dataset_id)
        .bind(target.registered)
        .bind(micros(target.created_at))
        .bind(&target.receiver)
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("insert a callback target"))?;
    }
    insert_answers(connection, &write.answers).await?;
    let head = &write.head;
    let updated = sqlx::query(
        "UPDATE ledger_head SET position = ?1, frontier = ?2, root = ?3, recorded_at = ?4,
             claims_position = CASE WHEN claims_position = position THEN ?1 ELSE claims_position END
         WHERE id = 1",
    )
    .bind(signed(head.position))
    .bind(head.frontier.concat())
    .bind(&head.root[..])
    .bind(head.recorded_at.map(micros))
    .execute(connection)
    .await
    .map_err(StoreError::database("move the head"))?;
    ensure_rows("move the head", 1, updated.rows_affected())
}

async fn insert_events(connection: &mut SqliteConnection, events: &[NewEvent]) -> Result<(), StoreError> {
    for chunk in chunks(events) {
        let mut insert: QueryBuilder<'_, Sqlite> = QueryBuilder::new(
            "INSERT INTO events
                 (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                  event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf) ",
        );
        insert.push_values(chunk, |mut row, event| {
            let stored = &event.stored;
            row.push_bind(signed(stored.position))
                .push_bind(AGGREGATE_TYPE)
                .push_bind(&event.serialized.aggregate_id)
                .push_bind(signed(stored.sequence))
                .push_bind(&event.serialized.event_type)
                .push_bind(&event.serialized.event_version)
                .push_bind(Json(&event.serialized.payload))
                .push_bind(Json(&event.serialized.metadata))
                .push_bind(stored.event_id.to_string())
                .push_bind(micros(stored.recorded_at))
                .push_bind(stored.command_id.to_string())
                .push_bind(stored.metadata.request_id.as_deref())
                .push_bind(stored.metadata.causation_id.map(|id| id.to_string()))
                .push_bind(&stored.metadata.actor)
                .push_bind(&event.salt[..])
                .push_bind(stored.sealed.as_deref())
                .push_bind(&stored.entry[..])
                .push_bind(&stored.leaf[..]);
        });
        let inserted = insert
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("insert the events"))?;
        ensure_rows("insert the events", rows(chunk), inserted.rows_affected())?;
    }
    Ok(())
}

async fn insert_keys(
    connection: &mut SqliteConnection,
    keys: &[(String, WrappedKey)],
) -> Result<(), StoreError> {
    for chunk in chunks(keys) {
        let mut insert: QueryBuilder<'_, Sqlite> =
            QueryBuilder::new("INSERT INTO entity_keys (aggregate_id, key_id, kek_id, wrapped) ");
        insert.push_values(chunk, |mut row, (stream_id, key)| {
            row.push_bind(stream_id)
                .push_bind(key.key_id.to_string())
                .push_bind(&key.kek_id)
                .push_bind(&key.wrapped[..]);
        });
        let inserted = insert
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("insert the keys"))?;
        ensure_rows("insert the keys", rows(chunk), inserted.rows_affected())?;
    }
    Ok(())
}

async fn insert_answers(
    connection: &mut SqliteConnection,
    answers: &[IdempotencyRecord],
) -> Result<(), StoreError> {
    for chunk in chunks(answers) {
        let mut insert: QueryBuilder<'_, Sqlite> =
            QueryBuilder::new("INSERT INTO idempotency_answers (key, request, answer, recorded_at) ");
        insert.push_values(chunk, |mut row, answer| {
            row.push_bind(&answer.key[..])
                .push_bind(&answer.request[..])
                .push_bind(Json(&answer.answer))
                .push_bind(micros(answer.recorded_at));
        });
        let inserted = insert
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("insert the answers"))?;
        ensure_rows("insert the answers", rows(chunk), inserted.rows_affected())?;
    }
    Ok(())
}

/// Destroys and fences keys, and scrubs what they sealed.
async fn erase(connection: &mut SqliteConnection, erased: &[(String, Position)]) -> Result<(), StoreError> {
    let ids: Vec<&str> = erased.iter().map(|(stream_id, _)| stream_id.as_str()).collect();
    sqlx::query("DELETE FROM entity_keys WHERE aggregate_id IN (SELECT value FROM json_each(?1))")
        .bind(Json(&ids))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database("destroy the keys"))?;
    let fenced = sqlx::query(
        "INSERT INTO erasures (aggregate_id, position)
         SELECT value ->> 0, value ->> 1 FROM json_each(?1)",
    )
    .bind(Json(erased))
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database("fence the keys"))?;
    ensure_rows("fence the keys", rows(erased), fenced.rows_affected())?;
    sqlx::query(
        "UPDATE events SET sealed = NULL
         WHERE aggregate_type = ?1 AND aggregate_id IN (SELECT value FROM json_each(?2)) AND sealed IS NOT NULL",
    )
    .bind(AGGREGATE_TYPE)
    .bind(Json(&ids))
    .execute(connection)
    .await
    .map_err(StoreError::database("scrub the sealed details"))?;
    Ok(())
}

/// Applies what the projections made of the events.
pub(super) async fn write_changes(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<(), StoreError> {
    let (mut put, mut removed) = (Vec::new(), Vec::new());
    for change in changes.archived.values() {
        match change {
            ArchivedListChange::Put(entry) => put.push(entry),
            ArchivedListChange::Remove(key) => removed.push((key.entity_type().as_str(), key.id())),
        }
    }
    put_archived(connection, &put).await?;
    if !removed.is_empty() {
        remove_archived(connection, &removed).await?;
    }
    for (entity_type, delta) in changes.summary.iter() {
        let updated = sqlx::query("UPDATE archived_summary SET count = count + ?1 WHERE entity_type = ?2")
            .bind(delta)
            .bind(entity_type.as_str())
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("update a counter"))?;
        if updated.rows_affected() == 0 {
            sqlx::query("INSERT INTO archived_summary (entity_type, count) VALUES (?1, ?2)")
                .bind(entity_type.as_str())
                .bind(delta)
                .execute(&mut *connection)
                .await
                .map_err(StoreError::database("open a counter"))?;
        }
    }
    let mut done = Vec::new();
    for (stream_id, change) in &changes.purge_work {
        match change {
            PurgeWorkChange::Put(work) => put_purge_work(connection, stream_id, work).await?,
            PurgeWorkChange::Fail(_) => fail_purge_work(connection, stream_id).await?,
            PurgeWorkChange::Remove(_) => done.push(stream_id.as_str()),
        }
    }
    if !done.is_empty() {
        sqlx::query("DELETE FROM purge_work WHERE aggregate_id IN (SELECT value FROM json_each(?1))")
            .bind(Json(done))
            .execute(connection)
            .await
            .map_err(StoreError::database("remove done purges"))?;
    }
    Ok(())
}

/// The rows are named before the first is removed, each by its whole key.
async fn remove_archived(
    connection: &mut SqliteConnection,
    removed: &[(&str, &str)],
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM archived_entries WHERE (entity_type, entity_id) IN
             (SELECT value ->> 0, value ->> 1 FROM json_each(?1))",
    )
    .bind(Json(removed))
    .execute(connection)
    .await
    .map_err(StoreError::database("shorten the archived list"))?;
    Ok(())
}

async fn put_archived(
    connection: &mut SqliteConnection,
    entries: &[&ArchivedEntry],
) -> Result<(), StoreError> {
    for chunk in chunks(entries) {
        let mut put: QueryBuilder<'_, Sqlite> = QueryBuilder::new(
            "INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id) ",
        );
        put.push_values(chunk, |mut row, entry| {
            row.push_bind(entry.key.entity_type().as_str())
                .push_bind(entry.key.id())
                .push_bind(micros(entry.deleted_at))
                .push_bind(signed(entry.position))
                .push_bind(entry.deletion_id.to_string());
        });
        put.push(
            " ON CONFLICT (entity_type, entity_id) DO UPDATE
              SET deleted_at = excluded.deleted_at, position = excluded.position, deletion_id = excluded.deletion_id",
        );
        let written = put
            .build()
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database("write the archived list"))?;
        ensure_rows("write the archived list", rows(chunk), written.rows_affected())?;
    }
    Ok(())
}

async fn fail_purge_work(connection: &mut SqliteConnection, stream_id: &str) -> Result<(), StoreError> {
    let updated = sqlx::query("UPDATE purge_work SET state = 'purge_failed' WHERE aggregate_id = ?1")
        .bind(stream_id)
        .execute(connection)
        .await
        .map_err(StoreError::database("mark a failed purge"))?;
    ensure_rows("mark a failed purge", 1, updated.rows_affected())
}

async fn put_purge_work(
    connection: &mut SqliteConnection,
    stream_id: &str,
    work: &PurgeWork,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO purge_work (aggregate_id, purge_id, position, event_id, requested_at, storage_count, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (aggregate_id) DO UPDATE
         SET purge_id = excluded.purge_id, position = excluded.position, event_id = excluded.event_id,
             requested_at = excluded.requested_at, storage_count = excluded.storage_count, state = excluded.state",
    )
    .bind(stream_id)
    .bind(work.purge_id.to_string())
    .bind(signed(work.position))
    .bind(work.event_id.to_string())
    .bind(micros(work.requested_at))
    .bind(i64::from(work.storage_count))
    .bind(work.state.as_str())
    .execute(connection)
    .await
    .map_err(StoreError::database("write the purge work"))?;
    Ok(())
}
