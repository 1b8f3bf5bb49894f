//! PostgreSQL: which callback deliveries are attempted next.

use super::claimed;
use crate::clock::later;
use crate::store::StoreError;
use crate::store::callbacks::log::damaged_delivery;
use crate::store::callbacks::{ClaimRequest, ClaimedDelivery};
use crate::store::damaged::{Readable, SET_ASIDE, tell_aside};
use crate::store::postgres::PostgresStore;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::BTreeMap;
use uuid::Uuid;

impl PostgresStore {
    /// One look at what is due; `None` when there was something, and nothing of it can be read.
    pub(in crate::store::callbacks) async fn claim_due(
        &self,
        request: &ClaimRequest<'_>,
    ) -> Result<Option<Vec<ClaimedDelivery>>, StoreError> {
        let operation = "claim callback deliveries";
        let slots = request
            .slots
            .iter()
            .map(|(receiver, room)| (receiver.as_str(), i64::from(*room)));
        // Named receivers are visited as a list, or looked up on a walk to every receiver.
        let (mut named, mut lookup) = (<(Vec<&str>, Vec<i64>)>::default(), BTreeMap::new());
        if request.others == 0 {
            named = slots.unzip();
        } else {
            lookup = slots.collect();
        }
        let endpoints: BTreeMap<&str, i64> = request
            .endpoints
            .iter()
            .map(|(endpoint, room)| (endpoint.as_str(), i64::from(*room)))
            .collect();
        // One statement, so one transaction and one round trip. The walk finds the next receiver and its earliest delivery by one
        // step in the index (retry, receiver, next_attempt_at), and the limit ends it early: nothing is read of receivers not
        // reached and of deliveries not taken. Where an endpoint has no room left the next step goes to the endpoint after it:
        // '$' follows '#', which parts endpoint and URL. What another instance is just claiming is skipped, not waited for.
        let rows = sqlx::query(
            "WITH RECURSIVE walk (receiver, endpoint, room, room_left, turn) AS (
                 (SELECT found.receiver, split_part(found.receiver, '#', 1),
                         least(found.room, found.endpoint_room),
                         found.endpoint_room - least(found.room, found.endpoint_room), 1::bigint
                  FROM (SELECT d.receiver,
                               CASE WHEN d.next_attempt_at <= $6 THEN coalesce(($10::jsonb ->> d.receiver)::bigint, $5)
                                    ELSE 0 END AS room,
                               coalesce(($11::jsonb ->> split_part(d.receiver, '#', 1))::bigint, $12) AS endpoint_room
                        FROM callback_deliveries d
                        WHERE d.state = 'due' AND d.retry = $3 AND d.receiver > $4 AND $5 > 0
                        ORDER BY d.receiver, d.next_attempt_at LIMIT 1) found)
                 UNION ALL
                 SELECT found.receiver, found.endpoint, least(found.room, found.endpoint_room),
                        found.endpoint_room - least(found.room, found.endpoint_room), walk.turn + 1
                 FROM walk
                 CROSS JOIN LATERAL (
                     SELECT d.receiver, split_part(d.receiver, '#', 1) AS endpoint,
                            CASE WHEN d.next_attempt_at <= $6 THEN coalesce(($10::jsonb ->> d.receiver)::bigint, $5)
                                 ELSE 0 END AS room,
                            CASE WHEN split_part(d.receiver, '#', 1) = walk.endpoint THEN walk.room_left
                                 ELSE coalesce(($11::jsonb ->> split_part(d.receiver, '#', 1))::bigint, $12)
                            END AS endpoint_room
                     FROM callback_deliveries d
                     WHERE d.state = 'due' AND d.retry = $3
                       AND d.receiver > CASE WHEN walk.room_left > 0 THEN walk.receiver ELSE walk.endpoint || '$' END
                     ORDER BY d.receiver, d.next_attempt_at LIMIT 1
                 ) found
             ),
             receivers (receiver, room, turn) AS (
                 SELECT receiver, room, turn FROM walk WHERE room > 0
                 UNION ALL
                 SELECT receiver, room, turn
                 FROM UNNEST ($1::text[], $2::bigint[]) WITH ORDINALITY AS named (receiver, room, turn) WHERE room > 0
             ),
             picked AS MATERIALIZED (
                 SELECT due.delivery_id, receivers.turn, due.next_attempt_at
                 FROM receivers
                 CROSS JOIN LATERAL (
                     SELECT d.delivery_id, d.next_attempt_at FROM callback_deliveries d
                     WHERE d.state = 'due' AND d.retry = $3 AND d.receiver = receivers.receiver AND d.next_attempt_at <= $6
                     ORDER BY d.next_attempt_at
                     LIMIT receivers.room
                     FOR UPDATE SKIP LOCKED
                 ) due
                 LIMIT $7
             ),
             claimed AS (
                 UPDATE callback_deliveries d
                 SET retry = true, probe = false, attempts = least(attempts, 2147483646) + 1, lease_token = $8, next_attempt_at = $9
                 FROM picked WHERE d.delivery_id = picked.delivery_id
                 RETURNING d.delivery_id, d.attempts, d.attempts_before, d.aggregate_id, d.receiver, d.host, d.url_sealed,
                           d.dataset_id, d.error, d.first_due_at, picked.turn, picked.next_attempt_at AS due_at
             ),
             logged AS (
                 INSERT INTO callback_attempts (delivery_id, attempt, started_at, outcome, body_truncated)
                 SELECT delivery_id, attempts, $6, 'unknown', false FROM claimed
                 -- Where somebody's hand has set the number back.
                 ON CONFLICT DO NOTHING
             )
             SELECT * FROM claimed ORDER BY turn, due_at, delivery_id",
        )
        .bind(named.0)
        .bind(named.1)
        .bind(request.lane.is_retry())
        .bind(request.after)
        .bind(i64::from(request.others))
        .bind(request.now)
        .bind(i64::from(request.limit))
        .bind(request.token)
        .bind(request.lease_until)
        .bind(Json(lookup))
        .bind(Json(endpoints))
        .bind(i64::from(request.per_endpoint))
        .fetch_all(&self.deliveries)
        .await
        .map_err(StoreError::database(operation))?;
        self.whole(operation, request, &rows).await
    }

    /// The same of what was replayed.
    pub(in crate::store::callbacks) async fn claim_replayed(
        &self,
        request: &ClaimRequest<'_>,
    ) -> Result<Option<Vec<ClaimedDelivery>>, StoreError> {
        let operation = "claim replayed callback deliveries";
        let rows = sqlx::query(
            "WITH picked AS MATERIALIZED (
                 SELECT delivery_id FROM callback_deliveries
                 WHERE state = 'due' AND probe AND next_attempt_at <= $1
                 ORDER BY next_attempt_at LIMIT $2
                 FOR UPDATE SKIP LOCKED
             ),
             claimed AS (
                 UPDATE callback_deliveries d
                 SET retry = true, probe = false, attempts = least(attempts, 2147483646) + 1, lease_token = $3, next_attempt_at = $4
                 FROM picked WHERE d.delivery_id = picked.delivery_id
                 RETURNING d.delivery_id, d.attempts, d.attempts_before, d.aggregate_id, d.receiver, d.host, d.url_sealed,
                           d.dataset_id, d.error, d.first_due_at
             ),
             logged AS (
                 INSERT INTO callback_attempts (delivery_id, attempt, started_at, outcome, body_truncated)
                 SELECT delivery_id, attempts, $1, 'unknown', false FROM claimed
                 -- Where somebody's hand has set the number back.
                 ON CONFLICT DO NOTHING
             )
             SELECT * FROM claimed",
        )
        .bind(request.now)
        .bind(i64::from(request.limit))
        .bind(request.token)
        .bind(request.lease_until)
        .fetch_all(&self.deliveries)
        .await
        .map_err(StoreError::database(operation))?;
        self.whole(operation, request, &rows).await
    }

    /// What can be read of what was claimed; the others are set aside.
    async fn whole(
        &self,
        operation: &'static str,
        request: &ClaimRequest<'_>,
        rows: &[PgRow],
    ) -> Result<Option<Vec<ClaimedDelivery>>, StoreError> {
        let Readable { rows: whole, damaged } = Readable::of(
            rows,
            |row| claimed(operation, request, row, 0),
            |row| damaged_delivery(operation, row),
        );
        if damaged.is_empty() {
            return Ok(Some(whole));
        }
        tell_aside(operation, &damaged);
        let ids: Vec<Uuid> = damaged.iter().filter_map(|row| row.id).collect();
        // No attempt was made. What fails here is still leased, and so is everything that can be read.
        let aside = sqlx::query(
            "WITH aside AS (
                 UPDATE callback_deliveries
                 SET attempts = attempts - 1, lease_token = NULL, next_attempt_at = $3
                 WHERE delivery_id = ANY ($1) AND lease_token = $2
                 RETURNING delivery_id, attempts
             )
             DELETE FROM callback_attempts a USING aside
             WHERE a.delivery_id = aside.delivery_id AND a.attempt = aside.attempts + 1 AND a.outcome = 'unknown'",
        )
        .bind(&ids)
        .bind(request.token)
        .bind(later(request.now, SET_ASIDE))
        .execute(&self.deliveries)
        .await;
        if let Err(error) = aside {
            tracing::debug!(%error, "what cannot be read stays leased");
        }
        Ok((!whole.is_empty()).then_some(whole))
    }
}
