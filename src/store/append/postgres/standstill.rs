//! Ends sessions that hold the head while their process stands still.
//!
//! A process that is stopped, or whose machine or network is gone without a word, keeps what its session has locked. The server ends
//! such a session by itself only where it waits for a whole statement; one that has received a part of what is sent waits for the rest
//! for as long as the connection stands. So who has failed to get the head looks who has it.

use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::server::session::Session;
use sqlx::Executor;

/// Sessions of this service's own, of this role, that have locked the head or are about to, and have been waiting for their client for
/// two seconds. As plain text, which is one message, and a transaction of its own also through a pooler.
const END: &str = "
    SELECT count(*) FILTER (WHERE pg_terminate_backend(session.pid)) AS ended
    FROM pg_locks held
    JOIN pg_stat_activity session ON session.pid = held.pid
    WHERE held.locktype = 'relation' AND held.granted AND held.relation = to_regclass('ledger_head')
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND held.mode IN ('RowShareLock', 'RowExclusiveLock')
      AND session.pid <> pg_backend_pid() AND session.usename = current_user
      AND session.application_name = 'archive-ledger'
      AND session.wait_event_type = 'Client' AND session.state_change < clock_timestamp() - interval '2 seconds'";

/// Ends them. A server that does not let it is none that is away: what holds the head is waited for then.
///
/// # Errors
/// [`StoreError`] when the server does not answer.
pub(super) async fn end(session: &mut Session) -> Result<(), StoreError> {
    let operation = "look who holds the head";
    let row = match session.fetch_one(END).await {
        Ok(row) => row,
        Err(sqlx::Error::Database(refused)) => {
            tracing::debug!(error = %refused, "sessions that stand still cannot be ended");
            return Ok(());
        }
        Err(error) => return Err(StoreError::database(operation)(error)),
    };
    // Text, as the answer to plain text is.
    let ended: i64 = row.read(operation, "ended")?;
    if ended > 0 {
        tracing::warn!(
            ended,
            "sessions that held the head and whose process stood still were ended: {ended}"
        );
    }
    Ok(())
}
