//! A batch's one statement: the head, the events, the keys, the list, its counters and its pages,
//! and the answers to idempotency keys, all or nothing.

pub(super) mod alone;
mod columns;
mod statements;

use super::pages::Upkeep;
use crate::store::append::entities::EntityWrites;
use crate::store::claims::postgres::ClaimColumns;
use crate::store::columns::Columns as _;
use crate::store::server::session::Session;
use crate::store::values::signed;
use crate::store::{BatchWrite, Head, PageSizes, StoreError};
use archive_ledger_domain::AGGREGATE_TYPE;
use chrono::{DateTime, Utc};
use columns::{EventColumns, ListColumns, keys};
use sqlx::postgres::PgRow;
use sqlx::types::Json;

const WRITE: &str = "write the batch";

/// The head as this process knows it: its content, and the version of its row.
#[derive(Debug, Clone)]
pub(super) struct KnownHead {
    /// The content.
    pub(super) head: Head,
    /// The `xmin` of the row.
    pub(super) version: String,
}

/// Writes the batch if the head still is `before`, and, where its entities were taken for new, none of them is known; returns the
/// head as the batch leaves it, what the list's pages want, and what the database's clock showed.
///
/// # Errors
/// [`StoreError::HeadMoved`] when it is not so; nothing is written then.
pub(super) async fn write(
    connection: &mut Session,
    before: &KnownHead,
    (write, taken_for_new): (&BatchWrite, bool),
    entities: &EntityWrites<'_>,
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
    let new = &entities.new;
    let answers = &write.answers;
    let claims = ClaimColumns::from(write.claims.as_slice());
    let row = sqlx::query(statements::of(write, taken_for_new))
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
        .bind(new.iter().map(|one| one.stream_id).collect::<Vec<_>>())
        .bind(keys(new, |key| key.key_id))
        .bind(keys(new, |key| key.kek_id.as_str()))
        .bind(keys(new, |key| key.wrapped.as_slice()))
        .bind(list.put_type)
        .bind(list.put_id)
        .bind(list.put_deleted_at)
        .bind(list.put_position)
        .bind(list.put_deletion_id)
        .bind(types)
        .bind(deltas)
        .bind(
            new.iter()
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
        .bind(entities.erased.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(
            entities
                .erased
                .iter()
                .map(|(_, position)| signed(*position))
                .collect::<Vec<_>>(),
        )
        .bind(
            new.iter()
                .map(|one| one.erased_at.map(signed))
                .collect::<Vec<_>>(),
        )
        .fetch_optional(connection)
        .await
        .map_err(|error| refused(error, taken_for_new))?
        .ok_or(StoreError::HeadMoved)?;
    written(&row, write)
}

/// The code of `refuse_batch()` (`migrations/postgres`).
const WRONG_ROWS: &str = "AL001";

/// What the database has said of the statement. A row that is there already shows that an entity is not new, or that damage has left
/// something of it.
fn refused(error: sqlx::Error, taken_for_new: bool) -> StoreError {
    match &error {
        sqlx::Error::Database(said) if said.is_unique_violation() && taken_for_new => StoreError::HeadMoved,
        sqlx::Error::Database(said) if said.code().as_deref() == Some(WRONG_ROWS) => {
            StoreError::inconsistent(
                WRITE,
                "a part of it wrote another number of rows than it was given",
            )
        }
        _ => StoreError::database(WRITE)(error),
    }
}

/// What the statement says of a batch that it has written.
fn written(row: &PgRow, write: &BatchWrite) -> Result<(KnownHead, Upkeep, DateTime<Utc>), StoreError> {
    let after = KnownHead {
        head: write.head.clone(),
        version: row.read(WRITE, "version")?,
    };
    let listed = |column| -> Result<Vec<i64>, StoreError> {
        Ok(row.read::<Option<_>>(WRITE, column)?.unwrap_or_default())
    };
    let upkeep = Upkeep {
        pages: listed("pages")?,
        groups: listed("groups")?,
    };
    Ok((after, upkeep, row.read(WRITE, "time")?))
}
