//! PostgreSQL: what can be told of damage where neither the log nor a column's type says it.

use crate::store::StoreError;
use crate::store::postgres::PostgresStore;

/// A column with a time outside of the years 1 to 9999. The checks of the tables let none in; whoever owns the tables can drop them.
/// The first page of the list's pages of a type, which has no id, begins before everything.
const OUT_OF_RANGE: &str = "
SELECT name FROM (
    SELECT 'events.recorded_at' AS name, min(recorded_at) AS first, max(recorded_at) AS last FROM events
    UNION ALL SELECT 'ledger_head.recorded_at', min(recorded_at), max(recorded_at) FROM ledger_head
    UNION ALL SELECT 'archived_entries.deleted_at', min(deleted_at), max(deleted_at) FROM archived_entries
    UNION ALL SELECT 'archived_page_groups.deleted_at', min(deleted_at), max(deleted_at)
          FROM (SELECT CASE WHEN entity_id <> '' THEN deleted_at WHEN deleted_at <> 'infinity' THEN '-infinity' END AS deleted_at
                FROM archived_page_groups) AS pages
    UNION ALL SELECT 'archived_pages.deleted_at', min(deleted_at), max(deleted_at)
          FROM (SELECT CASE WHEN entity_id <> '' THEN deleted_at WHEN deleted_at <> 'infinity' THEN '-infinity' END AS deleted_at
                FROM archived_pages) AS pages
    UNION ALL SELECT 'purge_work.requested_at', min(requested_at), max(requested_at) FROM purge_work
    UNION ALL SELECT 'idempotency_answers.recorded_at', min(recorded_at), max(recorded_at) FROM idempotency_answers
    UNION ALL SELECT 'leases.expires_at', min(expires_at), max(expires_at) FROM leases
    UNION ALL SELECT 'callback_targets.created_at', min(created_at), max(created_at) FROM callback_targets
    UNION ALL SELECT 'callback_deliveries.created_at', min(created_at), max(created_at) FROM callback_deliveries
    UNION ALL SELECT 'callback_deliveries.first_due_at', min(first_due_at), max(first_due_at) FROM callback_deliveries
    UNION ALL SELECT 'callback_deliveries.next_attempt_at', min(next_attempt_at), max(next_attempt_at) FROM callback_deliveries
    UNION ALL SELECT 'callback_deliveries.finished_at', min(finished_at), max(finished_at) FROM callback_deliveries
    UNION ALL SELECT 'callback_attempts.started_at', min(started_at), max(started_at) FROM callback_attempts
    UNION ALL SELECT 'callback_circuits.since', min(since), max(since) FROM callback_circuits
    UNION ALL SELECT 'callback_circuits.open_until', min(open_until), max(open_until) FROM callback_circuits
    UNION ALL SELECT 'cleanup_jobs.next_attempt_at', min(next_attempt_at), max(next_attempt_at) FROM cleanup_jobs
    UNION ALL SELECT 'cleanup_jobs.lease_until', min(lease_until), max(lease_until) FROM cleanup_jobs
    UNION ALL SELECT 'cleanup_jobs.created_at', min(created_at), max(created_at) FROM cleanup_jobs
    UNION ALL SELECT 'cleanup_jobs.finished_at', min(finished_at), max(finished_at) FROM cleanup_jobs
    UNION ALL SELECT 'cleanup_obligations.updated_at', min(updated_at), max(updated_at) FROM cleanup_obligations
    UNION ALL SELECT 'cleanup_obligations.nobody_since', min(nobody_since), max(nobody_since) FROM cleanup_obligations
    UNION ALL SELECT 'storage_roots.first_used_at', min(first_used_at), max(first_used_at) FROM storage_roots
    UNION ALL SELECT 'storage_root_holders.seen_at', min(seen_at), max(seen_at) FROM storage_root_holders
    UNION ALL SELECT 'checkpoints.created_at', min(created_at), max(created_at) FROM checkpoints
    UNION ALL SELECT 'fork_losses.told_at', min(told_at), max(told_at) FROM fork_losses
    UNION ALL SELECT 'lost_purges.recorded_at', min(recorded_at), max(recorded_at) FROM lost_purges
    UNION ALL SELECT 'audit_attempts.first_at', min(first_at), max(first_at) FROM audit_attempts
    UNION ALL SELECT 'audit_attempts.last_at', min(last_at), max(last_at) FROM audit_attempts
    UNION ALL SELECT 'clock_moves.expected_at', min(expected_at), max(expected_at) FROM clock_moves
    UNION ALL SELECT 'clock_moves.shown_at', min(shown_at), max(shown_at) FROM clock_moves
    UNION ALL SELECT 'clock_moves.ended_at', min(ended_at), max(ended_at) FROM clock_moves
    UNION ALL SELECT 'clock_moves.accepted_at', min(accepted_at), max(accepted_at) FROM clock_moves
    UNION ALL SELECT 'instance_marks.seen_at', min(seen_at), max(seen_at) FROM instance_marks
) AS times
WHERE first < '0001-01-01 00:00:00Z' OR last > '9999-12-31 23:59:59.999999Z'
ORDER BY name LIMIT 1";

impl PostgresStore {
    /// What is wrong with what the database holds, whatever the log says.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(in crate::store) async fn find_damage(&self) -> Result<Option<String>, StoreError> {
        let column: Option<String> = sqlx::query_scalar(OUT_OF_RANGE)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::database("look for damage"))?;
        Ok(column.map(|column| format!("{column} has a time outside of the years 1 to 9999")))
    }
}
