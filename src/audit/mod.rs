//! What is written behind the requests for the audit: attempts, reads of the audit itself, and the index of blocks.
//!
//! ```text
//! requests ──▶ attempts (in memory, bounded) ──1 s──▶ audit_attempts
//! log ───────▶ index, a block at a time ────────────▶ audit_blocks
//! ```

pub mod attempts;

use crate::store::audit::{AuditStore, blocks};
use crate::telemetry;
use attempts::Attempts;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often attempts are written and full blocks are looked for. A crash loses the attempts of this long at the most.
const EVERY: Duration = Duration::from_secs(1);

/// The pause between two parts of the index, for commands that want the store meanwhile.
const INDEX_PAUSE: Duration = Duration::from_millis(10);

/// Writes what was gathered, until it is told to stop; then once more.
///
/// # Errors
/// None: what cannot be written stays gathered, and is tried again.
pub async fn record(
    attempts: Arc<Attempts>,
    store: Arc<dyn AuditStore>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let stopped = tokio::time::timeout(EVERY, stop.cancelled()).await.is_ok();
        if let Err(error) = attempts.write(&*store).await {
            tracing::warn!(error = %telemetry::chain(&error), "attempts could not be recorded yet");
        }
        if stopped {
            return Ok(());
        }
    }
}

/// Extends the index of blocks behind the log, until it is told to stop.
///
/// # Errors
/// None: what cannot be indexed now is indexed at the next look, and read in the log until then.
pub async fn index(store: Arc<dyn AuditStore>, stop: CancellationToken) -> Result<(), Infallible> {
    loop {
        let pause = match blocks::index_next(&*store).await {
            Ok(true) => INDEX_PAUSE,
            Ok(false) => EVERY,
            Err(error) => {
                tracing::warn!(error = %telemetry::chain(&error), "the index of the audit could not be extended");
                EVERY
            }
        };
        if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}
