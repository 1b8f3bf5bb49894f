//! PostgreSQL: callback deliveries.

use super::log::postgres::count;
use super::{
    AttemptRecord, CallbackStore, ClaimRequest, ClaimedDelivery, DeliveryStats, Disposition, NextDue,
    PurgeOutcome, TargetRow, later, plan, streams,
};
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::server::session::Session;
use crate::store::values::{entity_key, non_negative, signed};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

#[async_trait]
impl CallbackStore for PostgresStore {
    async fn create_deliveries(
        &self,
        outcomes: &[PurgeOutcome],
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        let operation = "create callback deliveries";
        let failed = StoreError::database;
        let mut tx = self.deliveries.begin().await.map_err(failed(operation))?;
        let rows = sqlx::query(
            "SELECT target_id, aggregate_id, host, url_sealed, dataset_id, registered, created_at,
                    coalesce(receiver, host || '#' || left(encode(url_hash, 'hex'), 16)) AS receiver
             FROM callback_targets WHERE aggregate_id = ANY ($1)
             ORDER BY aggregate_id, target_id
             -- Of two consumers that tell of one entity, the second sees what the first created.
             FOR UPDATE",
        )
        .bind(streams(outcomes))
        .fetch_all(&mut *tx)
        .await
        .map_err(failed(operation))?;
        let targets = rows
            .iter()
            .map(|row| {
                Ok(TargetRow {
                    target_id: row.read(operation, "target_id")?,
                    aggregate_id: row.read(operation, "aggregate_id")?,
                    host: row.read(operation, "host")?,
                    receiver: row.read(operation, "receiver")?,
                    url_sealed: row.read(operation, "url_sealed")?,
                    dataset_id: row.read(operation, "dataset_id")?,
                    registered: row.read(operation, "registered")?,
                    created_at: row.read(operation, "created_at")?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let planned = plan(outcomes, &targets, clock);
        if planned.is_empty() {
            return Ok(0);
        }
        let ids: Vec<Uuid> = planned.iter().map(|new| new.delivery_id).collect();
        let events: Vec<Uuid> = planned.iter().map(|new| new.outcome.event_id).collect();
        let positions: Vec<i64> = planned.iter().map(|new| signed(new.outcome.position)).collect();
        let errors: Vec<Option<&str>> = planned.iter().map(|new| new.outcome.error.as_deref()).collect();
        let finals: Vec<bool> = planned.iter().map(|new| new.outcome.over).collect();
        let targets: Vec<Uuid> = planned.iter().map(|new| new.target.target_id).collect();
        let receivers: Vec<&str> = planned.iter().map(|new| new.target.receiver.as_str()).collect();
        let told = streams(outcomes);
        // A failure may have been told before, or is told here: the look at those before is part of the statement, and sees
        // what stood when it began.
        let row = sqlx::query(
            "WITH inserted AS (
                 INSERT INTO callback_deliveries
                     (delivery_id, event_id, target_id, position, aggregate_id, host, url_sealed, dataset_id, error, state,
                      retry, gone, attempts, attempts_before, created_at, first_due_at, next_attempt_at, final,
                      receiver)
                 SELECT new.delivery_id, new.event_id, t.target_id, new.position, t.aggregate_id, t.host, t.url_sealed,
                        t.dataset_id, new.error, 'due', false, false, 0, 0, $6, $6, $6, new.is_final, new.receiver
                 FROM UNNEST ($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $7::boolean[], $9::text[])
                      AS new (delivery_id, event_id, position, error, target_id, is_final, receiver)
                 JOIN callback_targets t ON t.target_id = new.target_id
                 -- Two consumers that hear of the same events wait for each other in one order.
                 ORDER BY new.event_id, t.target_id
                 ON CONFLICT (event_id, target_id) DO NOTHING
                 RETURNING 1
             )
             SELECT (SELECT count(*) FROM inserted) AS created,
                    EXISTS (SELECT 1 FROM callback_deliveries
                            WHERE aggregate_id = ANY ($8) AND NOT final) AS failed_before",
        )
        .bind(ids)
        .bind(events)
        .bind(positions)
        .bind(errors)
        .bind(targets)
        .bind(clock.now())
        .bind(&finals)
        .bind(&told)
        .bind(receivers)
        .fetch_one(&mut *tx)
        .await
        .map_err(failed(operation))?;
        if row.read(operation, "failed_before")? || finals.contains(&false) {
            supersede(&mut tx, operation, &told, clock.now()).await?;
        }
        tx.commit().await.map_err(failed(operation))?;
        non_negative(operation, row.read(operation, "created")?)
    }

    async fn next_due(&self) -> Result<NextDue, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND NOT retry) AS first,
                    (SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND retry) AS retry,
                    (SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND probe) AS probe",
        )
        .fetch_one(&self.deliveries)
        .await
        .map_err(StoreError::database("look for due callbacks"))?;
        Ok(NextDue {
            first: row.read("look for due callbacks", "first")?,
            retry: row.read("look for due callbacks", "retry")?,
            probe: row.read("look for due callbacks", "probe")?,
        })
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let operation = "claim callback deliveries";
        let rooms = request
            .rooms
            .iter()
            .map(|(receiver, room)| (receiver.as_str(), i64::from(*room)));
        // Named receivers are visited as a list, or looked up on a walk to every receiver.
        let (named, lookup): ((Vec<&str>, Vec<i64>), BTreeMap<&str, i64>) = if request.others == 0 {
            (rooms.unzip(), BTreeMap::new())
        } else {
            (Default::default(), rooms.collect())
        };
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
                 SET retry = true, probe = false, attempts = attempts + 1, lease_token = $8, next_attempt_at = $9
                 FROM picked WHERE d.delivery_id = picked.delivery_id
                 RETURNING d.delivery_id, d.attempts, d.attempts_before, d.aggregate_id, d.receiver, d.host, d.url_sealed,
                           d.dataset_id, d.error, d.first_due_at, picked.turn, picked.next_attempt_at AS due_at
             ),
             logged AS (
                 INSERT INTO callback_attempts (delivery_id, attempt, started_at, outcome, body_truncated)
                 SELECT delivery_id, attempts, $6, 'unknown', false FROM claimed
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
        rows.iter().map(|row| claimed(operation, request, row)).collect()
    }

    async fn claim_probes(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError> {
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
                 SET retry = true, probe = false, attempts = attempts + 1, lease_token = $3, next_attempt_at = $4
                 FROM picked WHERE d.delivery_id = picked.delivery_id
                 RETURNING d.delivery_id, d.attempts, d.attempts_before, d.aggregate_id, d.receiver, d.host, d.url_sealed,
                           d.dataset_id, d.error, d.first_due_at
             ),
             logged AS (
                 INSERT INTO callback_attempts (delivery_id, attempt, started_at, outcome, body_truncated)
                 SELECT delivery_id, attempts, $1, 'unknown', false FROM claimed
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
        rows.iter().map(|row| claimed(operation, request, row)).collect()
    }

    async fn record(&self, records: &[AttemptRecord]) -> Result<u64, StoreError> {
        if records.is_empty() {
            return Ok(0);
        }
        let columns = RecordColumns::from(records);
        let recorded = sqlx::query(
            "WITH made AS (
                 SELECT * FROM UNNEST ($1::uuid[], $2::uuid[], $3::integer[], $4::timestamptz[], $5::bigint[],
                                       $6::integer[], $7::text[], $8::bytea[], $9::boolean[], $10::text[], $11::text[],
                                       $12::timestamptz[], $13::boolean[])
                      AS made (delivery_id, token, attempt, finished_at, duration_ms, status, error, body,
                               body_truncated, outcome, state, next_attempt_at, gone)
             ),
             logged AS (
                 UPDATE callback_attempts a
                 SET outcome = made.outcome, duration_ms = made.duration_ms, status = made.status, error = made.error,
                     body = made.body, body_truncated = made.body_truncated
                 FROM made WHERE a.delivery_id = made.delivery_id AND a.attempt = made.attempt
             )
             UPDATE callback_deliveries d
             SET state = made.state, next_attempt_at = coalesce(made.next_attempt_at, made.finished_at),
                 gone = made.gone, lease_token = NULL, last_status = made.status, last_error = made.error,
                 finished_at = CASE WHEN made.state = 'due' THEN NULL ELSE made.finished_at END
             FROM made
             WHERE d.delivery_id = made.delivery_id AND d.lease_token = made.token
               -- Not '=': all that is due would be read for it, by an index, where statistics lag behind a burst.
               AND d.state IS NOT DISTINCT FROM 'due'",
        )
        .bind(columns.delivery_id)
        .bind(columns.token)
        .bind(columns.attempt)
        .bind(columns.finished_at)
        .bind(columns.duration_ms)
        .bind(columns.status)
        .bind(columns.error)
        .bind(columns.body)
        .bind(columns.body_truncated)
        .bind(columns.outcome)
        .bind(columns.state)
        .bind(columns.next_attempt_at)
        .bind(columns.gone)
        .execute(&self.deliveries)
        .await
        .map_err(StoreError::database("record callback attempts"))?;
        Ok(recorded.rows_affected())
    }

    async fn end_impossible_leases(
        &self,
        now: DateTime<Utc>,
        longest: Duration,
        skew: Duration,
    ) -> Result<u64, StoreError> {
        // The token stays: whoever holds it after all, and records before the next claim, is believed.
        let ended = sqlx::query(
            "UPDATE callback_deliveries d SET next_attempt_at = $1
             WHERE d.state = 'due' AND d.retry AND d.lease_token IS NOT NULL AND d.next_attempt_at > $1
               AND (d.next_attempt_at > $2
                    OR EXISTS (SELECT 1 FROM callback_attempts a
                               WHERE a.delivery_id = d.delivery_id AND a.attempt = d.attempts AND a.started_at > $3))",
        )
        .bind(now)
        .bind(later(now, longest))
        .bind(later(now, skew))
        .execute(&self.deliveries)
        .await
        .map_err(StoreError::database("end impossible leases of callbacks"))?;
        Ok(ended.rows_affected())
    }

    async fn delivery_stats(&self) -> Result<DeliveryStats, StoreError> {
        let operation = "count what callbacks are owed";
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM callback_deliveries WHERE state = 'due') AS due,
                    (SELECT count(*) FROM callback_deliveries WHERE state = 'dead') AS dead,
                    least((SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND NOT retry),
                          (SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND retry))
                        AS oldest_due",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(DeliveryStats {
            due: non_negative(operation, row.read(operation, "due")?)?,
            dead: non_negative(operation, row.read(operation, "dead")?)?,
            oldest_due: row.read(operation, "oldest_due")?,
        })
    }
}

fn claimed(
    operation: &'static str,
    request: &ClaimRequest<'_>,
    row: &PgRow,
) -> Result<ClaimedDelivery, StoreError> {
    let attempt = count(operation, row.read(operation, "attempts")?)?;
    let before = count(operation, row.read(operation, "attempts_before")?)?;
    Ok(ClaimedDelivery {
        delivery_id: row.read(operation, "delivery_id")?,
        token: request.token,
        attempt,
        step: attempt.saturating_sub(before),
        key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
        receiver: row.read(operation, "receiver")?,
        host: row.read(operation, "host")?,
        url_sealed: row.read(operation, "url_sealed")?,
        dataset_id: row.read(operation, "dataset_id")?,
        error: row.read(operation, "error")?,
        first_due_at: row.read(operation, "first_due_at")?,
    })
}

/// Records, column by column, as `UNNEST` takes them.
#[derive(Default)]
struct RecordColumns<'a> {
    delivery_id: Vec<Uuid>,
    token: Vec<Uuid>,
    attempt: Vec<i32>,
    finished_at: Vec<DateTime<Utc>>,
    duration_ms: Vec<i64>,
    status: Vec<Option<i32>>,
    error: Vec<Option<&'a str>>,
    body: Vec<&'a [u8]>,
    body_truncated: Vec<bool>,
    outcome: Vec<&'a str>,
    state: Vec<&'a str>,
    next_attempt_at: Vec<Option<DateTime<Utc>>>,
    gone: Vec<bool>,
}

impl<'a> From<&'a [AttemptRecord]> for RecordColumns<'a> {
    fn from(records: &'a [AttemptRecord]) -> Self {
        let mut columns = Self::default();
        for record in records {
            columns.delivery_id.push(record.delivery_id);
            columns.token.push(record.token);
            columns
                .attempt
                .push(i32::try_from(record.attempt).unwrap_or(i32::MAX));
            columns.finished_at.push(record.finished_at);
            columns
                .duration_ms
                .push(i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX));
            columns.status.push(record.status.map(i32::from));
            columns.error.push(record.error);
            columns.body.push(&record.body);
            columns.body_truncated.push(record.body_truncated);
            columns.outcome.push(record.next.outcome());
            columns.state.push(record.next.state().as_str());
            columns.next_attempt_at.push(match record.next {
                Disposition::RetryAt { at, .. } => Some(at),
                Disposition::Delivered | Disposition::Dead { .. } => None,
            });
            columns.gone.push(record.next.gone());
        }
        columns
    }
}

/// Keeps failures from being told after the success of the same entity, as [`CallbackStore::create_deliveries`] promises.
async fn supersede(
    tx: &mut Session,
    operation: &'static str,
    streams: &[String],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    // The lease's token stays: it tells of the attempt under way, whose outcome changes the delivery no more.
    let rows = sqlx::query(
        "UPDATE callback_deliveries d SET state = 'superseded', finished_at = $2
         WHERE d.aggregate_id = ANY ($1) AND d.state IN ('due', 'dead') AND NOT d.final
           AND EXISTS (SELECT 1 FROM callback_deliveries success
                       WHERE success.aggregate_id = d.aggregate_id AND success.target_id = d.target_id
                         AND success.final AND success.position > d.position)
         RETURNING d.target_id, d.lease_token, d.next_attempt_at",
    )
    .bind(streams)
    .bind(now)
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::database(operation))?;
    for row in rows {
        if row.read::<Option<Uuid>>(operation, "lease_token")?.is_none() {
            continue;
        }
        sqlx::query(
            "UPDATE callback_deliveries SET next_attempt_at = greatest(next_attempt_at, $2)
             WHERE aggregate_id = ANY ($3) AND target_id = $1 AND final AND state = 'due' AND attempts = 0",
        )
        .bind(row.read::<Uuid>(operation, "target_id")?)
        .bind(row.read::<DateTime<Utc>>(operation, "next_attempt_at")?)
        .bind(streams)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
    }
    Ok(())
}
