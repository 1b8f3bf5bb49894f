//! What a deletion comes to, whatever kind of storage it is in.

use super::uri::UriRefusal;
use std::io;

/// What was deleted: objects are regular files, or object versions with content.
///
/// In a bucket an object counts once, when it was listed and a later listing that can be believed no longer has it: that the
/// storage says it has deleted something is no proof. Folders, symbolic links, delete markers and unfinished uploads are removed
/// as well and not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Number of objects.
    pub objects: u64,
    /// Their size, in bytes.
    pub bytes: u64,
}

impl Cleaned {
    /// Adds what was counted elsewhere, for example in an attempt before this one.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects.saturating_add(other.objects),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What ends a purge before everything is gone.
#[derive(Debug)]
pub(crate) struct Stop {
    /// What stands in the way.
    pub(crate) kind: BlobErrorKind,
    /// What it failed at, as in [`BlobError::at`].
    pub(crate) at: Option<String>,
}

impl Stop {
    /// With what was deleted before.
    pub(crate) fn after(self, done: Cleaned) -> BlobError {
        BlobError {
            at: self.at,
            ..self.kind.after(done)
        }
    }
}

impl From<BlobErrorKind> for Stop {
    fn from(kind: BlobErrorKind) -> Self {
        Self { kind, at: None }
    }
}

/// A purge that did not end with everything gone.
///
/// `Display` is a short cause for the ledger and its callbacks; it holds no path, key or bucket.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct BlobError {
    /// What stood in the way.
    #[source]
    pub kind: BlobErrorKind,
    /// Whether the same purge may succeed later without anyone stepping in.
    pub retryable: bool,
    /// What was deleted before.
    pub done: Cleaned,
    /// The object, file, folder or mount that it failed at, as an absolute path or a URI without any encoding; absent for the whole
    /// place. Personal data, and no part of `Display`.
    pub at: Option<String>,
}

/// What stands in the way of a purge.
#[derive(Debug, thiserror::Error)]
pub enum BlobErrorKind {
    /// The URI may not be deleted (any more).
    #[error("the storage URI is refused: {0}")]
    Refused(UriRefusal),
    /// The storage does not let this service delete.
    #[error("permission denied")]
    PermissionDenied,
    /// WORM: retention or a legal hold keeps objects.
    #[error("objects are under Object Lock: {remaining} remain")]
    ObjectLocked {
        /// How many versions are left.
        remaining: u64,
    },
    /// The storage asked to slow down for longer than one purge waits.
    #[error("the storage is throttling")]
    Throttled,
    /// No answer, or only server errors, for longer than one purge waits.
    #[error("the storage cannot be reached")]
    Unavailable,
    /// An answer that is not whole, or is not the answer to what was asked: it shows nothing, least of all that nothing is left.
    #[error("the storage's answer is not believed: {what}")]
    Doubtful {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A refusal without an error code of the storage's own, or one that such a storage does not give: a proxy, a gateway or a login
    /// page may be behind it, and it may pass.
    #[error("a refusal is not believed to be the storage's own: {code}")]
    ForeignRefusal {
        /// The status, such as `status403`, or the code that came with it (letters and digits only).
        code: String,
    },
    /// Neither environment nor shared files nor the machine has credentials for the storage, or their source fails.
    #[error("there are no credentials for the storage")]
    NoCredentials,
    /// Credentials that have expired or are not (yet) known, or a clock that is wrong.
    #[error("the storage does not accept the credentials: {code}")]
    CredentialsRefused {
        /// The code, such as `ExpiredToken` (letters and digits only).
        code: String,
    },
    /// Something may be left that this service is not allowed to see.
    #[error("{what} may be left: {right}")]
    MissingRight {
        /// What cannot be seen.
        what: &'static str,
        /// What is needed to see it.
        right: &'static str,
        /// The storage may not have meant it: it gave an answer that such a storage does not give.
        odd: bool,
    },
    /// The bucket of a storage root does not exist: a wrong name, region or endpoint, and no proof that the objects are gone.
    #[error("the bucket of the storage root does not exist")]
    NoSuchBucket,
    /// The folder of a storage root is not there, or not the one that it was: perhaps not mounted, and no proof that the files
    /// are gone. It is waited for without end.
    #[error("the storage root is unavailable: not mounted, or not the folder that it was")]
    RootUnavailable,
    /// Something is mounted at the folder, inside it or above it; a purge does not cross into it.
    #[error("another file system is mounted at or inside the folder")]
    OtherFileSystem,
    /// What is deleted here would be gone from another root, or changed in it.
    #[error("an overlay is mounted through which the storage root shares files with another one")]
    SharedRoot,
    /// Things are still there after they were deleted: someone keeps writing, or the storage does not do what it says.
    #[error("the storage is not empty after deletion")]
    NotEmpty,
    /// The storage refused a request with an error code of its own.
    #[error("the storage answered {code}")]
    Rejected {
        /// The code, such as `InvalidRequest` (letters and digits only).
        code: String,
    },
    /// A system call on the file system failed.
    #[error("the file system answered: {0}")]
    Io(io::ErrorKind),
    /// No storage of this kind is connected.
    #[error("no storage of this kind is connected")]
    NotConnected,
    /// The deleting task died.
    #[error("the cleanup was interrupted")]
    Interrupted,
}

impl BlobErrorKind {
    /// What the file system stands in the way with.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            kind => Self::Io(kind),
        }
    }

    /// Whether time alone may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_transient(),
            Self::MissingRight { odd, .. } => *odd,
            Self::PermissionDenied
            | Self::ObjectLocked { .. }
            | Self::NoSuchBucket
            | Self::OtherFileSystem
            | Self::SharedRoot
            | Self::NotConnected => false,
            Self::Throttled
            | Self::Unavailable
            | Self::Doubtful { .. }
            | Self::ForeignRefusal { .. }
            | Self::NoCredentials
            | Self::CredentialsRefused { .. }
            | Self::RootUnavailable
            | Self::NotEmpty
            | Self::Interrupted => true,
            // What a code means is not known here; one that passes on its own is worth the wait for a person to look.
            Self::Rejected { .. } => false,
            Self::Io(kind) => !matches!(
                kind,
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::Unsupported
            ),
        }
    }

    /// Whether nothing is wrong with the purge, and its storage root must come back first, however long that takes.
    #[must_use]
    pub const fn waits_for_root(&self) -> bool {
        matches!(
            self,
            Self::RootUnavailable | Self::Refused(UriRefusal::RootUnavailable)
        )
    }

    pub(crate) fn after(self, done: Cleaned) -> BlobError {
        BlobError {
            retryable: self.is_retryable(),
            kind: self,
            done,
            at: None,
        }
    }
}
