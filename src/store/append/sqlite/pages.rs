//! The pages of the archived list: counted in the batch's transaction, cut where they have grown too large, and removed where
//! nothing is left of them.

use super::rows::PlacedRow;
use crate::store::called::{at, execute, failed, read};
use crate::store::{PageSizes, StoreError};
use archive_ledger_domain::EntityType;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use std::collections::BTreeMap;

const OPERATION: &str = "count the list's pages";
const KEEP_PAGE: &str = "keep the list's pages";
const KEEP_GROUP: &str = "keep the groups of the list's pages";

/// A type's first page, and since when the rows of the second one were deleted: later ones belong to the first.
const FIRST: &str = "
    SELECT id, (SELECT deleted_at FROM archived_pages
                WHERE entity_type = ?1 ORDER BY deleted_at DESC, entity_id LIMIT 1 OFFSET 1) AS since
    FROM archived_pages WHERE entity_type = ?1 ORDER BY deleted_at DESC, entity_id LIMIT 1";

/// The page of a row that stands elsewhere.
const PAGE_OF: &str = "
    SELECT id FROM archived_pages
    WHERE entity_type = ?1 AND deleted_at >= ?2 AND (deleted_at > ?2 OR entity_id <= ?3)
    ORDER BY deleted_at, entity_id DESC LIMIT 1";

const COUNT_PAGE: &str = "
    UPDATE archived_pages SET count = count + ?2 WHERE id = ?1
    RETURNING group_id, count, deleted_at = 9223372036854775807 AS first";

const COUNT_GROUP: &str = "
    UPDATE archived_page_groups SET count = count + ?2 WHERE id = ?1
    RETURNING count, deleted_at = 9223372036854775807 AS first";

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

/// A page or a group after it was counted.
struct Counted {
    id: i64,
    count: i64,
    first: bool,
}

/// Counts what the batch has put into the list and taken out of it.
pub(super) fn count(
    connection: &Connection,
    placed: &[PlacedRow],
    sizes: PageSizes,
) -> Result<(), StoreError> {
    let (mut pages, mut groups) = (Vec::new(), BTreeMap::<i64, i64>::new());
    for (id, delta) in assign(connection, placed)? {
        let found = one(connection, OPERATION, COUNT_PAGE, (id, delta), |row| {
            *groups.entry(read(row, OPERATION, "group_id")?).or_default() += delta;
            counted(id, row)
        });
        pages.push(found?.ok_or_else(without_page)?);
    }
    let mut counted_groups = Vec::new();
    for (id, delta) in groups.into_iter().filter(|(_, delta)| *delta != 0) {
        let found = one(connection, OPERATION, COUNT_GROUP, (id, delta), |row| {
            counted(id, row)
        })?;
        counted_groups.push(found.ok_or_else(|| StoreError::inconsistent(OPERATION, "a page has no group"))?);
    }
    for page in &pages {
        keep_page(connection, page, sizes)?;
    }
    for group in &counted_groups {
        keep_group(connection, group, sizes)?;
    }
    Ok(())
}

fn counted(id: i64, row: &Row<'_>) -> Result<Counted, StoreError> {
    Ok(Counted {
        id,
        count: read(row, OPERATION, "count")?,
        first: read(row, OPERATION, "first")?,
    })
}

fn without_page() -> StoreError {
    StoreError::inconsistent(OPERATION, "a row of the list has no page")
}

/// Asks for one row.
fn one<T>(
    connection: &Connection,
    operation: &'static str,
    statement: &'static str,
    values: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    connection
        .prepare_cached(statement)
        .and_then(|mut statement| statement.query_row(values, |row| Ok(read(row))).optional())
        .map_err(failed(operation))?
        .transpose()
}

/// By how much the count of each page changes.
fn assign(connection: &Connection, placed: &[PlacedRow]) -> Result<BTreeMap<i64, i64>, StoreError> {
    let mut firsts: BTreeMap<EntityType, (i64, Option<i64>)> = BTreeMap::new();
    let mut deltas: BTreeMap<i64, i64> = BTreeMap::new();
    for row in placed {
        let entity_type = row.entity_type.as_str();
        let (first, since) = match firsts.get(&row.entity_type) {
            Some(found) => *found,
            None => {
                let found = one(connection, OPERATION, FIRST, [entity_type], |row| {
                    Ok((read(row, OPERATION, "id")?, read(row, OPERATION, "since")?))
                });
                let found = found?.ok_or_else(without_page)?;
                firsts.insert(row.entity_type, found);
                found
            }
        };
        let page = if since.is_none_or(|since| row.deleted_at > since) {
            first
        } else {
            let place = params![entity_type, row.deleted_at, row.id];
            one(connection, OPERATION, PAGE_OF, place, |row| {
                read(row, OPERATION, "id")
            })?
            .ok_or_else(without_page)?
        };
        *deltas.entry(page).or_default() += row.delta;
    }
    deltas.retain(|_, delta| *delta != 0);
    Ok(deltas)
}

/// Cuts a page that is too large, and removes one that is empty.
fn keep_page(connection: &Connection, page: &Counted, sizes: PageSizes) -> Result<(), StoreError> {
    if page.count == 0 && !page.first {
        execute(connection, KEEP_PAGE, REMOVE_PAGE, [page.id])?;
        return Ok(());
    }
    let (full, kept) = if page.first {
        (sizes.first, 0)
    } else {
        (sizes.page, page.count / 2)
    };
    if page.count <= full {
        return Ok(());
    }
    let cut: Option<(i64, String)> = one(connection, KEEP_PAGE, CUT_AT, (page.id, kept), |row| {
        Ok((
            read(row, KEEP_PAGE, "deleted_at")?,
            read(row, KEEP_PAGE, "entity_id")?,
        ))
    })?;
    let (deleted_at, entity_id) =
        cut.ok_or_else(|| StoreError::inconsistent(KEEP_PAGE, "a page counts rows that are not there"))?;
    execute(
        connection,
        KEEP_PAGE,
        CUT_OFF,
        params![page.id, deleted_at, entity_id, kept],
    )?;
    execute(
        connection,
        KEEP_PAGE,
        "UPDATE archived_pages SET count = ?2 WHERE id = ?1",
        (page.id, kept),
    )?;
    Ok(())
}

/// Cuts a group that is too large between two of its pages, and removes one that is empty, with its pages.
fn keep_group(connection: &Connection, group: &Counted, sizes: PageSizes) -> Result<(), StoreError> {
    if group.count == 0 && !group.first {
        for statement in [
            "DELETE FROM archived_pages WHERE group_id = ?1",
            "DELETE FROM archived_page_groups WHERE id = ?1",
        ] {
            execute(connection, KEEP_GROUP, statement, [group.id])?;
        }
        return Ok(());
    }
    if group.count <= sizes.group {
        return Ok(());
    }
    let pages = pages_of(connection, group.id).map_err(failed(KEEP_GROUP))?;
    let (_, taken) = pages.split_at(if group.first {
        pages.len().min(1)
    } else {
        pages.len() / 2
    });
    let (Some((begins, _)), false) = (taken.first(), taken.len() == pages.len()) else {
        return Ok(());
    };
    let count: i64 = taken.iter().map(|(_, count)| count).sum();
    execute(
        connection,
        KEEP_GROUP,
        "INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
         SELECT entity_type, deleted_at, entity_id, ?2 FROM archived_pages WHERE id = ?1",
        (begins, count),
    )?;
    let made = connection.last_insert_rowid();
    execute(
        connection,
        KEEP_GROUP,
        "UPDATE archived_page_groups SET count = count - ?2 WHERE id = ?1",
        (group.id, count),
    )?;
    for (page, _) in taken {
        execute(
            connection,
            KEEP_GROUP,
            "UPDATE archived_pages SET group_id = ?1 WHERE id = ?2",
            (made, page),
        )?;
    }
    Ok(())
}

/// A group's pages, and what each counts.
fn pages_of(connection: &Connection, group: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    connection
        .prepare_cached(
            "SELECT id, count FROM archived_pages WHERE group_id = ?1 ORDER BY deleted_at DESC, entity_id",
        )?
        .query_map([group], |row| Ok((at(row, 0)?, at(row, 1)?)))?
        .collect()
}
