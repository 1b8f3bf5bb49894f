//! Storage roots as they are walked.

use crate::storage::uri::Cloud;

/// A storage root, to be walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// A local folder: its absolute path without a slash at the end.
    Local(String),
    /// A prefix of a bucket, without a slash at its end; empty for the whole bucket.
    Bucket {
        /// Whose it is.
        cloud: Cloud,
        /// The bucket.
        bucket: String,
        /// The prefix.
        prefix: String,
    },
}
