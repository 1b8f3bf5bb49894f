//! PostgreSQL: callback deliveries.

use super::{
    AttemptRecord, CallbackStore, ClaimRequest, ClaimedDelivery, DeliveryStats, Disposition, NextDue,
    PurgeOutcome, TargetRow, all_told, plan, streams,
};
use crate::clock::{Clock, later};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::damaged::readable;
use crate::store::postgres::PostgresStore;
use crate::store::server::session::Session;
use crate::store::values::{StoredRow as _, non_negative, signed};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
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
        let targets = readable(&rows, |row| TargetRow::read(operation, row));
        let told = all_told(operation, targets.len() == rows.len());
        let planned = plan(outcomes, &targets, clock);
        if planned.is_empty() {
            return told.map(|()| 0);
        }
        let ids: Vec<Uuid> = planned.iter().map(|new| new.delivery_id).collect();
        let events: Vec<Uuid> = planned.iter().map(|new| new.outcome.event_id).collect();
        let positions: Vec<i64> = planned.iter().map(|new| signed(new.outcome.position)).collect();
        let errors: Vec<Option<&str>> = planned.iter().map(|new| new.outcome.error.as_deref()).collect();
        let finals: Vec<bool> = planned.iter().map(|new| new.outcome.over).collect();
        let targets: Vec<Uuid> = planned.iter().map(|new| new.target.target_id).collect();
        let receivers: Vec<&str> = planned.iter().map(|new| new.target.receiver.as_str()).collect();
        let entities = streams(outcomes);
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
        .bind(&entities)
        .bind(receivers)
        .fetch_one(&mut *tx)
        .await
        .map_err(failed(operation))?;
        if row.read(operation, "failed_before")? || finals.contains(&false) {
            supersede(&mut tx, operation, &entities, clock.now()).await?;
        }
        tx.commit().await.map_err(failed(operation))?;
        told.and_then(|()| non_negative(operation, row.read(operation, "created")?))
    }

    async fn next_due(&self) -> Result<NextDue, StoreError> {
        let row = sqlx::query(
            // Infinity, on either side, is a time here: the claim meets what is due since ever, and nobody waits for the others.
            "SELECT (SELECT greatest(least(next_attempt_at, '9999-12-31Z'), 'epoch') FROM callback_deliveries
                     WHERE state = 'due' AND NOT retry ORDER BY next_attempt_at LIMIT 1) AS first,
                    (SELECT greatest(least(next_attempt_at, '9999-12-31Z'), 'epoch') FROM callback_deliveries
                     WHERE state = 'due' AND retry ORDER BY next_attempt_at LIMIT 1) AS retry,
                    (SELECT greatest(least(next_attempt_at, '9999-12-31Z'), 'epoch') FROM callback_deliveries
                     WHERE state = 'due' AND probe ORDER BY next_attempt_at LIMIT 1) AS probe",
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
        // Where all that was found cannot be read, there may be others behind it.
        loop {
            if let Some(claimed) = self.claim_due(request).await? {
                return Ok(claimed);
            }
        }
    }

    async fn claim_probes(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        loop {
            if let Some(claimed) = self.claim_replayed(request).await? {
                return Ok(claimed);
            }
        }
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
        // When a delivery is due is no more than a plan: one that no calendar has is made anew.
        let planned = sqlx::query(
            "UPDATE callback_deliveries SET next_attempt_at = $1
             WHERE state = 'due' AND next_attempt_at > '9999-12-31Z' AND retry IN (false, true)",
        )
        .bind(now)
        .execute(&self.deliveries)
        .await
        .map_err(StoreError::database("plan callbacks anew"))?;
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
        Ok(planned.rows_affected() + ended.rows_affected())
    }

    async fn delivery_stats(&self) -> Result<DeliveryStats, StoreError> {
        let operation = "count what callbacks are owed";
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM callback_deliveries WHERE state = 'due') AS due,
                    (SELECT count(*) FROM callback_deliveries WHERE state = 'dead') AS dead",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        let next = self.next_due().await?;
        Ok(DeliveryStats {
            due: row.natural(operation, "due")?,
            dead: row.natural(operation, "dead")?,
            oldest_due: next.first.into_iter().chain(next.retry).min(),
        })
    }
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
        // A lease that ends at no time is no lease.
        let Ok(until) = row.read::<DateTime<Utc>>(operation, "next_attempt_at") else {
            continue;
        };
        sqlx::query(
            "UPDATE callback_deliveries SET next_attempt_at = greatest(next_attempt_at, $2)
             WHERE aggregate_id = ANY ($3) AND target_id = $1 AND final AND state = 'due' AND attempts = 0",
        )
        .bind(row.read::<Uuid>(operation, "target_id")?)
        .bind(until)
        .bind(streams)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
    }
    Ok(())
}
