//! Who is told of what a purge of a folder removes.

use crate::storage::deletion::{BlobErrorKind, Cleaned};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Progress is told after this many files.
const BATCH: u64 = 1_000;

/// Counts what is removed, and notices when nobody waits for the purge any more.
pub(super) struct Sink {
    pub(super) done: Arc<Mutex<Cleaned>>,
    pub(super) tell: mpsc::Sender<Cleaned>,
    pub(super) untold: u64,
}

impl Sink {
    pub(super) fn removed(&mut self, bytes: u64) -> Result<(), BlobErrorKind> {
        let so_far = {
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done = done.plus(Cleaned { objects: 1, bytes });
            *done
        };
        self.untold += 1;
        if self.untold < BATCH {
            return Ok(());
        }
        self.untold = 0;
        self.tell
            .blocking_send(so_far)
            .map_err(|_| BlobErrorKind::Interrupted)
    }

    pub(super) fn still_wanted(&self) -> Result<(), BlobErrorKind> {
        if self.tell.is_closed() {
            Err(BlobErrorKind::Interrupted)
        } else {
            Ok(())
        }
    }
}
