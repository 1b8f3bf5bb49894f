//! What a kind of storage has to do.

use super::blob::{BlobError, Cleaned};
use super::progress::Progress;
use super::uri::StorageUri;
use async_trait::async_trait;

/// A kind of storage that objects can be deleted from.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Deletes everything that `uri` names, and returns only when a fresh and whole listing shows that nothing is left.
    ///
    /// Idempotent: what is already gone is a success with zero objects, and a purge that was cut off anywhere is finished by
    /// the next one. Nothing outside `uri` is touched. Memory does not grow with the number of objects beyond a bound. Dropping
    /// the future stops the purge, and may leave deletions uncounted; stopped by [`Progress::until`] it ends between two batches
    /// with [`BlobErrorKind::Interrupted`](super::blob::BlobErrorKind::Interrupted) and counts that are true.
    ///
    /// One request may be retried for minutes before it fails, without progress being told: a lease on this work has to be
    /// renewed by a timer, not by `progress`.
    ///
    /// # Errors
    /// [`BlobError`], when anything is left or may be left.
    async fn purge(&self, uri: &StorageUri, progress: &Progress<'_>) -> Result<Cleaned, BlobError>;
}
