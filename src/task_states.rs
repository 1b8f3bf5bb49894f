//! How the background tasks get on, for whoever keeps the service running: one table, a row for each task.
//!
//! ```text
//! supervisor ── runs, panicked, ended ──┐
//!                                       ├─▶ TaskStates ──▶ /readyz, metrics
//! a task's own loop ── waits, goes on ──┘
//! ```
//!
//! A loop tells how it gets on by [`waits`] and [`goes_on`], wherever it is in its task: which task that is, the supervisor has
//! said. Outside of a supervised task nothing is told to anybody.

use crate::clock::SharedClock;
use crate::telemetry;
use chrono::{DateTime, Utc};
use metrics::{counter, gauge};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many panics in a row are no accident.
const REPEATED: u32 = 3;

/// What a background task can fail with.
pub trait TaskFailure: Error + Send + Sync + 'static {
    /// Whether it proves that this process must not go on: its database is not the ledger that it knows, or the log is not what was
    /// signed. Everything else passes, or waits for an operator, and ends nothing.
    fn is_proven(&self) -> bool;

    /// What failed, for a probe that anybody may read: no path, no secret, no text of a server's.
    fn brief(&self) -> String;
}

impl TaskFailure for Infallible {
    fn is_proven(&self) -> bool {
        match *self {}
    }

    fn brief(&self) -> String {
        match *self {}
    }
}

/// How a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It gets on.
    Running,
    /// It tries again what failed.
    Waiting,
    /// It ended or panicked, and was or will be started again.
    Restarting,
}

impl State {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Restarting => "restarting",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskState {
    /// The task.
    pub task: String,
    /// How it is.
    pub state: State,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What failed last, as long as it is not over.
    pub error: Option<String>,
}

/// How each task is; cheap to clone.
#[derive(Clone)]
pub struct TaskStates {
    clock: SharedClock,
    tasks: Arc<Mutex<BTreeMap<String, Task>>>,
}

impl std::fmt::Debug for TaskStates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskStates")
            .field("tasks", &*self.tasks())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Task {
    running_since: DateTime<Utc>,
    restarted: Option<Trouble>,
    panics: u32,
    /// What its loops wait for, each by a name of its own.
    waits: BTreeMap<&'static str, Trouble>,
}

#[derive(Debug, Clone)]
struct Trouble {
    since: DateTime<Utc>,
    error: String,
}

impl TaskStates {
    /// No tasks yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            tasks: Arc::default(),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A row for a task that begins.
    #[must_use]
    pub fn begin(&self, task: &str) -> Report {
        let row = Task {
            running_since: self.clock.now(),
            restarted: None,
            panics: 0,
            waits: BTreeMap::new(),
        };
        show(task, &row);
        // There before the first time, so that this is seen as growth.
        for times in [telemetry::TASK_FAILURES_TOTAL, telemetry::TASK_PANICS_TOTAL] {
            counter!(times, "task" => task.to_owned()).increment(0);
        }
        self.tasks().insert(task.to_owned(), row);
        Report {
            states: self.clone(),
            task: task.into(),
        }
    }

    /// The table.
    #[must_use]
    pub fn rows(&self) -> Vec<TaskState> {
        self.tasks().iter().map(|(name, task)| task.row(name)).collect()
    }

    /// The tasks that do not get on, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let tasks = self.tasks();
        let warnings = tasks.iter().filter_map(|(name, task)| {
            if task.panics > 0 {
                let panics = task.panics;
                return (panics >= REPEATED)
                    .then(|| format!("{name} panicked {panics} times in a row: the log says where"));
            }
            let row = task.row(name);
            let error = row.error?;
            Some(format!(
                "{name} does not get on since {}: {error}",
                row.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            ))
        });
        warnings.collect()
    }
}

impl Task {
    fn row(&self, name: &str) -> TaskState {
        let waits = self.waits.values().min_by_key(|trouble| trouble.since);
        let (state, since, error) = match (&self.restarted, waits) {
            (Some(trouble), _) => (State::Restarting, trouble.since, Some(trouble.error.clone())),
            (None, Some(trouble)) => (State::Waiting, trouble.since, Some(trouble.error.clone())),
            (None, None) => (State::Running, self.running_since, None),
        };
        TaskState {
            task: name.to_owned(),
            state,
            since,
            error,
        }
    }
}

fn show(name: &str, task: &Task) {
    let fails = task.restarted.is_some() || !task.waits.is_empty();
    gauge!(telemetry::TASK_UP, "task" => name.to_owned()).set(if fails { 0.0 } else { 1.0 });
}

/// Tells how one task gets on; cheap to clone.
#[derive(Debug, Clone)]
pub struct Report {
    states: TaskStates,
    task: Arc<str>,
}

tokio::task_local! {
    static CURRENT: Report;
}

impl Report {
    /// Runs a part of the task: what it tells by [`waits`] and [`goes_on`] is told of this task.
    pub async fn run<F: Future>(&self, part: F) -> F::Output {
        CURRENT.scope(self.clone(), part).await
    }

    fn change(&self, change: impl FnOnce(&mut Task, DateTime<Utc>)) {
        let now = self.states.clock.now();
        let mut tasks = self.states.tasks();
        if let Some(task) = tasks.get_mut(&*self.task) {
            change(task, now);
            show(&self.task, task);
        }
    }

    /// The task panicked for the `in_a_row`th time, and is started again.
    pub fn panicked(&self, in_a_row: u32) {
        let task = &*self.task;
        counter!(telemetry::TASK_PANICS_TOTAL, "task" => task.to_owned()).increment(1);
        tracing::error!(task, in_a_row, "{task} panicked and is started again");
        self.restarts("it panicked".to_owned(), in_a_row);
    }

    /// The task ended for the `in_a_row`th time before it was told to, and is started again.
    pub fn ended(&self, error: String) {
        let task = &*self.task;
        counter!(telemetry::TASK_FAILURES_TOTAL, "task" => task.to_owned()).increment(1);
        self.restarts(error, 0);
    }

    fn restarts(&self, error: String, panics: u32) {
        self.change(|task, now| {
            let since = task.restarted.as_ref().map_or(now, |trouble| trouble.since);
            task.restarted = Some(Trouble { since, error });
            task.panics = panics;
            task.waits.clear();
        });
    }

    /// The task has run for a while since it was started again.
    pub fn is_calm(&self) {
        self.change(|task, now| {
            task.restarted = None;
            task.panics = 0;
            task.running_since = now;
        });
    }
}

/// Tells that a loop of the current task waits, and why; `part` tells its loops apart.
pub fn waits(part: &'static str, failure: &dyn TaskFailure) {
    waits_for(part, || failure.brief());
}

/// As [`waits`], with the words for it: no path, no secret.
pub fn waits_for(part: &'static str, error: impl FnOnce() -> String) {
    // Not in a supervised task: nobody asks.
    let _ = CURRENT.try_with(|report| {
        counter!(telemetry::TASK_FAILURES_TOTAL, "task" => report.task.to_string()).increment(1);
        let error = error();
        report.change(|task, now| {
            let since = task.waits.get(part).map_or(now, |trouble| trouble.since);
            task.waits.insert(part, Trouble { since, error });
        });
    });
}

/// Tells that a loop of the current task gets on.
pub fn goes_on(part: &'static str) {
    let _ = CURRENT.try_with(|report| {
        let waited = report
            .states
            .tasks()
            .get(&*report.task)
            .is_some_and(|task| task.waits.contains_key(part));
        // Asked at every turn of a loop, and hardly ever true.
        if waited {
            report.change(|task, now| {
                task.waits.remove(part);
                task.running_since = now;
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn states() -> TaskStates {
        TaskStates::new(Arc::new(SystemClock))
    }

    fn seen(states: &TaskStates) -> Vec<(String, State, Option<String>)> {
        let rows = states.rows().into_iter();
        rows.map(|row| (row.task, row.state, row.error)).collect()
    }

    #[tokio::test]
    async fn what_a_loop_tells_is_told_of_its_task_and_of_that_loop_alone() {
        let states = states();
        let (one, _other) = (states.begin("one"), states.begin("other"));
        let row = |state, error: Option<&str>| ("one".to_owned(), state, error.map(str::to_owned));
        let other = ("other".to_owned(), State::Running, None);
        one.run(async {
            waits_for("reading", || "no answer".to_owned());
            assert_eq!(seen(&states)[0], row(State::Waiting, Some("no answer")));
            let since = states.rows()[0].since;
            waits_for("writing", || "full".to_owned());
            waits_for("reading", || "refused".to_owned());
            assert_eq!(states.rows()[0].since, since, "it waits since it waited first");
            assert_eq!(states.warnings().len(), 1);
            goes_on("reading");
            assert_eq!(seen(&states)[0], row(State::Waiting, Some("full")));
            goes_on("reading");
            goes_on("writing");
        })
        .await;
        assert_eq!(seen(&states), [row(State::Running, None), other]);
        assert_eq!(states.warnings(), Vec::<String>::new());
        waits_for("reading", || unreachable!("nobody asks outside of a task"));
        goes_on("reading");
    }

    #[tokio::test]
    async fn a_task_that_is_started_again_is_told_of_until_it_has_run_for_a_while() {
        let states = states();
        let report = states.begin("one");
        report.ended("the disk is full".to_owned());
        assert_eq!(states.rows()[0].state, State::Restarting);
        assert!(
            states.warnings()[0].ends_with("the disk is full"),
            "{:?}",
            states.warnings()
        );
        report.is_calm();
        assert_eq!(states.rows()[0].state, State::Running);
        for in_a_row in 1..=3 {
            assert_eq!(states.warnings(), Vec::<String>::new(), "one panic is no pattern");
            report.panicked(in_a_row);
        }
        assert_eq!(
            states.warnings(),
            ["one panicked 3 times in a row: the log says where"]
        );
    }
}
