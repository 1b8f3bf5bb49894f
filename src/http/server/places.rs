//! Who has a place: connections are bounded, so that descriptors stay for files, the database and what the service opens itself.
//!
//! ```text
//! a caller ──▶ a place ──▶ all routes
//!         └──▶ none: the one that has been idle longest gives its own up (a keep-alive connection between two requests)
//!               └──▶ nobody is idle: beyond them, one request is read and answered: the probes, or 503 if there is still no place
//!                     └──▶ few places are left there: somebody is ended, so that whoever comes is heard for a moment. The first that
//!                          has sent half a head (a probe comes in one piece); else the first that has been there for that moment and
//!                          says nothing, or has been answered and still sends
//!                           └──▶ none is left: it waits to be accepted
//! ```

use super::wire::Progress;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Who has been idle for less keeps its place: it may be about to ask.
const IDLE: Duration = Duration::from_secs(1);

/// For so long whoever comes beyond those that are served is heard, as long as it has said nothing.
const HEARD: Duration = Duration::from_millis(100);

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Those that are served.
    pub served: usize,
    /// Those beyond, that are told so, or have been answered and still send.
    pub beyond: usize,
}

impl Places {
    /// From so many on, whoever comes beyond those that are served takes the place of another one there: the rest is for those that
    /// are being ended.
    const fn scarce(self) -> usize {
        self.beyond - self.beyond / 4
    }
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
    /// In the order in which they came.
    beyond: BTreeMap<u64, Connection>,
    /// How many of these are open, with those that are being ended.
    beyond_open: usize,
}

#[derive(Debug, Clone)]
struct Connection {
    progress: Arc<Progress>,
    give_up: CancellationToken,
}

/// A connection's place, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<Open>,
    seat: Mutex<Seat>,
    /// How far its requests have come.
    pub(super) progress: Arc<Progress>,
    /// Cancelled when another one is to have the place.
    pub(super) give_up: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    number: u64,
    beyond: bool,
}

impl Place {
    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is beyond those that are served.
    pub(super) fn is_beyond(&self) -> bool {
        self.seat().beyond
    }

    /// Whether what it asks now is served: somebody may have left since it came.
    pub(super) fn is_served(&self) -> bool {
        let mut seat = self.seat();
        if !seat.beyond {
            return true;
        }
        let mut connections = self.open.connections();
        if !connections.has_room(self.open.places) {
            return false;
        }
        connections.leave(*seat);
        *seat = connections.enter(false, &self.progress, &self.give_up);
        true
    }

    /// Leaves the place of one that is served for one beyond, where whoever has been answered is heard out. What is cancelled when
    /// another one is to have that; `None` where there was none.
    pub(super) fn step_aside(&self) -> Option<CancellationToken> {
        let mut seat = self.seat();
        if seat.beyond {
            return Some(self.give_up.clone());
        }
        let mut connections = self.open.connections();
        if !connections.has_room_beyond(self.open.places) {
            return None;
        }
        connections.leave(*seat);
        // What may have been given up is the place, not what its client has to be told.
        let give_up = CancellationToken::new();
        *seat = connections.enter(true, &self.progress, &give_up);
        Some(give_up)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let seat = *self.seat();
        self.open.connections().leave(seat);
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

    /// A place for one more connection; `None` when there is not even one to be told so in: there will be in a moment.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut connections = self.connections();
        let beyond = !connections.has_room(self.places);
        if beyond && !connections.has_room_beyond(self.places) {
            return None;
        }
        let (progress, give_up) = (Arc::new(Progress::default()), CancellationToken::new());
        let seat = connections.enter(beyond, &progress, &give_up);
        drop(connections);
        Some(Place {
            open: Arc::clone(self),
            seat: Mutex::new(seat),
            progress,
            give_up,
        })
    }

    /// Ends the connection that has been idle longest, however short that is, or one beyond those that are served: descriptors are
    /// short. Whether there was one.
    pub(super) fn end_one(&self) -> bool {
        let mut connections = self.connections();
        connections.end_idle(Duration::ZERO) || connections.end_beyond()
    }
}

impl Connections {
    fn enter(&mut self, beyond: bool, progress: &Arc<Progress>, give_up: &CancellationToken) -> Seat {
        self.next += 1;
        let connection = Connection {
            progress: Arc::clone(progress),
            give_up: give_up.clone(),
        };
        if beyond {
            self.beyond_open += 1;
            self.beyond.insert(self.next, connection);
        } else {
            self.served.insert(self.next, connection);
        }
        Seat {
            number: self.next,
            beyond,
        }
    }

    fn leave(&mut self, seat: Seat) {
        if seat.beyond {
            self.beyond.remove(&seat.number);
            self.beyond_open -= 1;
        } else {
            self.served.remove(&seat.number);
        }
    }

    /// Whether there is room for one more among those that are served; where there is not, one that is idle is ended for it.
    fn has_room(&mut self, places: Places) -> bool {
        self.served.len() < places.served || self.end_idle(IDLE)
    }

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

    /// Whether there is room for one more beyond those that are served; where it is scarce, another one is ended for it.
    fn has_room_beyond(&mut self, places: Places) -> bool {
        if self.beyond_open >= places.beyond {
            return false;
        }
        if self.beyond_open >= places.scarce() {
            self.end_beyond();
        }
        true
    }

    /// Ends one of the connections beyond those that are served, of which nothing is asked at the moment: of those that have sent half
    /// a head the one that came first, else of those that have been heard. Whether there was one.
    fn end_beyond(&mut self) -> bool {
        let waiting = self.beyond.iter().filter_map(|(number, connection)| {
            let progress = &connection.progress;
            let half_sent = progress.awaits_head();
            let endable = !progress.is_serving() && (half_sent || progress.age() >= HEARD);
            endable.then_some((!half_sent, *number))
        });
        let Some((_, number)) = waiting.min() else {
            return false;
        };
        if let Some(connection) = self.beyond.remove(&number) {
            connection.give_up.cancel();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(beyond: usize) -> Arc<Open> {
        Open::new(Places { served: 2, beyond })
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_been_idle_longest_gives_its_place_up_and_nobody_who_is_served_does() {
        let open = open(1);
        let first = open.take().unwrap();
        tokio::time::advance(Duration::from_millis(10)).await;
        let second = open.take().unwrap();
        // Both have just come.
        let beyond = open.take().unwrap();
        assert!(beyond.is_beyond() && !first.give_up.is_cancelled());
        // There is no room to end one for it.
        assert!(open.take().is_none());
        drop(beyond);
        tokio::time::advance(IDLE).await;
        first.progress.begins();
        let third = open.take().unwrap();
        assert!(!third.is_beyond());
        assert!(second.give_up.is_cancelled() && !first.give_up.is_cancelled());
        // What was ended gives nobody else's place back.
        drop(second);
        tokio::time::advance(IDLE / 2).await;
        assert!(open.take().unwrap().is_beyond());
        first.progress.is_answered();
        assert!(open.end_one());
        assert!(third.give_up.is_cancelled() && !first.give_up.is_cancelled());
        assert!(open.end_one() && !open.end_one());
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_those_that_are_served_whoever_has_not_asked_makes_room_for_the_next() {
        let open = open(8);
        let served: Vec<_> = (0..2).map(|_| open.take().unwrap()).collect();
        served.iter().for_each(|place| place.progress.begins());
        let mut beyond: Vec<_> = (0..6).map(|_| open.take().unwrap()).collect();
        // One of them is being answered, and two have sent half a head.
        beyond[0].progress.begins();
        beyond[3].progress.has_come();
        beyond[4].progress.has_come();
        let ended = |places: &[Place]| {
            let ended = places.iter().enumerate();
            ended
                .filter_map(|(number, place)| place.give_up.is_cancelled().then_some(number))
                .collect::<Vec<_>>()
        };
        assert!(ended(&beyond).is_empty());
        beyond.push(open.take().unwrap());
        assert_eq!(ended(&beyond), [3]);
        // The last are for those that are being ended.
        beyond.push(open.take().unwrap());
        assert_eq!(ended(&beyond), [3, 4]);
        assert!(open.take().is_none());
        // One that says nothing is heard for a while.
        drop(beyond.remove(3));
        beyond.push(open.take().unwrap());
        assert_eq!(ended(&beyond), [3]);
        drop(beyond.remove(3));
        tokio::time::advance(HEARD).await;
        beyond.push(open.take().unwrap());
        assert_eq!(ended(&beyond), [1]);
        drop(beyond.drain(1..4));
        let last = open.take().unwrap();
        assert!(last.is_beyond() && ended(&beyond).is_empty());
        // One that was served and has been answered still sends: it is heard out beyond, and somebody else is served.
        assert!(!last.is_served());
        served[1].progress.is_over();
        assert!(served[1].step_aside().is_some() && served[1].is_beyond());
        assert!(!open.take().unwrap().is_beyond());
        // One that came when there was no room, and asks when there is.
        assert!(last.is_served() && !last.is_beyond());
        assert!(open.take().unwrap().is_beyond());
        drop((served, beyond, last));
        assert_eq!(open.connections().beyond_open, 0);
    }
}
