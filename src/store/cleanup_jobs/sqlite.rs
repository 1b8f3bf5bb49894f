//! SQLite: the storage cleanup's jobs.
//!
//! Workers poll: where there may be nothing to do, a reading connection looks first, so that the turn on the writing one is
//! taken only for work.

use crate::store::cleanup_jobs::obligations::sqlite::owed_by;
use crate::store::cleanup_jobs::purges::sqlite::{one_purge, purges};
use crate::store::cleanup_jobs::{
    Claim, CleanupCounts, CleanupJob, CleanupJobStore, JobEnd, JobLease, NewCleanupJob, NextAttempt,
    OWED_AT_ONCE, Obligation, PurgeStatus,
};
use crate::store::columns::Columns as _;
use crate::store::damaged::{Readable, report, unless_refused};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{entity_key, micros, non_negative, signed};
use crate::store::{Position, StoreError};
use archive_ledger_domain::{EntityKey, State};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

/// The write lock is taken at once: a transaction that reads first could not be upgraded past another process's.
pub(in crate::store) const BEGIN: &str = "BEGIN IMMEDIATE";

#[async_trait]
impl CleanupJobStore for SqliteStore {
    async fn insert_cleanup_jobs(
        &self,
        jobs: &[NewCleanupJob],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let operation = "record cleanup jobs";
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let mut inserted = 0;
        for job in jobs {
            let rows = sqlx::query(
                "INSERT INTO cleanup_jobs
                     (event_id, position, aggregate_id, purge_id, state, attempts, next_attempt_at, created_at)
                 VALUES (?1, ?2, ?3, ?4, 'due', 0, ?5, ?5)
                 ON CONFLICT (event_id) DO NOTHING",
            )
            .bind(job.event_id.to_string())
            .bind(signed(job.position))
            .bind(job.key.stream_id())
            .bind(job.purge_id.to_string())
            .bind(micros(now))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?
            .rows_affected();
            if rows > 0 {
                insert_obligations(
                    &mut tx,
                    operation,
                    &job.event_id.to_string(),
                    i64::from(job.storage_count),
                    now,
                )
                .await?;
            }
            inserted += rows;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(inserted)
    }

    async fn insert_owed_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let operation = "record owed cleanup jobs";
        self.plan_anew(operation, now).await?;
        let owed = "SELECT w.event_id, w.position, w.aggregate_id, w.purge_id, w.storage_count
                    FROM purge_work w LEFT JOIN cleanup_jobs j ON j.event_id = w.event_id
                    WHERE w.state = 'purging' AND w.storage_count > 0
                      AND (j.event_id IS NULL OR j.state <> 'due')
                    ORDER BY w.position
                    LIMIT ?1";
        let any = sqlx::query(owed)
            .bind(1)
            .fetch_optional(&self.reads)
            .await
            .map_err(StoreError::database(operation))?;
        if any.is_none() {
            return Ok(0);
        }
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let rows = sqlx::query(owed)
            .bind(i64::from(OWED_AT_ONCE))
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        let mut inserted = 0;
        for row in &rows {
            let read = || -> Result<_, StoreError> {
                Ok((
                    row.read::<&str>(operation, "event_id")?,
                    row.read::<i64>(operation, "position")?,
                    row.read::<&str>(operation, "aggregate_id")?,
                    row.read::<&str>(operation, "purge_id")?,
                    row.read::<i64>(operation, "storage_count")?,
                ))
            };
            // One that cannot be read waits for its repair, and nobody waits for it.
            let (event_id, position, aggregate_id, purge_id, storage_count) = match read() {
                Ok(columns) => columns,
                Err(error) => {
                    report(&error);
                    continue;
                }
            };
            let mut one = tx.begin().await.map_err(StoreError::database(operation))?;
            let planned = async {
                sqlx::query(
                    "INSERT INTO cleanup_jobs
                         (event_id, position, aggregate_id, purge_id, state, attempts, next_attempt_at, created_at)
                     VALUES (?1, ?2, ?3, ?4, 'due', 0, ?5, ?5)
                     ON CONFLICT (event_id) DO UPDATE
                     SET state = 'due', attempts = 0, next_attempt_at = excluded.next_attempt_at, finished_at = NULL",
                )
                .bind(event_id)
                .bind(position)
                .bind(aggregate_id)
                .bind(purge_id)
                .bind(micros(now))
                .execute(&mut *one)
                .await
                .map_err(StoreError::database(operation))?;
                insert_obligations(&mut one, operation, event_id, storage_count, now).await
            };
            // A job and what it owes become due together, or neither does.
            if unless_refused(planned.await)?.is_none() {
                one.rollback().await.map_err(StoreError::database(operation))?;
                continue;
            }
            one.commit().await.map_err(StoreError::database(operation))?;
            inserted += 1;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(inserted)
    }

    async fn claim_cleanup_jobs(&self, claim: &Claim) -> Result<Vec<CleanupJob>, StoreError> {
        self.claim_due(claim).await
    }

    async fn seize_cleanup_job(
        &self,
        lease: &JobLease,
        until: DateTime<Utc>,
    ) -> Result<Option<Vec<Obligation>>, StoreError> {
        let operation = "seize a cleanup job";
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let event_id = lease.event_id.to_string();
        let seized =
            sqlx::query("UPDATE cleanup_jobs SET lease_token = ?2, lease_until = ?3 WHERE event_id = ?1")
                .bind(&event_id)
                .bind(lease.token.to_string())
                .bind(micros(until))
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
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let held =
            sqlx::query("UPDATE cleanup_jobs SET lease_until = ?3 WHERE event_id = ?1 AND lease_token = ?2")
                .bind(lease.event_id.to_string())
                .bind(lease.token.to_string())
                .bind(micros(until))
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(operation))?;
        if held.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE cleanup_obligations
             SET state = ?3, objects = ?4, bytes = ?5, last_error = ?6, updated_at = ?7,
                 storage_hash = COALESCE(?8, storage_hash), under_way = ?9, at_least = ?10, failed_at = ?11,
                 nobody_since = ?12
             WHERE event_id = ?1 AND ordinal = ?2",
        )
        .bind(lease.event_id.to_string())
        .bind(i64::from(obligation.ordinal))
        .bind(obligation.state.as_str())
        .bind(signed(obligation.objects))
        .bind(signed(obligation.bytes))
        .bind(&obligation.last_error)
        .bind(micros(now))
        .bind(obligation.storage_hash.as_ref().map(<[u8; 32]>::as_slice))
        .bind(obligation.under_way)
        .bind(obligation.at_least)
        .bind(&obligation.failed_at)
        .bind(obligation.nobody_since.map(micros))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        tx.commit().await.map_err(StoreError::database(operation))?;
        Ok(true)
    }

    async fn reschedule_cleanup_job(&self, lease: &JobLease, next: &NextAttempt) -> Result<bool, StoreError> {
        let updated = sqlx::query(
            "UPDATE cleanup_jobs
             SET next_attempt_at = ?3, attempts = ?4, last_error = COALESCE(?5, last_error),
                 left_by = CASE WHEN ?6 IS NULL THEN NULL ELSE COALESCE(left_by || ' ', '') || ?6 END,
                 lease_token = NULL, lease_until = NULL
             WHERE event_id = ?1 AND lease_token = ?2",
        )
        .bind(lease.event_id.to_string())
        .bind(lease.token.to_string())
        .bind(micros(next.at))
        .bind(i64::from(next.attempts))
        .bind(&next.last_error)
        .bind(next.left_by.map(|instance| instance.to_string()))
        .execute(&mut *self.writing().await)
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
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let updated = sqlx::query(
            "UPDATE cleanup_jobs
             SET state = ?3, last_error = COALESCE(?4, last_error), finished_at = ?5,
                 lease_token = NULL, lease_until = NULL,
                 (objects, bytes) = (SELECT COALESCE(SUM(objects), 0), COALESCE(SUM(bytes), 0)
                                     FROM cleanup_obligations WHERE event_id = ?1)
             WHERE event_id = ?1 AND lease_token = ?2",
        )
        .bind(lease.event_id.to_string())
        .bind(lease.token.to_string())
        .bind(state)
        .bind(error)
        .bind(micros(now))
        .execute(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "UPDATE cleanup_obligations SET state = ?2, updated_at = ?3 WHERE event_id = ?1 AND state = 'owed'",
        )
        .bind(lease.event_id.to_string())
        .bind(state)
        .bind(micros(now))
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
        // One snapshot: a purge's obligations belong to its state.
        let mut tx = self
            .reads
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let rows = sqlx::query(
            "SELECT w.position, w.event_id, w.aggregate_id, w.purge_id, w.state, w.requested_at, w.storage_count,
                    j.event_id AS job, j.attempts, j.begun, j.next_attempt_at, j.lease_until, j.last_error, j.finished_at
             FROM purge_work w LEFT JOIN cleanup_jobs j ON j.event_id = w.event_id
             WHERE w.position > ?1 AND (?2 IS NULL OR w.state = ?2)
             ORDER BY w.position
             LIMIT ?3",
        )
        .bind(signed(after))
        .bind(state.map(State::as_str))
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        purges(&mut tx, operation, &rows).await
    }

    async fn purge_status(&self, purge_id: Uuid) -> Result<Option<PurgeStatus>, StoreError> {
        let operation = "look a purge up";
        let mut tx = self
            .reads
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        let rows = sqlx::query(
            "SELECT w.position, w.event_id, w.aggregate_id, w.purge_id, w.state, w.requested_at, w.storage_count,
                    j.event_id AS job, j.attempts, j.begun, j.next_attempt_at, j.lease_until, j.last_error, j.finished_at
             FROM purge_work w LEFT JOIN cleanup_jobs j ON j.event_id = w.event_id
             WHERE w.purge_id = ?1",
        )
        .bind(purge_id.to_string())
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::database(operation))?;
        one_purge(&mut tx, operation, &rows).await
    }

    async fn purged_entity(&self, purge_id: Uuid) -> Result<Option<EntityKey>, StoreError> {
        let operation = "look a purge's entity up";
        let found: Option<String> =
            sqlx::query_scalar("SELECT aggregate_id FROM cleanup_jobs WHERE purge_id = ?1 LIMIT 1")
                .bind(purge_id.to_string())
                .fetch_optional(&self.reads)
                .await
                .map_err(StoreError::database(operation))?;
        found.map(|id| entity_key(operation, &id)).transpose()
    }

    async fn hasten_cleanup_job(&self, event_id: Uuid, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let updated = sqlx::query(
            "UPDATE cleanup_jobs SET next_attempt_at = ?2
             WHERE event_id = ?1 AND state = 'due' AND next_attempt_at > ?2
               AND (lease_until IS NULL OR lease_until <= ?2)",
        )
        .bind(event_id.to_string())
        .bind(micros(now))
        .execute(&mut *self.writing().await)
        .await
        .map_err(StoreError::database("hasten a cleanup job"))?;
        Ok(updated.rows_affected() > 0)
    }

    async fn count_cleanup_jobs(&self, now: DateTime<Utc>) -> Result<CleanupCounts, StoreError> {
        let operation = "count the cleanup jobs";
        let row = sqlx::query(
            "SELECT COUNT(*) FILTER (WHERE lease_until IS NULL OR lease_until <= ?1) AS due,
                    COUNT(*) FILTER (WHERE lease_until > ?1) AS running,
                    (SELECT COUNT(*) FROM purge_work WHERE state = 'purge_failed') AS failed
             FROM cleanup_jobs WHERE state = 'due'",
        )
        .bind(micros(now))
        .fetch_one(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(CleanupCounts {
            due: non_negative(operation, row.read(operation, "due")?)?,
            running: non_negative(operation, row.read(operation, "running")?)?,
            failed: non_negative(operation, row.read(operation, "failed")?)?,
        })
    }
}

/// Writes what a job owes; where it stands already, what was given up is owed again.
async fn insert_obligations(
    connection: &mut SqliteConnection,
    operation: &'static str,
    event_id: &str,
    count: i64,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "WITH RECURSIVE numbers (ordinal) AS (
             SELECT 1 WHERE ?2 > 0 UNION ALL SELECT ordinal + 1 FROM numbers WHERE ordinal < ?2
         )
         INSERT INTO cleanup_obligations (event_id, ordinal, state, updated_at)
         SELECT ?1, ordinal, 'owed', ?3 FROM numbers WHERE true
         ON CONFLICT (event_id, ordinal) DO UPDATE SET state = 'owed', updated_at = excluded.updated_at
         WHERE cleanup_obligations.state = 'failed'",
    )
    .bind(event_id)
    .bind(count)
    .bind(micros(now))
    .execute(connection)
    .await
    .map_err(StoreError::database(operation))?;
    Ok(())
}
