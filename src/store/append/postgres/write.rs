//! A batch's one statement: the head, the events, the keys, the list, its counters and its pages,
//! and the answers to idempotency keys, all or nothing.

use super::pages::Upkeep;
use crate::store::append::entities::NewEntity;
use crate::store::claims::postgres::ClaimColumns;
use crate::store::columns::Columns as _;
use crate::store::server::session::Session;
use crate::store::values::signed;
use crate::store::{BatchWrite, Head, NewEvent, PageSizes, StoreError, WrappedKey};
use archive_ledger_domain::AGGREGATE_TYPE;
use archive_ledger_projections::ArchivedListChange;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

/// The statement is put together of the parts that a batch has a use for: each costs its setting up even where it has
/// nothing to do, which for a command that comes alone is most of what the statement costs.
///
/// Everything hangs on `moved`: where the head is not where the batch was decided, it is empty, and so is all the rest.
///
/// `xmin` tells apart what the position alone cannot: a head that somebody locked and wrote back unchanged, to have a
/// statement that is still on its way come to nothing. The root tells apart what both cannot: a copy of the database that has
/// come to the same numbers with other events. The division fails the statement, and with it the transaction, where
/// a part has written another number of rows than it was given.
struct Part {
    /// Whether the batch has a use for it.
    wanted: fn(&BatchWrite) -> bool,
    statements: &'static str,
    /// What holds once it has done its work.
    check: &'static str,
}

const PARTS: [Part; 8] = [
    Part {
        wanted: |write| !write.events.is_empty(),
        statements: "
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
    )",
        check: "(SELECT count(*) FROM new_events) = cardinality($9::bigint[])",
    },
    Part {
        wanted: |write| write.events.iter().any(|event| event.stored.sequence == 1),
        statements: "
    new_entities AS (
        INSERT INTO entities (aggregate_id, first_position, key_id, kek_id, wrapped)
        SELECT new.aggregate_id, new.first_position, new.key_id, new.kek_id, new.wrapped
        FROM moved, UNNEST ($25::text[], $36::bigint[], $26::uuid[], $27::text[], $28::bytea[])
             AS new (aggregate_id, first_position, key_id, kek_id, wrapped)
        RETURNING 1
    )",
        check: "(SELECT count(*) FROM new_entities) = cardinality($25::text[])",
    },
    Part {
        wanted: |write| changed(write, |change| matches!(change, ArchivedListChange::Put(_))),
        statements: "
    listed AS (
        INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
        SELECT new.entity_type, new.entity_id, new.deleted_at, new.position, new.deletion_id
        FROM moved, UNNEST ($29::text[], $30::text[], $31::timestamptz[], $32::bigint[], $33::uuid[])
             AS new (entity_type, entity_id, deleted_at, position, deletion_id)
        ON CONFLICT (entity_type, deleted_at, entity_id) DO UPDATE
        SET position = excluded.position, deletion_id = excluded.deletion_id
        RETURNING 1
    )",
        check: "(SELECT count(*) FROM listed) = cardinality($29::text[])",
    },
    Part {
        wanted: |write| write.changes.placed().any(|placed| placed.delta < 0),
        statements: "
    unlisted AS (
        DELETE FROM archived_entries old
        USING moved, UNNEST ($37::text[], $38::timestamptz[], $39::text[], $40::bigint[])
              AS gone (entity_type, deleted_at, entity_id, delta)
        WHERE gone.delta < 0 AND old.entity_type = gone.entity_type AND old.deleted_at = gone.deleted_at
          AND old.entity_id = gone.entity_id
    )",
        check: "true",
    },
    Part {
        wanted: |write| !write.changes.summary.is_empty(),
        statements: "
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
    )",
        check: "(SELECT count(*) FROM counted) + (SELECT count(*) FROM first_counted) = cardinality($34::text[])",
    },
    Part {
        wanted: counts_pages,
        statements: "
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
    )",
        check: "(SELECT coalesce(sum(delta), 0) FROM page_counts) = (SELECT coalesce(sum(delta), 0) FROM placed)
        AND (SELECT coalesce(sum(delta), 0) FROM group_counts) = (SELECT coalesce(sum(delta), 0) FROM placed)",
    },
    Part {
        wanted: |write| !write.answers.is_empty(),
        statements: "
    new_answers AS (
        INSERT INTO idempotency_answers (key, request, answer, recorded_at)
        SELECT new.key, new.request, new.answer, new.recorded_at
        FROM moved, UNNEST ($44::bytea[], $45::bytea[], $46::json[], $47::timestamptz[])
             AS new (key, request, answer, recorded_at)
        RETURNING 1
    )",
        check: "(SELECT count(*) FROM new_answers) = cardinality($44::bytea[])",
    },
    Part {
        wanted: |write| !write.claims.is_empty(),
        statements: "
    new_claims AS (
        INSERT INTO storage_claims (position, ordinal, place)
        SELECT new.position, new.ordinal, new.place
        FROM moved, UNNEST ($49::bigint[], $50::smallint[], $51::bytea[]) AS new (position, ordinal, place)
        RETURNING 1
    )",
        check: "(SELECT count(*) FROM new_claims) = cardinality($49::bigint[])",
    },
];

const MOVED: &str = "
    WITH moved AS (
        UPDATE ledger_head SET position = $1, frontier = $2, root = $3, recorded_at = $4,
            claims_position = CASE WHEN claims_position = position THEN $1 ELSE claims_position END
        WHERE id = 1 AND position = $5 AND xmin = $6::text::xid AND root = $48
        RETURNING xmin::text AS version
    )";

/// What the pages and groups want that the batch has counted in.
const WANTED: &str = "
        (SELECT array_agg(id) FROM page_counts
         WHERE count > CASE WHEN first THEN $41 ELSE $42 END OR (count = 0 AND NOT first)) AS pages,
        (SELECT array_agg(id) FROM group_counts WHERE count > $43 OR (count = 0 AND NOT first)) AS groups";

const NOTHING_WANTED: &str = "
        NULL::bigint[] AS pages, NULL::bigint[] AS groups";

fn changed(write: &BatchWrite, one: fn(&ArchivedListChange) -> bool) -> bool {
    write.changes.archived.values().any(one)
}

fn counts_pages(write: &BatchWrite) -> bool {
    write.changes.placed().next().is_some()
}

/// The statement for this batch. Its parameters are the same whatever its parts.
fn statement(write: &BatchWrite) -> String {
    let mut statement = String::from(MOVED);
    let mut checks = String::from("true");
    for part in PARTS.iter().filter(|part| (part.wanted)(write)) {
        statement.push(',');
        statement.push_str(part.statements);
        checks.push_str("\n        AND ");
        checks.push_str(part.check);
    }
    let wanted = if counts_pages(write) {
        WANTED
    } else {
        NOTHING_WANTED
    };
    format!(
        "{statement}\n    SELECT version, clock_timestamp() AS time,{wanted},\n        1 / CASE WHEN {checks} THEN 1 ELSE 0 END\n    FROM moved"
    )
}

/// The head as this process knows it: its content, and the version of its row.
#[derive(Debug, Clone)]
pub(super) struct KnownHead {
    /// The content.
    pub(super) head: Head,
    /// The `xmin` of the row.
    pub(super) version: String,
}

/// Writes the batch if the head still is `before`; returns it as the batch leaves it, what the list's pages want, and what the
/// database's clock showed.
///
/// # Errors
/// [`StoreError::HeadMoved`] when it is not; nothing is written then.
pub(super) async fn write(
    connection: &mut Session,
    before: &KnownHead,
    write: &BatchWrite,
    entities: &[NewEntity<'_>],
    sizes: PageSizes,
) -> Result<(KnownHead, Upkeep, DateTime<Utc>), StoreError> {
    let events = EventColumns::from(write.events.as_slice());
    let list = ListColumns::from(write);
    let (types, deltas): (Vec<&str>, Vec<i64>) = write
        .changes
        .summary
        .iter()
        .map(|(entity_type, delta)| (entity_type.as_str(), delta))
        .unzip();
    let placed: Vec<_> = write.changes.placed().collect();
    let answers = &write.answers;
    let claims = ClaimColumns::from(write.claims.as_slice());
    let statement = statement(write);
    let row = sqlx::query(&statement)
        .bind(signed(write.head.position))
        .bind(write.head.frontier.concat())
        .bind(&write.head.root[..])
        .bind(write.head.recorded_at)
        .bind(signed(before.head.position))
        .bind(&before.version)
        .bind(AGGREGATE_TYPE)
        .bind(write.head.recorded_at)
        .bind(events.position)
        .bind(events.aggregate_id)
        .bind(events.sequence)
        .bind(events.event_type)
        .bind(events.event_version)
        .bind(events.payload)
        .bind(events.metadata)
        .bind(events.event_id)
        .bind(events.command_id)
        .bind(events.correlation_id)
        .bind(events.causation_id)
        .bind(events.actor)
        .bind(events.salt)
        .bind(events.sealed)
        .bind(events.entry)
        .bind(events.leaf)
        .bind(entities.iter().map(|one| one.stream_id).collect::<Vec<_>>())
        .bind(keys(entities, |key| key.key_id))
        .bind(keys(entities, |key| key.kek_id.as_str()))
        .bind(keys(entities, |key| key.wrapped.as_slice()))
        .bind(list.put_type)
        .bind(list.put_id)
        .bind(list.put_deleted_at)
        .bind(list.put_position)
        .bind(list.put_deletion_id)
        .bind(types)
        .bind(deltas)
        .bind(
            entities
                .iter()
                .map(|one| signed(one.first_position))
                .collect::<Vec<_>>(),
        )
        .bind(
            placed
                .iter()
                .map(|one| one.key.entity_type().as_str())
                .collect::<Vec<_>>(),
        )
        .bind(placed.iter().map(|one| one.deleted_at).collect::<Vec<_>>())
        .bind(placed.iter().map(|one| one.key.id()).collect::<Vec<_>>())
        .bind(placed.iter().map(|one| one.delta).collect::<Vec<_>>())
        .bind(sizes.first)
        .bind(sizes.page)
        .bind(sizes.group)
        .bind(answers.iter().map(|one| one.key.as_slice()).collect::<Vec<_>>())
        .bind(
            answers
                .iter()
                .map(|one| one.request.as_slice())
                .collect::<Vec<_>>(),
        )
        .bind(answers.iter().map(|one| Json(&one.answer)).collect::<Vec<_>>())
        .bind(answers.iter().map(|one| one.recorded_at).collect::<Vec<_>>())
        .bind(&before.head.root[..])
        .bind(claims.position)
        .bind(claims.ordinal)
        .bind(claims.place)
        .fetch_optional(connection)
        .await
        .map_err(StoreError::database("write the batch"))?
        .ok_or(StoreError::HeadMoved)?;
    let after = KnownHead {
        head: write.head.clone(),
        version: row.read("write the batch", "version")?,
    };
    let listed = |column| -> Result<Vec<i64>, StoreError> {
        Ok(row
            .read::<Option<_>>("write the batch", column)?
            .unwrap_or_default())
    };
    let upkeep = Upkeep {
        pages: listed("pages")?,
        groups: listed("groups")?,
    };
    Ok((after, upkeep, row.read("write the batch", "time")?))
}

/// A column of the new entities' keys.
fn keys<'a, T>(entities: &[NewEntity<'a>], column: fn(&'a WrappedKey) -> T) -> Vec<Option<T>> {
    entities.iter().map(|entity| entity.key.map(column)).collect()
}

/// What comes into the archived list, column by column.
#[derive(Default)]
struct ListColumns<'a> {
    put_type: Vec<&'a str>,
    put_id: Vec<&'a str>,
    put_deleted_at: Vec<DateTime<Utc>>,
    put_position: Vec<i64>,
    put_deletion_id: Vec<Uuid>,
}

impl<'a> From<&'a BatchWrite> for ListColumns<'a> {
    fn from(write: &'a BatchWrite) -> Self {
        let mut columns = Self::default();
        for change in write.changes.archived.values() {
            if let ArchivedListChange::Put(entry) = change {
                columns.put_type.push(entry.key.entity_type().as_str());
                columns.put_id.push(entry.key.id());
                columns.put_deleted_at.push(entry.deleted_at);
                columns.put_position.push(signed(entry.position));
                columns.put_deletion_id.push(entry.deletion_id);
            }
        }
        columns
    }
}

/// The events, column by column, as `UNNEST` takes them.
#[derive(Default)]
struct EventColumns<'a> {
    position: Vec<i64>,
    aggregate_id: Vec<&'a str>,
    sequence: Vec<i64>,
    event_type: Vec<&'a str>,
    event_version: Vec<&'a str>,
    payload: Vec<Json<&'a serde_json::Value>>,
    metadata: Vec<Json<&'a serde_json::Value>>,
    event_id: Vec<Uuid>,
    command_id: Vec<Uuid>,
    correlation_id: Vec<Option<&'a str>>,
    causation_id: Vec<Option<Uuid>>,
    actor: Vec<&'a str>,
    salt: Vec<&'a [u8]>,
    sealed: Vec<Option<&'a [u8]>>,
    entry: Vec<&'a [u8]>,
    leaf: Vec<&'a [u8]>,
}

impl<'a> From<&'a [NewEvent]> for EventColumns<'a> {
    fn from(events: &'a [NewEvent]) -> Self {
        let mut columns = Self::default();
        for event in events {
            let stored = &event.stored;
            columns.position.push(signed(stored.position));
            columns.aggregate_id.push(&event.serialized.aggregate_id);
            columns.sequence.push(signed(stored.sequence));
            columns.event_type.push(&event.serialized.event_type);
            columns.event_version.push(&event.serialized.event_version);
            columns.payload.push(Json(&event.serialized.payload));
            columns.metadata.push(Json(&event.serialized.metadata));
            columns.event_id.push(stored.event_id);
            columns.command_id.push(stored.command_id);
            columns.correlation_id.push(stored.metadata.request_id.as_deref());
            columns.causation_id.push(stored.metadata.causation_id);
            columns.actor.push(&stored.metadata.actor);
            columns.salt.push(&event.salt);
            columns.sealed.push(stored.sealed.as_deref());
            columns.entry.push(&stored.entry);
            columns.leaf.push(&stored.leaf);
        }
        columns
    }
}
