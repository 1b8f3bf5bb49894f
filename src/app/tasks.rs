//! The service's background tasks: each has a name, an owner and an end.

use crate::telemetry;
use std::error::Error;
use std::future::Future;
use std::time::Duration;
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
}

impl Tasks {
    /// No tasks yet; all of them are told to end by `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            stop,
        }
    }

    /// What tells the tasks to end.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task that runs until the token is cancelled.
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        self.set.spawn(async move {
            task.await.map_err(|source| TaskError {
                name,
                source: source.into(),
            })
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
