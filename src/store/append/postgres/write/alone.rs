//! The soft-delete of a new entity that comes alone: one round trip and a statement of single values.
//!
//! Setting up a statement of arrays and their parts is most of what a batch of one costs the database, and asking for a stream
//! that is not there is half of its round trips. So the entity is taken for new, as its command was prepared, and the statement
//! finds out: where the entity is known, nothing is written, and the batch is decided anew on what is loaded then.

use super::KnownHead;
use crate::store::append::entities::{EntityWrites, NewEntity};
use crate::store::append::postgres::pages::Upkeep;
use crate::store::server::session::Session;
use crate::store::values::signed;
use crate::store::{BatchWrite, NewEvent, PageSizes, StoreError};
use archive_ledger_domain::AGGREGATE_TYPE;
use archive_ledger_projections::{ArchivedEntry, ArchivedListChange};
use chrono::{DateTime, Utc};
use sqlx::types::Json;

/// As the statement of a batch (`statements.rs`), for one event, one entity and one row of the list.
const STATEMENT: &str = "
    WITH moved AS (
        UPDATE ledger_head SET position = $1, frontier = $2, root = $3, recorded_at = $4,
            claims_position = CASE WHEN claims_position = position THEN $1 ELSE claims_position END
        WHERE id = 1 AND position = $1 - 1 AND xmin = $5::text::xid AND root = $6
          AND NOT EXISTS (SELECT 1 FROM entities WHERE aggregate_id = $8)
        RETURNING xmin::text AS version
    ), new_event AS (
        INSERT INTO events
            (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
             event_id, recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf)
        SELECT $1, $7, $8, 1, $9, $10, $11, $12, $13, $4, $14, $15, $16, $17, $18, $19, $20, $21 FROM moved
        RETURNING 1
    ), new_entity AS (
        INSERT INTO entities (aggregate_id, first_position, key_id, kek_id, wrapped)
        SELECT $8, $1, $22, $23, $24 FROM moved
        RETURNING 1
    ), listed AS (
        INSERT INTO archived_entries (entity_type, entity_id, deleted_at, position, deletion_id)
        SELECT $25, $26, $27, $1, $28 FROM moved
        RETURNING 1
    ), counted AS (
        INSERT INTO archived_summary AS old (entity_type, count)
        SELECT $25, 1 FROM moved
        ON CONFLICT (entity_type) DO UPDATE SET count = old.count + 1
        RETURNING 1
    ), page AS (
        UPDATE archived_pages SET count = count + 1
        FROM moved
        WHERE id = (SELECT id FROM archived_pages p
                    WHERE p.entity_type = $25 AND p.deleted_at >= $27 AND (p.deleted_at > $27 OR p.entity_id <= $26)
                    ORDER BY p.deleted_at, p.entity_id DESC LIMIT 1)
        RETURNING id, group_id, count, deleted_at = 'infinity' AS first
    ), grouped AS (
        UPDATE archived_page_groups g SET count = g.count + 1
        FROM page WHERE g.id = page.group_id
        RETURNING g.id, g.count
    )
    SELECT version, clock_timestamp() AS time,
        (SELECT array_agg(id) FROM page WHERE count > CASE WHEN first THEN $29 ELSE $30 END) AS pages,
        (SELECT array_agg(id) FROM grouped WHERE count > $31) AS groups,
        CASE WHEN EXISTS (SELECT 1 FROM new_event) AND EXISTS (SELECT 1 FROM new_entity) AND EXISTS (SELECT 1 FROM listed)
              AND EXISTS (SELECT 1 FROM counted) AND EXISTS (SELECT 1 FROM grouped) THEN 0 ELSE refuse_batch() END
    FROM moved";

/// A soft-delete of a new entity.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::append::postgres) struct Alone<'a> {
    event: &'a NewEvent,
    entity: NewEntity<'a>,
    entry: &'a ArchivedEntry,
}

impl<'a> Alone<'a> {
    /// What a batch writes, if it is this and nothing else.
    pub(in crate::store::append::postgres) fn of(
        write: &'a BatchWrite,
        entities: &EntityWrites<'a>,
    ) -> Option<Self> {
        let ([event], [entity]) = (write.events.as_slice(), entities.new.as_slice()) else {
            return None;
        };
        let mut changes = write.changes.archived.values();
        let (Some(ArchivedListChange::Put(entry)), None) = (changes.next(), changes.next()) else {
            return None;
        };
        (write.answers.is_empty() && write.claims.is_empty()).then_some(Self {
            event,
            entity: *entity,
            entry,
        })
    }
}

/// Writes it, as `write` does a batch.
///
/// # Errors
/// [`StoreError::HeadMoved`] when the head is not `before`, or the entity is known.
pub(in crate::store::append::postgres) async fn write(
    connection: &mut Session,
    before: &KnownHead,
    write: &BatchWrite,
    alone: Alone<'_>,
    sizes: PageSizes,
) -> Result<(KnownHead, Upkeep, DateTime<Utc>), StoreError> {
    let Alone { event, entity, entry } = alone;
    let (stored, serialized) = (&event.stored, &event.serialized);
    let row = sqlx::query(STATEMENT)
        .bind(signed(write.head.position))
        .bind(write.head.frontier.concat())
        .bind(&write.head.root[..])
        .bind(write.head.recorded_at)
        .bind(&before.version)
        .bind(&before.head.root[..])
        .bind(AGGREGATE_TYPE)
        .bind(entity.stream_id)
        .bind(&serialized.event_type)
        .bind(&serialized.event_version)
        .bind(Json(&serialized.payload))
        .bind(Json(&serialized.metadata))
        .bind(stored.event_id)
        .bind(stored.command_id)
        .bind(stored.metadata.request_id.as_deref())
        .bind(stored.metadata.causation_id)
        .bind(&stored.metadata.actor)
        .bind(&event.salt[..])
        .bind(stored.sealed.as_deref())
        .bind(&stored.entry)
        .bind(&stored.leaf[..])
        .bind(entity.key.map(|key| key.key_id))
        .bind(entity.key.map(|key| key.kek_id.as_str()))
        .bind(entity.key.map(|key| key.wrapped.as_slice()))
        .bind(entry.key.entity_type().as_str())
        .bind(entry.key.id())
        .bind(entry.deleted_at)
        .bind(entry.deletion_id)
        .bind(sizes.first)
        .bind(sizes.page)
        .bind(sizes.group)
        .fetch_optional(connection)
        .await
        .map_err(|error| super::refused(error, true))?
        .ok_or(StoreError::HeadMoved)?;
    super::written(&row, write)
}
