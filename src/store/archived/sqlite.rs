//! SQLite: the archived list.

use super::{ArchivedPage, ArchivedRow, ArchivedStore, ListPage};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, Readable, report};
use crate::store::keys::sqlite::wrapped_key;
use crate::store::log::sqlite::sealed;
use crate::store::pool::Readers;
use crate::store::sqlite::SqliteStore;
use crate::store::values::{micros, non_negative, signed, time, uuid};
use archive_ledger_domain::{EntityKey, EntityType};
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use std::collections::BTreeMap;

const OPERATION: &str = "read the archived list";

/// What follows a row.
const AFTER: &str = "
    SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
    FROM (SELECT entity_id, deleted_at, position FROM archived_entries
          WHERE entity_type = ?1 AND deleted_at <= ?3 AND (deleted_at < ?3 OR entity_id > ?4)
          ORDER BY deleted_at DESC, entity_id LIMIT ?2 OFFSET ?5) a
    LEFT JOIN events e ON e.position = a.position
    LEFT JOIN entities k ON k.aggregate_id = e.aggregate_id
    ORDER BY a.deleted_at DESC, a.entity_id";

/// What stands so many rows from a row on, that row included. What is skipped is read from the list alone.
const FROM: &str = "
    WITH start AS MATERIALIZED (
        SELECT deleted_at AS at, entity_id AS id FROM archived_entries
        WHERE entity_type = ?1 AND deleted_at <= ?3 AND (deleted_at < ?3 OR entity_id >= ?4)
        ORDER BY deleted_at DESC, entity_id LIMIT 1 OFFSET ?5)
    SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
    FROM (SELECT entity_id, deleted_at, position FROM archived_entries
          WHERE entity_type = ?1 AND deleted_at <= (SELECT at FROM start)
            AND (deleted_at < (SELECT at FROM start) OR entity_id >= (SELECT id FROM start))
          ORDER BY deleted_at DESC, entity_id LIMIT ?2) a
    LEFT JOIN events e ON e.position = a.position
    LEFT JOIN entities k ON k.aggregate_id = e.aggregate_id
    ORDER BY a.deleted_at DESC, a.entity_id";

/// Where the page begins that holds the row after so many, and how many rows are left to skip there.
const PAGE: &str = "
    WITH grp AS MATERIALIZED (
        SELECT id, before FROM (
            SELECT id, deleted_at, entity_id,
                   sum(count) OVER (ORDER BY deleted_at DESC, entity_id) - count AS before
            FROM archived_page_groups WHERE entity_type = ?1)
        WHERE before <= ?2
        ORDER BY deleted_at, entity_id DESC LIMIT 1
    )
    SELECT deleted_at, entity_id, ?2 - before AS skipped FROM (
        SELECT p.deleted_at, p.entity_id,
               grp.before + sum(p.count) OVER (ORDER BY p.deleted_at DESC, p.entity_id) - p.count AS before
        FROM grp CROSS JOIN archived_pages p ON p.group_id = grp.id)
    WHERE before <= ?2
    ORDER BY deleted_at, entity_id DESC LIMIT 1";

const TOTALS: &str = "
    SELECT coalesce((SELECT count FROM archived_summary WHERE entity_type = ?1 AND typeof(count) = 'integer' AND count >= 0),
                    (SELECT count(*) FROM archived_entries WHERE entity_type = ?1)) AS total,
           CAST((SELECT coalesce(sum(count), 0) FROM archived_page_groups WHERE entity_type = ?1) AS INTEGER) AS paged";

/// Sorts behind every number and every text: a time that is none must not hide its row.
const BEFORE_ALL: &[u8] = &[u8::MAX; 32];

/// Up to how many rows are walked: fewer than a page of the list's holds.
const NEAR: u64 = 128;

#[async_trait]
impl ArchivedStore for SqliteStore {
    async fn summary(&self) -> Result<BTreeMap<EntityType, u64>, StoreError> {
        let operation = "read the summary";
        // Where one of the counters cannot be read, nothing says which kind it was of: the entries themselves are counted.
        for counts in [
            "SELECT entity_type, count FROM archived_summary WHERE count <> 0",
            "SELECT entity_type, count(*) AS count FROM archived_entries GROUP BY entity_type",
        ] {
            let rows = sqlx::query(counts)
                .fetch_all(&self.reads)
                .await
                .map_err(StoreError::database(operation))?;
            let counted = rows.iter().map(|row| {
                let entity_type = row.read::<&str>(operation, "entity_type")?.parse();
                let count = non_negative(operation, row.read(operation, "count")?)?;
                entity_type
                    .map(|entity_type| (entity_type, count))
                    .map_err(|_| StoreError::inconsistent(operation, "an unknown entity type"))
            });
            match counted.collect() {
                Ok(counts) => return Ok(counts),
                Err(error) => report(&error),
            }
        }
        Err(StoreError::inconsistent(
            operation,
            "neither the counters nor the entries can be read",
        ))
    }

    async fn list(
        &self,
        entity_type: EntityType,
        page: &ListPage,
        limit: u32,
    ) -> Result<ArchivedPage, StoreError> {
        read_page(&self.reads, entity_type, page, limit).await
    }
}

async fn read_page(
    pool: &Readers,
    entity_type: EntityType,
    page: &ListPage,
    limit: u32,
) -> Result<ArchivedPage, StoreError> {
    let failed = || StoreError::database(OPERATION);
    // A deferred transaction is one snapshot from its first read on: rows and counts belong together.
    let mut tx = pool.begin().await.map_err(failed())?;
    let totals = sqlx::query(TOTALS)
        .bind(entity_type.as_str())
        .fetch_one(&mut *tx)
        .await
        .map_err(failed())?;
    let (total, paged): (i64, i64) = (totals.read(OPERATION, "total")?, totals.read(OPERATION, "paged")?);
    let wanted = i64::from(limit) + 1;
    let rows = match page {
        ListPage::After(deleted_at, id) | ListPage::Behind(deleted_at, id, _) => {
            sqlx::query(AFTER)
                .bind(entity_type.as_str())
                .bind(wanted)
                .bind(micros(*deleted_at))
                .bind(id)
                .bind(signed(page.behind()))
                .fetch_all(&mut *tx)
                .await
        }
        ListPage::Offset(skipped) => {
            let skipped = signed(*skipped);
            let start = if skipped.unsigned_abs() <= NEAR {
                Start::of_the_list(skipped)
            } else if total == paged {
                Start::of_a_page(&mut tx, entity_type, skipped)
                    .await
                    .map_err(failed())?
            } else {
                tracing::warn!(%entity_type, paged, total, "the list's pages are not counted right; run `archive-ledger rebuild`");
                Start::of_the_list(skipped)
            };
            let query = sqlx::query(FROM).bind(entity_type.as_str()).bind(wanted);
            let query = match start.deleted_at {
                Some(time) => query.bind(time),
                None => query.bind(BEFORE_ALL),
            };
            query
                .bind(start.entity_id)
                .bind(start.skipped)
                .fetch_all(&mut *tx)
                .await
        }
    }
    .map_err(failed())?;
    tx.commit().await.map_err(failed())?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let listed = rows.get(..limit.min(rows.len())).unwrap_or_default();
    let Readable { rows: read, damaged } = Readable::of(
        listed,
        |row| archived_row(entity_type, row),
        |row| {
            let id = row.read(OPERATION, "entity_id").ok();
            DamagedRow {
                key: id.and_then(|id| EntityKey::new(entity_type, id).ok()),
                ..DamagedRow::default()
            }
        },
    );
    Ok(ArchivedPage {
        rows: read,
        damaged,
        total: non_negative(OPERATION, total)?,
        more: rows.len() > limit,
    })
}

/// Where the walk begins, and how far it goes.
struct Start {
    /// `None` before the first row, whatever that has for a time.
    deleted_at: Option<i64>,
    entity_id: String,
    skipped: i64,
}

impl Start {
    const fn of_the_list(skipped: i64) -> Self {
        Self {
            deleted_at: None,
            entity_id: String::new(),
            skipped,
        }
    }

    async fn of_a_page(
        connection: &mut SqliteConnection,
        entity_type: EntityType,
        skipped: i64,
    ) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(PAGE)
            .bind(entity_type.as_str())
            .bind(skipped)
            .fetch_one(connection)
            .await?;
        Ok(Self {
            deleted_at: Some(row.try_get("deleted_at")?),
            entity_id: row.try_get("entity_id")?,
            skipped: row.try_get("skipped")?,
        })
    }
}

fn archived_row(entity_type: EntityType, row: &SqliteRow) -> Result<ArchivedRow, StoreError> {
    let key = EntityKey::new(entity_type, row.read(OPERATION, "entity_id")?)
        .map_err(|error| StoreError::inconsistent(OPERATION, error.to_string()))?;
    Ok(ArchivedRow {
        key,
        deleted_at: time(OPERATION, row.read(OPERATION, "deleted_at")?)?,
        event_id: uuid(OPERATION, row.read(OPERATION, "event_id")?)?,
        sealed: sealed(row),
        data_key: wrapped_key(row),
    })
}
