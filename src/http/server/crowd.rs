//! Tells the log of a crowd, and not of each who is in it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The log is told no more often.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Those who found no place.
#[derive(Debug)]
pub(super) struct Crowd(Mutex<Told>);

#[derive(Debug)]
struct Told {
    last: Option<Instant>,
    since: u64,
}

impl Crowd {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Told { last: None, since: 0 }))
    }

    /// Takes note of one more. How many there are since the log was told last, when it is to be told again.
    pub(super) fn note(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.since = told.since.saturating_add(1);
        let now = Instant::now();
        if told
            .last
            .is_some_and(|last| now.duration_since(last) < TOLD_EVERY)
        {
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_is_told_of_a_crowd_once_a_second_and_of_everybody_in_it() {
        let crowd = Crowd::new();
        assert_eq!(crowd.note(), Some(1));
        for _ in 0..10_000 {
            assert_eq!(crowd.note(), None);
        }
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!(crowd.note(), Some(10_001));
        assert_eq!(crowd.note(), None);
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!(crowd.note(), Some(2));
    }
}
