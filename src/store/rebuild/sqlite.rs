//! SQLite: the shadow tables of a rebuild, in a file of their own.
//!
//! The connection's `main` database is a file beside the ledger's that exists only while the rebuild runs; the ledger is
//! attached as `ledger`. A table without a schema's name is therefore the shadow one. Filling the shadow tables takes no lock on
//! the ledger and writes nothing to its write-ahead log.

mod apply;

use super::side_file::SideFile;
use super::{
    Columns, DifferenceKind, EXAMPLES, Hold, RebuildStore, ReplayLog, ReplayedEvent, ShadowTables, TABLES,
    TableDifferences,
};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{non_negative, signed, time, uuid};
use crate::store::{Position, StoreError};
use archive_ledger_domain::{EntityKey, EntityType};
use archive_ledger_projections::Changes;
use async_trait::async_trait;
use sqlx::sqlite::{SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::types::Json;
use sqlx::{Connection, Executor, Row, SqliteConnection};
use std::collections::HashSet;
use std::sync::Arc;

const READ: &str = "replay the log";

/// The definitions of the live tables, which the shadow tables but the list are made by. Indexes beside the primary keys only cost
/// time here.
const DEFINITIONS: &str = "SELECT name, sql FROM ledger.sqlite_master
    WHERE type = 'table' AND name IN ('archived_summary', 'purge_work')";

/// The shadow list: its rows are found by their entities.
const LIST: &str = "
CREATE TABLE main.archived_entries (
    entity_type TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    deleted_at  INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    deletion_id TEXT    NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
) STRICT, WITHOUT ROWID";

/// What differs, as (`kind`, `entity`). A row of the list that stands at another place is different, and not one that is missing
/// beside one that is too many. A counter at zero says no more than none.
const VIEWS: &str = "
CREATE TEMP VIEW archived_entries_differences AS
SELECT 'missing' AS kind, s.entity_type || ':' || s.entity_id AS entity
FROM main.archived_entries s
WHERE NOT EXISTS (SELECT 1 FROM ledger.archived_entries l
                  WHERE l.entity_type = s.entity_type AND l.deleted_at = s.deleted_at AND l.entity_id = s.entity_id)
  AND (s.entity_type, s.entity_id) NOT IN (
      SELECT m.entity_type, m.entity_id
      FROM ledger.archived_entries m
      CROSS JOIN main.archived_entries o ON o.entity_type = m.entity_type AND o.entity_id = m.entity_id
      WHERE o.deleted_at <> m.deleted_at)
UNION ALL
SELECT CASE WHEN s.entity_id IS NULL THEN 'surplus' ELSE 'different' END,
       l.entity_type || ':' || l.entity_id
FROM ledger.archived_entries l
LEFT JOIN main.archived_entries s ON s.entity_type = l.entity_type AND s.entity_id = l.entity_id
WHERE s.entity_id IS NULL
   OR (s.deleted_at, s.position, s.deletion_id) IS NOT (l.deleted_at, l.position, l.deletion_id);

CREATE TEMP VIEW archived_summary_differences AS
SELECT 'missing' AS kind, s.entity_type AS entity
FROM main.archived_summary s
WHERE s.count <> 0
  AND NOT EXISTS (SELECT 1 FROM ledger.archived_summary l WHERE l.entity_type = s.entity_type)
UNION ALL
SELECT CASE WHEN s.entity_type IS NULL THEN 'surplus' ELSE 'different' END, l.entity_type
FROM ledger.archived_summary l
LEFT JOIN main.archived_summary s ON s.entity_type = l.entity_type
WHERE coalesce(s.count, 0) <> l.count;

CREATE TEMP VIEW purge_work_differences AS
SELECT 'missing' AS kind, s.aggregate_id AS entity
FROM main.purge_work s
WHERE NOT EXISTS (SELECT 1 FROM ledger.purge_work l WHERE l.aggregate_id = s.aggregate_id)
UNION ALL
SELECT CASE WHEN s.aggregate_id IS NULL THEN 'surplus' ELSE 'different' END, l.aggregate_id
FROM ledger.purge_work l
LEFT JOIN main.purge_work s ON s.aggregate_id = l.aggregate_id
WHERE s.aggregate_id IS NULL
   OR (s.purge_id, s.position, s.event_id, s.requested_at, s.storage_count, s.state)
      IS NOT (l.purge_id, l.position, l.event_id, l.requested_at, l.storage_count, l.state);

CREATE TEMP VIEW archived_pages_differences AS
WITH counted AS MATERIALIZED (
    SELECT p.entity_type, p.deleted_at, p.entity_id, p.count, p.group_id,
           (SELECT count(*) FROM ledger.archived_entries a
            WHERE a.entity_type = p.entity_type AND a.deleted_at <= p.deleted_at AND a.deleted_at >= p.next_at
              AND (a.deleted_at < p.deleted_at OR a.entity_id >= p.entity_id)
              AND (a.deleted_at > p.next_at OR a.entity_id < p.next_id)) AS actual,
           (SELECT g.id FROM ledger.archived_page_groups g
            WHERE g.entity_type = p.entity_type AND g.deleted_at >= p.deleted_at
              AND (g.deleted_at > p.deleted_at OR g.entity_id <= p.entity_id)
            ORDER BY g.deleted_at, g.entity_id DESC LIMIT 1) AS holder
    FROM (SELECT entity_type, deleted_at, entity_id, count, group_id,
                 lead(deleted_at, 1, -9223372036854775807) OVER following AS next_at,
                 lead(entity_id, 1, '') OVER following AS next_id
          FROM ledger.archived_pages
          WINDOW following AS (PARTITION BY entity_type ORDER BY deleted_at DESC, entity_id)) p
)
SELECT 'different' AS kind, entity_type || ':' || entity_id AS entity
FROM counted WHERE count <> actual OR group_id IS DISTINCT FROM holder
UNION ALL
SELECT 'different', g.entity_type || ':' || g.entity_id
FROM ledger.archived_page_groups g
WHERE g.count <> (SELECT coalesce(sum(p.actual), 0) FROM counted p WHERE p.group_id = g.id)
   OR NOT EXISTS (SELECT 1 FROM counted p
                  WHERE p.group_id = g.id AND p.deleted_at = g.deleted_at AND p.entity_id = g.entity_id)
UNION ALL
SELECT 'missing', listed.entity_type
FROM ledger.archived_summary listed
WHERE NOT EXISTS (SELECT 1 FROM counted p WHERE p.entity_type = listed.entity_type AND p.deleted_at = 9223372036854775807);
";

/// For each of [`TABLES`]: its differences counted by kind, and some of them.
const COMPARISONS: [(&str, &str, &str); 4] = [
    (
        TABLES[0],
        "SELECT kind, count(*) AS rows FROM archived_entries_differences GROUP BY kind",
        "SELECT kind, entity FROM archived_entries_differences LIMIT ?1",
    ),
    (
        TABLES[1],
        "SELECT kind, count(*) AS rows FROM archived_summary_differences GROUP BY kind",
        "SELECT kind, entity FROM archived_summary_differences LIMIT ?1",
    ),
    (
        TABLES[2],
        "SELECT kind, count(*) AS rows FROM purge_work_differences GROUP BY kind",
        "SELECT kind, entity FROM purge_work_differences LIMIT ?1",
    ),
    (
        TABLES[3],
        "SELECT kind, count(*) AS rows FROM archived_pages_differences GROUP BY kind",
        "SELECT kind, entity FROM archived_pages_differences LIMIT ?1",
    ),
];

const CLEAR_PAGES: &str = "DELETE FROM ledger.archived_pages; DELETE FROM ledger.archived_page_groups";

/// Count the live list of a type into empty pages, a group of pages at a time: of one type, as the list is in the order that they are
/// cut in. Every type has its first page, which begins before everything.
const FILL_PAGES: [&str; 4] = [
    "INSERT INTO ledger.archived_page_groups (entity_type, deleted_at, entity_id, count)
     SELECT ?1, CASE WHEN rank = 0 THEN 9223372036854775807 ELSE deleted_at END, CASE WHEN rank = 0 THEN '' ELSE entity_id END,
            min(65536, (SELECT count(*) FROM ledger.archived_entries WHERE entity_type = ?1) - rank)
     FROM (SELECT deleted_at, entity_id, row_number() OVER (ORDER BY deleted_at DESC, entity_id) - 1 AS rank
           FROM ledger.archived_entries WHERE entity_type = ?1)
     WHERE rank % 65536 = 0",
    "INSERT INTO ledger.archived_pages (entity_type, deleted_at, entity_id, count, group_id)
     SELECT ?1, deleted_at, entity_id, min(1024, (SELECT count(*) FROM ledger.archived_entries WHERE entity_type = ?1) - rank),
            (SELECT g.id FROM ledger.archived_page_groups g
             WHERE g.entity_type = ?1 AND g.deleted_at >= cut.deleted_at
               AND (g.deleted_at > cut.deleted_at OR g.entity_id <= cut.entity_id)
             ORDER BY g.deleted_at, g.entity_id DESC LIMIT 1)
     FROM (SELECT rank, CASE WHEN rank = 0 THEN 9223372036854775807 ELSE deleted_at END AS deleted_at,
                  CASE WHEN rank = 0 THEN '' ELSE entity_id END AS entity_id
           FROM (SELECT deleted_at, entity_id, row_number() OVER (ORDER BY deleted_at DESC, entity_id) - 1 AS rank
                 FROM ledger.archived_entries WHERE entity_type = ?1)
           WHERE rank % 1024 = 0) AS cut",
    "INSERT INTO ledger.archived_page_groups (entity_type, deleted_at, entity_id, count)
     SELECT ?1, 9223372036854775807, '', 0
     WHERE NOT EXISTS (SELECT 1 FROM ledger.archived_entries WHERE entity_type = ?1)",
    "INSERT INTO ledger.archived_pages (entity_type, deleted_at, entity_id, count, group_id)
     SELECT entity_type, deleted_at, entity_id, 0, id FROM ledger.archived_page_groups WHERE entity_type = ?1 AND count = 0",
];

/// First goes what is wrong, then comes what is missing.
const REPLACE: [&str; 6] = [
    "DELETE FROM ledger.archived_entries AS l
     WHERE NOT EXISTS (SELECT 1 FROM main.archived_entries s
                       WHERE s.entity_type = l.entity_type AND s.entity_id = l.entity_id
                         AND (s.deleted_at, s.position, s.deletion_id) IS (l.deleted_at, l.position, l.deletion_id))",
    "INSERT INTO ledger.archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
     SELECT entity_type, entity_id, deleted_at, position, deletion_id FROM main.archived_entries s
     WHERE NOT EXISTS (SELECT 1 FROM ledger.archived_entries l
                       WHERE l.entity_type = s.entity_type AND l.deleted_at = s.deleted_at AND l.entity_id = s.entity_id)",
    "DELETE FROM ledger.archived_summary AS l
     WHERE NOT EXISTS (SELECT 1 FROM main.archived_summary s
                       WHERE s.entity_type = l.entity_type AND s.count = l.count)",
    "INSERT INTO ledger.archived_summary (entity_type, count)
     SELECT entity_type, count FROM main.archived_summary s
     WHERE NOT EXISTS (SELECT 1 FROM ledger.archived_summary l WHERE l.entity_type = s.entity_type)",
    "DELETE FROM ledger.purge_work AS l
     WHERE NOT EXISTS (SELECT 1 FROM main.purge_work s
                       WHERE s.aggregate_id = l.aggregate_id
                         AND (s.purge_id, s.position, s.event_id, s.requested_at, s.storage_count, s.state)
                             IS (l.purge_id, l.position, l.event_id, l.requested_at, l.storage_count, l.state))",
    "INSERT INTO ledger.purge_work (aggregate_id, purge_id, position, event_id, requested_at, storage_count, state)
     SELECT aggregate_id, purge_id, position, event_id, requested_at, storage_count, state FROM main.purge_work s
     WHERE NOT EXISTS (SELECT 1 FROM ledger.purge_work l WHERE l.aggregate_id = s.aggregate_id)",
];

impl SqliteStore {
    /// Begins a rebuild; `None` while another one is under way.
    ///
    /// # Errors
    /// [`StoreError`] when the shadow tables cannot be made.
    pub async fn rebuild(&self) -> Result<Option<RebuildStore>, StoreError> {
        let operation = "make the shadow tables";
        let Some(file) = SideFile::acquire(self.options.get_filename())
            .map_err(|error| StoreError::database(operation)(sqlx::Error::Io(error)))?
        else {
            return Ok(None);
        };
        let options = self
            .options
            .clone()
            .filename(file.path())
            // The file is thrown away whenever anything fails, so it needs neither a journal nor the disk's promise.
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .pragma("secure_delete", "OFF")
            .pragma("cache_size", "-49152");
        let mut connection = SqliteConnection::connect_with(&options)
            .await
            .map_err(StoreError::database(operation))?;
        prepare(&mut connection, file.ledger())
            .await
            .map_err(StoreError::database(operation))?;
        // One connection reads: each keeps the memory that a page of the log took.
        let log = Self::open(self.options.get_filename(), 1).await?;
        Ok(Some(RebuildStore {
            log: Arc::new(log),
            shadow: Box::new(SqliteShadow {
                connection,
                in_transaction: false,
                file,
            }),
        }))
    }
}

async fn prepare(connection: &mut SqliteConnection, ledger: &str) -> Result<(), sqlx::Error> {
    sqlx::query("ATTACH DATABASE ?1 AS ledger")
        .bind(ledger)
        .execute(&mut *connection)
        .await?;
    // What is committed to the ledger is as durable as any other commit, and what leaves it is overwritten.
    connection
        .execute("PRAGMA ledger.synchronous = FULL; PRAGMA ledger.secure_delete = ON; PRAGMA ledger.cache_size = -8192")
        .await?;
    let definitions: Vec<String> = sqlx::query(DEFINITIONS)
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(|row| row.try_get("sql"))
        .collect::<Result<_, _>>()?;
    for definition in definitions {
        connection.execute(definition.as_str()).await?;
    }
    connection.execute(LIST).await?;
    connection.execute(VIEWS).await?;
    Ok(())
}

#[async_trait]
impl ReplayLog for SqliteStore {
    async fn page(&self, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError> {
        read_page(&self.reads, after, limit).await
    }
}

async fn read_page<'c, E>(executor: E, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError>
where
    E: sqlx::Executor<'c, Database = sqlx::Sqlite>,
{
    let rows = sqlx::query(
        "SELECT position, aggregate_id, sequence, event_type, event_version, payload, event_id, recorded_at
         FROM events WHERE position > ?1 ORDER BY position LIMIT ?2",
    )
    .bind(signed(after))
    .bind(limit)
    .fetch_all(executor)
    .await
    .map_err(StoreError::database(READ))?;
    rows.iter().map(replayed_event).collect()
}

fn replayed_event(row: &SqliteRow) -> Result<ReplayedEvent, StoreError> {
    let text = |column: &str| row.try_get::<&str, _>(column).map_err(StoreError::database(READ));
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(StoreError::database(READ));
    let (key, event) = Columns {
        aggregate_id: text("aggregate_id")?,
        event_type: text("event_type")?,
        event_version: text("event_version")?,
        payload: text("payload")?,
    }
    .read()?;
    Ok(ReplayedEvent {
        position: non_negative(READ, number("position")?)?,
        event_id: uuid(READ, text("event_id")?)?,
        key,
        sequence: non_negative(READ, number("sequence")?)?,
        recorded_at: time(READ, number("recorded_at")?)?,
        event,
    })
}

/// The shadow tables.
#[derive(Debug)]
struct SqliteShadow {
    /// Before the file, so that it is closed before the file is removed.
    connection: SqliteConnection,
    /// Whether a transaction is open. One fills the shadow tables with all pages of the log, as each commit would write every
    /// page of the tree that it touched.
    in_transaction: bool,
    file: SideFile,
}

impl SqliteShadow {
    async fn execute(&mut self, operation: &'static str, statement: &str) -> Result<(), StoreError> {
        self.connection
            .execute(statement)
            .await
            .map_err(StoreError::database(operation))?;
        Ok(())
    }

    async fn head(&mut self) -> Result<Position, StoreError> {
        let position: i64 = sqlx::query_scalar("SELECT position FROM ledger.ledger_head WHERE id = 1")
            .fetch_one(&mut self.connection)
            .await
            .map_err(StoreError::database("read the head"))?;
        non_negative("read the head", position)
    }
}

#[async_trait]
impl ShadowTables for SqliteShadow {
    async fn listed(&mut self, keys: &[&EntityKey]) -> Result<HashSet<EntityKey>, StoreError> {
        let operation = "look into the shadow list";
        let asked: Vec<(&str, &str)> = keys
            .iter()
            .map(|key| (key.entity_type().as_str(), key.id()))
            .collect();
        let rows: Vec<i64> = sqlx::query_scalar(
            "SELECT asked.key FROM json_each(?1) AS asked
             CROSS JOIN main.archived_entries s
             WHERE s.entity_type = asked.value ->> 0 AND s.entity_id = asked.value ->> 1",
        )
        .bind(Json(asked))
        .fetch_all(&mut self.connection)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(rows
            .into_iter()
            .filter_map(|index| keys.get(usize::try_from(index).ok()?))
            .map(|key| (*key).clone())
            .collect())
    }

    async fn apply(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if !self.in_transaction {
            self.execute("fill the shadow tables", "BEGIN").await?;
            self.in_transaction = true;
        }
        apply::apply(&mut self.connection, changes).await
    }

    async fn freeze(&mut self, hold: Hold) -> Result<Position, StoreError> {
        if self.in_transaction {
            self.execute("fill the shadow tables", "COMMIT").await?;
            self.in_transaction = false;
        }
        let begin = match hold {
            Hold::Snapshot => "BEGIN",
            Hold::HeadLock => "BEGIN IMMEDIATE",
        };
        self.execute("hold the ledger still", begin).await?;
        // The first read takes the snapshot.
        let head = self.head().await;
        match head {
            Ok(position) => {
                self.in_transaction = true;
                Ok(position)
            }
            Err(error) => {
                let _ = self.connection.execute("ROLLBACK").await;
                Err(error)
            }
        }
    }

    async fn frozen_page(&mut self, after: Position, limit: u32) -> Result<Vec<ReplayedEvent>, StoreError> {
        read_page(&mut self.connection, after, limit).await
    }

    async fn differences(&mut self) -> Result<Vec<TableDifferences>, StoreError> {
        let operation = "compare the projections";
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
        let operation = "count the list's pages";
        self.execute(operation, CLEAR_PAGES).await?;
        for entity_type in EntityType::ALL {
            for statement in FILL_PAGES {
                sqlx::query(statement)
                    .bind(entity_type.as_str())
                    .execute(&mut self.connection)
                    .await
                    .map_err(StoreError::database(operation))?;
            }
        }
        self.thaw().await
    }

    async fn thaw(&mut self) -> Result<(), StoreError> {
        self.execute("let go of the ledger", "COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self { connection, file, .. } = *self;
        connection
            .close()
            .await
            .map_err(StoreError::database("close the shadow tables"))?;
        drop(file);
        Ok(())
    }
}
