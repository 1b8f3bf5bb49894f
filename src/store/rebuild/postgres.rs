//! PostgreSQL: the shadow tables of a rebuild, temporary ones.
//!
//! A temporary table hides a permanent one of the same name from its own session: the statements that apply changes to the
//! live tables apply them here to the shadow ones, and the live ones are reached through views that were made before. The
//! server writes no log for temporary tables and drops them with the session, however it ends.

use super::{
    Columns, DifferenceKind, EXAMPLES, Hold, RebuildStore, ReplayLog, ReplayedEvent, ShadowTables, TABLES,
    TableDifferences,
};
use crate::store::append::postgres::write_changes;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::server::Plans;
use crate::store::server::session::Session;
use crate::store::values::{non_negative, signed};
use crate::store::{Position, StoreError};
use archive_ledger_domain::EntityKey;
use archive_ledger_projections::Changes;
use async_trait::async_trait;
use sqlx::Executor;
use sqlx::postgres::PgRow;
use std::collections::HashSet;
use std::sync::Arc;

const READ: &str = "replay the log";

/// The advisory lock that one rebuild of a database holds: "archrbld".
const LOCK: i64 = i64::from_be_bytes(*b"archrbld");

/// A session that others have used for temporary tables keeps what it has.
const ROOM: &str = "SET temp_buffers = '128MB'";

/// The live tables come first: once a shadow table is there, its name means the shadow table, wherever the role's search path has
/// the temporary ones.
const TABLES_AND_VIEWS: &str = "
SELECT set_config('search_path', concat_ws(', ', 'pg_temp', nullif(current_setting('search_path'), '')), false);

CREATE TEMP VIEW live_archived_entries AS SELECT * FROM archived_entries;
CREATE TEMP VIEW live_archived_summary AS SELECT * FROM archived_summary;
CREATE TEMP VIEW live_purge_work AS SELECT * FROM purge_work;

CREATE TEMP TABLE archived_entries (LIKE live_archived_entries, PRIMARY KEY (entity_type, entity_id));
CREATE TEMP TABLE archived_summary (LIKE live_archived_summary, PRIMARY KEY (entity_type))
    WITH (fillfactor = 10);
CREATE TEMP TABLE purge_work (LIKE live_purge_work, PRIMARY KEY (aggregate_id));
";

/// What differs, as (`kind`, `entity`). A counter at zero says no more than none.
const DIFFERENCES: &str = "
CREATE TEMP VIEW archived_entries_differences AS
SELECT CASE WHEN l.entity_id IS NULL THEN 'missing' WHEN s.entity_id IS NULL THEN 'surplus' ELSE 'different' END
           AS kind,
       coalesce(l.entity_type, s.entity_type) || ':' || coalesce(l.entity_id, s.entity_id) AS entity
FROM live_archived_entries l
FULL JOIN archived_entries s ON s.entity_type = l.entity_type AND s.entity_id = l.entity_id
WHERE l.entity_id IS NULL OR s.entity_id IS NULL
   OR (s.deleted_at, s.position, s.deletion_id) IS DISTINCT FROM (l.deleted_at, l.position, l.deletion_id);

CREATE TEMP VIEW archived_summary_differences AS
SELECT CASE WHEN l.entity_type IS NULL THEN 'missing' WHEN s.entity_type IS NULL THEN 'surplus' ELSE 'different' END
           AS kind,
       coalesce(l.entity_type, s.entity_type) AS entity
FROM live_archived_summary l
FULL JOIN archived_summary s ON s.entity_type = l.entity_type
WHERE coalesce(s.count, 0) <> coalesce(l.count, 0);

CREATE TEMP VIEW purge_work_differences AS
SELECT CASE WHEN l.aggregate_id IS NULL THEN 'missing' WHEN s.aggregate_id IS NULL THEN 'surplus' ELSE 'different' END
           AS kind,
       coalesce(l.aggregate_id, s.aggregate_id) AS entity
FROM live_purge_work l
FULL JOIN purge_work s ON s.aggregate_id = l.aggregate_id
WHERE l.aggregate_id IS NULL OR s.aggregate_id IS NULL
   OR (s.purge_id, s.position, s.event_id, s.requested_at, s.storage_count, s.state)
      IS DISTINCT FROM (l.purge_id, l.position, l.event_id, l.requested_at, l.storage_count, l.state);

CREATE TEMP VIEW archived_pages_differences AS
WITH counted AS MATERIALIZED (
    SELECT p.entity_type, p.deleted_at, p.entity_id, p.count, p.group_id,
           (SELECT count(*) FROM live_archived_entries a
            WHERE a.entity_type = p.entity_type AND a.deleted_at <= p.deleted_at AND a.deleted_at >= p.next_at
              AND (a.deleted_at < p.deleted_at OR a.entity_id >= p.entity_id)
              AND (a.deleted_at > p.next_at OR a.entity_id < p.next_id)) AS actual,
           (SELECT g.id FROM archived_page_groups g
            WHERE g.entity_type = p.entity_type AND g.deleted_at >= p.deleted_at
              AND (g.deleted_at > p.deleted_at OR g.entity_id <= p.entity_id)
            ORDER BY g.deleted_at, g.entity_id DESC LIMIT 1) AS holder
    FROM (SELECT entity_type, deleted_at, entity_id, count, group_id,
                 lead(deleted_at, 1, '-infinity') OVER following AS next_at,
                 lead(entity_id, 1, '') OVER following AS next_id
          FROM archived_pages
          WINDOW following AS (PARTITION BY entity_type ORDER BY deleted_at DESC, entity_id)) p
)
SELECT 'different' AS kind, entity_type || ':' || entity_id AS entity
FROM counted WHERE count <> actual OR group_id IS DISTINCT FROM holder
UNION ALL
SELECT 'different', g.entity_type || ':' || g.entity_id
FROM archived_page_groups g
WHERE g.count <> (SELECT coalesce(sum(p.actual), 0) FROM counted p WHERE p.group_id = g.id)
   OR NOT EXISTS (SELECT 1 FROM counted p
                  WHERE p.group_id = g.id AND p.deleted_at = g.deleted_at AND p.entity_id = g.entity_id)
UNION ALL
SELECT 'missing', listed.entity_type
FROM live_archived_summary listed
WHERE NOT EXISTS (SELECT 1 FROM counted p WHERE p.entity_type = listed.entity_type AND p.deleted_at = 'infinity');
";

/// For each of [`TABLES`]: its differences counted by kind, and some of them.
const COMPARISONS: [(&str, &str, &str); 4] = [
    (
        TABLES[0],
        "SELECT kind, count(*) FROM archived_entries_differences GROUP BY kind",
        "SELECT kind, entity FROM archived_entries_differences LIMIT $1",
    ),
    (
        TABLES[1],
        "SELECT kind, count(*) FROM archived_summary_differences GROUP BY kind",
        "SELECT kind, entity FROM archived_summary_differences LIMIT $1",
    ),
    (
        TABLES[2],
        "SELECT kind, count(*) FROM purge_work_differences GROUP BY kind",
        "SELECT kind, entity FROM purge_work_differences LIMIT $1",
    ),
    (
        TABLES[3],
        "SELECT kind, count(*) FROM archived_pages_differences GROUP BY kind",
        "SELECT kind, entity FROM archived_pages_differences LIMIT $1",
    ),
];

const CLEAR_PAGES: &str = "DELETE FROM archived_pages; DELETE FROM archived_page_groups";

/// Counts the live list into empty pages, a group of pages at a time. Every type has its first page, which begins before everything.
const FILL_PAGES: &str = "
INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
SELECT entity_type, 'infinity', '', 0
FROM (VALUES ('backups'), ('environments'), ('instances'), ('projects'), ('organizations'), ('servers'), ('domains'), ('users'), ('archives')) AS types (entity_type)
WHERE NOT EXISTS (SELECT 1 FROM archived_entries a WHERE a.entity_type = types.entity_type);

INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
SELECT entity_type, deleted_at, entity_id, least(65536, total - rank) FROM (
    SELECT a.entity_type, counted.total, a.rank,
           CASE WHEN a.rank = 0 THEN 'infinity' ELSE a.deleted_at END AS deleted_at,
           CASE WHEN a.rank = 0 THEN '' ELSE a.entity_id END AS entity_id
    FROM (SELECT entity_type, deleted_at, entity_id,
                 row_number() OVER (PARTITION BY entity_type ORDER BY deleted_at DESC, entity_id) - 1 AS rank
          FROM archived_entries) a
    JOIN (SELECT entity_type, count(*) AS total FROM archived_entries GROUP BY entity_type) counted
        ON counted.entity_type = a.entity_type
    WHERE a.rank % 65536 = 0
) AS cut;

INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
SELECT entity_type, deleted_at, entity_id, 0, id FROM archived_page_groups WHERE count = 0;

INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
SELECT entity_type, deleted_at, entity_id, least(1024, total - rank),
       (SELECT g.id FROM archived_page_groups g
        WHERE g.entity_type = cut.entity_type AND g.deleted_at >= cut.deleted_at
          AND (g.deleted_at > cut.deleted_at OR g.entity_id <= cut.entity_id)
        ORDER BY g.deleted_at, g.entity_id DESC LIMIT 1)
FROM (
    SELECT a.entity_type, counted.total, a.rank,
           CASE WHEN a.rank = 0 THEN 'infinity' ELSE a.deleted_at END AS deleted_at,
           CASE WHEN a.rank = 0 THEN '' ELSE a.entity_id END AS entity_id
    FROM (SELECT entity_type, deleted_at, entity_id,
                 row_number() OVER (PARTITION BY entity_type ORDER BY deleted_at DESC, entity_id) - 1 AS rank
          FROM archived_entries) a
    JOIN (SELECT entity_type, count(*) AS total FROM archived_entries GROUP BY entity_type) counted
        ON counted.entity_type = a.entity_type
    WHERE a.rank % 1024 = 0
) AS cut";

/// First goes what is wrong, then comes what is missing.
const REPLACE: [&str; 6] = [
    "DELETE FROM live_archived_entries l
     WHERE NOT EXISTS (SELECT 1 FROM archived_entries s
                       WHERE s.entity_type = l.entity_type AND s.entity_id = l.entity_id
                         AND (s.deleted_at, s.position, s.deletion_id)
                             IS NOT DISTINCT FROM (l.deleted_at, l.position, l.deletion_id))",
    "INSERT INTO live_archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
     SELECT entity_type, entity_id, deleted_at, position, deletion_id FROM archived_entries s
     WHERE NOT EXISTS (SELECT 1 FROM live_archived_entries l
                       WHERE l.entity_type = s.entity_type AND l.entity_id = s.entity_id)",
    "DELETE FROM live_archived_summary l
     WHERE NOT EXISTS (SELECT 1 FROM archived_summary s
                       WHERE s.entity_type = l.entity_type AND s.count = l.count)",
    "INSERT INTO live_archived_summary (entity_type, count)
     SELECT entity_type, count FROM archived_summary s
     WHERE NOT EXISTS (SELECT 1 FROM live_archived_summary l WHERE l.entity_type = s.entity_type)",
    "DELETE FROM live_purge_work l
     WHERE NOT EXISTS (SELECT 1 FROM purge_work s
                       WHERE s.aggregate_id = l.aggregate_id
                         AND (s.purge_id, s.position, s.event_id, s.requested_at, s.storage_count, s.state)
                             IS NOT DISTINCT FROM
                             (l.purge_id, l.position, l.event_id, l.requested_at, l.storage_count, l.state))",
    "INSERT INTO live_purge_work (aggregate_id, purge_id, position, event_id, requested_at, storage_count, state)
     SELECT aggregate_id, purge_id, position, event_id, requested_at, storage_count, state FROM purge_work s
     WHERE NOT EXISTS (SELECT 1 FROM live_purge_work l WHERE l.aggregate_id = s.aggregate_id)",
];

impl PostgresStore {
    /// Begins a rebuild; `None` while another one is under way, from whichever machine.
    ///
    /// # Errors
    /// [`StoreError`] when the shadow tables cannot be made.
    pub async fn rebuild(&self) -> Result<Option<RebuildStore>, StoreError> {
        let operation = "make the shadow tables";
        let shared = !self.server.keeps_sessions();
        let mut connection = self
            .server
            .session(Plans::Free)
            .await
            .map_err(StoreError::database(operation))?;
        let (begin, lock) = if shared {
            (self.server.begin_shadow(), "SELECT pg_try_advisory_xact_lock($1)")
        } else {
            (ROOM.to_owned(), "SELECT pg_try_advisory_lock($1)")
        };
        connection
            .execute(begin.as_str())
            .await
            .map_err(StoreError::database(operation))?;
        let alone: bool = sqlx::query_scalar(lock)
            .bind(LOCK)
            .fetch_one(&mut connection)
            .await
            .map_err(StoreError::database(operation))?;
        if !alone {
            return Ok(None);
        }
        for script in [TABLES_AND_VIEWS, DIFFERENCES] {
            connection
                .execute(script)
                .await
                .map_err(|error| refused(operation, error))?;
        }
        let log: Arc<dyn ReplayLog> = if shared {
            Arc::new(NothingAhead)
        } else {
            Arc::new(self.clone())
        };
        Ok(Some(RebuildStore {
            log,
            shadow: Box::new(PostgresShadow { connection, shared }),
        }))
    }
}

/// A role that may not make temporary tables is told which right it lacks.
fn refused(operation: &'static str, error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(told) if told.code().as_deref() == Some("42501") => StoreError::Unfit(format!(
            "a rebuild makes temporary tables, and this role may not ({}): GRANT TEMPORARY on the database to it",
            told.message()
        )),
        _ => StoreError::database(operation)(error),
    }
}

#[async_trait]
impl ReplayLog for PostgresStore {
    async fn page(&self, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError> {
        read_page(&self.pool, after, limit).await
    }
}

/// What is read ahead of a snapshot that stands already: nothing, as that is all there is to compare.
struct NothingAhead;

#[async_trait]
impl ReplayLog for NothingAhead {
    async fn page(&self, _after: Position, _limit: u32) -> Result<Vec<ReplayedEvent>, StoreError> {
        Ok(Vec::new())
    }
}

async fn read_page<'c, E>(executor: E, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError>
where
    E: sqlx::Executor<'c, Database = sqlx::Postgres>,
{
    let rows = sqlx::query(
        "SELECT position, aggregate_id, sequence, event_type, event_version, payload::text AS payload, event_id,
                recorded_at
         FROM events WHERE position > $1 ORDER BY position LIMIT $2",
    )
    .bind(signed(after))
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await
    .map_err(StoreError::database(READ))?;
    rows.iter().map(replayed_event).collect()
}

fn replayed_event(row: &PgRow) -> Result<ReplayedEvent, StoreError> {
    let (key, event) = Columns {
        aggregate_id: row.read(READ, "aggregate_id")?,
        event_type: row.read(READ, "event_type")?,
        event_version: row.read(READ, "event_version")?,
        payload: row.read(READ, "payload")?,
    }
    .read()?;
    Ok(ReplayedEvent {
        position: non_negative(READ, row.read(READ, "position")?)?,
        event_id: row.read(READ, "event_id")?,
        key,
        sequence: non_negative(READ, row.read(READ, "sequence")?)?,
        recorded_at: row.read(READ, "recorded_at")?,
        event,
    })
}

/// The shadow tables: those of one session.
#[derive(Debug)]
struct PostgresShadow {
    connection: Session,
    /// Through a pooler they are those of one transaction, which sees one state of the ledger from its beginning to its end, and
    /// comes to nothing.
    shared: bool,
}

const HEAD: &str = "SELECT position FROM ledger_head WHERE id = 1";

impl PostgresShadow {
    async fn position(&mut self, operation: &'static str, read: &str) -> Result<Position, StoreError> {
        let position: i64 = sqlx::query_scalar(read)
            .fetch_one(&mut self.connection)
            .await
            .map_err(StoreError::database(operation))?;
        non_negative(operation, position)
    }

    async fn execute(&mut self, operation: &'static str, statement: &str) -> Result<(), StoreError> {
        self.connection
            .execute(statement)
            .await
            .map_err(StoreError::database(operation))?;
        Ok(())
    }
}

#[async_trait]
impl ShadowTables for PostgresShadow {
    async fn listed(&mut self, keys: &[&EntityKey]) -> Result<HashSet<EntityKey>, StoreError> {
        let operation = "look into the shadow list";
        let types: Vec<&str> = keys.iter().map(|key| key.entity_type().as_str()).collect();
        let ids: Vec<&str> = keys.iter().map(|key| key.id()).collect();
        let rows: Vec<i64> = sqlx::query_scalar(
            "SELECT asked.number
             FROM UNNEST ($1::text[], $2::text[]) WITH ORDINALITY AS asked (entity_type, entity_id, number)
             JOIN archived_entries s ON s.entity_type = asked.entity_type AND s.entity_id = asked.entity_id",
        )
        .bind(types)
        .bind(ids)
        .fetch_all(&mut self.connection)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(rows
            .into_iter()
            .filter_map(|number| keys.get(usize::try_from(number).ok()?.checked_sub(1)?))
            .map(|key| (*key).clone())
            .collect())
    }

    async fn apply(&mut self, changes: &Changes) -> Result<(), StoreError> {
        write_changes(&mut self.connection, changes).await
    }

    async fn freeze(&mut self, hold: Hold) -> Result<Position, StoreError> {
        let operation = "hold the ledger still";
        if self.shared {
            return match hold {
                Hold::Snapshot => self.position(operation, HEAD).await,
                Hold::HeadLock => Err(StoreError::Unfit(
                    "what differs is replaced in a session of one's own, and a pooler shares them: give the server's own URL"
                        .to_owned(),
                )),
            };
        }
        // The first read takes the snapshot, or the lock.
        let (begin, read) = match hold {
            Hold::Snapshot => ("BEGIN ISOLATION LEVEL REPEATABLE READ", HEAD),
            Hold::HeadLock => (
                "BEGIN",
                "SELECT position FROM ledger_head WHERE id = 1 FOR UPDATE",
            ),
        };
        self.execute(operation, begin).await?;
        let position = self.position(operation, read).await;
        if position.is_err() {
            let _ = self.connection.execute("ROLLBACK").await;
        }
        position
    }

    async fn frozen_page(&mut self, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError> {
        read_page(&mut self.connection, after, limit).await
    }

    async fn differences(&mut self) -> Result<Vec<TableDifferences>, StoreError> {
        let operation = "compare the projections";
        // Nobody else gathers statistics of temporary tables.
        self.execute(
            operation,
            "ANALYZE archived_entries, archived_summary, purge_work",
        )
        .await?;
        let mut tables = Vec::with_capacity(COMPARISONS.len());
        for (table, counts, examples) in COMPARISONS {
            let mut found = TableDifferences::none(table);
            if table == TABLES[3]
                && tables
                    .first()
                    .is_some_and(|list: &TableDifferences| list.rows() > 0)
            {
                // Of a wrong list the pages are counted anew, whatever they say.
                tables.push(found);
                continue;
            }
            let counted: Vec<(String, i64)> = sqlx::query_as(counts)
                .fetch_all(&mut self.connection)
                .await
                .map_err(StoreError::database(operation))?;
            for (kind, rows) in counted {
                found.count(DifferenceKind::parse(&kind)?, non_negative(operation, rows)?);
            }
            if found.rows() > 0 {
                let named: Vec<(String, String)> = sqlx::query_as(examples)
                    .bind(EXAMPLES)
                    .fetch_all(&mut self.connection)
                    .await
                    .map_err(StoreError::database(operation))?;
                for (kind, entity) in named {
                    found.examples.push((DifferenceKind::parse(&kind)?, entity));
                }
            }
            tables.push(found);
        }
        Ok(tables)
    }

    async fn replace(&mut self) -> Result<(), StoreError> {
        for statement in REPLACE {
            self.execute("replace the projections", statement).await?;
        }
        // The shadow list is what the live one is by now.
        for statement in [CLEAR_PAGES, FILL_PAGES] {
            self.execute("count the list's pages", statement).await?;
        }
        // A batch that was decided without the lock and waits for it now has to be decided again.
        let touch = "UPDATE ledger_head SET position = position WHERE id = 1";
        self.execute("replace the projections", touch).await?;
        self.thaw().await
    }

    async fn thaw(&mut self) -> Result<(), StoreError> {
        if self.shared {
            return Ok(());
        }
        self.execute("let go of the ledger", "COMMIT").await
    }

    async fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        let operation = "close the shadow tables";
        if self.shared {
            self.execute(operation, "ROLLBACK").await?;
            return self
                .connection
                .close()
                .await
                .map_err(StoreError::database(operation));
        }
        // The server takes the lock back with the session, but only some time after this end of it is closed.
        sqlx::query("SELECT pg_advisory_unlock($1)")
            .bind(LOCK)
            .execute(&mut self.connection)
            .await
            .map_err(StoreError::database(operation))?;
        self.connection
            .close()
            .await
            .map_err(StoreError::database(operation))
    }
}
