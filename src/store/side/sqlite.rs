//! SQLite: what stands beside the log.

use super::{SideRow, SideStore, SideTable};
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;
use async_trait::async_trait;
use sqlx::Row;

#[async_trait]
impl SideStore for SqliteStore {
    async fn side_rows(&self, table: SideTable, after: &str, limit: u32) -> Result<Vec<SideRow>, StoreError> {
        let statement = match table {
            SideTable::Entities => {
                "SELECT CAST(aggregate_id AS TEXT), CAST(first_position AS TEXT), CAST(key_id AS TEXT), CAST(kek_id AS TEXT),
                        CAST(erased_at AS TEXT)
                 FROM entities WHERE aggregate_id > ?1 ORDER BY aggregate_id LIMIT ?2"
            }
            SideTable::Jobs => {
                "SELECT CAST(event_id AS TEXT), CAST(position AS TEXT), CAST(aggregate_id AS TEXT), CAST(purge_id AS TEXT),
                        CAST(state AS TEXT), CAST(objects AS TEXT), CAST(bytes AS TEXT),
                        (SELECT group_concat(o.ordinal || ' ' || o.state || ' ' || o.objects || ' ' || o.bytes || ' ' || o.at_least
                                             || ' ' || o.under_way || ' '
                                             || CASE WHEN o.storage_hash IS NULL THEN '-' ELSE lower(hex(o.storage_hash)) END, ';')
                         FROM cleanup_obligations o WHERE o.event_id = j.event_id)
                 FROM cleanup_jobs j WHERE event_id > ?1 ORDER BY event_id LIMIT ?2"
            }
            SideTable::Deliveries => {
                "SELECT CAST(delivery_id AS TEXT), CAST(event_id AS TEXT), CAST(position AS TEXT), CAST(aggregate_id AS TEXT),
                        CAST(target_id AS TEXT), CAST(error AS TEXT), CAST(dataset_id AS TEXT), CAST(final AS TEXT),
                        lower(hex(url_sealed)), CAST(host AS TEXT), CAST(receiver AS TEXT)
                 FROM callback_deliveries WHERE delivery_id > ?1 ORDER BY delivery_id LIMIT ?2"
            }
            SideTable::Cursors => {
                "SELECT CAST(name AS TEXT), CAST(position AS TEXT) FROM cursors
                 WHERE name > ?1 ORDER BY name LIMIT ?2"
            }
            SideTable::Tiles => {
                "SELECT * FROM (SELECT CAST(level AS TEXT) AS level, CAST(count(*) AS TEXT) FROM tree_hashes GROUP BY 1)
                 WHERE level > ?1 ORDER BY level LIMIT ?2"
            }
            SideTable::Origins => {
                "SELECT * FROM (SELECT CAST(ledger AS TEXT) AS ledger, CAST(count(*) AS TEXT) FROM checkpoints GROUP BY 1)
                 WHERE ledger > ?1 ORDER BY ledger LIMIT ?2"
            }
            SideTable::Targets => {
                "SELECT CAST(target_id AS TEXT), CAST(aggregate_id AS TEXT), lower(hex(url_hash)), lower(hex(url_sealed)),
                        CAST(registered AS TEXT), CAST(host AS TEXT), CAST(dataset_id AS TEXT), CAST(created_at AS TEXT),
                        CAST(receiver AS TEXT)
                 FROM callback_targets WHERE target_id > ?1 ORDER BY target_id LIMIT ?2"
            }
            SideTable::Answers => {
                "SELECT lower(hex(key)), CAST(length(request) AS TEXT), CAST(answer AS TEXT), CAST(recorded_at AS TEXT)
                 FROM idempotency_answers
                 WHERE key > unhex(?1) ORDER BY key LIMIT ?2"
            }
            SideTable::Attempts => {
                "SELECT CAST(sequence AS TEXT), CAST(position AS TEXT), CAST(outcome AS TEXT), CAST(action AS TEXT),
                        CAST(entity_type AS TEXT), CAST(entity_id AS TEXT), CAST(count AS TEXT)
                 FROM audit_attempts WHERE sequence > CAST(?1 AS INTEGER) ORDER BY sequence LIMIT ?2"
            }
            SideTable::AttemptsHead => {
                "SELECT CAST(id AS TEXT), CAST(sequence AS TEXT) FROM audit_head
                 WHERE id > CAST(?1 AS INTEGER) ORDER BY id LIMIT ?2"
            }
            SideTable::Head => {
                "SELECT CAST(id AS TEXT), CAST(position AS TEXT), CAST(claims_position AS TEXT) FROM ledger_head
                 WHERE id > CAST(?1 AS INTEGER) ORDER BY id LIMIT ?2"
            }
            SideTable::Claims => {
                "SELECT CAST(position AS TEXT), CAST(count(*) AS TEXT), CAST(min(ordinal) AS TEXT), CAST(max(ordinal) AS TEXT)
                 FROM storage_claims WHERE position > CAST(?1 AS INTEGER)
                 GROUP BY storage_claims.position ORDER BY storage_claims.position LIMIT ?2"
            }
            SideTable::Meta => {
                "SELECT CAST(name AS TEXT), CAST(value AS TEXT) FROM ledger_meta WHERE name > ?1 ORDER BY name LIMIT ?2"
            }
            SideTable::Losses => {
                "SELECT CAST(ledger AS TEXT), CAST(size AS TEXT) FROM fork_losses
                 WHERE ledger > CAST(?1 AS INTEGER) ORDER BY ledger LIMIT ?2"
            }
        };
        let rows = sqlx::query(statement)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.reads)
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
