//! SQLite: callback deliveries.

use super::{
    AttemptRecord, CallbackStore, ClaimRequest, ClaimedDelivery, DeliveryStats, Disposition, Lane, NextDue,
    PurgeOutcome, TargetRow, all_told, plan, streams,
};
use crate::clock::{Clock, later};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::damaged::{readable, unless_refused};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{LAST_MICROS, StoredRow as _, micros, signed};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{Connection, SqliteConnection};
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
        let targets = readable(&rows, |row| TargetRow::read(operation, row));
        let told = all_told(operation, targets.len() == rows.len());
        let planned = plan(outcomes, &targets, clock);
        if planned.is_empty() {
            return told.map(|()| 0);
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
        told.map(|()| created)
    }

    async fn next_due(&self) -> Result<NextDue, StoreError> {
        let operation = "look for due callbacks";
        let passed = self.passed_deliveries.all();
        // They are looked at again, in case that somebody has repaired them.
        let again = |lane| {
            passed
                .iter()
                .filter(|((of, _), _)| *of == lane)
                .map(|(_, at)| *at)
                .min()
        };
        let rows: Vec<i64> = passed.iter().map(|((_, row), _)| *row).collect();
        let row = sqlx::query(
            // What is no time is one here: the claim meets what is due since ever, and nobody waits for the others.
            "SELECT max(0, min(?1, (SELECT min(next_attempt_at) FROM callback_deliveries
                                    WHERE state = 'due' AND retry = 0
                                      AND rowid NOT IN (SELECT value FROM json_each(?2))))) AS first,
                    max(0, min(?1, (SELECT min(next_attempt_at) FROM callback_deliveries
                                    WHERE state = 'due' AND retry = 1
                                      AND rowid NOT IN (SELECT value FROM json_each(?2))))) AS retry,
                    max(0, min(?1, (SELECT min(next_attempt_at) FROM callback_deliveries
                                    WHERE state = 'due' AND probe = 1
                                      AND rowid NOT IN (SELECT value FROM json_each(?2))))) AS probe",
        )
        .bind(LAST_MICROS)
        .bind(Json(rows))
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(NextDue {
            first: earlier(row.optional_time(operation, "first")?, again(Lane::First)),
            retry: earlier(row.optional_time(operation, "retry")?, again(Lane::Retry)),
            probe: row.optional_time(operation, "probe")?,
        })
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let operation = "claim callback deliveries";
        loop {
            // Looked for beside the writer, who is not kept waiting by it; what changed meanwhile is not claimed below.
            let candidates = self.candidates(request).await?;
            // Where all that was found cannot be read, there may be others behind it.
            if let Some(claimed) = self.lease(operation, request, candidates).await? {
                return Ok(claimed);
            }
        }
    }

    async fn claim_probes(&self, request: &ClaimRequest<'_>) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let operation = "claim replayed callback deliveries";
        loop {
            let probes = self.probes(request).await?;
            if let Some(claimed) = self.lease(operation, request, probes).await? {
                return Ok(claimed);
            }
        }
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
            let logged = sqlx::query(
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
            .map_err(failed(operation));
            unless_refused(logged)?;
            let next_attempt_at = match record.next {
                Disposition::RetryAt { at, .. } => at,
                Disposition::Delivered | Disposition::Dead { .. } => record.finished_at,
            };
            let recorded = sqlx::query(
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
            .map_err(failed(operation));
            changed += unless_refused(recorded)?.map_or(0, |recorded| recorded.rows_affected());
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
        // Looked for beside the writer, who is not kept waiting by it. When a delivery is due, and in which queue, is no more than a
        // plan: where that is no time or no queue it is made anew.
        let impossible: Vec<i64> = sqlx::query_scalar(
            "SELECT rowid FROM callback_deliveries WHERE state = 'due' AND retry < 0
             UNION ALL SELECT rowid FROM callback_deliveries WHERE state = 'due' AND retry > 1
             UNION ALL SELECT rowid FROM callback_deliveries WHERE state = 'due' AND retry = 0 AND next_attempt_at > ?4
             UNION ALL SELECT rowid FROM callback_deliveries WHERE state = 'due' AND retry = 1 AND next_attempt_at > ?4
             UNION SELECT d.rowid FROM callback_deliveries d
             WHERE d.state = 'due' AND d.retry = 1 AND d.lease_token IS NOT NULL AND d.next_attempt_at > ?1
               AND (d.next_attempt_at > ?2
                    OR EXISTS (SELECT 1 FROM callback_attempts a
                               WHERE a.delivery_id = d.delivery_id AND a.attempt = d.attempts AND a.started_at > ?3))",
        )
        .bind(micros(now))
        .bind(micros(later(now, longest)))
        .bind(micros(later(now, skew)))
        .bind(LAST_MICROS)
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        if impossible.is_empty() {
            return Ok(0);
        }
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let mut changed = 0;
        for row in impossible {
            // The token stays: whoever holds it after all, and records before the next claim, is believed.
            let ended = sqlx::query(
                "UPDATE callback_deliveries SET next_attempt_at = ?1, retry = CASE WHEN retry IN (0, 1) THEN retry ELSE 1 END
                 WHERE rowid = ?2 AND state = 'due'
                   AND (lease_token IS NOT NULL OR retry NOT IN (0, 1) OR next_attempt_at > ?3)",
            )
            .bind(micros(now))
            .bind(row)
            .bind(LAST_MICROS)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation));
            changed += unless_refused(ended)?.map_or(0, |ended| ended.rows_affected());
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(changed)
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
            due: row.natural(operation, "due")?,
            dead: row.natural(operation, "dead")?,
            oldest_due: next.first.into_iter().chain(next.retry).min(),
        })
    }
}

fn earlier(one: Option<DateTime<Utc>>, other: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    one.into_iter().chain(other).min()
}

/// Keeps failures from being told after the success of the same entity, as [`CallbackStore::create_deliveries`] promises.
async fn supersede(
    tx: &mut SqliteConnection,
    operation: &'static str,
    streams: &[String],
    now: i64,
) -> Result<(), StoreError> {
    let overtaken: Vec<i64> = sqlx::query_scalar(
        "SELECT rowid FROM callback_deliveries
         WHERE aggregate_id IN (SELECT value FROM json_each(?1)) AND state IN ('due', 'dead') AND NOT final
           AND EXISTS (SELECT 1 FROM callback_deliveries success
                       WHERE success.aggregate_id = callback_deliveries.aggregate_id
                         AND success.target_id = callback_deliveries.target_id
                         AND success.final AND success.position > callback_deliveries.position)",
    )
    .bind(Json(streams))
    .fetch_all(&mut *tx)
    .await
    .map_err(StoreError::database(operation))?;
    for row in overtaken {
        // The lease's token stays: it tells of the attempt under way, whose outcome changes the delivery no more.
        let superseded = sqlx::query(
            "UPDATE callback_deliveries SET state = 'superseded', finished_at = ?2 WHERE rowid = ?1
             RETURNING target_id, lease_token, next_attempt_at",
        )
        .bind(row)
        .bind(now)
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::database(operation));
        // One that can be changed in nothing is never attempted either.
        let Some(row) = unless_refused(superseded)? else {
            continue;
        };
        let lease = || -> Result<_, StoreError> {
            let token = row.read::<Option<&str>>(operation, "lease_token")?;
            let until = row.read::<i64>(operation, "next_attempt_at")?;
            Ok(token.map(|_| (row.read::<&str>(operation, "target_id"), until)))
        };
        // A lease that cannot be read, or ends at no time, is no lease.
        let Ok(Some((Ok(target_id), until))) = lease() else {
            continue;
        };
        let kept = sqlx::query(
            "UPDATE callback_deliveries SET next_attempt_at = max(next_attempt_at, ?2)
             WHERE target_id = ?1 AND final AND state = 'due' AND attempts = 0
               AND aggregate_id IN (SELECT value FROM json_each(?3))",
        )
        .bind(target_id)
        .bind(until)
        .bind(Json(streams))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation));
        unless_refused(kept)?;
    }
    Ok(())
}
