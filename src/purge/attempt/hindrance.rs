//! What keeps a place from being cleaned, and what may help.

use crate::storage::deletion::BlobError;
use crate::store::claims::Claimants;
use std::time::Duration;

/// How many failed storage URIs an error text names.
const NAMED_FAILURES: usize = 3;

const UNREADABLE: &str = "the storage URIs cannot be opened";

/// What may help a purge that does not get on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// A person.
    None,
    /// Time alone.
    Time,
    /// The storage root, which is away on this instance, coming back: it is waited for, however long that takes.
    Root,
    /// Another instance.
    Others {
        /// After how long it is given up.
        given_up_in: Option<Duration>,
    },
}

/// What keeps a place from being cleaned.
#[derive(Debug)]
pub(super) enum Hindrance {
    /// The storage.
    Storage(BlobError),
    /// Others, who have something there too.
    Claimed(Claimants),
    /// It lies outside this instance's storage roots: whoever has its root cleans it.
    Elsewhere {
        /// After how long it is given up, if no instance has shown by then to have its root; none while one has.
        given_up_in: Option<Duration>,
    },
    /// No instance had its storage root for as long as a storage is retried that fails.
    Nowhere,
}

impl Hindrance {
    /// What may help.
    pub(super) const fn remedy(&self) -> Remedy {
        match self {
            Self::Storage(error) if error.kind.waits_for_root() => Remedy::Root,
            Self::Storage(error) if error.retryable => Remedy::Time,
            Self::Elsewhere { given_up_in } => Remedy::Others {
                given_up_in: *given_up_in,
            },
            Self::Storage(_) | Self::Claimed(_) | Self::Nowhere => Remedy::None,
        }
    }
}

/// A short cause for the ledger and its callbacks, without any path, key, bucket or id.
impl std::fmt::Display for Hindrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Elsewhere { given_up_in: None } => {
                f.write_str("it waits for an instance that has its storage root")
            }
            Self::Elsewhere { given_up_in: Some(_) } | Self::Nowhere => {
                f.write_str("no instance has its storage root")
            }
            Self::Claimed(Claimants {
                count: 1,
                at_least: false,
                ..
            }) => f.write_str("1 other claims a place in, around or at it"),
            Self::Claimed(others) => {
                let least = if others.at_least { "at least " } else { "" };
                write!(
                    f,
                    "{least}{} others claim a place in, around or at it",
                    others.count
                )
            }
        }
    }
}

/// Why something is left.
pub(super) struct Unfinished {
    pub(super) text: String,
    pub(super) remedy: Remedy,
}

impl Unfinished {
    pub(super) fn unreadable() -> Self {
        Self {
            text: UNREADABLE.to_owned(),
            remedy: Remedy::Time,
        }
    }
}

/// What stands in the way, for the log and the callback: the first few failures, none of which holds a path.
pub(super) fn summary(failures: &[Unfinished]) -> String {
    let mut text = failures
        .iter()
        .take(NAMED_FAILURES)
        .map(|failure| failure.text.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    let more = failures.len().saturating_sub(NAMED_FAILURES);
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_failures_is_cut_short() {
        let failures: Vec<Unfinished> = (1..=5)
            .map(|number| Unfinished {
                text: format!("storage {number} of 5: permission denied"),
                remedy: Remedy::None,
            })
            .collect();
        assert_eq!(summary(&failures[..1]), "storage 1 of 5: permission denied");
        assert!(summary(&failures).ends_with("storage 3 of 5: permission denied; and 2 more"));
    }
}
