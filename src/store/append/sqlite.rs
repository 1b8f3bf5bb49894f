//! SQLite: the append transaction.
//!
//! ```text
//! writer   begin ─┐           ┌─ decides ─ commit ─┐              ┌─ acknowledges
//! thread          └ BEGIN, load ┘                  └ write, COMMIT ┘
//! ```
//!
//! A thread of the appender's own calls SQLite, on a connection of its own: a driver would wake another thread for each statement, which
//! costs more than the statement. Everything else that writes has another connection; the mutex around that one is the turn of both.

mod changes;
mod desk;
mod head;
mod load;
mod pages;
mod rows;
mod thread;
mod write;

use super::{AppendBackend, BatchNeeds, BatchSnapshot, BatchWrite, PageSizes};
use crate::store::sqlite::SqliteStore;
use crate::store::witness::Witness;
use crate::store::{Position, StoreError};
use async_trait::async_trait;
use desk::{Desk, Turn};
use rows::Rows;
use std::sync::Arc;
use thread::Thread;
use uuid::Uuid;

/// The thread that appends, and the turn to write.
#[derive(Debug)]
pub struct SqliteAppend {
    /// Ends before the store does, whose connection would otherwise be closed first.
    thread: Thread,
    store: SqliteStore,
    /// How large the list's pages may become.
    pages: PageSizes,
}

impl SqliteStore {
    /// The append backend. It takes turns with everything else that writes.
    #[must_use]
    pub fn appender(&self) -> SqliteAppend {
        SqliteAppend {
            thread: Thread::default(),
            store: self.clone(),
            pages: PageSizes::default(),
        }
    }
}

impl SqliteAppend {
    /// With other sizes of the list's pages.
    #[must_use]
    pub const fn with_pages(mut self, pages: PageSizes) -> Self {
        self.pages = pages;
        self
    }

    /// The turn to write, on the file that is known.
    async fn turn(&self, operation: &'static str) -> Result<Turn, StoreError> {
        let turn = self.store.turn().await;
        self.store.file.check_all(operation).await?;
        Ok(turn)
    }

    async fn call<T: Send + 'static>(
        &mut self,
        operation: &'static str,
        work: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = &self.store;
        let desk = || {
            let path = store.options.get_filename().to_owned();
            Desk::new(path, store.cache_kib, Arc::clone(&store.file))
        };
        self.thread.call(operation, desk, work).await
    }
}

#[async_trait]
impl AppendBackend for SqliteAppend {
    async fn begin(&mut self, needs: &BatchNeeds) -> Result<BatchSnapshot, StoreError> {
        let operation = "begin the batch";
        let turn = self.turn(operation).await?;
        let needs = needs.clone();
        self.call(operation, move |desk| desk.begin(turn, &needs)).await
    }

    async fn commit(&mut self, write: &BatchWrite) -> Result<(), StoreError> {
        let operation = "commit the batch";
        let (rows, pages) = (Rows::from(write), self.pages);
        let turn = self
            .call(operation, move |desk| desk.commit(&rows, pages))
            .await?;
        self.store.file.note(&write.head);
        // What went to a file that is not there any more, or is another's, is not to be acknowledged.
        let checked = self.store.file.check_all(operation).await;
        drop(turn);
        checked
    }

    async fn rollback(&mut self) -> Result<(), StoreError> {
        self.call("roll the batch back", Desk::rollback).await
    }

    async fn is_committed(&mut self, position: Position, event_id: Uuid) -> Result<bool, StoreError> {
        let operation = "look a commit up";
        let turn = self.turn(operation).await?;
        self.call(operation, move |desk| {
            desk.is_committed(&turn, position, event_id)
        })
        .await
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        let operation = "open the database again";
        // Whoever panicked while the thread had a transaction open has left it the turn.
        self.call(operation, |desk| {
            desk.forget();
            Ok(())
        })
        .await?;
        let turn = self.store.turn().await;
        // Before anything is opened: where the file was emptied, SQLite would remove the log that still has it all.
        self.store.file.check_content(operation).await?;
        self.call(operation, move |desk| desk.replace(turn)).await
    }

    async fn look(&mut self, prove: bool) -> Result<(), StoreError> {
        let operation = "look at the head";
        let turn = self.turn(operation).await?;
        let turn = self.call(operation, move |desk| desk.look(turn, prove)).await?;
        let checked = self.store.file.check_all(operation).await;
        drop(turn);
        checked
    }

    fn witness(&self) -> &Arc<Witness> {
        self.store.file.witness()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use futures::poll;
    use std::panic::AssertUnwindSafe;
    use std::pin::pin;

    async fn store() -> (tempfile::TempDir, SqliteStore) {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&home.path().join("ledger.sqlite"), 1)
            .await
            .unwrap();
        store.migrate().await.unwrap();
        (home, store)
    }

    #[tokio::test]
    async fn a_batch_that_nobody_waits_for_leaves_the_turn_to_others_and_nothing_open() {
        let (_home, store) = store().await;
        let mut appender = store.appender();
        for _ in 0..20 {
            let needs = BatchNeeds::default();
            let begun = poll!(pin!(appender.begin(&needs))).is_ready();
            if begun {
                // The thread was faster than whoever did not want to wait.
                appender.rollback().await.unwrap();
            }
            assert_eq!(store.remember("told", "once").await.unwrap(), "once");
        }
        appender.begin(&BatchNeeds::default()).await.unwrap();
        appender.rollback().await.unwrap();
        assert!(appender.rollback().await.is_err(), "nothing is open");
    }

    #[tokio::test]
    async fn a_panic_on_the_thread_is_the_callers_and_the_next_call_finds_a_fresh_connection() {
        let (_home, store) = store().await;
        let mut appender = store.appender();
        appender.begin(&BatchNeeds::default()).await.unwrap();
        let panicked = appender.call::<()>("panic", |_| panic!("told to"));
        let told = AssertUnwindSafe(panicked).catch_unwind().await.unwrap_err();
        assert_eq!(told.downcast_ref::<&str>(), Some(&"told to"));
        assert_eq!(store.remember("told", "once").await.unwrap(), "once");
        appender.begin(&BatchNeeds::default()).await.unwrap();
        // A writer that panics between the two has its backend reconnect.
        appender.reconnect().await.unwrap();
        appender.look(true).await.unwrap();
    }

    #[tokio::test]
    async fn what_ends_while_a_transaction_is_open_leaves_the_file_to_others() {
        let (_home, store) = store().await;
        let mut appender = store.appender();
        appender.begin(&BatchNeeds::default()).await.unwrap();
        drop(appender);
        assert_eq!(store.remember("told", "once").await.unwrap(), "once");
    }
}
