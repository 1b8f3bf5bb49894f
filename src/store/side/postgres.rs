//! PostgreSQL: what stands beside the log.

use super::{SideRow, SideStore, SideTable};
use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use async_trait::async_trait;
use sqlx::Row;

#[async_trait]
impl SideStore for PostgresStore {
    async fn side_rows(&self, table: SideTable, after: &str, limit: u32) -> Result<Vec<SideRow>, StoreError> {
        let statement = match table {
            SideTable::Entities => {
                "SELECT aggregate_id, first_position::text, key_id::text, kek_id, erased_at::text FROM entities
                 WHERE aggregate_id > $1 ORDER BY aggregate_id LIMIT $2"
            }
            SideTable::Jobs => {
                "SELECT event_id::text, position::text, aggregate_id, purge_id::text, state, objects::text, bytes::text,
                        (SELECT string_agg(concat_ws(' ', o.ordinal, o.state, o.objects, o.bytes, o.at_least::int, o.under_way::int,
                                                     coalesce(encode(o.storage_hash, 'hex'), '-')), ';')
                         FROM cleanup_obligations o WHERE o.event_id = j.event_id)
                 FROM cleanup_jobs j
                 WHERE event_id::text COLLATE \"C\" > $1 ORDER BY event_id::text COLLATE \"C\" LIMIT $2"
            }
            SideTable::Deliveries => {
                "SELECT delivery_id::text, event_id::text, position::text, aggregate_id, target_id::text, error, dataset_id,
                        final::int::text, encode(url_sealed, 'hex'), host, receiver
                 FROM callback_deliveries
                 WHERE delivery_id::text COLLATE \"C\" > $1 ORDER BY delivery_id::text COLLATE \"C\" LIMIT $2"
            }
            SideTable::Cursors => {
                "SELECT name, position::text FROM cursors
                 WHERE name COLLATE \"C\" > $1 ORDER BY name COLLATE \"C\" LIMIT $2"
            }
            SideTable::Tiles => {
                "SELECT * FROM (SELECT level::text AS level, count(*)::text FROM tree_hashes GROUP BY level) t
                 WHERE level COLLATE \"C\" > $1 ORDER BY level COLLATE \"C\" LIMIT $2"
            }
            SideTable::Origins => {
                "SELECT * FROM (SELECT ledger::text AS ledger, count(*)::text FROM checkpoints GROUP BY ledger) t
                 WHERE ledger COLLATE \"C\" > $1 ORDER BY ledger COLLATE \"C\" LIMIT $2"
            }
            SideTable::Targets => {
                "SELECT target_id::text, aggregate_id, encode(url_hash, 'hex'), encode(url_sealed, 'hex'), registered::int::text,
                        host, dataset_id,
                        (CASE WHEN isfinite(created_at) THEN (extract(epoch FROM created_at) * 1000000)::numeric(30, 0) END)::text,
                        receiver
                 FROM callback_targets
                 WHERE target_id::text COLLATE \"C\" > $1 ORDER BY target_id::text COLLATE \"C\" LIMIT $2"
            }
            SideTable::Answers => {
                "SELECT encode(key, 'hex'), length(request)::text, answer::text,
                        (CASE WHEN isfinite(recorded_at) THEN (extract(epoch FROM recorded_at) * 1000000)::numeric(30, 0) END)::text
                 FROM idempotency_answers
                 WHERE key > decode($1, 'hex') ORDER BY key LIMIT $2"
            }
            SideTable::Attempts => {
                "SELECT sequence::text, position::text, outcome, action, entity_type, entity_id, count::text FROM audit_attempts
                 WHERE sequence > coalesce(nullif($1, '')::bigint, 0)
                 ORDER BY audit_attempts.sequence LIMIT $2"
            }
            SideTable::AttemptsHead => {
                "SELECT id::text, sequence::text FROM audit_head WHERE id::text > $1 ORDER BY id LIMIT $2"
            }
            SideTable::Head => {
                "SELECT id::text, position::text, claims_position::text FROM ledger_head WHERE id::text > $1 ORDER BY id LIMIT $2"
            }
            SideTable::Claims => {
                "SELECT position::text, count(*)::text, min(ordinal)::text, max(ordinal)::text FROM storage_claims
                 WHERE position > coalesce(nullif($1, '')::bigint, 0)
                 GROUP BY storage_claims.position ORDER BY storage_claims.position LIMIT $2"
            }
            SideTable::Meta => {
                "SELECT name, value FROM ledger_meta WHERE name COLLATE \"C\" > $1 ORDER BY name COLLATE \"C\" LIMIT $2"
            }
            SideTable::Losses => {
                "SELECT ledger::text, size::text FROM fork_losses
                 WHERE ledger > coalesce(nullif($1, '')::bigint, 0)
                 ORDER BY fork_losses.ledger LIMIT $2"
            }
        };
        let rows = sqlx::query(statement)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::database("read what stands beside the log"))?;
        Ok(rows
            .iter()
            .map(|row| {
                (0..row.len())
                    .map(|column| row.try_get(column).unwrap_or_default())
                    .collect()
            })
            .collect())
    }

    async fn damage(&self) -> Result<Option<String>, StoreError> {
        self.find_damage().await
    }
}
