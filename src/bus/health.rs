//! Whether the bus is there, and whether the relay gets on.

use super::nats::NatsBus;
use crate::store::Position;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The bus, as a readiness check sees it.
#[derive(Debug, Clone)]
pub enum BusHealth {
    /// In the process: there as long as the process is.
    InProcess,
    /// NATS: there while it is connected, and the events get there.
    Nats {
        /// The connection.
        bus: Box<NatsBus>,
        /// The relay of this instance.
        relay: RelayState,
    },
}

/// What a readiness check says of the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusStatus {
    /// Messages can be sent.
    Up,
    /// There is no connection.
    Down,
    /// There is one, and what this instance's relay publishes is not taken.
    Stalled(Stall),
}

impl BusHealth {
    /// How the bus is now.
    #[must_use]
    pub fn status(&self) -> BusStatus {
        match self {
            Self::InProcess => BusStatus::Up,
            Self::Nats { bus, .. } if !bus.is_connected() => BusStatus::Down,
            Self::Nats { relay, .. } => relay.stalled().map_or(BusStatus::Up, BusStatus::Stalled),
        }
    }
}

/// How this instance's relay gets on. While another instance leads, there is nothing to say.
#[derive(Debug, Clone, Default)]
pub struct RelayState(Arc<Mutex<Progress>>);

/// A relay that gets nothing onto the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// For how long.
    pub lasted: Duration,
    /// How many events wait.
    pub waiting: u64,
    /// What the last attempt came to.
    pub cause: Option<String>,
}

/// What a look at the relay found out.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing that was not known before.
    AsBefore,
    /// Events wait, and nothing was published for too long.
    Stalls(Stall),
    /// Events are published again, after so long.
    GoesOn(Duration),
}

#[derive(Debug, Default)]
struct Progress {
    published: Position,
    cause: Option<String>,
    /// What was published, and since when no more than that was although events waited.
    waits: Option<(Position, Instant)>,
    waiting: u64,
    /// Since when, once it was too long.
    stalled: Option<Instant>,
}

impl RelayState {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything up to a position is on the stream.
    pub(crate) fn published(&self, position: Position) {
        self.progress().published = position;
    }

    /// Nothing was published, for this reason.
    pub(crate) fn refused(&self, cause: String) {
        self.progress().cause = Some(cause);
    }

    /// This instance does not lead, or not any more.
    pub(crate) fn rests(&self) {
        *self.progress() = Progress::default();
    }

    /// Looks whether the relay gets on: the log ends at `head`, and without any progress for `patience` it stalls.
    pub(crate) fn look(&self, head: Position, patience: Duration) -> Look {
        let now = Instant::now();
        let mut progress = self.progress();
        let published = progress.published;
        progress.waiting = head.saturating_sub(published);
        let since = match progress.waits {
            Some((before, since)) if progress.waiting > 0 && before == published => since,
            Some(_) | None => {
                progress.waits = (progress.waiting > 0).then_some((published, now));
                progress.cause = None;
                return match progress.stalled.take() {
                    Some(since) => Look::GoesOn(now - since),
                    None => Look::AsBefore,
                };
            }
        };
        if now - since < patience || progress.stalled.replace(since).is_some() {
            return Look::AsBefore;
        }
        drop(progress);
        self.stalled().map_or(Look::AsBefore, Look::Stalls)
    }

    /// The stall, while there is one.
    #[must_use]
    pub fn stalled(&self) -> Option<Stall> {
        let progress = self.progress();
        progress.stalled.map(|since| Stall {
            lasted: since.elapsed(),
            waiting: progress.waiting,
            cause: progress.cause.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_relay_stalls_when_events_wait_and_nothing_is_published_and_each_is_told_once() {
        let state = RelayState::default();
        let second = || tokio::time::advance(Duration::from_secs(1));
        // Nothing to do, for however long, is no stall.
        for _ in 0..30 {
            assert_eq!(state.look(0, PATIENCE), Look::AsBefore);
            second().await;
        }
        // Neither is a backlog that grows, as long as something is published.
        for position in 1..30 {
            state.published(position);
            assert_eq!(state.look(1_000 * position, PATIENCE), Look::AsBefore);
            second().await;
        }
        state.published(29);
        assert_eq!(state.look(40, PATIENCE), Look::AsBefore);
        state.refused("no".to_owned());
        let mut told = Vec::new();
        for _ in 0..30 {
            second().await;
            told.push(state.look(40, PATIENCE));
        }
        told.retain(|look| *look != Look::AsBefore);
        let [Look::Stalls(stall)] = &told[..] else {
            panic!("{told:?}")
        };
        assert!(stall.lasted >= PATIENCE && stall.lasted < 2 * PATIENCE);
        assert_eq!((stall.waiting, stall.cause.as_deref()), (11, Some("no")));
        assert!(state.stalled().is_some());
        state.published(30);
        assert!(matches!(state.look(40, PATIENCE), Look::GoesOn(lasted) if lasted >= PATIENCE));
        assert_eq!(state.stalled(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_no_longer_leads_does_not_stall() {
        let state = RelayState::default();
        state.look(5, PATIENCE);
        tokio::time::advance(2 * PATIENCE).await;
        assert!(matches!(state.look(5, PATIENCE), Look::Stalls(_)));
        state.rests();
        assert_eq!(state.stalled(), None);
    }
}
