//! What each local root is recognized by: found out when the ledger is opened, and remembered in its database.
//!
//! ```text
//! remembered?  marker in the folder        what happens
//! no           none                        first use: the marker is written; where it cannot be, the folder's numbers are remembered.
//!                                          But where the ledger knows of storage below the root and nothing of that is there, as
//!                                          below a mount that a ledger from before there were markers misses: unavailable
//! no           this ledger's               remembered
//! yes          none, or no folder          the root is unavailable until it is back
//! yes          the one that is remembered  whole
//! any          another one, or none at all refused: somebody else's folder, or another root's
//! no           no folder                   refused: nobody knows what should be there; unavailable where the ledger knows
//! ```
//!
//! A root that lies inside another one, of another ledger or of this one under another name (`inside.rs`), or that shares files with
//! another one in any way (`apart.rs`, `probe.rs`), is refused: what is named through one would not be known to be what is named
//! through the other.

use super::apart::{self, Member};
use super::inside;
use super::local_root::{Expected, LocalRoot, RootTrouble};
use super::marker::{self, Marker, MarkerFile};
use super::probe;
use crate::storage::roots::known::KnownRoot;
use crate::storage::roots::{RootError, StorageRoots};
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// Whether a root that was never used may be taken into use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstUse {
    /// Whoever asks serves or fills the ledger.
    Allowed,
    /// Whoever asks serves or fills the ledger, which knows of storage below the root, and nothing of that is there.
    Doubtful,
    /// Whoever asks only compares.
    Refused,
    /// It may have been used: what is remembered of it cannot be read. It stays unavailable, whatever is there.
    Unknown,
}

impl StorageRoots {
    /// Finds out what every local root is recognized by for which that was not found out yet, and writes markers where none is. The
    /// roots can be used from here on; those that are away can be once they are back. Returns what the database does not know yet.
    ///
    /// Whether a root may be taken into use that never was, `first_use` says by its URI. A doubtful one stays unavailable, and is
    /// found out about by the next call.
    ///
    /// Also of several instances that do this at once, all come to recognize the same: the marker that is written first stays,
    /// and of two rows the first.
    ///
    /// # Errors
    /// [`RootError`] names the root that cannot be this ledger's.
    pub fn identify(
        &self,
        ledger: Uuid,
        known: &[KnownRoot],
        first_use: &dyn Fn(&str) -> FirstUse,
        new_id: &dyn Fn() -> Uuid,
    ) -> Result<Vec<KnownRoot>, RootError> {
        self.check_places()?;
        let mut settled = Vec::new();
        for root in self.locals().filter(|root| root.expected().is_none()) {
            let uri = root.uri();
            if first_use(uri) == FirstUse::Unknown {
                root.doubt(ledger);
                continue;
            }
            let before = known.iter().find(|known| known.uri == uri);
            let found = (Candidate {
                root,
                ledger,
                known,
                before,
            })
            .settle(first_use(uri), new_id)?;
            match found {
                Some(found) => settled.push((root, found)),
                None => root.doubt(ledger),
            }
        }
        let members = self.members(&settled);
        apart::check(&members, ledger, known)?;
        if settled
            .iter()
            .any(|(root, _)| first_use(root.uri()) != FirstUse::Refused)
        {
            probe::check(&members, ledger, known)?;
        }
        let mut news = Vec::new();
        for (root, found) in settled {
            root.expect(Expected {
                ledger,
                root: found.root_id,
                numbers: found.numbers,
            });
            if !known.contains(&found) {
                news.push(found);
            }
        }
        Ok(news)
    }

    /// Refuses roots that show what is written into another one.
    ///
    /// # Errors
    /// [`RootError::Overlap`] names both.
    pub fn probe(&self, ledger: Uuid, known: &[KnownRoot]) -> Result<(), RootError> {
        probe::check(&self.members(&[]), ledger, known)
    }

    /// The roots of which it is known what they are recognized by, with those that this was found out of just now.
    fn members<'a>(&'a self, settled: &[(&'a Arc<LocalRoot>, KnownRoot)]) -> Vec<Member<'a>> {
        let before = self.locals().filter_map(|root| {
            Some(Member {
                root,
                id: root.expected()?.root,
            })
        });
        let now = settled.iter().map(|(root, found)| Member {
            root,
            id: found.root_id,
        });
        before.chain(now).collect()
    }

    /// Takes over what stands in the database. Of two instances that use a root first at once, the other may have been faster.
    pub fn expect_all(&self, ledger: Uuid, known: &[KnownRoot]) {
        for root in self.locals() {
            let uri = root.uri();
            if let Some(known) = known.iter().find(|known| known.uri == uri) {
                root.expect(Expected {
                    ledger,
                    root: known.root_id,
                    numbers: known.numbers,
                });
            }
        }
    }

    /// Writes the ids of the roots into markers that a person has written without them, once all instances know them.
    pub fn complete_markers(&self) {
        for root in self.locals() {
            let (Some(expected), Ok(look)) = (root.expected(), root.look()) else {
                continue;
            };
            let MarkerFile::Marker(Marker { ledger, root: None }) = look.found else {
                continue;
            };
            if ledger != expected.ledger {
                continue;
            }
            if let Err(error) = marker::complete(&look.dir, ledger, expected.root) {
                let uri = root.uri();
                tracing::debug!(storage.root = uri, %error, "the marker of the storage root {uri} stays without the root's id");
            }
        }
    }

    /// The local roots of which nobody has found out yet what they are recognized by.
    pub fn unidentified(&self) -> Vec<Arc<LocalRoot>> {
        let unknown = self.locals().filter(|root| root.expected().is_none());
        unknown.map(Arc::clone).collect()
    }

    /// Looks at every local root, so that the log tells which of them are away.
    pub fn look(&self) {
        for root in self.locals() {
            drop(root.open());
        }
    }

    /// The first local root that is not whole now, and why.
    #[must_use]
    pub fn first_unavailable(&self) -> Option<RootError> {
        self.locals().find_map(|root| {
            let trouble = root.open().err()?;
            Some(RootError::Unavailable {
                root: root.uri().to_owned(),
                advice: root.advice(trouble),
                trouble,
            })
        })
    }
}

/// A root, and what is known of it.
struct Candidate<'a> {
    root: &'a LocalRoot,
    ledger: Uuid,
    /// All roots that this ledger was ever used with.
    known: &'a [KnownRoot],
    before: Option<&'a KnownRoot>,
}

impl Candidate<'_> {
    /// What the root is recognized by; `None` while that is in doubt.
    fn settle(&self, first_use: FirstUse, new_id: &dyn Fn() -> Uuid) -> Result<Option<KnownRoot>, RootError> {
        let look = match (self.root.look(), self.before) {
            (Ok(look), _) => look,
            // Once it is back it must be what it was.
            (Err(_), Some(before)) => return Ok(Some(before.clone())),
            (Err(_), None) if first_use == FirstUse::Doubtful => return Ok(None),
            (Err(trouble), None) => return Err(self.missing(trouble)),
        };
        inside::check(self.root, &look, self.ledger, self.known)?;
        let same_folder = self
            .before
            .and_then(|before| before.numbers)
            .is_some_and(|numbers| numbers.same(look.numbers));
        let marked = |root_id| KnownRoot {
            uri: self.root.uri().to_owned(),
            root_id,
            numbers: None,
        };
        let root_id = match (look.found, self.before) {
            (MarkerFile::Odd(what), _) => return Err(self.refused(RootTrouble::Odd(what))),
            (MarkerFile::Marker(marker), _) if marker.ledger != self.ledger => {
                return Err(self.refused(RootTrouble::OtherLedger(marker.ledger)));
            }
            (MarkerFile::Marker(marker), None) => {
                return Ok(Some(marked(marker.root.unwrap_or_else(new_id))));
            }
            (MarkerFile::Marker(marker), Some(before)) => {
                return match marker.root {
                    None => Ok(Some(marked(before.root_id))),
                    Some(id) if id == before.root_id || same_folder => Ok(Some(marked(id))),
                    Some(id) => Err(self.refused(RootTrouble::OtherRoot(id))),
                };
            }
            // The marker could not be written before; perhaps it can be by now.
            (MarkerFile::Nothing, Some(before)) if same_folder => Some(before.root_id),
            (MarkerFile::Nothing, Some(before)) => return Ok(Some(before.clone())),
            (MarkerFile::Nothing, None) => None,
        };
        match (first_use, self.before) {
            (FirstUse::Refused, Some(before)) => return Ok(Some(before.clone())),
            (FirstUse::Refused, None) => {
                return Err(RootError::NeverUsed {
                    root: self.root.uri().to_owned(),
                });
            }
            (FirstUse::Doubtful | FirstUse::Unknown, None) => return Ok(None),
            (FirstUse::Unknown, Some(before)) => return Ok(Some(before.clone())),
            (FirstUse::Doubtful, Some(_)) | (FirstUse::Allowed, _) => {}
        }
        let root_id = root_id.unwrap_or_else(new_id);
        let written = marker::write(&look.dir, self.ledger, root_id);
        match marker::read(&look.dir) {
            // Perhaps another instance's, which was faster.
            Ok(MarkerFile::Marker(marker)) if marker.ledger == self.ledger => {
                Ok(Some(marked(marker.root.unwrap_or(root_id))))
            }
            Ok(MarkerFile::Marker(marker)) => Err(self.refused(RootTrouble::OtherLedger(marker.ledger))),
            Ok(MarkerFile::Odd(what)) => Err(self.refused(RootTrouble::Odd(what))),
            Ok(MarkerFile::Nothing) => {
                let cause = written
                    .err()
                    .map_or(io::ErrorKind::NotFound, |error| error.kind());
                let root = self.root.uri().to_owned();
                tracing::warn!(
                    storage.root = %root,
                    "no marker can be written into the storage root {root} ({cause}): it is recognized by its device, its inode and \
                     the time at which it was made, and counts as unavailable when these change"
                );
                Ok(Some(KnownRoot {
                    uri: root,
                    root_id,
                    numbers: Some(look.numbers),
                }))
            }
            Err(error) => Err(self.missing(RootTrouble::Unreadable(error.kind()))),
        }
    }

    fn refused(&self, trouble: RootTrouble) -> RootError {
        RootError::Unavailable {
            root: self.root.uri().to_owned(),
            trouble,
            advice: self.root.advice(trouble),
        }
    }

    fn missing(&self, trouble: RootTrouble) -> RootError {
        RootError::Missing {
            root: self.root.uri().to_owned(),
            trouble,
        }
    }
}
