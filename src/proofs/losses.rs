//! What a fork has lost, as others know it.
//!
//! The database that a fork goes on from has forgotten its newest events. Whoever got them may still have them: the stream has
//! what the relay published. What it tells of is not taken back into the log, as nobody vouches for it; but the purges among it
//! are told, because what they deleted is gone from the storage although the ledger shows it as it was before.

use crate::numbering::Numbering;
use crate::store::Position;
use crate::store::forks::{LostPurge, StreamAsked};
use async_trait::async_trait;

/// How many numbers a fork may skip: more is no fork.
pub const SKIPPED_MAX: u64 = 10_000;

/// What is asked for: everything that a ledger of this service has recorded and that the log does not hold.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The numbering of the log.
    pub numbering: Numbering,
    /// Where the log ends.
    pub size: Position,
    /// What ledgers of this number and later ones have recorded is no loss of this fork.
    pub before: u64,
}

impl Asked {
    /// Whether the event that the ledger `number` recorded at `position` is lost, as far as these two tell; `None` where only
    /// its id does.
    #[must_use]
    pub fn is_lost(&self, number: u64, position: Position) -> Option<bool> {
        let current = self.numbering.current();
        if number >= self.before || number > current.saturating_add(SKIPPED_MAX) {
            return Some(false);
        }
        if number > current {
            return Some(true);
        }
        // What an earlier fork has lost is in that one's record.
        if self.numbering.of(position) != number {
            return Some(false);
        }
        (position > self.size).then_some(true)
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody could be asked.
    pub stream: StreamAsked,
    /// The last number that a ledger of this service is known to have had; 0 when none is.
    pub number: u64,
    /// The last position that is known; 0 when none is.
    pub reached: Position,
    /// How many of the positions behind the log are known of.
    pub seen: u64,
    /// The purges that are lost, by their positions.
    pub purges: Vec<LostPurge>,
}

impl Told {
    /// Nothing.
    #[must_use]
    pub const fn nothing(stream: StreamAsked) -> Self {
        Self {
            stream,
            number: 0,
            reached: 0,
            seen: 0,
            purges: Vec::new(),
        }
    }
}

/// Whoever may know of what is lost.
#[async_trait]
pub trait Elsewhere: Send + Sync {
    /// Tells what is lost; never fails, as a fork must not wait for it: what cannot be told is said to be unknown.
    async fn look(&self, asked: &Asked) -> Told;
}

/// Nobody.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

#[async_trait]
impl Elsewhere for Nowhere {
    async fn look(&self, _: &Asked) -> Told {
        Told::nothing(StreamAsked::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_by_number_and_position() {
        let asked = Asked {
            numbering: Numbering::new([(2, 3)]),
            size: 7,
            before: 9,
        };
        for (number, position, lost) in [
            (1, 3, None),
            (2, 7, None),
            (2, 8, Some(true)),
            // Of the fork before.
            (1, 4, Some(false)),
            (1, 8, Some(false)),
            // Of ledgers that this copy has never heard of.
            (3, 2, Some(true)),
            (8, 100, Some(true)),
            // Of the fork itself, and of no ledger at all.
            (9, 8, Some(false)),
            (u64::MAX, 8, Some(false)),
        ] {
            assert_eq!(asked.is_lost(number, position), lost, "{number}-{position}");
        }
    }
}
