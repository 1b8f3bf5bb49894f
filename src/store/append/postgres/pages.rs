//! The pages of the archived list: cut where they have grown too large, and removed where nothing is left of them.
//!
//! Counting is part of the batch's one statement (`write.rs`). Pages change their bounds here, in a transaction that moves the
//! head, so that whoever counts meanwhile finds the head moved and counts again.

use crate::store::server::session::Session;
use crate::store::{PageSizes, StoreError};

/// Pages and groups that a batch left too large or empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Upkeep {
    pub(super) pages: Vec<i64>,
    pub(super) groups: Vec<i64>,
}

impl Upkeep {
    pub(super) const fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.groups.is_empty()
    }

    /// What is left to do when `done` was done after the counts were taken.
    pub(super) fn without(mut self, done: &Self) -> Self {
        self.pages.retain(|id| !done.pages.contains(id));
        self.groups.retain(|id| !done.groups.contains(id));
        self
    }
}

/// The first page keeps nothing: what comes next is newer than all it holds. Any other one keeps half.
const CUT_PAGES: &str = "
    WITH page AS (
        SELECT id, entity_type, deleted_at, entity_id, count, group_id,
               CASE WHEN deleted_at = 'infinity' THEN 0 ELSE count / 2 END AS kept
        FROM archived_pages
        WHERE id = ANY ($1) AND count > CASE WHEN deleted_at = 'infinity' THEN $2 ELSE $3 END
    ), cut AS (
        SELECT page.id, page.entity_type, page.count, page.group_id, page.kept,
               first.deleted_at AS first_at, first.entity_id AS first_id
        FROM page CROSS JOIN LATERAL (
            SELECT a.deleted_at, a.entity_id FROM archived_entries a
            WHERE a.entity_type = page.entity_type AND a.deleted_at <= page.deleted_at
              AND (a.deleted_at < page.deleted_at OR a.entity_id >= page.entity_id)
            ORDER BY a.deleted_at DESC, a.entity_id
            OFFSET page.kept LIMIT 1) first
    ), made AS (
        INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
        SELECT entity_type, first_at, first_id, count - kept, group_id FROM cut
    )
    UPDATE archived_pages page SET count = cut.kept FROM cut WHERE page.id = cut.id";

/// What is removed falls to the page before it. A page that a group begins with stays as long as the group.
const REMOVE_PAGES: &str = "
    DELETE FROM archived_pages page
    WHERE page.id = ANY ($1) AND page.count = 0 AND page.deleted_at <> 'infinity'
      AND NOT EXISTS (SELECT 1 FROM archived_page_groups g
                      WHERE g.entity_type = page.entity_type AND g.deleted_at = page.deleted_at
                        AND g.entity_id = page.entity_id)";

const CUT_GROUP: &str = "
    WITH whole AS (
        SELECT id, deleted_at FROM archived_page_groups WHERE id = $1 AND count > $2
    ), numbered AS (
        SELECT page.id, page.entity_type, page.deleted_at, page.entity_id, page.count,
               row_number() OVER (ORDER BY page.deleted_at DESC, page.entity_id) AS number,
               count(*) OVER () AS pages
        FROM archived_pages page JOIN whole ON page.group_id = whole.id
    ), cut AS (
        SELECT numbered.* FROM numbered, whole
        WHERE pages > 1 AND number = CASE WHEN whole.deleted_at = 'infinity' THEN 2 ELSE pages / 2 + 1 END
    ), taken AS (
        SELECT numbered.id, numbered.count FROM numbered, cut WHERE numbered.number >= cut.number
    ), made AS (
        INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
        SELECT entity_type, deleted_at, entity_id, (SELECT sum(count) FROM taken)::bigint FROM cut
        RETURNING id
    ), kept AS (
        UPDATE archived_page_groups g SET count = g.count - (SELECT sum(count) FROM taken)::bigint
        FROM cut WHERE g.id = $1
    )
    UPDATE archived_pages page SET group_id = made.id FROM made, taken WHERE page.id = taken.id";

const REMOVE_GROUPS: &str = "
    WITH gone AS (
        DELETE FROM archived_page_groups WHERE id = ANY ($1) AND count = 0 AND deleted_at <> 'infinity'
        RETURNING id
    )
    DELETE FROM archived_pages WHERE group_id IN (SELECT id FROM gone)";

/// Brings pages and groups back to their size.
pub(super) async fn keep_up(
    connection: &mut Session,
    upkeep: &Upkeep,
    sizes: PageSizes,
) -> Result<(), StoreError> {
    let failed = || StoreError::database("keep the list's pages");
    if !upkeep.pages.is_empty() {
        sqlx::query(CUT_PAGES)
            .bind(&upkeep.pages)
            .bind(sizes.first)
            .bind(sizes.page)
            .execute(&mut *connection)
            .await
            .map_err(failed())?;
        sqlx::query(REMOVE_PAGES)
            .bind(&upkeep.pages)
            .execute(&mut *connection)
            .await
            .map_err(failed())?;
    }
    for group in &upkeep.groups {
        sqlx::query(CUT_GROUP)
            .bind(group)
            .bind(sizes.group)
            .execute(&mut *connection)
            .await
            .map_err(failed())?;
    }
    if !upkeep.groups.is_empty() {
        sqlx::query(REMOVE_GROUPS)
            .bind(&upkeep.groups)
            .execute(&mut *connection)
            .await
            .map_err(failed())?;
    }
    Ok(())
}
