//! PostgreSQL: the archived list, a page with its total in one snapshot.

pub(in crate::store) mod summary;

use super::{ArchivedPage, ArchivedRow, ArchivedStore, ListPage};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::damaged::{DamagedRow, Readable};
use crate::store::keys::postgres::wrapped_key;
use crate::store::postgres::PostgresStore;
use crate::store::server::session::Sessions;
use crate::store::values::{non_negative, signed};
use archive_ledger_domain::{EntityKey, EntityType};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::BTreeMap;

const OPERATION: &str = "read the archived list";

/// More rows than this are never read at once. The statements name the number, because one that is bound tells the planner
/// nothing, and it would join whole tables.
const MOST: u32 = 1_000;

/// What follows a row.
const AFTER: &str = "
    SELECT counted.total, listed.*
    FROM (SELECT coalesce((SELECT count FROM archived_summary WHERE entity_type = $1 AND count >= 0),
                          (SELECT count(*) FROM archived_entries WHERE entity_type = $1)) AS total) counted
    LEFT JOIN LATERAL (
        SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
        FROM (SELECT entity_id, deleted_at, position FROM archived_entries
              WHERE entity_type = $1 AND deleted_at <= $3 AND (deleted_at < $3 OR entity_id > $4)
              ORDER BY deleted_at DESC, entity_id OFFSET $5 LIMIT 1001) a
        LEFT JOIN LATERAL (
            SELECT aggregate_id, event_id, sealed FROM events WHERE position = a.position LIMIT 1) e ON true
        LEFT JOIN LATERAL (
            SELECT key_id, kek_id, wrapped FROM entities WHERE aggregate_id = e.aggregate_id LIMIT 1) k ON true
        ORDER BY a.deleted_at DESC, a.entity_id LIMIT $2
    ) listed ON true
    ORDER BY listed.deleted_at DESC, listed.entity_id";

/// What follows so many rows, walked to: right whatever the pages say, and cheap for few.
const WALKED: &str = "
    SELECT counted.total, listed.*
    FROM (SELECT coalesce((SELECT count FROM archived_summary WHERE entity_type = $1 AND count >= 0),
                          (SELECT count(*) FROM archived_entries WHERE entity_type = $1)) AS total) counted
    LEFT JOIN LATERAL (
        SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
        FROM (SELECT entity_id, deleted_at, position FROM archived_entries
              WHERE entity_type = $1
              ORDER BY deleted_at DESC, entity_id OFFSET $3 LIMIT 1001) a
        LEFT JOIN LATERAL (
            SELECT aggregate_id, event_id, sealed FROM events WHERE position = a.position LIMIT 1) e ON true
        LEFT JOIN LATERAL (
            SELECT key_id, kek_id, wrapped FROM entities WHERE aggregate_id = e.aggregate_id LIMIT 1) k ON true
        ORDER BY a.deleted_at DESC, a.entity_id LIMIT $2
    ) listed ON true
    ORDER BY listed.deleted_at DESC, listed.entity_id";

/// Where the page begins that holds the row after so many, and how many rows are left to walk there.
const PAGE: &str = "
    WITH grp AS (
        SELECT id, before, paged FROM (
            SELECT id, deleted_at, entity_id, (sum(count) OVER ())::bigint AS paged,
                   (sum(count) OVER (ORDER BY deleted_at DESC, entity_id))::bigint - count AS before
            FROM archived_page_groups WHERE entity_type = $1) summed
        WHERE before <= $2
        ORDER BY deleted_at, entity_id DESC LIMIT 1
    )
    SELECT grp.paged, summed.deleted_at = 'infinity' AS first,
           CASE WHEN summed.deleted_at = 'infinity' THEN now() ELSE summed.deleted_at END AS deleted_at,
           summed.entity_id, $2 - grp.before - summed.before AS skipped,
           coalesce((SELECT count FROM archived_summary WHERE entity_type = $1), 0) AS total
    FROM grp CROSS JOIN LATERAL (
        SELECT deleted_at, entity_id,
               (sum(count) OVER (ORDER BY deleted_at DESC, entity_id))::bigint - count AS before
        FROM archived_pages WHERE group_id = grp.id) summed
    WHERE grp.before + summed.before <= $2
    ORDER BY summed.deleted_at, summed.entity_id DESC LIMIT 1";

/// What stands so many rows from a row on, that row included.
const FROM: &str = "
    SELECT counted.total, listed.*
    FROM (SELECT coalesce((SELECT count FROM archived_summary WHERE entity_type = $1 AND count >= 0),
                          (SELECT count(*) FROM archived_entries WHERE entity_type = $1)) AS total) counted
    LEFT JOIN LATERAL (
        SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
        FROM (SELECT entity_id, deleted_at, position FROM archived_entries
              WHERE entity_type = $1 AND deleted_at <= $3 AND (deleted_at < $3 OR entity_id >= $4)
              ORDER BY deleted_at DESC, entity_id OFFSET $5 LIMIT 1001) a
        LEFT JOIN LATERAL (
            SELECT aggregate_id, event_id, sealed FROM events WHERE position = a.position LIMIT 1) e ON true
        LEFT JOIN LATERAL (
            SELECT key_id, kek_id, wrapped FROM entities WHERE aggregate_id = e.aggregate_id LIMIT 1) k ON true
        ORDER BY a.deleted_at DESC, a.entity_id LIMIT $2
    ) listed ON true
    ORDER BY listed.deleted_at DESC, listed.entity_id";

/// Up to how many rows are walked: fewer than a page of the list's holds.
const NEAR: u64 = 128;

#[async_trait]
impl ArchivedStore for PostgresStore {
    async fn summary(&self) -> Result<BTreeMap<EntityType, u64>, StoreError> {
        self.summary.read(&self.pool).await
    }

    async fn list(
        &self,
        entity_type: EntityType,
        page: &ListPage,
        limit: u32,
    ) -> Result<ArchivedPage, StoreError> {
        read_page(&self.pool, entity_type, page, limit).await
    }
}

async fn read_page(
    pool: &Sessions,
    entity_type: EntityType,
    page: &ListPage,
    limit: u32,
) -> Result<ArchivedPage, StoreError> {
    let limit = limit.min(MOST);
    let wanted = i64::from(limit) + 1;
    let skipped = match page {
        ListPage::After(deleted_at, id) | ListPage::Behind(deleted_at, id, _) => {
            let rows = sqlx::query(AFTER)
                .bind(entity_type.as_str())
                .bind(wanted)
                .bind(deleted_at)
                .bind(id)
                .bind(signed(page.behind()))
                .fetch_all(pool)
                .await
                .map_err(StoreError::database(OPERATION))?;
            return read(entity_type, &rows, limit);
        }
        ListPage::Offset(skipped) => *skipped,
    };
    if skipped > NEAR
        && let Some(rows) = numbered(pool, entity_type, signed(skipped), wanted).await?
    {
        return read(entity_type, &rows, limit);
    }
    let rows = sqlx::query(WALKED)
        .bind(entity_type.as_str())
        .bind(wanted)
        .bind(signed(skipped))
        .fetch_all(pool)
        .await
        .map_err(StoreError::database(OPERATION))?;
    read(entity_type, &rows, limit)
}

/// The rows, by way of the pages; `None` where the list has to be walked.
async fn numbered(
    pool: &Sessions,
    entity_type: EntityType,
    skipped: i64,
    wanted: i64,
) -> Result<Option<Vec<PgRow>>, StoreError> {
    let failed = StoreError::database;
    // In one statement, the planner would know nothing of where the page begins, and would sort the rest of the list.
    let mut tx = pool.begin_snapshot().await.map_err(failed(OPERATION))?;
    let page = sqlx::query(PAGE)
        .bind(entity_type.as_str())
        .bind(skipped)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed(OPERATION))?;
    let Some(page) = page else {
        return Ok(None);
    };
    let (paged, total): (i64, i64) = (page.read(OPERATION, "paged")?, page.read(OPERATION, "total")?);
    if paged != total {
        // An instance of an earlier version has appended, which counts no pages; `rebuild` counts them again.
        tracing::warn!(%entity_type, paged, total, "the list's pages are not counted right; run `archive-ledger rebuild`");
        return Ok(None);
    }
    if page.read(OPERATION, "first")? {
        return Ok(None);
    }
    let Ok(deleted_at) = page.read::<DateTime<Utc>>(OPERATION, "deleted_at") else {
        tracing::warn!(%entity_type, "a page of the list begins at no time; run `archive-ledger rebuild`");
        return Ok(None);
    };
    sqlx::query(FROM)
        // Planned with the values, each time.
        .persistent(false)
        .bind(entity_type.as_str())
        .bind(wanted)
        .bind(deleted_at)
        .bind(page.read::<&str>(OPERATION, "entity_id")?)
        .bind(page.read::<i64>(OPERATION, "skipped")?)
        .fetch_all(&mut *tx)
        .await
        .map(Some)
        .map_err(failed(OPERATION))
}

/// Each row carries the count; where there are none, one row carries nothing else.
fn read(entity_type: EntityType, rows: &[PgRow], limit: u32) -> Result<ArchivedPage, StoreError> {
    let total = match rows.first() {
        Some(row) => row.read(OPERATION, "total")?,
        None => 0,
    };
    let listed = rows
        .iter()
        .filter(|row| !matches!(row.try_get::<Option<&str>, _>("entity_id"), Ok(None)));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = listed.clone().nth(limit).is_some();
    let listed: Vec<&PgRow> = listed.take(limit).collect();
    let Readable { rows, damaged } = Readable::of(
        &listed,
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
        rows,
        damaged,
        total: non_negative(OPERATION, total)?,
        more,
    })
}

fn archived_row(entity_type: EntityType, row: &PgRow) -> Result<ArchivedRow, StoreError> {
    let key = EntityKey::new(entity_type, row.read(OPERATION, "entity_id")?)
        .map_err(|error| StoreError::inconsistent(OPERATION, error.to_string()))?;
    Ok(ArchivedRow {
        key,
        deleted_at: row.read(OPERATION, "deleted_at")?,
        event_id: row.read(OPERATION, "event_id")?,
        sealed: row.read(OPERATION, "sealed")?,
        data_key: wrapped_key(OPERATION, row)?,
    })
}
