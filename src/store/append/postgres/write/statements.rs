//! The texts of a batch's one statement.
//!
//! Everything hangs on `moved`: where the head is not where the batch was decided, it is empty, and so is all the rest.
//!
//! `xmin` tells apart what the position alone cannot: a head that somebody locked and wrote back unchanged, to have a
//! statement that is still on its way come to nothing. The root tells apart what both cannot: a copy of the database that has
//! come to the same numbers with other events. `refuse_batch()` fails the statement, and with it the transaction, where a part has
//! written another number of rows than it was given: the statement is its own commit, so that nobody could look afterwards.
//!
//! The parameters are the same in all of them (`bind` in `write.rs`).

use crate::store::BatchWrite;
use archive_ledger_projections::ArchivedListChange;

macro_rules! head_moved {
    ($($and:literal)?) => {
        concat!("
    WITH moved AS (
        UPDATE ledger_head SET position = $1, frontier = $2, root = $3, recorded_at = $4,
            claims_position = CASE WHEN claims_position = position THEN $1 ELSE claims_position END
        WHERE id = 1 AND position = $5 AND xmin = $6::text::xid AND root = $48", $($and,)? "
        RETURNING xmin::text AS version
    )")
    };
}

/// The events.
macro_rules! new_events {
    (statement) => {
        ",
    new_events AS (
        INSERT INTO events
            (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
             event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf)
        SELECT position, $7, aggregate_id, sequence, event_type, event_version, payload, metadata,
               event_id, $8, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf
        FROM moved, UNNEST ($9::bigint[], $10::text[], $11::bigint[], $12::text[], $13::text[], $14::json[],
                    $15::json[], $16::uuid[], $17::uuid[], $18::text[], $19::uuid[], $20::text[],
                    $21::bytea[], $22::bytea[], $23::bytea[], $24::bytea[])
             AS new (position, aggregate_id, sequence, event_type, event_version, payload, metadata,
                     event_id, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf)
        RETURNING 1
    )"
    };
    (check) => {
        "
        AND (SELECT count(*) FROM new_events) = cardinality($9::bigint[])"
    };
}

/// Rows of the entities whose first events these are.
macro_rules! new_entities {
    (statement) => {
        ",
    new_entities AS (
        INSERT INTO entities (aggregate_id, first_position, key_id, kek_id, wrapped, erased_at)
        SELECT new.aggregate_id, new.first_position, new.key_id, new.kek_id, new.wrapped, new.erased_at
        FROM moved, UNNEST ($25::text[], $36::bigint[], $26::uuid[], $27::text[], $28::bytea[], $54::bigint[])
             AS new (aggregate_id, first_position, key_id, kek_id, wrapped, erased_at)
        RETURNING 1
    )"
    };
    (check) => {
        "
        AND (SELECT count(*) FROM new_entities) = cardinality($25::text[])"
    };
}

/// What comes into the archived list.
macro_rules! listed {
    (statement) => {
        ",
    listed AS (
        INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
        SELECT new.entity_type, new.entity_id, new.deleted_at, new.position, new.deletion_id
        FROM moved, UNNEST ($29::text[], $30::text[], $31::timestamptz[], $32::bigint[], $33::uuid[])
             AS new (entity_type, entity_id, deleted_at, position, deletion_id)
        ON CONFLICT (entity_type, deleted_at, entity_id) DO UPDATE
        SET position = excluded.position, deletion_id = excluded.deletion_id
        RETURNING 1
    )"
    };
    (check) => {
        "
        AND (SELECT count(*) FROM listed) = cardinality($29::text[])"
    };
}

/// The same of new entities, of which no row stands there: looking for one costs as much again as the row. Where damage has left one,
/// the statement fails, and the batch is written by another.
macro_rules! newly_listed {
    (statement) => {
        ",
    listed AS (
        INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
        SELECT new.entity_type, new.entity_id, new.deleted_at, new.position, new.deletion_id
        FROM moved, UNNEST ($29::text[], $30::text[], $31::timestamptz[], $32::bigint[], $33::uuid[])
             AS new (entity_type, entity_id, deleted_at, position, deletion_id)
        RETURNING 1
    )"
    };
    (check) => {
        listed!(check)
    };
}

/// What leaves it.
macro_rules! unlisted {
    (statement) => {
        ",
    unlisted AS (
        DELETE FROM archived_entries old
        USING moved, UNNEST ($37::text[], $38::timestamptz[], $39::text[], $40::bigint[])
              AS gone (entity_type, deleted_at, entity_id, delta)
        WHERE gone.delta < 0 AND old.entity_type = gone.entity_type AND old.deleted_at = gone.deleted_at
          AND old.entity_id = gone.entity_id
    )"
    };
    (check) => {
        ""
    };
}

/// The counters.
macro_rules! counted {
    (statement) => {
        ",
    counted AS (
        UPDATE archived_summary old SET count = old.count + change.delta
        FROM moved, UNNEST ($34::text[], $35::bigint[]) AS change (entity_type, delta)
        WHERE old.entity_type = change.entity_type
        RETURNING 1
    ), first_counted AS (
        INSERT INTO archived_summary (entity_type, count)
        SELECT change.entity_type, change.delta
        FROM moved, UNNEST ($34::text[], $35::bigint[]) AS change (entity_type, delta)
        WHERE NOT EXISTS (SELECT 1 FROM archived_summary old WHERE old.entity_type = change.entity_type)
        RETURNING 1
    )"
    };
    (check) => {
        "
        AND (SELECT count(*) FROM counted) + (SELECT count(*) FROM first_counted) = cardinality($34::text[])"
    };
}

/// The counts of the list's pages and of their groups.
macro_rules! pages {
    (statement) => {
        ",
    placed AS MATERIALIZED (
        SELECT entity_type, deleted_at, entity_id, delta
        FROM moved, UNNEST ($37::text[], $38::timestamptz[], $39::text[], $40::bigint[])
             AS change (entity_type, deleted_at, entity_id, delta)
    ), newest AS MATERIALIZED (
        SELECT types.entity_type, first.id, second.deleted_at AS since
        FROM (SELECT DISTINCT entity_type FROM placed) types
        CROSS JOIN LATERAL (
            SELECT id FROM archived_pages p WHERE p.entity_type = types.entity_type
            ORDER BY p.deleted_at DESC, p.entity_id LIMIT 1) first
        LEFT JOIN LATERAL (
            SELECT p.deleted_at FROM archived_pages p WHERE p.entity_type = types.entity_type
            ORDER BY p.deleted_at DESC, p.entity_id OFFSET 1 LIMIT 1) second ON true
    ), page_counts AS (
        UPDATE archived_pages page SET count = page.count + change.delta
        FROM (SELECT id, sum(delta)::bigint AS delta
              FROM (SELECT placed.delta,
                           CASE WHEN newest.since IS NULL OR placed.deleted_at > newest.since THEN newest.id
                           ELSE (SELECT p.id FROM archived_pages p
                                 WHERE p.entity_type = placed.entity_type AND p.deleted_at >= placed.deleted_at
                                   AND (p.deleted_at > placed.deleted_at OR p.entity_id <= placed.entity_id)
                                 ORDER BY p.deleted_at, p.entity_id DESC LIMIT 1)
                           END AS id
                    FROM placed JOIN newest ON newest.entity_type = placed.entity_type) found
              GROUP BY id) change
        WHERE page.id = change.id
        RETURNING page.id, page.group_id, page.count, page.deleted_at = 'infinity' AS first, change.delta
    ), group_counts AS (
        UPDATE archived_page_groups g SET count = g.count + change.delta
        FROM (SELECT group_id, sum(delta)::bigint AS delta FROM page_counts GROUP BY group_id) change
        WHERE g.id = change.group_id
        RETURNING g.id, g.count, g.deleted_at = 'infinity' AS first, change.delta
    )"
    };
    (check) => {
        "
        AND (SELECT coalesce(sum(delta), 0) FROM page_counts) = (SELECT coalesce(sum(delta), 0) FROM placed)
        AND (SELECT coalesce(sum(delta), 0) FROM group_counts) = (SELECT coalesce(sum(delta), 0) FROM placed)"
    };
}

/// Answers to idempotency keys.
macro_rules! new_answers {
    (statement) => {
        ",
    new_answers AS (
        INSERT INTO idempotency_answers (key, request, answer, recorded_at)
        SELECT new.key, new.request, new.answer, new.recorded_at
        FROM moved, UNNEST ($44::bytea[], $45::bytea[], $46::json[], $47::timestamptz[])
             AS new (key, request, answer, recorded_at)
        RETURNING 1
    )"
    };
    (check) => {
        "
        AND (SELECT count(*) FROM new_answers) = cardinality($44::bytea[])"
    };
}

/// Claims on storage.
macro_rules! new_claims {
    (statement) => {
        ",
    new_claims AS (
        INSERT INTO storage_claims (position, ordinal, place)
        SELECT new.position, new.ordinal, new.place
        FROM moved, UNNEST ($49::bigint[], $50::smallint[], $51::bytea[]) AS new (position, ordinal, place)
        RETURNING 1
    )"
    };
    (check) => {
        "
        AND (SELECT count(*) FROM new_claims) = cardinality($49::bigint[])"
    };
}

/// Keys that are destroyed and fenced, and what they sealed, which is scrubbed: the events that stood before the batch. The array
/// keeps the planner from guessing how many events the entities have: as a join, that is planned by what is guessed of a log that
/// grows, and ends in a scan of all of it; the offset keeps each stream a lookup of its own.
macro_rules! erased {
    (statement) => {
        ",
    fenced AS (
        UPDATE entities old SET key_id = NULL, kek_id = NULL, wrapped = NULL, erased_at = gone.position
        FROM moved, UNNEST ($52::text[], $53::bigint[]) AS gone (aggregate_id, position)
        WHERE old.aggregate_id = gone.aggregate_id AND old.erased_at IS NULL
        RETURNING old.aggregate_id, old.first_position
    ), scrubbed AS (
        UPDATE events SET sealed = NULL
        WHERE sealed IS NOT NULL AND position = ANY (ARRAY (
            SELECT opening.position FROM fenced
            CROSS JOIN LATERAL (
                SELECT position FROM events
                WHERE position = fenced.first_position AND aggregate_id = fenced.aggregate_id OFFSET 0) AS opening
            UNION ALL
            SELECT later.position FROM fenced
            CROSS JOIN LATERAL (
                SELECT position FROM events WHERE aggregate_id = fenced.aggregate_id AND sequence > 1 OFFSET 0) AS later))
    )"
    };
    (check) => {
        "
        AND (SELECT count(*) FROM fenced) = cardinality($52::text[])"
    };
}

/// A statement of these parts.
macro_rules! statement {
    ($($and:literal;)? $($part:ident)*) => {
        concat!(
            head_moved!($($and)?), $($part!(statement),)* "
    SELECT version, clock_timestamp() AS time,
        -- What the pages and groups want that the batch has counted in.
        (SELECT array_agg(id) FROM page_counts
         WHERE count > CASE WHEN first THEN $41 ELSE $42 END OR (count = 0 AND NOT first)) AS pages,
        (SELECT array_agg(id) FROM group_counts WHERE count > $43 OR (count = 0 AND NOT first)) AS groups,
        CASE WHEN true", $($part!(check),)* " THEN 0 ELSE refuse_batch() END
    FROM moved"
        )
    };
}

/// What batches are made of that add entities to the archived list, or register them.
const ADDING: &str = statement!(new_events new_entities listed counted pages);

/// The same, of entities that nobody has looked for: where one of them is known, nothing is written. The limit keeps each lookup a
/// descent of its own.
const NEW: &str = statement!("
          AND NOT EXISTS (SELECT 1 FROM UNNEST ($25::text[]) AS asked (id)
                          CROSS JOIN LATERAL (SELECT 1 FROM entities WHERE aggregate_id = asked.id LIMIT 1) AS known)";
    new_events new_entities newly_listed counted pages);

/// What batches are made of that take entities from the archived list: restores.
const TAKING: &str = statement!(new_events unlisted counted pages);

/// The same with purges, and batches of purges alone.
const PURGING: &str = statement!(new_events unlisted counted pages erased);

/// What any batch is made of.
const WHOLE: &str =
    statement!(new_events new_entities listed unlisted counted pages new_answers new_claims erased);

/// The statement for a batch: a part costs its setting up even where it has nothing to do, so that those which most batches are
/// made of have one without the others.
pub(super) fn of(write: &BatchWrite, taken_for_new: bool) -> &'static str {
    if taken_for_new {
        return NEW;
    }
    let adds = write.events.iter().any(|event| event.stored.sequence == 1)
        || write
            .changes
            .archived
            .values()
            .any(|change| matches!(change, ArchivedListChange::Put(_)));
    let takes = write.changes.placed().any(|placed| placed.delta < 0);
    let erases = !write.erased.is_empty();
    let plain = write.answers.is_empty() && write.claims.is_empty();
    match (plain, adds, takes, erases) {
        (true, _, false, false) => ADDING,
        (true, false, true, false) => TAKING,
        (true, false, _, true) => PURGING,
        _ => WHOLE,
    }
}
