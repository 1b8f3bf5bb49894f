//! SQLite: which callback deliveries are attempted next.

use super::claimed;
use crate::clock::later;
use crate::store::StoreError;
use crate::store::callbacks::log::damaged_delivery;
use crate::store::callbacks::{ClaimRequest, ClaimedDelivery, endpoint_of};
use crate::store::cleanup_jobs::sqlite::BEGIN;
use crate::store::columns::Columns as _;
use crate::store::damaged::{Readable, SET_ASIDE, tell_aside, unless_refused};
use crate::store::sqlite::SqliteStore;
use crate::store::values::micros;
use futures::TryStreamExt as _;
use sqlx::types::Json;
use sqlx::{Connection, SqliteConnection};
use std::collections::HashMap;

impl SqliteStore {
    /// Leases these deliveries, by row, as far as they are still due, and sets those aside that cannot be read; those that can be
    /// changed in nothing are passed over from then on. `None` when there was
    /// something, and nothing of it can be read.
    pub(in crate::store::callbacks) async fn lease(
        &self,
        operation: &'static str,
        request: &ClaimRequest<'_>,
        candidates: Vec<i64>,
    ) -> Result<Option<Vec<ClaimedDelivery>>, StoreError> {
        if candidates.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let (mut leased, mut damaged) = (Vec::with_capacity(candidates.len()), Vec::new());
        for candidate in candidates {
            let row = sqlx::query(
                "SELECT delivery_id, position, attempts, attempts_before, aggregate_id, receiver, host, url_sealed, dataset_id,
                        error, first_due_at
                 FROM callback_deliveries WHERE rowid = ?1 AND state = 'due' AND retry = ?2 AND next_attempt_at <= ?3",
            )
            .bind(candidate)
            .bind(request.lane.is_retry())
            .bind(micros(request.now))
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
            let Some(row) = row else { continue };
            let delivery = Readable::one(claimed(operation, request, &row, 1), || {
                damaged_delivery(operation, &row)
            });
            let changed = match &delivery {
                Ok(delivery) => lease(&mut tx, operation, request, candidate, delivery.attempt).await,
                Err(_) => set_aside(&mut tx, operation, request, candidate).await,
            };
            match (delivery, unless_refused(changed)?) {
                (Ok(delivery), Some(())) => leased.push(delivery),
                (Err(row), Some(())) => damaged.push(row),
                (Ok(_), None) | (Err(_), None) => {
                    self.passed_deliveries
                        .pass((request.lane, candidate), request.now);
                    damaged.push(damaged_delivery(operation, &row));
                }
            }
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        tell_aside(operation, &damaged);
        Ok((!leased.is_empty() || damaged.is_empty()).then_some(leased))
    }

    /// The deliveries of a claim's lane, by row, that are passed over.
    fn passed(&self, request: &ClaimRequest<'_>) -> Json<Vec<i64>> {
        let rows = self.passed_deliveries.at(request.now).into_iter();
        Json(
            rows.filter(|(lane, _)| *lane == request.lane)
                .map(|(_, row)| row)
                .collect(),
        )
    }

    /// The deliveries, by row, that a claim of probes may take, in the claim's order.
    pub(in crate::store::callbacks) async fn probes(
        &self,
        request: &ClaimRequest<'_>,
    ) -> Result<Vec<i64>, StoreError> {
        sqlx::query_scalar(
            "SELECT rowid FROM callback_deliveries
             WHERE state = 'due' AND probe = 1 AND next_attempt_at <= ?1
               AND rowid NOT IN (SELECT value FROM json_each(?3))
             ORDER BY next_attempt_at LIMIT ?2",
        )
        .bind(micros(request.now))
        .bind(i64::from(request.limit))
        .bind(self.passed(request))
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database("look for replayed callbacks"))
    }

    /// The deliveries, by row, that a claim may take, in the claim's order.
    pub(in crate::store::callbacks) async fn candidates(
        &self,
        request: &ClaimRequest<'_>,
    ) -> Result<Vec<i64>, StoreError> {
        let operation = "look for due callbacks";
        let now = micros(request.now);
        let passed = self.passed(request);
        let mut tx = self
            .reads
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let (receivers, nobodys) = if request.others == 0 {
            (request.slots.to_vec(), Vec::new())
        } else {
            due_receivers(&mut tx, operation, request, &passed).await?
        };
        let mut found: Vec<i64> = Vec::new();
        for (receiver, room) in receivers {
            let left =
                i64::from(request.limit).saturating_sub(i64::try_from(found.len()).unwrap_or(i64::MAX));
            if left <= 0 {
                break;
            }
            let due: Vec<i64> = sqlx::query_scalar(
                "SELECT rowid FROM callback_deliveries
                 WHERE state = 'due' AND retry = ?1 AND receiver = ?2 AND next_attempt_at <= ?3
                   AND rowid NOT IN (SELECT value FROM json_each(?5))
                 ORDER BY next_attempt_at LIMIT ?4",
            )
            .bind(request.lane.is_retry())
            .bind(receiver)
            .bind(now)
            .bind(i64::from(room).min(left))
            .bind(&passed)
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
            found.extend(due);
        }
        found.extend(nobodys);
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(found)
    }
}

/// The receivers that something is due for, and how many deliveries each may have: enough to fill the claim. And deliveries, by row,
/// whose receiver cannot be read.
async fn due_receivers(
    connection: &mut SqliteConnection,
    operation: &'static str,
    request: &ClaimRequest<'_>,
    passed: &Json<Vec<i64>>,
) -> Result<(Vec<(String, u32)>, Vec<i64>), StoreError> {
    let slots: HashMap<&str, u32> = request
        .slots
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
        "WITH RECURSIVE walk (delivery, receiver, endpoint, next_attempt_at) AS (
             SELECT d.rowid, d.receiver, substr(d.receiver, 1, instr(d.receiver || '#', '#') - 1), d.next_attempt_at
             FROM callback_deliveries d
             WHERE d.rowid = (SELECT n.rowid FROM callback_deliveries n
                              WHERE n.state = 'due' AND n.retry = ?1 AND n.receiver > ?2
                                AND n.rowid NOT IN (SELECT value FROM json_each(?5))
                              ORDER BY n.receiver, n.next_attempt_at LIMIT 1)
             UNION ALL
             SELECT d.rowid, d.receiver, substr(d.receiver, 1, instr(d.receiver || '#', '#') - 1), d.next_attempt_at
             FROM walk JOIN callback_deliveries d
                  ON d.rowid = (SELECT n.rowid FROM callback_deliveries n
                                WHERE n.state = 'due' AND n.retry = ?1
                                  AND n.rowid NOT IN (SELECT value FROM json_each(?5))
                                  AND n.receiver > CASE WHEN walk.endpoint IN (SELECT value FROM json_each(?3))
                                                        THEN walk.endpoint || '$' ELSE walk.receiver END
                                ORDER BY n.receiver, n.next_attempt_at LIMIT 1)
         )
         SELECT delivery, receiver FROM walk WHERE next_attempt_at <= ?4",
    )
    .bind(request.lane.is_retry())
    .bind(request.after)
    .bind(Json(closed))
    .bind(micros(request.now))
    .bind(passed)
    .fetch(connection);
    let (mut found, mut nobodys, mut slots_found) = (Vec::new(), Vec::new(), 0);
    while slots_found < request.limit
        && let Some(row) = walk.try_next().await.map_err(StoreError::database(operation))?
    {
        let Ok(receiver) = row.read::<String>(operation, "receiver") else {
            nobodys.push(row.read(operation, "delivery")?);
            continue;
        };
        let left = endpoints
            .entry(endpoint_of(&receiver).to_owned())
            .or_insert(request.per_endpoint);
        let room = slots
            .get(receiver.as_str())
            .copied()
            .unwrap_or(request.others)
            .min(*left);
        if room > 0 {
            *left -= room;
            slots_found = slots_found.saturating_add(1);
            found.push((receiver, room));
        }
    }
    Ok((found, nobodys))
}

/// The attempt is logged first: where the delivery then can be changed in nothing, its attempt can be taken back.
async fn lease(
    connection: &mut SqliteConnection,
    operation: &'static str,
    request: &ClaimRequest<'_>,
    row: i64,
    attempt: u32,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO callback_attempts (delivery_id, attempt, started_at, outcome, body_truncated)
         SELECT delivery_id, ?2, ?3, 'unknown', 0 FROM callback_deliveries WHERE rowid = ?1
         -- Where somebody's hand has set the number back.
         ON CONFLICT DO NOTHING",
    )
    .bind(row)
    .bind(attempt)
    .bind(micros(request.now))
    .execute(&mut *connection)
    .await
    .map_err(StoreError::database(operation))?;
    let leased = sqlx::query(
        "UPDATE callback_deliveries
         SET retry = 1, probe = 0, attempts = ?4, lease_token = ?2, next_attempt_at = ?3 WHERE rowid = ?1",
    )
    .bind(row)
    .bind(request.token.to_string())
    .bind(micros(request.lease_until))
    .bind(attempt)
    .execute(&mut *connection)
    .await
    .map(drop)
    .map_err(StoreError::database(operation));
    if matches!(&leased, Err(error) if error.is_refused_by_table()) {
        sqlx::query(
            "DELETE FROM callback_attempts
             WHERE delivery_id = (SELECT delivery_id FROM callback_deliveries WHERE rowid = ?1)
               AND attempt = ?2 AND started_at = ?3 AND outcome = 'unknown'",
        )
        .bind(row)
        .bind(attempt)
        .bind(micros(request.now))
        .execute(connection)
        .await
        .map_err(StoreError::database(operation))?;
    }
    leased
}

/// Leaves a delivery for later, without an attempt.
async fn set_aside(
    connection: &mut SqliteConnection,
    operation: &'static str,
    request: &ClaimRequest<'_>,
    row: i64,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE callback_deliveries SET lease_token = NULL, next_attempt_at = ?2 WHERE rowid = ?1")
        .bind(row)
        .bind(micros(later(request.now, SET_ASIDE)))
        .execute(connection)
        .await
        .map_err(StoreError::database(operation))?;
    Ok(())
}
