//! PostgreSQL: the archived list, a page in one statement, and with it in one snapshot.

use super::super::append::signed;
use super::{non_negative, wrapped_key};
use crate::store::{ArchivedPage, ArchivedRow, ListPage, StoreError};
use archive_ledger_domain::{EntityKey, EntityType};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

const OPERATION: &str = "read the archived list";

/// More rows than this are never read at once. The statements name the number, because one that is bound tells the planner
/// nothing, and it would join whole tables.
const MOST: u32 = 1_000;

/// What follows a row.
const AFTER: &str = "
    SELECT counted.total, counted.total AS paged, listed.*
    FROM (SELECT coalesce((SELECT count FROM archived_summary WHERE entity_type = $1), 0) AS total) counted
    LEFT JOIN LATERAL (
        SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
        FROM (SELECT entity_id, deleted_at, position FROM archived_entries
              WHERE entity_type = $1 AND deleted_at <= $3 AND (deleted_at < $3 OR entity_id > $4)
              ORDER BY deleted_at DESC, entity_id LIMIT 1001) a
        CROSS JOIN LATERAL (
            SELECT aggregate_id, event_id, sealed FROM events WHERE position = a.position LIMIT 1) e
        LEFT JOIN LATERAL (
            SELECT key_id, kek_id, wrapped FROM entity_keys WHERE aggregate_id = e.aggregate_id LIMIT 1) k ON true
        ORDER BY a.deleted_at DESC, a.entity_id LIMIT $2
    ) listed ON true
    ORDER BY listed.deleted_at DESC, listed.entity_id";

/// What follows so many rows, walked to: right whatever the pages say, and cheap for few.
const WALKED: &str = "
    SELECT counted.total, counted.total AS paged, listed.*
    FROM (SELECT coalesce((SELECT count FROM archived_summary WHERE entity_type = $1), 0) AS total) counted
    LEFT JOIN LATERAL (
        SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
        FROM (SELECT entity_id, deleted_at, position FROM archived_entries
              WHERE entity_type = $1
              ORDER BY deleted_at DESC, entity_id OFFSET $3 LIMIT 1001) a
        CROSS JOIN LATERAL (
            SELECT aggregate_id, event_id, sealed FROM events WHERE position = a.position LIMIT 1) e
        LEFT JOIN LATERAL (
            SELECT key_id, kek_id, wrapped FROM entity_keys WHERE aggregate_id = e.aggregate_id LIMIT 1) k ON true
        ORDER BY a.deleted_at DESC, a.entity_id LIMIT $2
    ) listed ON true
    ORDER BY listed.deleted_at DESC, listed.entity_id";

/// What follows so many rows: the group that holds the row, the page in it, and the rest walked from where the page begins.
const NUMBERED: &str = "
    WITH grp AS (
        SELECT id, before FROM (
            SELECT id, deleted_at, entity_id,
                   (sum(count) OVER (ORDER BY deleted_at DESC, entity_id))::bigint - count AS before
            FROM archived_page_groups WHERE entity_type = $1) summed
        WHERE before <= $3
        ORDER BY deleted_at, entity_id DESC LIMIT 1
    ), page AS (
        SELECT summed.deleted_at, summed.entity_id, $3 - grp.before - summed.before AS skipped
        FROM grp CROSS JOIN LATERAL (
            SELECT deleted_at, entity_id,
                   (sum(count) OVER (ORDER BY deleted_at DESC, entity_id))::bigint - count AS before
            FROM archived_pages WHERE group_id = grp.id) summed
        WHERE grp.before + summed.before <= $3
        ORDER BY summed.deleted_at, summed.entity_id DESC LIMIT 1
    )
    SELECT counted.total, counted.paged, listed.*
    FROM (SELECT coalesce((SELECT count FROM archived_summary WHERE entity_type = $1), 0) AS total,
                 (SELECT coalesce(sum(count), 0) FROM archived_page_groups WHERE entity_type = $1)::bigint AS paged) counted
    LEFT JOIN LATERAL (
        SELECT a.entity_id, a.deleted_at, e.event_id, e.sealed, k.key_id, k.kek_id, k.wrapped
        FROM page CROSS JOIN LATERAL (
            SELECT entity_id, deleted_at, position FROM archived_entries
            WHERE entity_type = $1 AND deleted_at <= page.deleted_at
              AND (deleted_at < page.deleted_at OR entity_id >= page.entity_id)
            ORDER BY deleted_at DESC, entity_id OFFSET page.skipped LIMIT 1001) a
        CROSS JOIN LATERAL (
            SELECT aggregate_id, event_id, sealed FROM events WHERE position = a.position LIMIT 1) e
        LEFT JOIN LATERAL (
            SELECT key_id, kek_id, wrapped FROM entity_keys WHERE aggregate_id = e.aggregate_id LIMIT 1) k ON true
        ORDER BY a.deleted_at DESC, a.entity_id LIMIT $2
    ) listed ON true
    ORDER BY listed.deleted_at DESC, listed.entity_id";

/// Up to how many rows are walked: fewer than a page of the list's holds.
const NEAR: u64 = 128;

pub(super) async fn page(
    pool: &PgPool,
    entity_type: EntityType,
    page: &ListPage,
    limit: u32,
) -> Result<ArchivedPage, StoreError> {
    let limit = limit.min(MOST);
    let wanted = i64::from(limit) + 1;
    let query = |statement| sqlx::query(statement).bind(entity_type.as_str()).bind(wanted);
    let rows = match page {
        ListPage::After(deleted_at, id) => query(AFTER).bind(deleted_at).bind(id).fetch_all(pool).await,
        ListPage::Offset(skipped) if *skipped <= NEAR => {
            query(WALKED).bind(signed(*skipped)).fetch_all(pool).await
        }
        ListPage::Offset(skipped) => query(NUMBERED).bind(signed(*skipped)).fetch_all(pool).await,
    }
    .map_err(StoreError::database(OPERATION))?;
    let found = read(entity_type, &rows, limit)?;
    let paged: i64 = rows.first().map_or(0, |row| row.get("paged"));
    if let ListPage::Offset(skipped) = page
        && non_negative(OPERATION, paged)? != found.total
    {
        // An instance of an earlier version has appended, which counts no pages; `rebuild` counts them again.
        tracing::warn!(%entity_type, paged, total = found.total, "the list's pages are not counted right; run `archive-ledger rebuild`");
        let rows = query(WALKED)
            .bind(signed(*skipped))
            .fetch_all(pool)
            .await
            .map_err(StoreError::database(OPERATION))?;
        return read(entity_type, &rows, limit);
    }
    Ok(found)
}

/// Each row carries the count; where there are none, one row carries nothing else.
fn read(entity_type: EntityType, rows: &[PgRow], limit: u32) -> Result<ArchivedPage, StoreError> {
    let total: i64 = rows.first().map_or(0, |row| row.get("total"));
    let listed = rows
        .iter()
        .filter(|row| row.get::<Option<&str>, _>("entity_id").is_some());
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = listed.clone().nth(limit).is_some();
    Ok(ArchivedPage {
        rows: listed
            .take(limit)
            .map(|row| archived_row(entity_type, row))
            .collect::<Result<_, _>>()?,
        total: non_negative(OPERATION, total)?,
        more,
    })
}

fn archived_row(entity_type: EntityType, row: &PgRow) -> Result<ArchivedRow, StoreError> {
    let key = EntityKey::new(entity_type, row.get("entity_id"))
        .map_err(|error| StoreError::inconsistent(OPERATION, error.to_string()))?;
    Ok(ArchivedRow {
        key,
        deleted_at: row.get("deleted_at"),
        event_id: row.get("event_id"),
        sealed: row.get("sealed"),
        data_key: wrapped_key(row),
    })
}
