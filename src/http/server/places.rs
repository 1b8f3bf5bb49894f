//! Who has a place: connections are bounded, so that descriptors stay for files, the database and what the service opens itself.
//!
//! ```text
//! a caller ──▶ a place ──▶ all routes
//!         └──▶ none: the one that has been idle longest gives its own up (a keep-alive connection between two requests)
//!               └──▶ nobody is idle: beyond them, one request is answered: the probes, or 503
//!                     └──▶ too many of these too: 503 at once, whatever was asked
//! ```

use super::wire::Progress;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Who has been idle for less keeps its place: it may be about to ask.
const IDLE: Duration = Duration::from_secs(1);

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Those that are served.
    pub served: usize,
    /// Those beyond, that are told so.
    pub beyond: usize,
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Open {
    places: Places,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    served: HashMap<u64, Connection>,
    beyond: usize,
}

#[derive(Debug)]
struct Connection {
    progress: Arc<Progress>,
    give_up: CancellationToken,
}

/// A connection's place, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<Open>,
    /// `None` beyond those that are served.
    number: Option<u64>,
    /// How far its requests have come.
    pub(super) progress: Arc<Progress>,
    /// Cancelled when another one is to have the place.
    pub(super) give_up: CancellationToken,
}

impl Place {
    /// Whether it is beyond those that are served.
    pub(super) const fn is_beyond(&self) -> bool {
        self.number.is_none()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.open.connections();
        match self.number {
            Some(number) => drop(connections.served.remove(&number)),
            None => connections.beyond -= 1,
        }
    }
}

impl Open {
    pub(super) fn new(places: Places) -> Arc<Self> {
        Arc::new(Self {
            places,
            connections: Mutex::default(),
        })
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection; `None` when there is not even one to say so.
    pub(super) fn take(self: &Arc<Self>, stop: &CancellationToken) -> Option<Place> {
        let mut connections = self.connections();
        let full = connections.served.len() >= self.places.served;
        let number = if !full || connections.end_idle(IDLE) {
            connections.next += 1;
            Some(connections.next)
        } else if connections.beyond < self.places.beyond {
            connections.beyond += 1;
            None
        } else {
            return None;
        };
        let (progress, give_up) = (Arc::new(Progress::default()), stop.child_token());
        if let Some(number) = number {
            let connection = Connection {
                progress: Arc::clone(&progress),
                give_up: give_up.clone(),
            };
            connections.served.insert(number, connection);
        }
        drop(connections);
        Some(Place {
            open: Arc::clone(self),
            number,
            progress,
            give_up,
        })
    }

    /// Ends the connection that has been idle longest, however short that is: descriptors are short. Whether there was one.
    pub(super) fn end_one(&self) -> bool {
        self.connections().end_idle(Duration::ZERO)
    }
}

impl Connections {
    /// Ends the connection that has been idle longest, and for so long at least; whether there was one.
    fn end_idle(&mut self, at_least: Duration) -> bool {
        let idle = self.served.iter().filter_map(|(number, connection)| {
            let since = connection.progress.idle_since()?;
            (since.elapsed() >= at_least).then_some((since, *number))
        });
        let Some((_, number)) = idle.min() else {
            return false;
        };
        if let Some(connection) = self.served.remove(&number) {
            connection.give_up.cancel();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Arc<Open> {
        Open::new(Places { served: 2, beyond: 1 })
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_been_idle_longest_gives_its_place_up_and_nobody_who_is_served_does() {
        let (open, stop) = (open(), CancellationToken::new());
        let first = open.take(&stop).unwrap();
        tokio::time::advance(Duration::from_millis(10)).await;
        let second = open.take(&stop).unwrap();
        // Both have just come.
        let beyond = open.take(&stop).unwrap();
        assert!(beyond.is_beyond() && !first.give_up.is_cancelled());
        assert!(open.take(&stop).is_none());
        drop(beyond);
        tokio::time::advance(IDLE).await;
        first.progress.begins();
        let third = open.take(&stop).unwrap();
        assert!(!third.is_beyond());
        assert!(second.give_up.is_cancelled() && !first.give_up.is_cancelled());
        // What was ended gives nobody else's place back.
        drop(second);
        tokio::time::advance(IDLE / 2).await;
        assert!(open.take(&stop).unwrap().is_beyond());
        first.progress.is_answered();
        assert!(open.end_one());
        assert!(third.give_up.is_cancelled() && !first.give_up.is_cancelled());
        assert!(open.end_one() && !open.end_one());
        stop.cancel();
        assert!(open.take(&stop).unwrap().give_up.is_cancelled());
    }
}
