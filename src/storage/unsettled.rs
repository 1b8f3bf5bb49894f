//! What a purge of a bucket has asked to be deleted and not seen gone yet, and what of it was counted.
//!
//! An object counts once, when a listing that can be believed no longer has it. Until then it is *asked for*; how the storage has
//! answered decides nothing. Names are kept as hashes, and as many as fit into a bound: past it the counts become a lower bound,
//! never too high.

use super::driver::Object;
use crate::storage::deletion::Cleaned;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

/// How many objects are waited for at most: a page of them, and those that do not go.
const MAX_ASKED: usize = 100_000;

/// How many objects that were counted are recognized when a stale listing shows them again.
const MAX_COUNTED: usize = 500_000;

/// Which listing of which part of a place an object is found in.
pub(super) type PassNumber = u8;

/// What became of an object that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No listing has told since.
    Asked,
    /// A later listing still had it.
    There,
    /// The storage refused.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Its size; none for what is not counted.
    bytes: Option<u64>,
    fate: Fate,
    pass: PassNumber,
    /// When it was asked for last.
    round: u32,
    /// The page that it was seen on last.
    page: u32,
    /// Its name is not behind all that was counted, so that it may have been counted and be forgotten.
    perhaps_counted: bool,
}

/// What is not counted yet, and what must not be counted twice.
#[derive(Debug, Default)]
pub struct Unsettled {
    hasher: RandomState,
    asked: HashMap<u64, Asked>,
    counted: HashSet<u64>,
    /// The greatest name that was counted, of each pass.
    greatest: HashMap<PassNumber, Vec<u8>>,
    round: u32,
    page: u32,
    lost: bool,
}

/// What a page shows of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is to be asked for.
    New,
    /// It was asked for in this round, and is still there.
    Still,
}

impl Unsettled {
    /// Whether everything that was asked for is accounted for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.lost
            && self
                .asked
                .values()
                .all(|one| one.fate == Fate::Refused || one.bytes.is_none())
    }

    /// Whether objects may be gone that were not counted, if nobody looks again.
    #[must_use]
    pub fn falls_short(&self) -> bool {
        self.lost
            || self
                .asked
                .values()
                .any(|one| one.fate == Fate::Asked && one.bytes.is_some())
    }

    /// How much memory this takes, in objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.asked.len() + self.counted.len()
    }

    /// The version that a bucket without versions has is no other object than the one without.
    fn id(&self, found: &Object) -> u64 {
        let edition = found.edition.as_deref().filter(|edition| *edition != "null");
        self.hasher.hash_one((&found.name, edition))
    }

    /// What was refused before may be allowed by now.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
        self.asked.retain(|_, one| one.fate != Fate::Refused);
    }

    pub(super) fn begin_page(&mut self) -> u32 {
        self.page += 1;
        self.page
    }

    /// No more can be recognized: what does not go has to be passed by.
    pub(super) fn is_full(&self) -> bool {
        self.asked.len() >= MAX_ASKED
    }

    /// Notes that the present page has `found`.
    pub(super) fn see(&mut self, found: &Object) -> Sight {
        let id = self.id(found);
        match self.asked.get_mut(&id) {
            Some(one) => {
                one.page = self.page;
                if one.fate == Fate::Asked {
                    one.fate = Fate::There;
                }
                if one.round == self.round {
                    Sight::Still
                } else {
                    Sight::New
                }
            }
            None => Sight::New,
        }
    }

    /// Notes that `found` is asked to be deleted now.
    pub(super) fn ask(&mut self, found: &Object, pass: PassNumber) -> u64 {
        let id = self.id(found);
        if !self.asked.contains_key(&id) && self.is_full() {
            self.lost |= found.bytes.is_some();
            return id;
        }
        let perhaps_counted = self.greatest.get(&pass).is_some_and(|name| found.name <= *name);
        self.asked.insert(
            id,
            Asked {
                bytes: found.bytes,
                fate: Fate::Asked,
                pass,
                round: self.round,
                page: self.page,
                perhaps_counted,
            },
        );
        id
    }

    /// Notes that the storage refused to delete it: it is there.
    pub(super) fn refuse(&mut self, found: &Object) {
        let id = self.id(found);
        if let Some(one) = self.asked.get_mut(&id) {
            one.fate = Fate::Refused;
        }
    }

    /// Counts those of `batch` that the present page does not have, although it reaches past all of them (up to `greatest`).
    /// Returns what is counted, and how many are gone.
    pub(super) fn settle(&mut self, batch: &[u64], greatest: &[u8], pass: PassNumber) -> (Cleaned, u64) {
        let page = self.page;
        let mut sum = (Cleaned::default(), 0);
        for id in batch {
            if self.asked.get(id).is_some_and(|one| one.page < page) {
                self.gone(*id, &mut sum);
            }
        }
        let known = self.greatest.entry(pass).or_default();
        if known.as_slice() < greatest {
            *known = greatest.to_vec();
        }
        sum
    }

    /// Counts what was asked for and not seen in a pass that looked at everything since page `start`.
    pub(super) fn settle_pass(&mut self, pass: PassNumber, start: u32) -> (Cleaned, u64) {
        let unseen: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, one)| one.pass == pass && one.page < start)
            .map(|(id, _)| *id)
            .collect();
        let mut sum = (Cleaned::default(), 0);
        for id in unseen {
            self.gone(id, &mut sum);
        }
        sum
    }

    fn gone(&mut self, id: u64, sum: &mut (Cleaned, u64)) {
        let Some(one) = self.asked.remove(&id) else { return };
        sum.1 += 1;
        let Some(bytes) = one.bytes else { return };
        let first = if self.counted.len() < MAX_COUNTED {
            self.counted.insert(id)
        } else if self.counted.contains(&id) {
            false
        } else {
            self.lost |= one.perhaps_counted;
            !one.perhaps_counted
        };
        if first {
            sum.0 = sum.0.plus(Cleaned { objects: 1, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::EditionKind;
    use super::*;

    fn found(name: &str) -> Object {
        Object {
            name: name.as_bytes().to_vec(),
            edition: None,
            bytes: Some(10),
            current: true,
            kind: EditionKind::Version,
        }
    }

    fn page(unsettled: &mut Unsettled, names: &[&str]) -> Vec<u64> {
        unsettled.begin_page();
        let mut asked = Vec::new();
        for name in names {
            if unsettled.see(&found(name)) == Sight::New {
                asked.push(unsettled.ask(&found(name), 0));
            }
        }
        asked
    }

    #[test]
    fn an_object_counts_when_a_page_that_reaches_past_it_no_longer_has_it() {
        let mut unsettled = Unsettled::default();
        unsettled.begin_round();
        let batch = page(&mut unsettled, &["a", "b", "c"]);
        assert!(unsettled.falls_short());
        page(&mut unsettled, &["b", "d"]);
        let (counted, gone) = unsettled.settle(&batch, b"c", 0);
        assert_eq!((counted.objects, counted.bytes, gone), (2, 20, 2));
        // `b` is known to be there, and `d` was only just asked for.
        assert!(!unsettled.is_empty() && unsettled.falls_short());
    }

    #[test]
    fn an_object_that_a_stale_listing_shows_again_counts_once() {
        let mut unsettled = Unsettled::default();
        let mut sum = Cleaned::default();
        for _ in 0..5 {
            unsettled.begin_round();
            let batch = page(&mut unsettled, &["a", "b"]);
            unsettled.begin_page();
            sum = sum.plus(unsettled.settle(&batch, b"b", 0).0);
        }
        assert_eq!(sum.objects, 2);
        assert!(unsettled.is_empty() && !unsettled.falls_short());
    }

    #[test]
    fn what_is_refused_or_not_seen_gone_is_not_counted() {
        let mut unsettled = Unsettled::default();
        unsettled.begin_round();
        let batch = page(&mut unsettled, &["a", "b"]);
        unsettled.refuse(&found("a"));
        page(&mut unsettled, &["a", "b"]);
        assert_eq!(unsettled.settle(&batch, b"b", 0), (Cleaned::default(), 0));
        assert!(!unsettled.falls_short(), "both are known to be there");
        assert!(!unsettled.is_empty(), "`b` may go yet");
        // The next attempt does not find it any more.
        unsettled.begin_round();
        let start = unsettled.begin_page();
        assert_eq!(unsettled.settle_pass(0, start).0.objects, 1);
        assert!(unsettled.is_empty());
    }

    #[test]
    fn past_the_bound_counts_are_a_lower_bound_and_never_too_high() {
        let mut unsettled = Unsettled {
            counted: (0..MAX_COUNTED as u64).collect(),
            ..Unsettled::default()
        };
        unsettled.begin_round();
        let batch = page(&mut unsettled, &["m"]);
        unsettled.begin_page();
        assert_eq!(unsettled.settle(&batch, b"m", 0).0.objects, 1);
        assert!(unsettled.is_empty());
        // Shown again: it may be the one that was counted, or another that was written since.
        let batch = page(&mut unsettled, &["m"]);
        unsettled.begin_page();
        assert_eq!(unsettled.settle(&batch, b"m", 0).0.objects, 0);
        assert!(unsettled.falls_short());
        let batch = page(&mut unsettled, &["n"]);
        unsettled.begin_page();
        assert_eq!(unsettled.settle(&batch, b"n", 0).0.objects, 1);
    }
}
