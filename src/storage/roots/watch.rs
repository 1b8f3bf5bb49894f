//! Looks at the local storage roots from time to time, so that one that is away is told before anybody asks for it.

use super::StorageRoots;
use super::local_root::LocalRoot;
use crate::telemetry;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often each root is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How long a look may take before the root counts as unavailable. Whoever waits for a file system that does not answer cannot be
/// called back, so nobody else is sent there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks at the roots until it is told to stop.
///
/// # Errors
/// Never.
pub async fn watch(roots: Arc<StorageRoots>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut watching = JoinSet::new();
    for root in roots.locals() {
        watching.spawn(watch_one(Arc::clone(root)));
    }
    stop.cancelled().await;
    Ok(())
}

/// Finds out which roots do not answer at all, so that nobody waits for them from the start.
pub async fn sound_out(roots: &StorageRoots) {
    let mut looks = JoinSet::new();
    for root in roots.locals() {
        let root = Arc::clone(root);
        looks.spawn(async move {
            let looked_at = Arc::clone(&root);
            let look = tokio::task::spawn_blocking(move || drop(looked_at.look()));
            if tokio::time::timeout(PATIENCE, look).await.is_err() {
                root.give_up_on();
            }
        });
    }
    looks.join_all().await;
}

async fn watch_one(root: Arc<LocalRoot>) {
    loop {
        let looked_at = Arc::clone(&root);
        let mut look = tokio::task::spawn_blocking(move || looked_at.open_anyway().is_ok());
        let seen = tokio::time::timeout(PATIENCE, &mut look).await;
        if seen.is_err() {
            root.give_up_on();
            gauge(&root);
            // It ends when the file system answers again, and says so itself.
            let _ = look.await;
        }
        gauge(&root);
        tokio::time::sleep(EVERY).await;
    }
}

fn gauge(root: &LocalRoot) {
    let available = if root.trouble().is_none() { 1.0 } else { 0.0 };
    metrics::gauge!(telemetry::STORAGE_ROOT_AVAILABLE, "root" => root.number().to_string()).set(available);
}
