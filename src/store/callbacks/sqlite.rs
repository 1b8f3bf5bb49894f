//! SQLite: callback deliveries.

use super::log::sqlite::{count, optional_time};
use super::{
    AttemptRecord, CallbackStore, ClaimRequest, ClaimedDelivery, DeliveryStats, Disposition, NextDue,
    PurgeOutcome, TargetRow, endpoint_of, later, plan, streams,
};
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::sqlite::SqliteStore;
use crate::store::values::{entity_key, micros, non_negative, signed, time, uuid};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::types::Json;
use sqlx::{Connection, SqliteConnection};
use std::collections::HashMap;
use std::time::Duration;

#[async_trait]
impl CallbackStore for SqliteStore {
    async fn create_deliveries(
        &self,
        outcomes: &[PurgeOutcome],
        clock: &dyn Clock,
    ) -> Result<u64, StoreError> {
        let operation = "create callback deliveries";
        let failed = StoreError::database;
        let rows = sqlx::query(
            "SELECT target_id, aggregate_id, host, url_sealed, dataset_id, registered, created_at,
                    coalesce(receiver, host || '#' || lower(substr(hex(url_hash), 1, 16))) AS receiver
             FROM callback_targets WHERE aggregate_id IN (SELECT value FROM json_each(?1))
             ORDER BY aggregate_id, target_id",
        )
        .bind(Json(streams(outcomes)))
        .fetch_all(&self.reads)
        .await
        .map_err(failed(operation))?;
        let targets = rows
            .iter()
            .map(|row| {
                Ok(TargetRow {
                    target_id: uuid(operation, row.read(operation, "target_id")?)?,
                    aggregate_id: row.read(operation, "aggregate_id")?,
                    host: row.read(operation, "host")?,
                    receiver: row.read(operation, "receiver")?,
                    url_sealed: row.read(operation, "url_sealed")?,
                    dataset_id: row.read(operation, "dataset_id")?,
                    registered: row.read(operation, "registered")?,
                    created_at: time(operation, row.read(operation, "created_at")?)?,
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let planned = plan(outcomes, &targets, clock);
        if planned.is_empty() {
            return Ok(0);
        }
        let now = micros(clock.now());
        let mut connection = self.writing().await;
        let mut tx = connection.begin().await.map_err(failed(operation))?;
        let mut created = 0;
        for new in planned {
            created += sqlx::query(
                "INSERT INTO callback_deliveries
                     (delivery_id, event_id, target_id, position, aggregate_id, host, url_sealed, dataset_id, error,
                      state, retry, gone, attempts, attempts_before, created_at, first_due_at, next_attempt_at, final,
                      receiver)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'due', 0, 0, 0, 0, ?10, ?10, ?10, ?11, ?12)
                 ON CONFLICT (event_id, target_id) DO NOTHING",
            )
            .bind(new.delivery_id.to_string())
            .bind(new.outcome.event_id.to_string())
            .bind(new.target.target_id.to_string())
            .bind(signed(new.outcome.position))
            .bind(&new.target.aggregate_id)
            .bind(&new.target.host)
            .bind(&new.target.url_sealed)
            .bind(&new.target.dataset_id)
            .bind(&new.outcome.error)
            .bind(now)
            .bind(new.outcome.over)
            .bind(&new.target.receiver)
            .execute(&mut *tx)
            .await
            .map_err(failed(operation))?
            .rows_affected();
        }
        supersede(&mut tx, operation, &streams(outcomes), now).await?;
        tx.commit().await.map_err(failed(operation))?;
        Ok(created)
    }

    async fn next_due(&self) -> Result<NextDue, StoreError> {
        let operation = "look for due callbacks";
        let row = sqlx::query(
            "SELECT (SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND retry = 0) AS first,
                    (SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND retry = 1) AS retry,
                    (SELECT min(next_attempt_at) FROM callback_deliveries WHERE state = 'due' AND probe = 1) AS probe",
        )
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(NextDue {
            first: optional_time(operation, row.read(operation, "first")?)?,
            retry: optional_time(operation, row.read(operation, "retry")?)?,
            probe: optional_time(operation, row.read(operation, "probe")?)?,
        })
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let operation = "claim callback deliveries";
        // Looked for beside the writer, who is not kept waiting by it; what changed meanwhile is not claimed below.
        let candidates = self.candidates(request).await?;
        self.lease(operation, request, candidates).await
    }

    async fn claim_probes(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let operation = "claim replayed callback deliveries";
        let probes: Vec<String> = sqlx::query_scalar(
            "SELECT delivery_id FROM callback_deliveries
             WHERE state = 'due' AND probe = 1 AND next_attempt_at <= ?1
             ORDER BY next_attempt_at LIMIT ?2",
        )
        .bind(micros(request.now))
        .bind(i64::from(request.limit))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        self.lease(operation, request, probes).await
    }

    async fn record(&self, records: &[AttemptRecord]) -> Result<u64, StoreError> {
        let operation = "record callback attempts";
        if records.is_empty() {
            return Ok(0);
        }
        let failed = StoreError::database;
        let mut connection = self.writing().await;
        let mut tx = connection.begin().await.map_err(failed(operation))?;
        let mut changed = 0;
        for record in records {
            let delivery_id = record.delivery_id.to_string();
            sqlx::query(
                "UPDATE callback_attempts
                 SET outcome = ?3, duration_ms = ?4, status = ?5, error = ?6, body = ?7, body_truncated = ?8
                 WHERE delivery_id = ?1 AND attempt = ?2",
            )
            .bind(&delivery_id)
            .bind(record.attempt)
            .bind(record.next.outcome())
            .bind(i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX))
            .bind(record.status)
            .bind(record.error)
            .bind(&record.body)
            .bind(record.body_truncated)
            .execute(&mut *tx)
            .await
            .map_err(failed(operation))?;
            let next_attempt_at = match record.next {
                Disposition::RetryAt { at, .. } => at,
                Disposition::Delivered | Disposition::Dead { .. } => record.finished_at,
            };
            changed += sqlx::query(
                "UPDATE callback_deliveries
                 SET state = ?3, next_attempt_at = ?4, gone = ?5, lease_token = NULL, last_status = ?6, last_error = ?7,
                     finished_at = CASE WHEN ?3 = 'due' THEN NULL ELSE ?8 END
                 WHERE delivery_id = ?1 AND lease_token = ?2 AND state = 'due'",
            )
            .bind(&delivery_id)
            .bind(record.token.to_string())
            .bind(record.next.state().as_str())
            .bind(micros(next_attempt_at))
            .bind(record.next.gone())
            .bind(record.status)
            .bind(record.error)
            .bind(micros(record.finished_at))
            .execute(&mut *tx)
            .await
            .map_err(failed(operation))?
            .rows_affected();
        }
        tx.commit().await.map_err(failed(operation))?;
        Ok(changed)
    }

    async fn end_impossible_leases(
        &self,
        now: DateTime<Utc>,
        longest: Duration,
        skew: Duration,
    ) -> Result<u64, StoreError> {
        let operation = "end impossible leases of callbacks";
        // Looked for beside the writer, who is not kept waiting by it.
        let impossible: Vec<String> = sqlx::query_scalar(
            "SELECT d.delivery_id FROM callback_deliveries d
             WHERE d.state = 'due' AND d.retry = 1 AND d.lease_token IS NOT NULL AND d.next_attempt_at > ?1
               AND (d.next_attempt_at > ?2
                    OR EXISTS (SELECT 1 FROM callback_attempts a
                               WHERE a.delivery_id = d.delivery_id AND a.attempt = d.attempts AND a.started_at > ?3))",
        )
        .bind(micros(now))
        .bind(micros(later(now, longest)))
        .bind(micros(later(now, skew)))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        if impossible.is_empty() {
            return Ok(0);
        }
        let mut connection = self.writing().await;
        // The token stays: whoever holds it after all, and records before the next claim, is believed.
        let ended = sqlx::query(
            "UPDATE callback_deliveries SET next_attempt_at = ?1
             WHERE delivery_id IN (SELECT value FROM json_each(?2)) AND state = 'due' AND lease_token IS NOT NULL",
        )
        .bind(micros(now))
        .bind(Json(impossible))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(ended.rows_affected())
    }

    async fn delivery_stats(&self) -> Result<DeliveryStats, StoreError> {
        let operation = "count what callbacks are owed";
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM callback_deliveries WHERE state = 'due') AS due,
                    (SELECT count(*) FROM callback_deliveries WHERE state = 'dead') AS dead",
        )
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        let next = self.next_due().await?;
        Ok(DeliveryStats {
            due: non_negative(operation, row.read(operation, "due")?)?,
            dead: non_negative(operation, row.read(operation, "dead")?)?,
            oldest_due: next.first.into_iter().chain(next.retry).min(),
        })
    }
}

/// Keeps failures from being told after the success of the same entity, as [`CallbackStore::create_deliveries`] promises.
async fn supersede(
    tx: &mut SqliteConnection,
    operation: &'static str,
    streams: &[String],
    now: i64,
) -> Result<(), StoreError> {
    // The lease's token stays: it tells of the attempt under way, whose outcome changes the delivery no more.
    let rows = sqlx::query(
        "UPDATE callback_deliveries SET state = 'superseded', finished_at = ?2
         WHERE aggregate_id IN (SELECT value FROM json_each(?1)) AND state IN ('due', 'dead') AND NOT final
           AND EXISTS (SELECT 1 FROM callback_deliveries success
                       WHERE success.aggregate_id = callback_deliveries.aggregate_id
                         AND success.target_id = callback_deliveries.target_id
                         AND success.final AND success.position > callback_deliveries.position)
         RETURNING target_id, lease_token, next_attempt_at",
    )
    .bind(Json(streams))
    .bind(now)
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::database(operation))?;
    for row in rows {
        if row.read::<Option<&str>>(operation, "lease_token")?.is_none() {
            continue;
        }
        sqlx::query(
            "UPDATE callback_deliveries SET next_attempt_at = max(next_attempt_at, ?2)
             WHERE target_id = ?1 AND final AND state = 'due' AND attempts = 0
               AND aggregate_id IN (SELECT value FROM json_each(?3))",
        )
        .bind(row.read::<&str>(operation, "target_id")?)
        .bind(row.read::<i64>(operation, "next_attempt_at")?)
        .bind(Json(streams))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
    }
    Ok(())
}

impl SqliteStore {
    /// Leases these deliveries as far as they are still due.
    async fn lease(
        &self,
        operation: &'static str,
        request: &ClaimRequest<'_>,
        candidates: Vec<String>,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let mut claimed = Vec::with_capacity(candidates.len());
        for delivery_id in candidates {
            let row = sqlx::query(
                "UPDATE callback_deliveries
                 SET retry = 1, probe = 0, attempts = attempts + 1, lease_token = ?2, next_attempt_at = ?3
                 WHERE delivery_id = ?1 AND state = 'due' AND retry = ?4 AND next_attempt_at <= ?5
                 RETURNING attempts, attempts_before, aggregate_id, receiver, host, url_sealed, dataset_id, error, first_due_at",
            )
            .bind(&delivery_id)
            .bind(request.token.to_string())
            .bind(micros(request.lease_until))
            .bind(request.lane.is_retry())
            .bind(micros(request.now))
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
            let Some(row) = row else { continue };
            let attempt = count(operation, row.read(operation, "attempts")?)?;
            let before = count(operation, row.read(operation, "attempts_before")?)?;
            sqlx::query(
                "INSERT INTO callback_attempts (delivery_id, attempt, started_at, outcome, body_truncated)
                 VALUES (?1, ?2, ?3, 'unknown', 0)",
            )
            .bind(&delivery_id)
            .bind(attempt)
            .bind(micros(request.now))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
            claimed.push(ClaimedDelivery {
                delivery_id: uuid(operation, &delivery_id)?,
                token: request.token,
                attempt,
                step: attempt.saturating_sub(before),
                key: entity_key(operation, row.read(operation, "aggregate_id")?)?,
                receiver: row.read(operation, "receiver")?,
                host: row.read(operation, "host")?,
                url_sealed: row.read(operation, "url_sealed")?,
                dataset_id: row.read(operation, "dataset_id")?,
                error: row.read(operation, "error")?,
                first_due_at: time(operation, row.read(operation, "first_due_at")?)?,
            });
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(claimed)
    }

    /// The ids of deliveries that a claim may take, in the claim's order.
    async fn candidates(&self, request: &ClaimRequest<'_>) -> Result<Vec<String>, StoreError> {
        let operation = "look for due callbacks";
        let now = micros(request.now);
        let mut tx = self
            .reads
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let receivers: Vec<(String, u32)> = if request.others == 0 {
            request.rooms.to_vec()
        } else {
            due_receivers(&mut tx, operation, request).await?
        };
        let mut found: Vec<String> = Vec::new();
        for (receiver, room) in receivers {
            let left =
                i64::from(request.limit).saturating_sub(i64::try_from(found.len()).unwrap_or(i64::MAX));
            if left <= 0 {
                break;
            }
            let due: Vec<String> = sqlx::query_scalar(
                "SELECT delivery_id FROM callback_deliveries
                 WHERE state = 'due' AND retry = ?1 AND receiver = ?2 AND next_attempt_at <= ?3
                 ORDER BY next_attempt_at LIMIT ?4",
            )
            .bind(request.lane.is_retry())
            .bind(receiver)
            .bind(now)
            .bind(i64::from(room).min(left))
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
            found.extend(due);
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(found)
    }
}

/// The receivers that something is due for, and how many deliveries each may have: enough to fill the claim.
async fn due_receivers(
    connection: &mut SqliteConnection,
    operation: &'static str,
    request: &ClaimRequest<'_>,
) -> Result<Vec<(String, u32)>, StoreError> {
    let rooms: HashMap<&str, u32> = request
        .rooms
        .iter()
        .map(|(receiver, room)| (receiver.as_str(), *room))
        .collect();
    let mut endpoints: HashMap<String, u32> = request.endpoints.iter().cloned().collect();
    let closed: Vec<&str> = request
        .endpoints
        .iter()
        .filter(|(_, room)| *room == 0)
        .map(|(endpoint, _)| endpoint.as_str())
        .collect();
    // The walk finds the next receiver and its earliest delivery by one step in the index (retry, receiver, next_attempt_at).
    // Where an endpoint has no room the next step goes to the endpoint after it: '$' follows '#', which parts endpoint and URL.
    let mut walk = sqlx::query(
        "WITH RECURSIVE walk (receiver, endpoint, next_attempt_at) AS (
             SELECT d.receiver, substr(d.receiver, 1, instr(d.receiver || '#', '#') - 1), d.next_attempt_at
             FROM callback_deliveries d
             WHERE d.rowid = (SELECT n.rowid FROM callback_deliveries n
                              WHERE n.state = 'due' AND n.retry = ?1 AND n.receiver > ?2
                              ORDER BY n.receiver, n.next_attempt_at LIMIT 1)
             UNION ALL
             SELECT d.receiver, substr(d.receiver, 1, instr(d.receiver || '#', '#') - 1), d.next_attempt_at
             FROM walk JOIN callback_deliveries d
                  ON d.rowid = (SELECT n.rowid FROM callback_deliveries n
                                WHERE n.state = 'due' AND n.retry = ?1
                                  AND n.receiver > CASE WHEN walk.endpoint IN (SELECT value FROM json_each(?3))
                                                        THEN walk.endpoint || '$' ELSE walk.receiver END
                                ORDER BY n.receiver, n.next_attempt_at LIMIT 1)
         )
         SELECT receiver FROM walk WHERE next_attempt_at <= ?4",
    )
    .bind(request.lane.is_retry())
    .bind(request.after)
    .bind(Json(closed))
    .bind(micros(request.now))
    .fetch(connection);
    let (mut found, mut rooms_found) = (Vec::new(), 0);
    while rooms_found < request.limit
        && let Some(row) = walk.try_next().await.map_err(StoreError::database(operation))?
    {
        let receiver: String = row.read(operation, "receiver")?;
        let left = endpoints
            .entry(endpoint_of(&receiver).to_owned())
            .or_insert(request.per_endpoint);
        let room = rooms
            .get(receiver.as_str())
            .copied()
            .unwrap_or(request.others)
            .min(*left);
        if room > 0 {
            *left -= room;
            rooms_found = rooms_found.saturating_add(1);
            found.push((receiver, room));
        }
    }
    Ok(found)
}
