//! The pages of the archived list: counted in the batch's transaction, cut where they have grown too large, and removed where
//! nothing is left of them.

use crate::store::columns::Columns as _;
use crate::store::values::micros;
use crate::store::{PageSizes, StoreError};
use archive_ledger_domain::EntityType;
use archive_ledger_projections::{Changes, Placed};
use sqlx::types::Json;
use sqlx::{Executor, SqliteConnection};
use std::collections::BTreeMap;

const OPERATION: &str = "count the list's pages";

/// A type's first page, and since when the rows of the second one were deleted: later ones belong to the first.
const FIRST: &str = "
    SELECT id, (SELECT deleted_at FROM archived_pages
                WHERE entity_type = ?1 ORDER BY deleted_at DESC, entity_id LIMIT 1 OFFSET 1) AS since
    FROM archived_pages WHERE entity_type = ?1 ORDER BY deleted_at DESC, entity_id LIMIT 1";

/// The pages of rows that stand elsewhere: [type, time, id, delta] each.
const OTHERS: &str = "
    SELECT page, sum(delta) AS delta FROM (
        SELECT change.value ->> 3 AS delta,
               (SELECT id FROM archived_pages p
                WHERE p.entity_type = change.value ->> 0 AND p.deleted_at >= change.value ->> 1
                  AND (p.deleted_at > change.value ->> 1 OR p.entity_id <= change.value ->> 2)
                ORDER BY p.deleted_at, p.entity_id DESC LIMIT 1) AS page
        FROM json_each(?1) AS change)
    GROUP BY page";

const COUNT_PAGES: &str = "
    UPDATE archived_pages SET count = count + change.value
    FROM json_each(?1) AS change WHERE archived_pages.id = CAST(change.key AS INTEGER)
    RETURNING id, group_id, count, deleted_at = 9223372036854775807 AS first";

const COUNT_GROUPS: &str = "
    UPDATE archived_page_groups SET count = count + change.value
    FROM json_each(?1) AS change WHERE archived_page_groups.id = CAST(change.key AS INTEGER)
    RETURNING id, count, deleted_at = 9223372036854775807 AS first";

/// The row that a page's second half begins with; the first page keeps nothing.
const CUT_AT: &str = "
    SELECT a.deleted_at, a.entity_id FROM archived_pages page
    JOIN archived_entries a ON a.entity_type = page.entity_type AND a.deleted_at <= page.deleted_at
        AND (a.deleted_at < page.deleted_at OR a.entity_id >= page.entity_id)
    WHERE page.id = ?1
    ORDER BY a.deleted_at DESC, a.entity_id LIMIT 1 OFFSET ?2";

const CUT_OFF: &str = "
    INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
    SELECT entity_type, ?2, ?3, count - ?4, group_id FROM archived_pages WHERE id = ?1";

/// What is removed falls to the page before it. A page that a group begins with stays as long as the group.
const REMOVE_PAGE: &str = "
    DELETE FROM archived_pages WHERE id = ?1 AND NOT EXISTS (
        SELECT 1 FROM archived_page_groups g
        WHERE g.entity_type = archived_pages.entity_type AND g.deleted_at = archived_pages.deleted_at
          AND g.entity_id = archived_pages.entity_id)";

/// Counts what the batch has put into the list and taken out of it.
pub(super) async fn count(
    connection: &mut SqliteConnection,
    changes: &Changes,
    sizes: PageSizes,
) -> Result<(), StoreError> {
    let failed = || StoreError::database(OPERATION);
    let deltas = assign(connection, changes).await?;
    if deltas.is_empty() {
        return Ok(());
    }
    let pages = sqlx::query(COUNT_PAGES)
        .bind(Json(&deltas))
        .fetch_all(&mut *connection)
        .await
        .map_err(failed())?;
    let mut groups: BTreeMap<i64, i64> = BTreeMap::new();
    for page in &pages {
        let delta = deltas
            .get(&page.read::<i64>(OPERATION, "id")?)
            .copied()
            .unwrap_or(0);
        *groups.entry(page.read(OPERATION, "group_id")?).or_default() += delta;
    }
    let counted: i64 = groups.values().sum();
    if pages.len() != deltas.len() || counted != deltas.values().sum::<i64>() {
        return Err(StoreError::inconsistent(
            OPERATION,
            "a row of the list has no page",
        ));
    }
    groups.retain(|_, delta| *delta != 0);
    let counted = sqlx::query(COUNT_GROUPS)
        .bind(Json(&groups))
        .fetch_all(&mut *connection)
        .await
        .map_err(failed())?;
    if counted.len() != groups.len() {
        return Err(StoreError::inconsistent(OPERATION, "a page has no group"));
    }
    for page in &pages {
        let (id, count) = (page.read(OPERATION, "id")?, page.read(OPERATION, "count")?);
        keep_page(connection, id, count, page.read(OPERATION, "first")?, sizes).await?;
    }
    for group in &counted {
        let (id, count) = (group.read(OPERATION, "id")?, group.read(OPERATION, "count")?);
        keep_group(connection, id, count, group.read(OPERATION, "first")?, sizes).await?;
    }
    Ok(())
}

/// By how much the count of each page changes.
async fn assign(
    connection: &mut SqliteConnection,
    changes: &Changes,
) -> Result<BTreeMap<i64, i64>, StoreError> {
    let failed = || StoreError::database(OPERATION);
    let mut firsts: BTreeMap<EntityType, (i64, Option<i64>)> = BTreeMap::new();
    let mut deltas: BTreeMap<i64, i64> = BTreeMap::new();
    let mut others = Vec::new();
    for Placed {
        key,
        deleted_at,
        delta,
    } in changes.placed()
    {
        let entity_type = key.entity_type();
        let (first, since) = match firsts.get(&entity_type) {
            Some(found) => *found,
            None => {
                let row = sqlx::query(FIRST)
                    .bind(entity_type.as_str())
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(failed())?;
                let found = (row.read(OPERATION, "id")?, row.read(OPERATION, "since")?);
                firsts.insert(entity_type, found);
                found
            }
        };
        let at = micros(deleted_at);
        if since.is_none_or(|since| at > since) {
            *deltas.entry(first).or_default() += delta;
        } else {
            others.push((entity_type.as_str(), at, key.id(), delta));
        }
    }
    if !others.is_empty() {
        let rows = sqlx::query(OTHERS)
            .bind(Json(others))
            .fetch_all(connection)
            .await
            .map_err(failed())?;
        for row in rows {
            *deltas.entry(row.read(OPERATION, "page")?).or_default() +=
                row.read::<i64>(OPERATION, "delta")?;
        }
    }
    deltas.retain(|_, delta| *delta != 0);
    Ok(deltas)
}

/// Cuts a page that is too large, and removes one that is empty.
async fn keep_page(
    connection: &mut SqliteConnection,
    page: i64,
    count: i64,
    first: bool,
    sizes: PageSizes,
) -> Result<(), StoreError> {
    let failed = || StoreError::database("keep the list's pages");
    if count == 0 && !first {
        sqlx::query(REMOVE_PAGE)
            .bind(page)
            .execute(connection)
            .await
            .map_err(failed())?;
        return Ok(());
    }
    let (full, kept) = if first {
        (sizes.first, 0)
    } else {
        (sizes.page, count / 2)
    };
    if count <= full {
        return Ok(());
    }
    let (deleted_at, entity_id): (i64, String) = sqlx::query_as(CUT_AT)
        .bind(page)
        .bind(kept)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed())?;
    sqlx::query(CUT_OFF)
        .bind(page)
        .bind(deleted_at)
        .bind(entity_id)
        .bind(kept)
        .execute(&mut *connection)
        .await
        .map_err(failed())?;
    sqlx::query("UPDATE archived_pages SET count = ?2 WHERE id = ?1")
        .bind(page)
        .bind(kept)
        .execute(connection)
        .await
        .map_err(failed())?;
    Ok(())
}

/// Cuts a group that is too large between two of its pages, and removes one that is empty, with its pages.
async fn keep_group(
    connection: &mut SqliteConnection,
    group: i64,
    count: i64,
    first: bool,
    sizes: PageSizes,
) -> Result<(), StoreError> {
    let failed = || StoreError::database("keep the groups of the list's pages");
    if count == 0 && !first {
        for statement in [
            "DELETE FROM archived_pages WHERE group_id = ?1",
            "DELETE FROM archived_page_groups WHERE id = ?1",
        ] {
            connection
                .execute(sqlx::query(statement).bind(group))
                .await
                .map_err(failed())?;
        }
        return Ok(());
    }
    if count <= sizes.group {
        return Ok(());
    }
    let pages: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT id, count FROM archived_pages WHERE group_id = ?1 ORDER BY deleted_at DESC, entity_id",
    )
    .bind(group)
    .fetch_all(&mut *connection)
    .await
    .map_err(failed())?;
    let (_, taken) = pages.split_at(if first {
        pages.len().min(1)
    } else {
        pages.len() / 2
    });
    let (Some((begins, _)), false) = (taken.first(), taken.len() == pages.len()) else {
        return Ok(());
    };
    let count: i64 = taken.iter().map(|(_, count)| count).sum();
    let made: i64 = sqlx::query_scalar(
        "INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
         SELECT entity_type, deleted_at, entity_id, ?2 FROM archived_pages WHERE id = ?1 RETURNING id",
    )
    .bind(begins)
    .bind(count)
    .fetch_one(&mut *connection)
    .await
    .map_err(failed())?;
    sqlx::query("UPDATE archived_page_groups SET count = count - ?2 WHERE id = ?1")
        .bind(group)
        .bind(count)
        .execute(&mut *connection)
        .await
        .map_err(failed())?;
    let taken: Vec<i64> = taken.iter().map(|(id, _)| *id).collect();
    sqlx::query("UPDATE archived_pages SET group_id = ?1 WHERE id IN (SELECT value FROM json_each(?2))")
        .bind(made)
        .bind(Json(taken))
        .execute(connection)
        .await
        .map_err(failed())?;
    Ok(())
}
