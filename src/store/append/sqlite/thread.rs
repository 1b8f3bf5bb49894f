//! The thread that calls SQLite for the writer: it sleeps until it is given something to do, and does all of it without another turn.

use super::desk::Desk;
use crate::store::StoreError;
use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// What came of a job: an answer, or the panic that it ended in.
type Done<T> = Result<Result<T, StoreError>, Box<dyn Any + Send>>;

/// The way to the thread, which is started when it is first needed and ends with this.
#[derive(Debug, Default)]
pub(super) struct Thread {
    running: Option<(mpsc::Sender<Job>, JoinHandle<()>)>,
}

impl Thread {
    /// Does `work` on the thread. A panic there is the caller's, and costs the connection and not the thread. Where nobody waits for
    /// the answer any more, what was begun is rolled back.
    pub(super) async fn call<T: Send + 'static>(
        &mut self,
        operation: &'static str,
        desk: impl FnOnce() -> Desk,
        work: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel::<Done<T>>();
        let job: Job = Box::new(move |desk| {
            let done = panic::catch_unwind(AssertUnwindSafe(|| work(desk)));
            if done.is_err() {
                desk.forget();
            }
            if answer.send(done).is_err() {
                desk.abandon();
            }
        });
        self.send(operation, desk, job)?;
        match answered.await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => panic::resume_unwind(panic),
            Err(_) => Err(StoreError::database(operation)(sqlx::Error::WorkerCrashed)),
        }
    }

    fn send(
        &mut self,
        operation: &'static str,
        desk: impl FnOnce() -> Desk,
        job: Job,
    ) -> Result<(), StoreError> {
        let jobs = match &self.running {
            Some((jobs, _)) => jobs,
            None => {
                let (jobs, given) = mpsc::channel::<Job>();
                let mut desk = desk();
                let thread = thread::Builder::new()
                    .name("append".into())
                    .spawn(move || given.into_iter().for_each(|job| job(&mut desk)))
                    .map_err(|error| StoreError::database(operation)(sqlx::Error::Io(error)))?;
                &self.running.insert((jobs, thread)).0
            }
        };
        jobs.send(job).map_err(|_| {
            self.running = None;
            StoreError::database(operation)(sqlx::Error::WorkerCrashed)
        })
    }
}

impl Drop for Thread {
    /// Waits until its connection is closed: whoever opens the file next finds nobody in it.
    fn drop(&mut self) {
        if let Some((jobs, thread)) = self.running.take() {
            drop(jobs);
            // What it panicked with was told to whoever asked.
            let _ = thread.join();
        }
    }
}
