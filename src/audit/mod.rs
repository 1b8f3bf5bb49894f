//! What is written behind the requests for the audit: attempts, reads of the audit itself, and the index of blocks.
//!
//! ```text
//! requests ──▶ attempts (in memory, bounded) ──1 s──▶ audit_attempts
//! log ───────▶ index, a run of blocks at a time ─────▶ audit_blocks
//! ```

pub mod attempts;

use crate::store::StoreError;
use crate::store::audit::{AuditStore, blocks};
use crate::task_states;
use crate::telemetry;
use attempts::Attempts;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the tasks wait for, as the table of tasks tells it.
const WRITING: &str = "writing";
const INDEXING: &str = "indexing";
const COMPARING: &str = "comparing";

/// How often attempts are written and blocks to index are looked for. A crash loses the attempts of this long at the most.
const EVERY: Duration = Duration::from_secs(1);

/// How often the index is compared with the log.
const CHECKED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How soon a comparison that failed is made again.
const CHECKED_AGAIN: Duration = Duration::from_secs(60);

/// The pause between two parts of the index, for commands that want the store meanwhile.
const INDEX_PAUSE: Duration = Duration::from_millis(10);

/// Tells the table of tasks how a part got on.
fn told<T>(part: &'static str, outcome: &Result<T, StoreError>) {
    match outcome {
        Ok(_) => task_states::goes_on(part),
        Err(error) => task_states::waits(part, error),
    }
}

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
        let written = attempts.write(&*store).await;
        told(WRITING, &written);
        if let Err(error) = written {
            tracing::warn!(error = %telemetry::chain(&error), "attempts could not be recorded yet");
        }
        if stopped {
            return Ok(());
        }
    }
}

/// Compares the index with the log and empties it where they differ: a search would miss events. It is looked into from then on.
async fn check_index(store: &dyn AuditStore) -> Result<(), StoreError> {
    let before = store.indexed_blocks().await?;
    let head = store.audit_snapshot().await?.position;
    let found = blocks::compare(store, head).await?;
    // Another instance may have emptied it meanwhile.
    if found.first_block.is_none() || store.indexed_blocks().await? < before {
        store.index_trust().restore();
        return Ok(());
    }
    tracing::error!(
        missing = found.missing,
        surplus = found.surplus,
        "the index of the audit is not what the log says: it is built again"
    );
    store.empty_index().await?;
    store.index_trust().restore();
    Ok(())
}

/// Whether somebody has taken all entries out of the index, and left it saying that it covers the log.
async fn is_emptied(store: &dyn AuditStore) -> bool {
    store.index_trust().holds()
        && matches!(
            (blocks::believed_blocks(store).await, store.indexed_blocks().await),
            (Ok(0), Ok(1..))
        )
}

/// Extends the index of blocks behind the log, until it is told to stop; compares it with the log when it has caught up for the
/// first time, and then once a day. Searches read the log itself until it was compared.
///
/// # Errors
/// None: what cannot be indexed now is indexed at the next look, and read in the log until then.
pub async fn index(store: Arc<dyn AuditStore>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut due = tokio::time::Instant::now();
    store.index_trust().doubt();
    let mut seen = None;
    loop {
        // While the log grows, a run at a time is worth it; what a log that has come to rest has left is indexed as well.
        let indexed = async {
            let head = store.audit_snapshot().await?.position;
            let least = if seen.replace(head) == Some(head) {
                1
            } else {
                blocks::RUN
            };
            blocks::index_next(&*store, head, least).await
        }
        .await;
        told(INDEXING, &indexed);
        let pause = match indexed {
            Ok(true) => INDEX_PAUSE,
            Ok(false) => {
                if due <= tokio::time::Instant::now() || is_emptied(&*store).await {
                    let compared = check_index(&*store).await;
                    told(COMPARING, &compared);
                    let wait = match compared {
                        Ok(()) => CHECKED_EVERY,
                        Err(error) => {
                            tracing::warn!(error = %telemetry::chain(&error), "the index of the audit could not be compared with the log");
                            CHECKED_AGAIN
                        }
                    };
                    due = tokio::time::Instant::now() + wait;
                }
                EVERY
            }
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
