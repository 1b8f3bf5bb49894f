//! The service's background tasks: each has a name, an owner and an end.
//!
//! A task ends when it is told to, or when it has proven that the process must not go on. Whatever else ends it, a panic or an error,
//! it is made and started again after a pause: what it had not recorded is done again.

use crate::clock::SharedClock;
use crate::task_states::{Report, TaskFailure, TaskStates};
use crate::telemetry;
use futures::FutureExt as _;
use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why a task ended before it was told to: it proved that the process must not go on.
#[derive(Debug, thiserror::Error)]
#[error("{name} ended")]
pub struct TaskError {
    name: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// Tasks that end together.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<Result<(), TaskError>>,
    stop: CancellationToken,
    states: TaskStates,
}

/// A task that has run for so long does not panic at its start.
const CALM: Duration = Duration::from_secs(300);

/// One that failed and has run for so long since gets on again.
const RECOVERED: Duration = Duration::from_secs(5);

/// The pause before a task is started again; it doubles with each time in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a panic, and after an error: what passes may be over at any moment.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

impl Tasks {
    /// No tasks yet; all of them are told to end by `stop`.
    pub fn new(stop: CancellationToken, clock: SharedClock) -> Self {
        Self {
            set: JoinSet::new(),
            stop,
            states: TaskStates::new(clock),
        }
    }

    /// How each of them gets on.
    pub fn states(&self) -> TaskStates {
        self.states.clone()
    }

    /// Starts a task that runs until the token that it is given is cancelled. One that ends otherwise is made and started again
    /// after a pause, unless it has proven that the process must not go on.
    pub fn spawn<M, F, E>(&mut self, name: impl Into<String>, make: M)
    where
        M: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: TaskFailure,
    {
        let (stop, name) = (self.stop.clone(), name.into());
        let report = self.states.begin(&name);
        self.set.spawn(async move {
            let ended = keep_running(&name, &report, make, &stop).await;
            ended.map_err(|source| TaskError {
                name,
                source: source.into(),
            })
        });
    }

    /// Waits until a task proves that the process must not go on; for ever while none does.
    pub async fn failed(&mut self) -> TaskError {
        loop {
            match self.set.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Ok(Ok(()))) => {}
                Some(Err(panicked)) => {
                    return TaskError {
                        name: "a task's keeping".to_owned(),
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

/// Runs a task until it is told to end.
///
/// # Errors
/// What it has proven.
async fn keep_running<M, F, E>(
    name: &str,
    report: &Report,
    mut make: M,
    stop: &CancellationToken,
) -> Result<(), E>
where
    M: FnMut(CancellationToken) -> F,
    F: Future<Output = Result<(), E>>,
    E: TaskFailure,
{
    let (mut in_a_row, mut calm): (u32, _) = (0, CALM);
    loop {
        let began = Instant::now();
        // Its making may panic as well.
        let running = AssertUnwindSafe(report.run(async { make(stop.clone()).await })).catch_unwind();
        tokio::pin!(running);
        let ended = if in_a_row == 0 {
            running.await
        } else {
            match tokio::time::timeout(calm, &mut running).await {
                Ok(ended) => ended,
                Err(_) => {
                    in_a_row = 0;
                    report.is_calm();
                    running.await
                }
            }
        };
        if began.elapsed() >= calm {
            in_a_row = 0;
        }
        in_a_row = in_a_row.saturating_add(1);
        let longest = match ended {
            Ok(Err(error)) if error.is_proven() => return Err(error),
            Ok(Ok(())) if stop.is_cancelled() => return Ok(()),
            Ok(Ok(())) => {
                tracing::warn!(
                    task = name,
                    in_a_row,
                    "{name} ended by itself and is started again"
                );
                report.ended("it ended by itself".to_owned());
                calm = RECOVERED;
                LONGEST_WAIT
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    task = name,
                    in_a_row,
                    error = %telemetry::chain(&error),
                    "{name} failed and is started again"
                );
                report.ended(error.brief());
                calm = RECOVERED;
                LONGEST_WAIT
            }
            Err(_) => {
                report.panicked(in_a_row);
                calm = CALM;
                LONGEST_PAUSE
            }
        };
        let pause = FIRST_PAUSE
            .saturating_mul(1 << (in_a_row - 1).min(6))
            .min(longest);
        if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::task_states::State;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_ends_nobody_else() {
        let mut tasks = Tasks::new(CancellationToken::new(), Arc::new(SystemClock));
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
        assert_eq!(tasks.states().warnings(), Vec::<String>::new());
        assert_eq!(tasks.states().rows()[0].state, State::Restarting);
        tasks.end(Duration::from_secs(5)).await;
    }

    #[derive(Debug, Clone, Copy, thiserror::Error)]
    #[error("failed")]
    struct Failed {
        proven: bool,
    }

    impl TaskFailure for Failed {
        fn is_proven(&self) -> bool {
            self.proven
        }

        fn brief(&self) -> String {
            "it failed".to_owned()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_proven_ends_the_process_and_all_else_is_tried_again() {
        let mut tasks = Tasks::new(CancellationToken::new(), Arc::new(SystemClock));
        let (begun, runs) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counted, running) = (Arc::clone(&begun), Arc::clone(&runs));
        tasks.spawn("a task", move |stop: CancellationToken| {
            let time = counted.fetch_add(1, Ordering::Relaxed);
            let running = Arc::clone(&running);
            async move {
                match time {
                    0..20 => Err(Failed { proven: false }),
                    20 => Ok(()),
                    _ => {
                        running.notify_one();
                        stop.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        tokio::select! {
            () = runs.notified() => {}
            ended = tasks.failed() => panic!("{ended}"),
        }
        let row = || tasks.states().rows().remove(0);
        assert_eq!(
            (row().state, row().error.as_deref()),
            (State::Restarting, Some("it ended by itself"))
        );
        tokio::time::sleep(2 * RECOVERED).await;
        assert_eq!((row().state, row().error), (State::Running, None));
        tasks.spawn("another task", move |_| async { Err(Failed { proven: true }) });
        assert_eq!(tasks.failed().await.to_string(), "another task ended");
        tasks.end(Duration::from_secs(5)).await;
    }
}
