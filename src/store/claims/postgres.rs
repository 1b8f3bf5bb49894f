//! PostgreSQL: who names which storage.

use super::{
    Claim, ClaimStore, Claimants, Completeness, LOOKED_AT_UNDER_LOCK, LeftCursor, LeftPlace, Naming,
    PlaceKey, ROWS_LOOKED_AT, Whom,
};
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::reconcile::Page;
use crate::store::server::session::Session;
use crate::store::values::{entity_key, non_negative, signed};
use crate::store::{Position, StoreError, WrappedKey};
use archive_ledger_domain::EntityKey;
use async_trait::async_trait;
use sqlx::postgres::PgRow;

/// Claims, column by column, as `UNNEST` takes them.
#[derive(Default)]
pub(in crate::store) struct ClaimColumns<'a> {
    pub(in crate::store) position: Vec<i64>,
    pub(in crate::store) ordinal: Vec<i16>,
    pub(in crate::store) place: Vec<&'a [u8]>,
}

impl<'a> From<&'a [Claim]> for ClaimColumns<'a> {
    fn from(claims: &'a [Claim]) -> Self {
        let mut columns = Self::default();
        for claim in claims {
            columns.position.push(signed(claim.position));
            columns
                .ordinal
                .push(i16::try_from(claim.ordinal).unwrap_or(i16::MAX));
            columns.place.push(claim.place.as_bytes());
        }
        columns
    }
}

/// Lets go of what erased entities claim. What only a deletion named that was undone stays: nothing has cleaned it.
pub(in crate::store) async fn release_claims(
    connection: &mut Session,
    released: &[String],
) -> Result<(), StoreError> {
    // Offset and array: as where sealed details are scrubbed (`append/postgres/rare.rs`).
    sqlx::query(
        "DELETE FROM storage_claims
         WHERE position = ANY (ARRAY (
             SELECT old.position
             FROM UNNEST ($1::text[]) AS gone (aggregate_id)
             CROSS JOIN LATERAL (
                 SELECT e.position FROM entity_events e
                 WHERE e.aggregate_id = gone.aggregate_id
                   AND NOT (e.event_type = 'soft_deleted' AND EXISTS (
                       SELECT 1 FROM events r
                       WHERE r.aggregate_id = gone.aggregate_id AND r.sequence > 1 AND r.sequence > e.sequence
                         AND r.event_type = 'restored'))
                 OFFSET 0) AS old))",
    )
    .bind(released)
    .execute(connection)
    .await
    .map_err(StoreError::database("release the claims"))?;
    Ok(())
}

#[async_trait]
impl ClaimStore for PostgresStore {
    async fn claimants(
        &self,
        places: &[PlaceKey],
        except: &EntityKey,
        whom: Whom,
        first: u32,
    ) -> Result<Claimants, StoreError> {
        let operation = "ask who claims a place";
        let froms: Vec<&[u8]> = places.iter().map(PlaceKey::as_bytes).collect();
        let behinds: Vec<Vec<u8>> = places.iter().map(PlaceKey::behind).collect();
        let above: Vec<&[u8]> = PlaceKey::all_above(places).collect();
        // OFFSET 0 keeps each look from being merged into a join: such a join would be planned for the whole log.
        let row = sqlx::query(
            "WITH met AS (
                 SELECT c.position FROM UNNEST ($1::bytea[], $2::bytea[]) AS asked (place, behind)
                 CROSS JOIN LATERAL (
                     SELECT position FROM storage_claims
                     WHERE place >= asked.place AND place < asked.behind OFFSET 0) c
                 UNION ALL
                 SELECT c.position FROM UNNEST ($3::bytea[]) AS above (place)
                 CROSS JOIN LATERAL (SELECT position FROM storage_claims WHERE place = above.place OFFSET 0) c
             ), others AS MATERIALIZED (
                 SELECT e.aggregate_id FROM met
                 CROSS JOIN LATERAL (
                     SELECT aggregate_id, sequence, event_type FROM events WHERE position = met.position OFFSET 0) e
                 WHERE e.aggregate_id <> $4
                   AND NOT (e.event_type = 'soft_deleted' AND EXISTS (
                       SELECT 1 FROM events r
                       WHERE r.aggregate_id = e.aggregate_id AND r.sequence > 1
                         AND r.sequence > e.sequence AND r.event_type = 'restored' OFFSET 0))
                   AND ($5 OR NOT EXISTS (
                       SELECT 1 FROM purge_work w WHERE w.aggregate_id = e.aggregate_id OFFSET 0))
                 LIMIT $6
             )
             SELECT (SELECT count(*) FROM others) AS looked_at,
                    (SELECT count(DISTINCT aggregate_id) FROM others) AS entities,
                    ARRAY (SELECT DISTINCT aggregate_id FROM others ORDER BY aggregate_id LIMIT $7) AS first,
                    claims_position = position AS complete
             FROM ledger_head WHERE id = 1",
        )
        .bind(froms)
        .bind(behinds)
        .bind(above)
        .bind(except.stream_id())
        .bind(whom == Whom::All)
        .bind(i64::from(ROWS_LOOKED_AT))
        .bind(i64::from(first))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        let first: Vec<String> = row.read(operation, "first")?;
        let looked_at: i64 = row.read(operation, "looked_at")?;
        Ok(Claimants {
            first: first
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
            .fetch_one(&self.pool)
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
                        WHERE r.aggregate_id = e.aggregate_id AND r.sequence > 1
                          AND r.sequence > e.sequence AND r.event_type = 'restored') AS undone,
                    ARRAY (SELECT c.place FROM storage_claims c
                           WHERE c.position = e.position ORDER BY c.place) AS kept
             FROM events e LEFT JOIN entities k ON k.aggregate_id = e.aggregate_id
             WHERE e.position > $1 AND e.position <= $2
               AND ((e.event_type IN ('registered', 'soft_deleted')
                     AND (e.payload ->> 'storage_count')::bigint > 0)
                   OR EXISTS (SELECT 1 FROM storage_claims c WHERE c.position = e.position))
             ORDER BY e.position",
        )
        .bind(signed(after))
        .bind(signed(until))
        .fetch_all(&self.pool)
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
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        // This takes the head lock.
        let moved = sqlx::query(
            "UPDATE ledger_head SET claims_position = $2 WHERE id = 1 AND claims_position = $1 AND position >= $2",
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
             WHERE position > $1 AND position <= $2 + $3 AND event_type = 'purged'",
        )
        .bind(signed(after))
        .bind(signed(until))
        .bind(LOOKED_AT_UNDER_LOCK)
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        release_claims(&mut tx, &purged).await?;
        // A statement of its own: it sees what was committed before the lock was had.
        sqlx::query(
            "UPDATE ledger_head SET claims_position = position
             WHERE id = 1 AND position - $1 <= $2 AND NOT EXISTS (
                 SELECT 1 FROM events e
                 WHERE e.position > $1 AND e.sealed IS NOT NULL AND e.event_type IN ('registered', 'soft_deleted')
                   AND (e.payload ->> 'storage_count')::bigint > 0
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
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        sqlx::query("SELECT 1 FROM ledger_head WHERE id = 1 FOR UPDATE")
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        let events: Vec<i64> = events.iter().map(|position| signed(*position)).collect();
        sqlx::query("DELETE FROM storage_claims WHERE position = ANY ($1)")
            .bind(events)
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
            "SELECT c.position, c.ordinal, c.place, e.aggregate_id, r.restored
             FROM storage_claims c
             JOIN events e ON e.position = c.position AND e.event_type = 'soft_deleted'
             CROSS JOIN LATERAL (
                 SELECT min(position) AS restored FROM events
                 WHERE aggregate_id = e.aggregate_id AND sequence > 1 AND sequence > e.sequence
                   AND event_type = 'restored') r
             WHERE (c.position, c.ordinal) > ($1, $2) AND r.restored IS NOT NULL
             ORDER BY c.position, c.ordinal
             LIMIT $3",
        )
        .bind(signed(after.0))
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        Page::of(
            &rows,
            |row| left(operation, row),
            |row| row.read(operation, "aggregate_id").ok(),
            |row| {
                let position = non_negative(operation, row.read(operation, "position")?)?;
                Ok((position, row.read::<i16>(operation, "ordinal")?.into()))
            },
        )
    }
}

fn left(operation: &'static str, row: &PgRow) -> Result<LeftPlace, StoreError> {
    let ordinal: i16 = row.read(operation, "ordinal")?;
    Ok(LeftPlace {
        position: non_negative(operation, row.read(operation, "position")?)?,
        ordinal: u16::try_from(ordinal)
            .map_err(|error| StoreError::inconsistent(operation, error.to_string()))?,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        restored: non_negative(operation, row.read(operation, "restored")?)?,
        place: PlaceKey::new(row.read(operation, "place")?),
    })
}

/// Adds claims of entities that are not purged: under the head lock, so that no purge comes between the look and the writing.
async fn insert_standing(
    connection: &mut Session,
    operation: &'static str,
    claims: &[Claim],
) -> Result<(), StoreError> {
    let columns = ClaimColumns::from(claims);
    sqlx::query(
        "INSERT INTO storage_claims (position, ordinal, place)
         SELECT claim.position, claim.ordinal, claim.place
         FROM UNNEST ($1::bigint[], $2::smallint[], $3::bytea[]) AS claim (position, ordinal, place)
         WHERE EXISTS (SELECT 1 FROM events e WHERE e.position = claim.position AND e.sealed IS NOT NULL)
         ON CONFLICT (position, ordinal) DO NOTHING",
    )
    .bind(columns.position)
    .bind(columns.ordinal)
    .bind(columns.place)
    .execute(connection)
    .await
    .map_err(StoreError::database(operation))?;
    Ok(())
}

fn naming(operation: &'static str, row: &PgRow) -> Result<Naming, StoreError> {
    let data_key = match row.read(operation, "key_id")? {
        None => None,
        Some(key_id) => Some(WrappedKey {
            key_id,
            kek_id: row.read(operation, "kek_id")?,
            wrapped: row.read(operation, "wrapped")?,
        }),
    };
    let kept: Vec<Vec<u8>> = row.read(operation, "kept")?;
    Ok(Naming {
        position: non_negative(operation, row.read(operation, "position")?)?,
        event_id: row.read(operation, "event_id")?,
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        sealed: row.read(operation, "sealed")?,
        data_key,
        undone: row.read(operation, "undone")?,
        kept: kept.into_iter().map(PlaceKey::new).collect(),
    })
}
