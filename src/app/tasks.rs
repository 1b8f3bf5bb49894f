//! The service's background tasks: each has a name, an owner and an end.

use crate::panics::Panics;
use crate::telemetry;
use futures::FutureExt as _;
use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why a task ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("{name} ended")]
pub struct TaskError {
    name: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// Tasks that end together.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<Result<(), TaskError>>,
    stop: CancellationToken,
    panics: Panics,
}

/// A task that has run for so long does not panic at its start.
const CALM: Duration = Duration::from_secs(300);

/// The pause after a panic; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Tasks {
    /// No tasks yet; all of them are told to end by `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            stop,
            panics: Panics::default(),
        }
    }

    /// Which of them panic again and again.
    pub fn panics(&self) -> Panics {
        self.panics.clone()
    }

    /// Starts a task that runs until the token that it is given is cancelled. One that panics is made and started again after a
    /// pause: what it had not recorded is done again.
    pub fn spawn<M, F, E>(&mut self, name: &'static str, mut make: M)
    where
        M: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let (stop, panics) = (self.stop.clone(), self.panics.clone());
        self.set.spawn(async move {
            let mut in_a_row: u32 = 0;
            loop {
                let began = Instant::now();
                let running = AssertUnwindSafe(async { make(stop.clone()).await }).catch_unwind();
                tokio::pin!(running);
                let ended = if in_a_row == 0 {
                    running.await
                } else {
                    match tokio::time::timeout(CALM, &mut running).await {
                        Ok(ended) => ended,
                        Err(_) => {
                            in_a_row = 0;
                            panics.forget(name);
                            running.await
                        }
                    }
                };
                if let Ok(ended) = ended {
                    return ended.map_err(|source| TaskError {
                        name,
                        source: source.into(),
                    });
                }
                if began.elapsed() >= CALM {
                    in_a_row = 0;
                }
                in_a_row = in_a_row.saturating_add(1);
                panics.note(name, in_a_row);
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << (in_a_row - 1).min(6))
                    .min(LONGEST_PAUSE);
                if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
                    return Ok(());
                }
            }
        });
    }

    /// Waits until a task fails; for ever while none does.
    pub async fn failed(&mut self) -> TaskError {
        loop {
            match self.set.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Ok(Ok(()))) => {}
                Some(Err(panicked)) => {
                    return TaskError {
                        name: "a task",
                        source: panicked.into(),
                    };
                }
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Tells all tasks to end and waits for them; those that take longer than `grace` are dropped, which every task
    /// survives: what it had not recorded is done again.
    pub async fn end(mut self, grace: Duration) {
        self.stop.cancel();
        let joined = async {
            while let Some(ended) = self.set.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!(error = %telemetry::chain(&error), "a task ended badly");
                }
            }
        };
        if tokio::time::timeout(grace, joined).await.is_err() {
            tracing::warn!("tasks were cut off at the end of the shutdown grace");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_ends_nobody_else() {
        let mut tasks = Tasks::new(CancellationToken::new());
        let (begun, runs) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counted, running) = (Arc::clone(&begun), Arc::clone(&runs));
        tasks.spawn("a task", move |stop: CancellationToken| {
            let time = counted.fetch_add(1, Ordering::Relaxed);
            // Once before there is a future, once in it.
            assert!(time > 0, "the task's making panics");
            let running = Arc::clone(&running);
            async move {
                assert!(time > 1, "the task panics");
                running.notify_one();
                stop.cancelled().await;
                Ok::<_, Infallible>(())
            }
        });
        tokio::select! {
            () = runs.notified() => {}
            ended = tasks.failed() => panic!("{ended}"),
        }
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert_eq!(tasks.panics().warnings(), Vec::<String>::new());
        tasks.panics().note("a task", 3);
        assert_eq!(
            tasks.panics().warnings(),
            ["a task panicked 3 times in a row: the log says where"]
        );
        tasks.end(Duration::from_secs(5)).await;
    }
}
