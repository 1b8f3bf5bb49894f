//! One storage root, and why it may be refused.

use super::local_root::{LocalRoot, RootTrouble};
use super::marker::MARKER;
use crate::storage::uri::{Cloud, Spelled, UriRefusal, folder_uri, key_uri, spell};
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// One storage root.
#[derive(Debug, Clone)]
pub(in crate::storage) enum Root {
    Local(Arc<LocalRoot>),
    Bucket {
        cloud: Cloud,
        bucket: String,
        prefix: String,
    },
}

/// Why a storage root is refused. The text is for the operator and names the root, save for credentials.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Not spelled as `file:///abs/dir`, `s3://bucket[/prefix]`, `gs://bucket[/prefix]` or `az://container[/prefix]`.
    #[error("storage root {root} is refused: {reason}")]
    Malformed {
        /// The root as it was given.
        root: String,
        /// What is wrong with it.
        reason: UriRefusal,
    },
    /// User name or password in the root; credentials come from the environment.
    #[error("storage root number {number} is refused: it holds credentials")]
    Credentials {
        /// Which of the given roots, from 1.
        number: usize,
    },
    /// `file:///`: a root that allows everything protects nothing.
    #[error("storage root {root} is refused: it is the whole file system")]
    WholeFileSystem {
        /// The root as it was given.
        root: String,
    },
    /// A bucket name that its cloud does not allow.
    #[error("storage root {root} is refused: its bucket name is not valid")]
    BadBucket {
        /// The root as it was given.
        root: String,
    },
    /// Two roots are one place, or one lies inside the other: what is deleted in one would be the other's.
    #[error("storage roots {one} and {other} {how}; give one of them")]
    Overlap {
        /// The first.
        one: String,
        /// The second.
        other: String,
        /// How.
        how: String,
    },
    /// The root lies in the ledger's own folder.
    #[error("storage root {root} is refused: it lies in the ledger's own folder {dir}")]
    InsideOwn {
        /// The root.
        root: String,
        /// The folder.
        dir: String,
    },
    /// What is deleted in the root would be gone from the ledger's own folder.
    #[error(
        "storage root {root} is refused: through the overlay that is mounted at {mount}, what is deleted in it changes the ledger's own folder {dir}"
    )]
    ChangesOwn {
        /// The root.
        root: String,
        /// The folder.
        dir: String,
        /// Where the overlay is mounted.
        mount: String,
    },
    /// The root lies in a root of another ledger, whose purges would delete what is in it.
    #[error(
        "storage root {root} is refused: it lies inside {dir}, which is a storage root of another ledger, {ledger} (see {MARKER} in it)"
    )]
    InsideOther {
        /// The root.
        root: String,
        /// The other ledger's root.
        dir: String,
        /// The other ledger.
        ledger: Uuid,
    },
    /// The root was never used, and there is no folder: nobody can say what should be there.
    #[error(
        "storage root {root} cannot be opened: {trouble}; it was never used before, so it must be there at first"
    )]
    Missing {
        /// The root.
        root: String,
        /// Why.
        trouble: RootTrouble,
    },
    /// The folder is not the root.
    #[error("storage root {root} is unavailable: {trouble}{advice}")]
    Unavailable {
        /// The root.
        root: String,
        /// Why.
        trouble: RootTrouble,
        /// What to do.
        advice: String,
    },
    /// Two roots are recognized by the same.
    #[error(
        "storage root {root} has the marker of {of}: it is a copy of it, or the same; if it is a root of its own, remove the file {MARKER} from it"
    )]
    Copy {
        /// The root.
        root: String,
        /// The root whose marker it is.
        of: String,
    },
    /// Nobody has used the root yet, and whoever asks may not be the first.
    #[error("storage root {root} was never used by this ledger: serve it with this root first")]
    NeverUsed {
        /// The root.
        root: String,
    },
    /// The folder to protect cannot be resolved.
    #[error("the ledger's own folder {dir} cannot be resolved")]
    Protect {
        /// The folder.
        dir: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Root {
    /// For messages.
    pub(in crate::storage) fn uri(&self) -> String {
        match self {
            Self::Local(root) => root.uri().to_owned(),
            Self::Bucket {
                cloud,
                bucket,
                prefix,
            } => format!("{}://{bucket}/{prefix}", cloud.scheme()),
        }
    }

    /// Its URI in one spelling, which means the same to whoever parses it.
    pub(in crate::storage) fn name(&self) -> String {
        match self {
            Self::Local(root) => root.uri().to_owned(),
            Self::Bucket {
                cloud,
                bucket,
                prefix,
            } => key_uri(*cloud, bucket, prefix),
        }
    }

    pub(in crate::storage) fn parse(root: &str, number: usize) -> Result<Self, RootError> {
        let given = || root.to_owned();
        match spell(root) {
            Err(UriRefusal::Credentials) => Err(RootError::Credentials { number }),
            Err(reason) => Err(RootError::Malformed {
                root: given(),
                reason,
            }),
            Ok(Spelled::Local(components)) if components.is_empty() => {
                Err(RootError::WholeFileSystem { root: given() })
            }
            Ok(Spelled::Local(components)) => {
                let uri = folder_uri(&components);
                Ok(Self::Local(Arc::new(LocalRoot::new(components, uri, number))))
            }
            Ok(Spelled::Bucket { cloud, bucket, key }) => {
                let named = bucket
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
                // Google's names may hold dots between parts of up to 63.
                let longest = if cloud == Cloud::Gcs { 222 } else { 63 };
                if !named || !(3..=longest).contains(&bucket.len()) {
                    return Err(RootError::BadBucket { root: given() });
                }
                let prefix = key.strip_suffix('/').unwrap_or(&key);
                if !prefix.is_empty() && prefix.split('/').any(str::is_empty) {
                    return Err(RootError::Malformed {
                        root: given(),
                        reason: UriRefusal::EmptyComponent,
                    });
                }
                Ok(Self::Bucket {
                    cloud,
                    bucket,
                    prefix: prefix.to_owned(),
                })
            }
        }
    }
}
