//! SQLite: attempts, and reads of the audit.

use super::{place, record};
use crate::store::audit::{AttemptSpan, AttemptsWrite, AuditPlace, AuditRecord, Order, Rows};
use crate::store::pool::Readers;
use crate::store::values::{micros, non_negative, signed};
use crate::store::{StoreError, ensure_rows};
use archive_ledger_domain::EntityKey;
use sqlx::types::Json;
use sqlx::{Connection, SqliteConnection};

macro_rules! attempts {
    ($order:literal) => {
        concat!(
            "SELECT sequence, position, outcome, action, reason, actor, token_issuer, token_id_hash, ip, user_agent,
                    request_id, entity_type, entity_id, detail, first_at, last_at, count
             FROM (SELECT * FROM audit_attempts
                   WHERE (position, sequence) > (?1, ?2) AND (position, sequence) < (?3, ?4) AND sequence <= ?5
                   ORDER BY position ",
            $order,
            ", sequence ",
            $order,
            " LIMIT ?6)
             WHERE (json_array_length(?7) = 0 OR outcome IN (SELECT value FROM json_each(?7)))
               AND (json_array_length(?8) = 0 OR action IN (SELECT value FROM json_each(?8)))
               AND (json_array_length(?9) = 0 OR actor IN (SELECT value FROM json_each(?9)))
               AND (json_array_length(?10) = 0 OR entity_type IN (SELECT value FROM json_each(?10)))
               AND (json_array_length(?11) = 0
                    OR entity_type || ':' || entity_id IN (SELECT value FROM json_each(?11)))
               AND (json_array_length(?12) = 0 OR request_id IN (SELECT value FROM json_each(?12)))
               AND (json_array_length(?13) = 0 OR ip IN (SELECT value FROM json_each(?13)))
               AND (?14 IS NULL OR last_at >= ?14)
               AND (?15 IS NULL OR first_at < ?15)
             ORDER BY position ",
            $order,
            ", sequence ",
            $order,
            " LIMIT ?16"
        )
    };
}

/// The last of those that were looked at, if there were as many as that.
macro_rules! looked_at {
    ($order:literal) => {
        concat!(
            "SELECT position, sequence FROM audit_attempts
             WHERE (position, sequence) > (?1, ?2) AND (position, sequence) < (?3, ?4) AND sequence <= ?5
             ORDER BY position ",
            $order,
            ", sequence ",
            $order,
            " LIMIT 1 OFFSET ?6"
        )
    };
}

pub(in crate::store::audit) async fn read(
    reads: &Readers,
    rows: Rows<'_>,
    span: AttemptSpan,
) -> Result<(Vec<AuditRecord>, Option<AuditPlace>), StoreError> {
    let operation = "read the attempts";
    let (filter, order) = (rows.filter, rows.order);
    let (query, last) = match order {
        Order::Ascending => (attempts!("ASC"), looked_at!("ASC")),
        Order::Descending => (attempts!("DESC"), looked_at!("DESC")),
    };
    let names = |names: Vec<&'static str>| Json(names);
    let found = sqlx::query(query)
        .bind(signed(span.low.position))
        .bind(signed(span.low.sequence))
        .bind(signed(span.high.position))
        .bind(signed(span.high.sequence))
        .bind(signed(span.last))
        .bind(i64::from(span.scanned))
        .bind(names(filter.outcomes.iter().map(|one| one.as_str()).collect()))
        .bind(names(filter.actions.iter().map(|one| one.as_str()).collect()))
        .bind(Json(&filter.actors))
        .bind(names(
            filter.entity_types.iter().map(|one| one.as_str()).collect(),
        ))
        .bind(Json(
            filter
                .entities
                .iter()
                .map(EntityKey::stream_id)
                .collect::<Vec<_>>(),
        ))
        .bind(Json(&filter.request_ids))
        .bind(Json(&filter.ips))
        .bind(filter.from.map(micros))
        .bind(filter.to.map(micros))
        .bind(i64::from(rows.limit))
        .fetch_all(reads)
        .await
        .map_err(StoreError::database(operation))?;
    let found: Vec<AuditRecord> = found.iter().map(record).collect::<Result<_, _>>()?;
    if found.len() >= rows.limit as usize {
        return Ok((found, None));
    }
    let reached = sqlx::query(last)
        .bind(signed(span.low.position))
        .bind(signed(span.low.sequence))
        .bind(signed(span.high.position))
        .bind(signed(span.high.sequence))
        .bind(signed(span.last))
        .bind(i64::from(span.scanned) - 1)
        .fetch_optional(reads)
        .await
        .map_err(StoreError::database(operation))?;
    let reached = reached.map(|row| place(operation, &row)).transpose()?;
    Ok((found, reached))
}

pub(in crate::store::audit) async fn add(
    connection: &mut SqliteConnection,
    write: &AttemptsWrite,
) -> Result<Vec<u64>, StoreError> {
    let operation = "record attempts";
    // IMMEDIATE: the position that is read is the last one, and no other process writes meanwhile.
    let mut tx = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(StoreError::database(operation))?;
    let last: i64 =
        sqlx::query_scalar("UPDATE audit_head SET sequence = sequence + ?1 WHERE id = 1 RETURNING sequence")
            .bind(signed(write.added.len() as u64))
            .fetch_one(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
    let position: i64 = sqlx::query_scalar("SELECT position FROM ledger_head WHERE id = 1")
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
    let first = last + 1 - signed(write.added.len() as u64);
    let mut sequences = Vec::with_capacity(write.added.len());
    for (sequence, attempt) in (first..).zip(&write.added) {
        sqlx::query(
            "INSERT INTO audit_attempts
                 (sequence, position, outcome, action, reason, actor, token_issuer, token_id_hash, ip, user_agent,
                  request_id, entity_type, entity_id, detail, first_at, last_at, count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )
        .bind(sequence)
        .bind(position)
        .bind(attempt.outcome.as_str())
        .bind(attempt.action.as_str())
        .bind(&attempt.reason)
        .bind(&attempt.actor)
        .bind(&attempt.token_issuer)
        .bind(&attempt.token_id_hash)
        .bind(&attempt.ip)
        .bind(&attempt.user_agent)
        .bind(&attempt.request_id)
        .bind(attempt.key.as_ref().map(|key| key.entity_type().as_str()))
        .bind(attempt.key.as_ref().map(EntityKey::id))
        .bind(&attempt.detail)
        .bind(micros(attempt.first_at))
        .bind(micros(attempt.last_at))
        .bind(signed(attempt.count))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        sequences.push(non_negative(operation, sequence)?);
    }
    for (sequence, more, last_at) in &write.grown {
        let grown = sqlx::query(
            "UPDATE audit_attempts SET count = count + ?2, last_at = max(last_at, ?3) WHERE sequence = ?1",
        )
        .bind(signed(*sequence))
        .bind(signed(*more))
        .bind(micros(*last_at))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        ensure_rows(operation, 1, grown.rows_affected())?;
    }
    tx.commit().await.map_err(StoreError::database(operation))?;
    Ok(sequences)
}
