//! Tasks that panicked and were started again, for whoever keeps the service running.

use crate::telemetry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// So many panics in a row are no accident.
const REPEATED: u32 = 3;

/// How often each task has panicked in a row; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Panics(Arc<Mutex<BTreeMap<&'static str, u32>>>);

impl Panics {
    /// Takes note that a task panicked for the `in_a_row`th time.
    pub fn note(&self, task: &'static str, in_a_row: u32) {
        metrics::counter!(telemetry::TASK_PANICS_TOTAL, "task" => task).increment(1);
        tracing::error!(task, in_a_row, "{task} panicked and is started again");
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.insert(task, in_a_row);
    }

    /// Takes note that a task has run for a while since it last panicked.
    pub fn forget(&self, task: &'static str) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.remove(task);
    }

    /// The tasks that panic again and again, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks
            .iter()
            .filter(|(_, in_a_row)| **in_a_row >= REPEATED)
            .map(|(task, in_a_row)| format!("{task} panicked {in_a_row} times in a row: the log says where"))
            .collect()
    }
}
