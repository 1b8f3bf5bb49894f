//! PostgreSQL: the audit.

use super::attempts::postgres as attempts;
use super::blocks::{IndexTrust, IndexedValues};
use super::events::{indexed_values, record, sign};
use super::{
    AttemptSpan, AttemptsWrite, AuditFilter, AuditPlace, AuditRecord, AuditSnapshot, AuditStore, Order, Rows,
};
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::values::{non_negative, signed};
use crate::store::{Position, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

/// What a filter says of an event: of each list any, all lists that have something. Binds $1 to $5.
macro_rules! matching {
    () => {
        "(cardinality($1::text[]) = 0 OR e.actor = ANY ($1))
         AND (cardinality($2::text[]) = 0 OR e.event_type = ANY ($2))
         AND (cardinality($3::text[]) = 0 OR split_part(e.aggregate_id, ':', 1) = ANY ($3))
         AND (cardinality($4::text[]) = 0 OR e.correlation_id = ANY ($4))
         AND (cardinality($5::text[]) = 0 OR e.metadata ->> 'ip' = ANY ($5))"
    };
}

/// OFFSET 0 keeps the planner from reading the table before the ranges: each is one stretch of it.
const IN_RANGES: &str = concat!(
    "SELECT e.*
     FROM UNNEST ($6::bigint[], $7::bigint[]) AS r (low, high)
     CROSS JOIN LATERAL (
         SELECT e.position, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text AS payload,
                e.metadata::text AS metadata, e.event_id, e.recorded_at, e.command_id, e.causation_id, e.actor
         FROM events e
         WHERE e.position BETWEEN r.low AND r.high AND ",
    matching!(),
    "    OFFSET 0
     ) AS e
     ORDER BY e.position * $8 LIMIT $9"
);

const OF_ENTITIES: &str = concat!(
    "SELECT e.position, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text AS payload,
            e.metadata::text AS metadata, e.event_id, e.recorded_at, e.command_id, e.causation_id, e.actor
     FROM entity_events e
     WHERE e.aggregate_id = ANY ($6) AND e.position BETWEEN $9 AND $10 AND ",
    matching!(),
    " ORDER BY e.position * $7 LIMIT $8"
);

/// A binary search: positions have no gap, and times never go back along them.
const POSITION_BEFORE: &str = "
    WITH RECURSIVE search (low, high) AS (
        SELECT 0::bigint, $2::bigint
        UNION ALL
        SELECT CASE WHEN e.recorded_at < $1 THEN e.position ELSE s.low END,
               CASE WHEN e.recorded_at < $1 THEN s.high ELSE e.position - 1 END
        FROM search s
        JOIN events e ON e.position = (s.low + s.high + 1) / 2
        WHERE s.low < s.high
    )
    SELECT low FROM search WHERE low = high";

#[async_trait]
impl AuditStore for PostgresStore {
    async fn audit_snapshot(&self) -> Result<AuditSnapshot, StoreError> {
        let operation = "read how far the audit goes";
        // One statement: one snapshot.
        let row = sqlx::query(
            "SELECT l.position, a.sequence FROM ledger_head l CROSS JOIN audit_head a WHERE l.id = 1 AND a.id = 1",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(AuditSnapshot {
            position: non_negative(operation, row.read(operation, "position")?)?,
            sequence: non_negative(operation, row.read(operation, "sequence")?)?,
        })
    }

    async fn position_before(&self, time: DateTime<Utc>, last: Position) -> Result<Position, StoreError> {
        let operation = "find the position of a time";
        let position: i64 = sqlx::query_scalar(POSITION_BEFORE)
            .bind(time)
            .bind(signed(last))
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        non_negative(operation, position)
    }

    async fn audit_events(
        &self,
        rows: Rows<'_>,
        ranges: &[(Position, Position)],
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let (low, high): (Vec<i64>, Vec<i64>) = ranges
            .iter()
            .map(|(low, high)| (signed(*low), signed(*high)))
            .unzip();
        let found = bound(sqlx::query(IN_RANGES), rows.filter)
            .bind(low)
            .bind(high)
            .bind(sign(rows.order))
            .bind(i64::from(rows.limit))
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::database("read the audit"))?;
        found.iter().map(record).collect()
    }

    async fn audit_entity_events(
        &self,
        rows: Rows<'_>,
        low: Position,
        high: Position,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let streams: Vec<String> = rows.filter.entities.iter().map(|key| key.stream_id()).collect();
        let found = bound(sqlx::query(OF_ENTITIES), rows.filter)
            .bind(streams)
            .bind(sign(rows.order))
            .bind(i64::from(rows.limit))
            .bind(signed(low))
            .bind(signed(high))
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::database("read the audit of entities"))?;
        found.iter().map(record).collect()
    }

    async fn audit_attempts(
        &self,
        rows: Rows<'_>,
        span: AttemptSpan,
    ) -> Result<(Vec<AuditRecord>, Option<AuditPlace>), StoreError> {
        attempts::read(&self.pool, rows, span).await
    }

    async fn add_attempts(&self, write: &AttemptsWrite) -> Result<Vec<u64>, StoreError> {
        attempts::add(&self.pool, write).await
    }

    async fn indexed_blocks(&self) -> Result<u64, StoreError> {
        let operation = "read how far the index of blocks goes";
        let blocks: i64 = sqlx::query_scalar("SELECT blocks FROM audit_indexed WHERE id = 1")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        non_negative(operation, blocks)
    }

    async fn blocks_with(
        &self,
        tokens: &[i64],
        low: u64,
        high: u64,
        order: Order,
        limit: u32,
    ) -> Result<Vec<u64>, StoreError> {
        let operation = "look blocks up";
        let query = match order {
            Order::Ascending => sqlx::query_scalar(
                "SELECT DISTINCT block FROM audit_blocks
                 WHERE token = ANY ($1) AND block BETWEEN $2 AND $3
                 ORDER BY block LIMIT $4",
            ),
            Order::Descending => sqlx::query_scalar(
                "SELECT DISTINCT block FROM audit_blocks
                 WHERE token = ANY ($1) AND block BETWEEN $2 AND $3
                 ORDER BY block DESC LIMIT $4",
            ),
        };
        let found: Vec<i64> = query
            .bind(tokens)
            .bind(signed(low))
            .bind(signed(high))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        found
            .into_iter()
            .map(|block| non_negative(operation, block))
            .collect()
    }

    async fn index_entries(
        &self,
        after: Option<(i64, u64)>,
        limit: u32,
    ) -> Result<Vec<(i64, u64)>, StoreError> {
        let operation = "read the index of blocks";
        let (token, block) = after.map_or((i64::MIN, -1), |(token, block)| (token, signed(block)));
        let rows = sqlx::query(
            "SELECT token, block FROM audit_blocks WHERE (token, block) > ($1, $2) ORDER BY token, block LIMIT $3",
        )
        .bind(token)
        .bind(block)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter()
            .map(|row| {
                let block: i64 = row.read(operation, "block")?;
                Ok((
                    row.read(operation, "token")?,
                    block.try_into().unwrap_or(u64::MAX),
                ))
            })
            .collect()
    }

    fn index_trust(&self) -> &IndexTrust {
        &self.index_trust
    }

    async fn empty_index(&self) -> Result<(), StoreError> {
        let operation = "empty the index of blocks";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        for statement in [
            "DELETE FROM audit_blocks",
            "UPDATE audit_indexed SET blocks = 0 WHERE id = 1",
        ] {
            sqlx::query(statement)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))
    }

    async fn indexed_values(&self, low: Position, high: Position) -> Result<Vec<IndexedValues>, StoreError> {
        let operation = "read what is indexed of events";
        let found = sqlx::query(
            "SELECT position, split_part(aggregate_id, ':', 1) AS entity_type, event_type, actor,
                    correlation_id, metadata ->> 'ip' AS ip
             FROM events WHERE position BETWEEN $1 AND $2",
        )
        .bind(signed(low))
        .bind(signed(high))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        found.iter().map(|row| indexed_values(operation, row)).collect()
    }

    async fn add_blocks(&self, first: u64, count: u64, entries: &[(i64, u64)]) -> Result<(), StoreError> {
        let operation = "extend the index of blocks";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        let moved = sqlx::query("UPDATE audit_indexed SET blocks = blocks + $2 WHERE id = 1 AND blocks = $1")
            .bind(signed(first))
            .bind(signed(count))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        if moved.rows_affected() == 1 {
            let (tokens, numbers): (Vec<i64>, Vec<i64>) = entries
                .iter()
                .map(|(token, block)| (*token, signed(*block)))
                .unzip();
            sqlx::query(
                "INSERT INTO audit_blocks (token, block)
                 SELECT * FROM UNNEST ($1::bigint[], $2::bigint[])
                 ON CONFLICT DO NOTHING",
            )
            .bind(tokens)
            .bind(numbers)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))
    }
}

type Unbound<'q> = Query<'q, Postgres, PgArguments>;

/// Binds what [`matching`] asks for.
fn bound<'q>(query: Unbound<'q>, filter: &'q AuditFilter) -> Unbound<'q> {
    let types: Vec<&str> = filter.entity_types.iter().map(|one| one.as_str()).collect();
    // Entities go before their types.
    let types = if filter.entities.is_empty() {
        types
    } else {
        Vec::new()
    };
    query
        .bind(&filter.actors)
        .bind(filter.event_names())
        .bind(types)
        .bind(&filter.request_ids)
        .bind(&filter.ips)
}
