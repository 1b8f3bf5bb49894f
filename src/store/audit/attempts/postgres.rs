//! PostgreSQL: attempts, and reads of the audit.

use super::{place, record};
use crate::store::audit::{AttemptSpan, AttemptsWrite, AuditPlace, AuditRecord, Order, Rows};
use crate::store::server::session::Sessions;
use crate::store::values::{non_negative, signed};
use crate::store::{StoreError, ensure_rows};
use archive_ledger_domain::EntityKey;
use chrono::{DateTime, Utc};

macro_rules! attempts {
    ($order:literal) => {
        concat!(
            "SELECT sequence, position, outcome, action, reason, actor, token_issuer, token_id_hash, ip, user_agent,
                    request_id, entity_type, entity_id, detail, first_at, last_at, count
             FROM (SELECT * FROM audit_attempts
                   WHERE (position, sequence) > ($1, $2) AND (position, sequence) < ($3, $4) AND sequence <= $5
                   ORDER BY position ",
            $order,
            ", sequence ",
            $order,
            " LIMIT $6) AS looked_at
             WHERE (cardinality($7::text[]) = 0 OR outcome = ANY ($7))
               AND (cardinality($8::text[]) = 0 OR action = ANY ($8))
               AND (cardinality($9::text[]) = 0 OR actor = ANY ($9))
               AND (cardinality($10::text[]) = 0 OR entity_type = ANY ($10))
               AND (cardinality($11::text[]) = 0 OR entity_type || ':' || entity_id = ANY ($11))
               AND (cardinality($12::text[]) = 0 OR request_id = ANY ($12))
               AND (cardinality($13::text[]) = 0 OR ip = ANY ($13))
               AND ($14::timestamptz IS NULL OR last_at >= $14)
               AND ($15::timestamptz IS NULL OR first_at < $15)
             ORDER BY position ",
            $order,
            ", sequence ",
            $order,
            " LIMIT $16"
        )
    };
}

/// The last of those that were looked at, if there were as many as that.
macro_rules! looked_at {
    ($order:literal) => {
        concat!(
            "SELECT position, sequence FROM audit_attempts
             WHERE (position, sequence) > ($1, $2) AND (position, sequence) < ($3, $4) AND sequence <= $5
             ORDER BY position ",
            $order,
            ", sequence ",
            $order,
            " LIMIT 1 OFFSET $6"
        )
    };
}

pub(in crate::store::audit) async fn read(
    pool: &Sessions,
    rows: Rows<'_>,
    span: AttemptSpan,
) -> Result<(Vec<AuditRecord>, Option<AuditPlace>), StoreError> {
    let operation = "read the attempts";
    let (filter, order) = (rows.filter, rows.order);
    let (query, last) = match order {
        Order::Ascending => (attempts!("ASC"), looked_at!("ASC")),
        Order::Descending => (attempts!("DESC"), looked_at!("DESC")),
    };
    let found = sqlx::query(query)
        .bind(signed(span.low.position))
        .bind(signed(span.low.sequence))
        .bind(signed(span.high.position))
        .bind(signed(span.high.sequence))
        .bind(signed(span.last))
        .bind(i64::from(span.scanned))
        .bind(filter.outcomes.iter().map(|one| one.as_str()).collect::<Vec<_>>())
        .bind(filter.actions.iter().map(|one| one.as_str()).collect::<Vec<_>>())
        .bind(&filter.actors)
        .bind(
            filter
                .entity_types
                .iter()
                .map(|one| one.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            filter
                .entities
                .iter()
                .map(EntityKey::stream_id)
                .collect::<Vec<_>>(),
        )
        .bind(&filter.request_ids)
        .bind(&filter.ips)
        .bind(filter.from)
        .bind(filter.to)
        .bind(i64::from(rows.limit))
        .fetch_all(pool)
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
        .fetch_optional(pool)
        .await
        .map_err(StoreError::database(operation))?;
    let reached = reached.map(|row| place(operation, &row)).transpose()?;
    Ok((found, reached))
}

pub(in crate::store::audit) async fn add(
    pool: &Sessions,
    write: &AttemptsWrite,
) -> Result<Vec<u64>, StoreError> {
    let operation = "record attempts";
    let mut tx = pool.begin().await.map_err(StoreError::database(operation))?;
    // The lock comes first: whoever adds next sees a head that is not behind this one.
    let last: i64 =
        sqlx::query_scalar("UPDATE audit_head SET sequence = sequence + $1 WHERE id = 1 RETURNING sequence")
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
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
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
        .bind(attempt.first_at)
        .bind(attempt.last_at)
        .bind(signed(attempt.count))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        sequences.push(non_negative(operation, sequence)?);
    }
    if !write.grown.is_empty() {
        let sequence: Vec<i64> = write.grown.iter().map(|grown| signed(grown.0)).collect();
        let more: Vec<i64> = write.grown.iter().map(|grown| signed(grown.1)).collect();
        let last_at: Vec<DateTime<Utc>> = write.grown.iter().map(|grown| grown.2).collect();
        let updated = sqlx::query(
            "UPDATE audit_attempts old
             SET count = old.count + new.more, last_at = greatest(old.last_at, new.last_at)
             FROM UNNEST ($1::bigint[], $2::bigint[], $3::timestamptz[]) AS new (sequence, more, last_at)
             WHERE old.sequence = new.sequence",
        )
        .bind(sequence)
        .bind(more)
        .bind(last_at)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        ensure_rows(operation, write.grown.len() as u64, updated.rows_affected())?;
    }
    tx.commit().await.map_err(StoreError::database(operation))?;
    Ok(sequences)
}
