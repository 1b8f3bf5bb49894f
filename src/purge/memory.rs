//! What an attempt could not count, kept for the next one in the same process.
//!
//! A storage that is away for a while answers some deletions to nobody. The next attempt sees what has become of them, if it is the
//! very next one: had another instance been at the job in between, it would have counted some of them. What does not fit, or dies
//! with the process, makes the counts a lower bound.

use crate::storage::unsettled::Unsettled;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// How many objects all that is kept knows of at most.
const MAX_OBJECTS: usize = 1_000_000;

/// A job, and which of its storage URIs.
pub(super) type ObligationId = (Uuid, u32);

/// What an attempt left.
#[derive(Debug)]
pub(super) struct Uncounted {
    /// Which attempt at the job it was.
    pub(super) begun: u32,
    pub(super) unsettled: Unsettled,
}

/// What attempts of this process left.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<Mutex<HashMap<ObligationId, Uncounted>>>);

impl Memory {
    /// What the attempt before number `begun` left.
    pub(super) fn take(&self, place: ObligationId, begun: u32) -> Option<Unsettled> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = all.remove(&place)?;
        (left.begun.checked_add(1) == Some(begun)).then_some(left.unsettled)
    }

    pub(super) fn keep(&self, place: ObligationId, left: Uncounted) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = all.values().map(|left| left.unsettled.len() + 1).sum();
        if kept + left.unsettled.len() < MAX_OBJECTS {
            all.insert(place, left);
        }
    }

    /// The job has ended.
    pub(super) fn forget(&self, job: Uuid) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _), _| *of != job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_next_attempt_goes_on_from_what_was_left() {
        let (memory, job) = (Memory::default(), Uuid::from_u128(1));
        let leave = |begun| {
            let unsettled = Unsettled::default();
            memory.keep((job, 1), Uncounted { begun, unsettled });
        };
        leave(3);
        assert!(memory.take((job, 2), 4).is_none());
        assert!(memory.take((job, 1), 4).is_some());
        assert!(memory.take((job, 1), 4).is_none());
        leave(3);
        assert!(memory.take((job, 1), 5).is_none(), "somebody else was at it");
        leave(3);
        memory.forget(job);
        assert!(memory.take((job, 1), 4).is_none());
    }
}
