//! PostgreSQL: the storage cleanup's jobs.

use crate::clock::later;
use crate::store::cleanup_jobs::obligations::postgres::{owed, owed_by};
use crate::store::cleanup_jobs::obligations::{claimed_job, damaged_job};
use crate::store::cleanup_jobs::purges::postgres::{one_purge, purges};
use crate::store::cleanup_jobs::{
    Claim, CleanupCounts, CleanupJob, CleanupJobStore, JobEnd, JobLease, NewCleanupJob, NextAttempt,
    OWED_AT_ONCE, Obligation, PurgeStatus,
};
use crate::store::columns::Columns as _;
use crate::store::damaged::{Readable, SET_ASIDE, tell_aside};
use crate::store::postgres::PostgresStore;
use crate::store::values::{entity_key, non_negative, signed};
use crate::store::{Position, StoreError};
use archive_ledger_domain::{EntityKey, State};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[async_trait]
impl CleanupJobStore for PostgresStore {
    async fn insert_cleanup_jobs(
        &self,
        jobs: &[NewCleanupJob],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let operation = "record cleanup jobs";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        let mut inserted = 0;
        for job in jobs {
            let rows = sqlx::query(
                "INSERT INTO cleanup_jobs
                     (event_id, position, aggregate_id, purge_id, state, attempts, next_attempt_at, created_at)
                 VALUES ($1, $2, $3, $4, 'due', 0, $5, $5)
                 ON CONFLICT (event_id) DO NOTHING",
            )
            .bind(job.event_id)
            .bind(signed(job.position))
            .bind(job.key.stream_id())
            .bind(job.purge_id)
            .bind(now)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?
            .rows_affected();
            if rows > 0 {
                sqlx::query(
                    "INSERT INTO cleanup_obligations (event_id, ordinal, state, updated_at)
                     SELECT $1, ordinal, 'owed', $3 FROM generate_series(1, $2::bigint) ordinal",
                )
                .bind(job.event_id)
                .bind(i64::from(job.storage_count))
                .bind(now)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(operation))?;
            }
            inserted += rows;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(inserted)
    }

    async fn insert_owed_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let operation = "record owed cleanup jobs";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        // When a job is due is no more than a plan: one that no calendar has is made anew.
        sqlx::query("UPDATE cleanup_jobs SET next_attempt_at = $1 WHERE state = 'due' AND next_attempt_at > '9999-12-31Z'")
            .bind(now)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        let inserted: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO cleanup_jobs
                 (event_id, position, aggregate_id, purge_id, state, attempts, next_attempt_at, created_at)
             SELECT w.event_id, w.position, w.aggregate_id, w.purge_id, 'due', 0, $1, $1
             FROM purge_work w LEFT JOIN cleanup_jobs j ON j.event_id = w.event_id
             WHERE w.state = 'purging' AND w.storage_count > 0 AND (j.event_id IS NULL OR j.state <> 'due')
             ORDER BY w.position
             LIMIT $2
             ON CONFLICT (event_id) DO UPDATE
             SET state = 'due', attempts = 0, next_attempt_at = excluded.next_attempt_at, finished_at = NULL
             WHERE cleanup_jobs.state <> 'due'
             RETURNING event_id",
        )
        .bind(now)
        .bind(i64::from(OWED_AT_ONCE))
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        if !inserted.is_empty() {
            sqlx::query(
                "INSERT INTO cleanup_obligations (event_id, ordinal, state, updated_at)
                 SELECT w.event_id, ordinal, 'owed', $2
                 FROM purge_work w CROSS JOIN LATERAL generate_series(1, w.storage_count) ordinal
                 WHERE w.event_id = ANY ($1)
                 ON CONFLICT (event_id, ordinal) DO UPDATE SET state = 'owed', updated_at = excluded.updated_at
                 WHERE cleanup_obligations.state = 'failed'",
            )
            .bind(&inserted)
            .bind(now)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(u64::try_from(inserted.len()).unwrap_or(u64::MAX))
    }

    async fn claim_cleanup_jobs(&self, claim: &Claim) -> Result<Vec<CleanupJob>, StoreError> {
        let operation = "claim cleanup jobs";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        // Materialized, so that the rows are locked once, however the update is planned.
        let mut rows = sqlx::query(
            "WITH due AS MATERIALIZED (
                 SELECT event_id FROM cleanup_jobs
                 WHERE state = 'due' AND next_attempt_at <= $1
                   -- One that ends long after this one would is of a clock that was wrong, and over.
                   AND (lease_until IS NULL OR lease_until <= $1 OR lease_until > $4 + interval '2 minutes')
                 ORDER BY next_attempt_at, position
                 LIMIT $2
                 FOR UPDATE SKIP LOCKED
             )
             UPDATE cleanup_jobs j SET lease_token = $3, lease_until = $4, begun = least(j.begun, 9223372036854775806) + 1, left_by = NULL
             FROM due WHERE j.event_id = due.event_id
             RETURNING j.event_id, j.aggregate_id, j.purge_id, j.attempts, j.begun",
        )
        .bind(claim.now)
        .bind(i64::from(claim.limit))
        .bind(claim.token)
        .bind(claim.until)
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        let more = i64::from(claim.limit).saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        if more > 0 {
            let left = sqlx::query(
                "WITH others AS MATERIALIZED (
                     SELECT event_id FROM cleanup_jobs
                     WHERE state = 'due' AND left_by IS NOT NULL AND next_attempt_at > $1 AND $5 <> ALL (left_by)
                       AND (lease_until IS NULL OR lease_until <= $1)
                     ORDER BY next_attempt_at, position
                     LIMIT $2
                     FOR UPDATE SKIP LOCKED
                 )
                 UPDATE cleanup_jobs j SET lease_token = $3, lease_until = $4, begun = least(j.begun, 9223372036854775806) + 1
                 FROM others WHERE j.event_id = others.event_id
                 RETURNING j.event_id, j.aggregate_id, j.purge_id, j.attempts, j.begun",
            )
            .bind(claim.now)
            .bind(more)
            .bind(claim.token)
            .bind(claim.until)
            .bind(claim.instance)
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
            rows.extend(left);
        }
        let claimed: Vec<Uuid> = rows
            .iter()
            .map(|row| row.read(operation, "event_id"))
            .collect::<Result<_, _>>()?;
        let mut all = owed(&mut tx, operation, &claimed).await?;
        let Readable { rows: jobs, damaged } = Readable::of(
            &rows,
            |row| claimed_job(operation, row, claim.token, &mut all),
            |row| damaged_job(operation, row),
        );
        if !damaged.is_empty() {
            tell_aside(operation, &damaged);
            let ids: Vec<Uuid> = damaged.iter().filter_map(|row| row.id).collect();
            sqlx::query(
                "UPDATE cleanup_jobs
                 SET next_attempt_at = $2, begun = begun - 1, lease_token = NULL, lease_until = NULL, left_by = NULL
                 WHERE event_id = ANY ($1)",
            )
            .bind(&ids)
            .bind(later(claim.now, SET_ASIDE))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(jobs)
    }

    async fn seize_cleanup_job(
        &self,
        lease: &JobLease,
        until: DateTime<Utc>,
    ) -> Result<Option<Vec<Obligation>>, StoreError> {
        let operation = "seize a cleanup job";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        let seized =
            sqlx::query("UPDATE cleanup_jobs SET lease_token = $2, lease_until = $3 WHERE event_id = $1")
                .bind(lease.event_id)
                .bind(lease.token)
                .bind(until)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(operation))?;
        if seized.rows_affected() == 0 {
            return Ok(None);
        }
        let obligations = owed_by(&mut tx, operation, lease.event_id).await?;
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(Some(obligations))
    }

    async fn record_obligation(
        &self,
        lease: &JobLease,
        obligation: &Obligation,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let operation = "record a cleanup's progress";
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        let held =
            sqlx::query("UPDATE cleanup_jobs SET lease_until = $3 WHERE event_id = $1 AND lease_token = $2")
                .bind(lease.event_id)
                .bind(lease.token)
                .bind(until)
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(operation))?;
        if held.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE cleanup_obligations
             SET state = $3, objects = $4, bytes = $5, last_error = $6, updated_at = $7,
                 storage_hash = COALESCE($8, storage_hash), under_way = $9, at_least = $10, failed_at = $11,
                 nobody_since = $12
             WHERE event_id = $1 AND ordinal = $2",
        )
        .bind(lease.event_id)
        .bind(i64::from(obligation.ordinal))
        .bind(obligation.state.as_str())
        .bind(signed(obligation.objects))
        .bind(signed(obligation.bytes))
        .bind(&obligation.last_error)
        .bind(now)
        .bind(obligation.storage_hash.as_ref().map(<[u8; 32]>::as_slice))
        .bind(obligation.under_way)
        .bind(obligation.at_least)
        .bind(&obligation.failed_at)
        .bind(obligation.nobody_since)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(true)
    }

    async fn reschedule_cleanup_job(&self, lease: &JobLease, next: &NextAttempt) -> Result<bool, StoreError> {
        let updated = sqlx::query(
            "UPDATE cleanup_jobs
             SET next_attempt_at = $3, attempts = $4, last_error = COALESCE($5, last_error),
                 left_by = CASE WHEN $6::uuid IS NULL THEN NULL ELSE array_append(left_by, $6) END,
                 lease_token = NULL, lease_until = NULL
             WHERE event_id = $1 AND lease_token = $2",
        )
        .bind(lease.event_id)
        .bind(lease.token)
        .bind(next.at)
        .bind(i64::from(next.attempts))
        .bind(&next.last_error)
        .bind(next.left_by)
        .execute(&self.pool)
        .await
        .map_err(StoreError::database("leave a cleanup job for later"))?;
        Ok(updated.rows_affected() > 0)
    }

    async fn finish_cleanup_job(
        &self,
        lease: &JobLease,
        end: &JobEnd,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let operation = "finish a cleanup job";
        let (state, error) = end.columns();
        let mut tx = self.pool.begin().await.map_err(StoreError::database(operation))?;
        let updated = sqlx::query(
            "UPDATE cleanup_jobs
             SET state = $3, last_error = COALESCE($4, last_error), finished_at = $5,
                 lease_token = NULL, lease_until = NULL,
                 (objects, bytes) = (SELECT COALESCE(SUM(objects), 0)::bigint, COALESCE(SUM(bytes), 0)::bigint
                                     FROM cleanup_obligations WHERE event_id = $1)
             WHERE event_id = $1 AND lease_token = $2",
        )
        .bind(lease.event_id)
        .bind(lease.token)
        .bind(state)
        .bind(error)
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE cleanup_obligations SET state = $2, updated_at = $3 WHERE event_id = $1 AND state = 'owed'",
        )
        .bind(lease.event_id)
        .bind(state)
        .bind(now)
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(true)
    }

    async fn owed_purge_status(
        &self,
        state: Option<State>,
        after: Position,
        limit: u32,
    ) -> Result<Readable<PurgeStatus>, StoreError> {
        let operation = "list the purges";
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(StoreError::database(operation))?;
        let rows = sqlx::query(
            "SELECT w.position, w.event_id, w.aggregate_id, w.purge_id, w.state, w.requested_at, w.storage_count,
                    j.event_id AS job, j.attempts, j.begun, j.next_attempt_at, j.lease_until, j.last_error, j.finished_at
             FROM purge_work w LEFT JOIN cleanup_jobs j ON j.event_id = w.event_id
             WHERE w.position > $1 AND ($2::text IS NULL OR w.state = $2)
             ORDER BY w.position
             LIMIT $3",
        )
        .bind(signed(after))
        .bind(state.map(State::as_str))
        .bind(i64::from(limit))
        .fetch_all(&mut connection)
        .await
        .map_err(StoreError::database(operation))?;
        purges(&mut connection, operation, &rows).await
    }

    async fn purge_status(&self, purge_id: Uuid) -> Result<Option<PurgeStatus>, StoreError> {
        let operation = "look a purge up";
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(StoreError::database(operation))?;
        let rows = sqlx::query(
            "SELECT w.position, w.event_id, w.aggregate_id, w.purge_id, w.state, w.requested_at, w.storage_count,
                    j.event_id AS job, j.attempts, j.begun, j.next_attempt_at, j.lease_until, j.last_error, j.finished_at
             FROM purge_work w LEFT JOIN cleanup_jobs j ON j.event_id = w.event_id
             WHERE w.purge_id = $1",
        )
        .bind(purge_id)
        .fetch_all(&mut connection)
        .await
        .map_err(StoreError::database(operation))?;
        one_purge(&mut connection, operation, &rows).await
    }

    async fn purged_entity(&self, purge_id: Uuid) -> Result<Option<EntityKey>, StoreError> {
        let operation = "look a purge's entity up";
        let found: Option<String> =
            sqlx::query_scalar("SELECT aggregate_id FROM cleanup_jobs WHERE purge_id = $1 LIMIT 1")
                .bind(purge_id)
                .fetch_optional(&self.pool)
                .await
                .map_err(StoreError::database(operation))?;
        found.map(|id| entity_key(operation, &id)).transpose()
    }

    async fn hasten_cleanup_job(&self, event_id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let updated = sqlx::query(
            "UPDATE cleanup_jobs SET next_attempt_at = $2
             WHERE event_id = $1 AND state = 'due' AND next_attempt_at > $2
               AND (lease_until IS NULL OR lease_until <= $2)",
        )
        .bind(event_id)
        .bind(now)
        .execute(&self.pool)
        .await
        .map_err(StoreError::database("hasten a cleanup job"))?;
        Ok(updated.rows_affected() > 0)
    }

    async fn count_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<CleanupCounts, StoreError> {
        let operation = "count the cleanup jobs";
        let row = sqlx::query(
            "SELECT COUNT(*) FILTER (WHERE lease_until IS NULL OR lease_until <= $1) AS due,
                    COUNT(*) FILTER (WHERE lease_until > $1) AS running,
                    (SELECT COUNT(*) FROM purge_work WHERE state = 'purge_failed') AS failed
             FROM cleanup_jobs WHERE state = 'due'",
        )
        .bind(now)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(CleanupCounts {
            due: non_negative(operation, row.read(operation, "due")?)?,
            running: non_negative(operation, row.read(operation, "running")?)?,
            failed: non_negative(operation, row.read(operation, "failed")?)?,
        })
    }
}
