//! Removes what nobody needs any more: expired answers, finished deliveries, and what lingers in SQLite's write-ahead log. Every
//! instance does so; they do not get in each other's way.

use super::backend::Store;
use crate::clock::SharedClock;
use crate::store::retention::PRUNED_AT_ONCE;
use crate::store::sqlite::{LogMover, SqliteStore};
use crate::store::{Position, StoreError};
use crate::task_states;
use crate::telemetry;
use chrono::{DateTime, TimeDelta, Utc};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long the answer to an idempotency key is remembered.
const ANSWERS_KEPT: TimeDelta = TimeDelta::days(7);

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(600);

/// How soon it is looked again after what failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What the tasks wait for, as the table of tasks tells it.
const REMOVING: &str = "removing";
const MOVING: &str = "moving";

/// Between two batches, so that commands get their turns.
const BETWEEN_BATCHES: Duration = Duration::from_millis(50);

/// SQLite's write-ahead log is moved after so many events: some 30 MiB of it.
const MOVED_AFTER: u64 = 1_500;

#[derive(Debug, Clone, Copy)]
enum What {
    Answers,
    Deliveries,
}

/// Removes what has expired until `stop`. What fails is tried again at the next round.
pub(super) async fn tidy(
    store: Store,
    kept: Duration,
    clock: SharedClock,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    // Longer ago than time itself goes: nothing is.
    let kept = TimeDelta::from_std(kept).unwrap_or(TimeDelta::MAX);
    loop {
        let round = async {
            for (what, kept) in [(What::Answers, ANSWERS_KEPT), (What::Deliveries, kept)] {
                let Some(before) = clock.now().checked_sub_signed(kept) else {
                    continue;
                };
                let removed = prune(&store, what, before).await?;
                if removed > 0 {
                    tracing::debug!(?what, removed, "finished work was removed");
                }
            }
            store.empty_write_ahead_log().await
        };
        let outcome = tokio::select! {
            // Each batch is a transaction of its own: what is cut off here is done another time.
            () = stop.cancelled() => return Ok(()),
            outcome = round => outcome,
        };
        let pause = match outcome {
            Ok(()) => {
                task_states::goes_on(REMOVING);
                EVERY
            }
            Err(error) => {
                task_states::waits(REMOVING, &error);
                tracing::warn!(error = %telemetry::chain(&error), "what has expired could not be removed");
                AFTER_FAILURE
            }
        };
        if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}

/// Moves SQLite's write-ahead log into the file before commits have to.
pub(super) async fn move_log(
    store: SqliteStore,
    mut committed: watch::Receiver<Position>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let rounds = async {
        let (mut mover, mut moved) = (None, 0);
        while committed.changed().await.is_ok() {
            let position = *committed.borrow_and_update();
            if position < moved + MOVED_AFTER {
                continue;
            }
            moved = position;
            loop {
                let round = async {
                    let mut open = match mover.take() {
                        Some(open) => open,
                        None => store.log_mover().await?,
                    };
                    open.run().await?;
                    Ok::<LogMover, StoreError>(open)
                };
                match round.await {
                    Ok(open) => {
                        task_states::goes_on(MOVING);
                        mover = Some(open);
                        break;
                    }
                    Err(error) => {
                        task_states::waits(MOVING, &error);
                        tracing::warn!(error = %telemetry::chain(&error), "the write-ahead log could not be moved");
                        tokio::time::sleep(AFTER_FAILURE).await;
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(rounds).await;
    Ok(())
}

/// Batch after batch, until one finds less than it could take.
async fn prune(store: &Store, what: What, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let store = store.retention();
    let mut all = 0;
    loop {
        let removed = match what {
            What::Answers => store.prune_answers(before).await?,
            What::Deliveries => store.prune_deliveries(before).await?,
        };
        all += removed;
        if removed < u64::from(PRUNED_AT_ONCE) {
            return Ok(all);
        }
        tokio::time::sleep(BETWEEN_BATCHES).await;
    }
}
