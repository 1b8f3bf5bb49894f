//! SQLite: who names which storage.

use super::{
    Claim, ClaimStore, Claimants, Completeness, LOOKED_AT_UNDER_LOCK, LeftCursor, LeftPlace, Naming,
    PlaceKey, ROWS_LOOKED_AT, Whom,
};
use crate::store::columns::Columns as _;
use crate::store::reconcile::{BAD_KEYS, Page};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{entity_key, non_negative, signed, uuid};
use crate::store::{Position, StoreError, WrappedKey};
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use sqlx::{Connection, SqliteConnection};

/// The write lock is taken at once: a transaction that reads first could not be upgraded past another process's.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Lets go of what an erased entity claims. What only a deletion named that was undone stays: nothing has cleaned it.
pub(in crate::store) const RELEASE: &str = "
    DELETE FROM storage_claims WHERE position IN (
        SELECT e.position FROM entity_events e
        WHERE e.aggregate_id = ?1
          AND NOT (e.event_type = 'soft_deleted' AND EXISTS (
              SELECT 1 FROM events r
              WHERE r.aggregate_id = e.aggregate_id AND r.sequence > 1 AND r.sequence > e.sequence
                AND r.event_type = 'restored')))";

#[async_trait]
impl ClaimStore for SqliteStore {
    async fn claimants(
        &self,
        places: &[PlaceKey],
        except: &EntityKey,
        whom: Whom,
        first: u32,
    ) -> Result<Claimants, StoreError> {
        let operation = "ask who claims a place";
        let ranges: Vec<(String, String)> = places
            .iter()
            .map(|place| (hex::encode(place.as_bytes()), hex::encode(place.behind())))
            .collect();
        let above: Vec<String> = PlaceKey::all_above(places).map(hex::encode).collect();
        // CROSS JOIN: the loops run in this order, whatever is known of the tables.
        let row = sqlx::query(
            "WITH met AS (
                 SELECT c.position FROM json_each(?1) AS asked
                 CROSS JOIN storage_claims c
                     ON c.place >= unhex(asked.value ->> 0) AND c.place < unhex(asked.value ->> 1)
                 UNION ALL
                 SELECT c.position FROM json_each(?2) AS above
                 CROSS JOIN storage_claims c ON c.place = unhex(above.value)
             ), others AS MATERIALIZED (
                 SELECT e.aggregate_id FROM met CROSS JOIN events e ON e.position = met.position
                 WHERE e.aggregate_id <> ?3
                   AND NOT (e.event_type = 'soft_deleted' AND EXISTS (
                       SELECT 1 FROM events r
                       WHERE r.aggregate_id = e.aggregate_id AND r.sequence > 1 AND r.sequence > e.sequence
                         AND r.event_type = 'restored'))
                   AND (?4 OR NOT EXISTS (SELECT 1 FROM purge_work w WHERE w.aggregate_id = e.aggregate_id))
                 LIMIT ?5
             )
             SELECT (SELECT count(*) FROM others) AS looked_at,
                    (SELECT count(DISTINCT aggregate_id) FROM others) AS entities,
                    (SELECT json_group_array(aggregate_id)
                     FROM (SELECT DISTINCT aggregate_id FROM others ORDER BY aggregate_id LIMIT ?6)) AS first,
                    claims_position = position AS complete
             FROM ledger_head WHERE id = 1",
        )
        .bind(Json(ranges))
        .bind(Json(above))
        .bind(except.stream_id())
        .bind(whom == Whom::All)
        .bind(i64::from(ROWS_LOOKED_AT))
        .bind(i64::from(first))
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        let first: Json<Vec<String>> = row.read(operation, "first")?;
        let looked_at: i64 = row.read(operation, "looked_at")?;
        Ok(Claimants {
            first: first
                .0
                .iter()
                .map(|id| entity_key(operation, id))
                .collect::<Result<_, _>>()?,
            count: non_negative(operation, row.read(operation, "entities")?)?,
            at_least: looked_at >= i64::from(ROWS_LOOKED_AT),
            complete: row.read(operation, "complete")?,
        })
    }

    async fn claims_completeness(&self) -> Result<Completeness, StoreError> {
        let operation = "ask whether the claims are complete";
        let row = sqlx::query("SELECT claims_position, position FROM ledger_head WHERE id = 1")
            .fetch_one(&self.reads)
            .await
            .map_err(StoreError::database(operation))?;
        Ok(Completeness {
            claims: non_negative(operation, row.read(operation, "claims_position")?)?,
            head: non_negative(operation, row.read(operation, "position")?)?,
        })
    }

    async fn naming(&self, after: Position, until: Position) -> Result<Vec<Naming>, StoreError> {
        let operation = "read what names storage";
        let rows = sqlx::query(
            "SELECT e.position, e.event_id, e.aggregate_id, e.sealed, k.key_id, k.kek_id, k.wrapped,
                    e.event_type = 'soft_deleted' AND EXISTS (
                        SELECT 1 FROM events r
                        WHERE r.aggregate_id = e.aggregate_id AND r.sequence > 1 AND r.sequence > e.sequence
                          AND r.event_type = 'restored') AS undone,
                    (SELECT json_group_array(hex(c.place)) FROM storage_claims c
                     WHERE c.position = e.position) AS kept
             FROM events e LEFT JOIN entities k ON k.aggregate_id = e.aggregate_id
             WHERE e.position > ?1 AND e.position <= ?2
               AND ((e.event_type IN ('registered', 'soft_deleted') AND e.payload ->> 'storage_count' > 0)
                   OR EXISTS (SELECT 1 FROM storage_claims c WHERE c.position = e.position))
             ORDER BY e.position",
        )
        .bind(signed(after))
        .bind(signed(until))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        rows.iter().map(|row| naming(operation, row)).collect()
    }

    async fn fill_claims(
        &self,
        after: Position,
        until: Position,
        missing: &[Claim],
    ) -> Result<bool, StoreError> {
        let operation = "fill the claims in";
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let moved = sqlx::query(
            "UPDATE ledger_head SET claims_position = ?2 WHERE id = 1 AND claims_position = ?1 AND position >= ?2",
        )
        .bind(signed(after))
        .bind(signed(until))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        insert_standing(&mut tx, operation, missing).await?;
        let purged: Vec<String> = sqlx::query_scalar(
            "SELECT aggregate_id FROM events
             WHERE position > ?1 AND position <= ?2 + ?3 AND event_type = 'purged'",
        )
        .bind(signed(after))
        .bind(signed(until))
        .bind(LOOKED_AT_UNDER_LOCK)
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        for stream_id in &purged {
            sqlx::query(RELEASE)
                .bind(stream_id)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database("release the claims"))?;
        }
        sqlx::query(
            "UPDATE ledger_head SET claims_position = position
             WHERE id = 1 AND position - ?1 <= ?2 AND NOT EXISTS (
                 SELECT 1 FROM events e
                 WHERE e.position > ?1 AND e.sealed IS NOT NULL AND e.event_type IN ('registered', 'soft_deleted')
                   AND e.payload ->> 'storage_count' > 0
                   AND NOT EXISTS (SELECT 1 FROM storage_claims c WHERE c.position = e.position))",
        )
        .bind(signed(until))
        .bind(LOOKED_AT_UNDER_LOCK)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(true)
    }

    async fn replace_claims(&self, events: &[Position], claims: &[Claim]) -> Result<(), StoreError> {
        let operation = "replace the claims";
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        sqlx::query("DELETE FROM storage_claims WHERE position IN (SELECT value FROM json_each(?1))")
            .bind(Json(events))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        insert_standing(&mut tx, operation, claims).await?;
        tx.commit().await.map_err(StoreError::database(operation))
    }

    async fn left_places(
        &self,
        after: LeftCursor,
        limit: u32,
    ) -> Result<Page<LeftPlace, LeftCursor>, StoreError> {
        let operation = "list what restores left";
        let rows = sqlx::query(
            "SELECT c.position, c.ordinal, c.place, e.aggregate_id, min(r.position) AS restored
             FROM storage_claims c
             CROSS JOIN events e ON e.position = c.position
             CROSS JOIN events r ON r.aggregate_id = e.aggregate_id AND r.sequence > 1 AND r.sequence > e.sequence
             WHERE (c.position, c.ordinal) > (?1, ?2) AND e.event_type = 'soft_deleted' AND r.event_type = 'restored'
               AND typeof(c.ordinal) = 'integer'
             GROUP BY c.position, c.ordinal
             ORDER BY c.position, c.ordinal
             LIMIT ?3",
        )
        .bind(signed(after.0))
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        let page = Page::of(
            &rows,
            |row| left(operation, row),
            |row| row.read(operation, "aggregate_id").ok(),
            |row| {
                let position = non_negative(operation, row.read(operation, "position")?)?;
                Ok((position, row.read(operation, "ordinal")?))
            },
        )?;
        if after != (0, 0) {
            return Ok(page);
        }
        // Columns take values of any kind: such a key has no place in the order, or leads to no event.
        let bad = sqlx::query(
            "SELECT 1 FROM storage_claims WHERE typeof(position) <> 'integer' OR typeof(ordinal) <> 'integer' LIMIT ?1",
        )
        .bind(BAD_KEYS)
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(page.behind_bad_keys(operation, bad.len()))
    }
}

fn left(operation: &'static str, row: &SqliteRow) -> Result<LeftPlace, StoreError> {
    Ok(LeftPlace {
        position: non_negative(operation, row.read(operation, "position")?)?,
        ordinal: row.read(operation, "ordinal")?,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        restored: non_negative(operation, row.read(operation, "restored")?)?,
        place: PlaceKey::new(row.read(operation, "place")?),
    })
}

/// Adds claims of entities that are not purged: under the write lock, so that no purge comes between the look and the writing.
async fn insert_standing(
    connection: &mut SqliteConnection,
    operation: &'static str,
    claims: &[Claim],
) -> Result<(), StoreError> {
    let rows: Vec<(i64, u16, String)> = claims
        .iter()
        .map(|claim| {
            (
                signed(claim.position),
                claim.ordinal,
                hex::encode(claim.place.as_bytes()),
            )
        })
        .collect();
    sqlx::query(
        "INSERT INTO storage_claims (position, ordinal, place)
         SELECT claim.value ->> 0, claim.value ->> 1, unhex(claim.value ->> 2) FROM json_each(?1) AS claim
         WHERE EXISTS (SELECT 1 FROM events e WHERE e.position = claim.value ->> 0 AND e.sealed IS NOT NULL)
         ON CONFLICT (position, ordinal) DO NOTHING",
    )
    .bind(Json(rows))
    .execute(connection)
    .await
    .map_err(StoreError::database(operation))?;
    Ok(())
}

fn naming(operation: &'static str, row: &SqliteRow) -> Result<Naming, StoreError> {
    let data_key = match row.read::<Option<&str>>(operation, "key_id")? {
        None => None,
        Some(key_id) => Some(WrappedKey {
            key_id: uuid(operation, key_id)?,
            kek_id: row.read(operation, "kek_id")?,
            wrapped: row.read(operation, "wrapped")?,
        }),
    };
    let kept: Json<Vec<String>> = row.read(operation, "kept")?;
    let mut kept = kept
        .0
        .iter()
        .map(|place| {
            hex::decode(place)
                .map(PlaceKey::new)
                .map_err(|error| StoreError::inconsistent(operation, error.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    kept.sort();
    Ok(Naming {
        position: non_negative(operation, row.read(operation, "position")?)?,
        event_id: uuid(operation, row.read(operation, "event_id")?)?,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        sealed: row.read(operation, "sealed")?,
        data_key,
        undone: row.read(operation, "undone")?,
        kept,
    })
}
