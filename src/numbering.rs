//! The ledger's number: 1 for the first origin, and one more with each fork.
//!
//! ```text
//! ledger 1   1 2 3 4 5 6 7 8 9
//! ledger 2   1 2 3 4'5'6'            forked from the first three
//! ```
//!
//! After a fork, positions behind it are used a second time. So whatever names a position to somebody outside says of which
//! ledger: events by their `source`, cursors by the number that they carry. An event keeps the number that it was recorded
//! under, so that it is the same event for whoever gets it again after a fork; a cursor has the number of the ledger that gave
//! it out, and one of another number is refused with the position from which to go on.

use crate::store::Position;
use std::sync::Arc;

/// Which ledger recorded which position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbering {
    current: u64,
    /// Every fork that this ledger knows: the number that it opened, and how many events it went on from; in their order.
    forks: Arc<[(u64, Position)]>,
}

impl Default for Numbering {
    fn default() -> Self {
        Self::new([])
    }
}

impl Numbering {
    /// The numbering of a ledger with these forks, oldest first: the number that each opened, and how many events it went on
    /// from. Numbers may be skipped: of a ledger that was restored from a copy older than its last fork.
    #[must_use]
    pub fn new(forks: impl IntoIterator<Item = (u64, Position)>) -> Self {
        let forks: Arc<[_]> = forks.into_iter().collect();
        Self {
            current: forks.last().map_or(1, |(number, _)| *number),
            forks,
        }
    }

    /// The ledger's number.
    #[must_use]
    pub const fn current(&self) -> u64 {
        self.current
    }

    /// The numbering as it was before the fork that opened `number`.
    #[must_use]
    pub fn before(&self, number: u64) -> Self {
        let earlier = self.forks.iter().copied();
        Self::new(earlier.filter(|(opened, _)| *opened < number))
    }

    /// How many events the fork that opened a number went on from; `None` for one that no fork has opened.
    #[must_use]
    pub fn begun_at(&self, number: u64) -> Option<Position> {
        let opened = self.forks.iter().find(|(opened, _)| *opened == number);
        opened.map(|(_, size)| *size)
    }

    /// The number of the ledger that recorded a position.
    #[must_use]
    pub fn of(&self, position: Position) -> u64 {
        let behind = |(number, size): &(u64, Position)| (*size < position).then_some(*number);
        self.forks.iter().rev().find_map(behind).unwrap_or(1)
    }

    /// How many events the ledger `number` and this one have in common, at least: what stands behind them is another history.
    /// `None` for a number that this ledger never had.
    #[must_use]
    pub fn shared_with(&self, number: u64) -> Option<Position> {
        if number == 0 || number > self.current {
            return None;
        }
        // Of a ledger that this copy has never heard of, nothing is known.
        if number > 1 && !self.forks.iter().any(|(known, _)| *known == number) {
            return Some(0);
        }
        let later = self.forks.iter().filter(|(opened, _)| *opened > number);
        Some(later.map(|(_, size)| *size).min().unwrap_or(Position::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_was_never_forked_is_number_one_throughout() {
        let one = Numbering::default();
        assert_eq!((one.current(), one.of(0), one.of(u64::MAX)), (1, 1, 1));
        assert_eq!(one.shared_with(1), Some(u64::MAX));
        assert_eq!((one.shared_with(0), one.shared_with(2)), (None, None));
    }

    #[test]
    fn a_position_has_the_number_of_the_last_fork_before_it() {
        let forked = Numbering::new([(2, 3), (3, 5)]);
        let numbers: Vec<u64> = (1..=7).map(|position| forked.of(position)).collect();
        assert_eq!(numbers, [1, 1, 1, 2, 2, 3, 3]);
        // The second fork went back behind the first.
        let back = Numbering::new([(2, 5), (3, 3)]);
        let numbers: Vec<u64> = (1..=7).map(|position| back.of(position)).collect();
        assert_eq!(numbers, [1, 1, 1, 3, 3, 3, 3]);
    }

    #[test]
    fn what_two_ledgers_share_ends_at_the_smallest_fork_between_them() {
        let forked = Numbering::new([(2, 3), (3, 5)]);
        assert_eq!(forked.shared_with(1), Some(3));
        assert_eq!(forked.shared_with(2), Some(5));
        assert_eq!(forked.shared_with(3), Some(u64::MAX));
        assert_eq!(forked.shared_with(4), None);
        let back = Numbering::new([(2, 5), (3, 3)]);
        assert_eq!((back.shared_with(1), back.shared_with(2)), (Some(3), Some(3)));
    }

    #[test]
    fn of_a_number_that_was_skipped_nothing_is_known() {
        let skipped = Numbering::new([(4, 7)]);
        assert_eq!((skipped.current(), skipped.of(7), skipped.of(8)), (4, 1, 4));
        assert_eq!(skipped.shared_with(1), Some(7));
        assert_eq!(
            (skipped.shared_with(2), skipped.shared_with(3)),
            (Some(0), Some(0))
        );
    }
}
