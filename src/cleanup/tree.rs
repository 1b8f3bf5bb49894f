//! What a walk through a storage root meets.

use super::blob::BlobErrorKind;
use super::uri::Cloud;

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

/// An object that a walk met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// Its absolute path, or its key.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A place that a walk could not look into; it goes on behind it.
#[derive(Debug)]
pub struct Unread {
    /// Its absolute path, or the prefix.
    pub name: String,
    /// Why.
    pub kind: BlobErrorKind,
}
