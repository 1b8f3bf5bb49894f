//! SQLite: which of the storage cleanup's jobs are done next.

use crate::clock::later;
use crate::store::StoreError;
use crate::store::cleanup_jobs::obligations::sqlite::owed;
use crate::store::cleanup_jobs::obligations::{claimed_job, damaged_job};
use crate::store::cleanup_jobs::sqlite::BEGIN;
use crate::store::cleanup_jobs::{Claim, CleanupJob};
use crate::store::columns::Columns as _;
use crate::store::damaged::{Readable, SET_ASIDE, tell_aside, unless_refused};
use crate::store::sqlite::SqliteStore;
use crate::store::values::{LAST_MICROS, StoredRow as _, micros};
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

impl SqliteStore {
    /// Leases jobs, each by itself: one that can be changed in nothing is passed over, and keeps no other one waiting.
    pub(in crate::store::cleanup_jobs) async fn claim_due(
        &self,
        claim: &Claim,
    ) -> Result<Vec<CleanupJob>, StoreError> {
        let operation = "claim cleanup jobs";
        let mut reading = self
            .reads
            .acquire()
            .await
            .map_err(StoreError::database(operation))?;
        let passed = self.passed_jobs.at(claim.now);
        if candidates(&mut reading, operation, claim, passed, 1)
            .await?
            .is_empty()
        {
            return Ok(Vec::new());
        }
        drop(reading);
        let mut connection = self.writing().await;
        let mut tx = connection
            .begin_with(BEGIN)
            .await
            .map_err(StoreError::database(operation))?;
        let limit = usize::try_from(claim.limit).unwrap_or(usize::MAX);
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        loop {
            let before = refused.len();
            let passed = self.passed_jobs.at(claim.now);
            let found = candidates(
                &mut tx,
                operation,
                claim,
                passed,
                limit.saturating_sub(rows.len()),
            )
            .await?;
            for candidate in found {
                if rows.len() >= limit {
                    break;
                }
                if let Some(row) = lease(&mut tx, operation, claim, &candidate).await? {
                    rows.push(row);
                } else {
                    self.passed_jobs
                        .pass(candidate.read(operation, "place")?, claim.now);
                    refused.push(damaged_job(operation, &candidate));
                }
            }
            // Where some were passed over, there may be others behind them.
            if rows.len() >= limit || refused.len() == before {
                break;
            }
        }
        let claimed: Vec<Uuid> = rows
            .iter()
            .filter_map(|row| row.uuid(operation, "event_id").ok())
            .collect();
        let mut all = owed(&mut tx, operation, &claimed).await?;
        let Readable { rows: jobs, damaged } = Readable::of(
            &rows,
            |row| claimed_job(operation, row, claim.token, &mut all),
            |row| damaged_job(operation, row),
        );
        if !damaged.is_empty() {
            set_aside(&mut tx, operation, claim, &jobs).await?;
        }
        tx.commit().await.map_err(StoreError::database(operation))?;
        tell_aside(operation, &refused);
        tell_aside(operation, &damaged);
        Ok(jobs)
    }

    /// When a job is due is no more than a plan: one that is no time, or that no calendar has, is made anew.
    pub(in crate::store::cleanup_jobs) async fn plan_anew(
        &self,
        operation: &'static str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        // Texts and bytes are greater than every number.
        let jobs: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT CAST(event_id AS BLOB) FROM cleanup_jobs WHERE state = 'due' AND next_attempt_at > ?1",
        )
        .bind(LAST_MICROS)
        .fetch_all(&self.reads)
        .await
        .map_err(StoreError::database(operation))?;
        if jobs.is_empty() {
            return Ok(());
        }
        let mut connection = self.writing().await;
        for job in jobs {
            let planned = sqlx::query(
                "UPDATE cleanup_jobs SET next_attempt_at = ?2
                 WHERE event_id = CAST(?3 AS TEXT) AND state = 'due' AND next_attempt_at > ?1",
            )
            .bind(LAST_MICROS)
            .bind(micros(now))
            .bind(job)
            .execute(&mut *connection)
            .await
            .map_err(StoreError::database(operation));
            unless_refused(planned)?;
        }
        Ok(())
    }
}

/// The jobs that a claim may take, in the claim's order; an id is its `place`, whatever it is.
async fn candidates(
    connection: &mut SqliteConnection,
    operation: &'static str,
    claim: &Claim,
    passed: Vec<String>,
    limit: usize,
) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(
        "SELECT * FROM (
             SELECT event_id, quote(event_id) AS place, aggregate_id FROM cleanup_jobs
             WHERE state = 'due' AND next_attempt_at <= ?1
               -- One that ends long after this one would is of a clock that was wrong, and over.
               AND (lease_until IS NULL OR lease_until <= ?1 OR lease_until > ?3 + 120000000)
               AND quote(event_id) NOT IN (SELECT value FROM json_each(?4))
             ORDER BY next_attempt_at, position
             LIMIT ?5)
         UNION ALL
         SELECT * FROM (
             SELECT event_id, quote(event_id) AS place, aggregate_id FROM cleanup_jobs
             WHERE state = 'due' AND left_by IS NOT NULL AND next_attempt_at > ?1 AND instr(left_by, ?2) = 0
               AND (lease_until IS NULL OR lease_until <= ?1)
               AND quote(event_id) NOT IN (SELECT value FROM json_each(?4))
             ORDER BY next_attempt_at, position
             LIMIT ?5)",
    )
    .bind(micros(claim.now))
    .bind(claim.instance.to_string())
    .bind(micros(claim.until))
    .bind(Json(passed))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await
    .map_err(StoreError::database(operation))
}

/// The job's row; `None` where it can be changed in nothing.
async fn lease(
    connection: &mut SqliteConnection,
    operation: &'static str,
    claim: &Claim,
    candidate: &SqliteRow,
) -> Result<Option<SqliteRow>, StoreError> {
    let Ok(event_id) = candidate.read::<&str>(operation, "event_id") else {
        return Ok(None);
    };
    let leased = sqlx::query(
        "UPDATE cleanup_jobs
         SET lease_token = ?3, lease_until = ?4, begun = min(begun, 9223372036854775806) + 1,
             left_by = CASE WHEN next_attempt_at <= ?2 THEN NULL ELSE left_by END
         WHERE event_id = ?1
         RETURNING event_id, aggregate_id, purge_id, attempts, begun",
    )
    .bind(event_id)
    .bind(micros(claim.now))
    .bind(claim.token.to_string())
    .bind(micros(claim.until))
    .fetch_optional(connection)
    .await
    .map_err(StoreError::database(operation));
    Ok(unless_refused(leased)?.flatten())
}

/// Sets aside what was claimed and cannot be read: whatever is none of these jobs, as an id may be what cannot be read.
async fn set_aside(
    connection: &mut SqliteConnection,
    operation: &'static str,
    claim: &Claim,
    whole: &[CleanupJob],
) -> Result<(), StoreError> {
    let whole: Vec<String> = whole.iter().map(|job| job.lease.event_id.to_string()).collect();
    sqlx::query(
        "UPDATE cleanup_jobs
         SET next_attempt_at = ?3, lease_token = NULL, lease_until = NULL, left_by = NULL, begun = begun - 1
         WHERE lease_token = ?1 AND state = 'due' AND event_id NOT IN (SELECT value FROM json_each(?2))",
    )
    .bind(claim.token.to_string())
    .bind(Json(whole))
    .bind(micros(later(claim.now, SET_ASIDE)))
    .execute(connection)
    .await
    .map_err(StoreError::database(operation))?;
    Ok(())
}
