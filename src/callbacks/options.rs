//! Bounds of the delivery of callbacks.

use std::time::Duration;

/// Bounds of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Slots: attempts at once to receivers that answer, for as long as they may still be answered promptly.
    pub concurrency: usize,
    /// Places for all other attempts, see [`Self::places`].
    pub stalled: usize,
    /// Limits for each receiver.
    pub receivers: ReceiverLimits,
    /// How often to look for what other instances created or left behind.
    pub poll: Duration,
    /// What a lease is longer than the longest attempt.
    pub lease_margin: Duration,
    /// How long attempts under way may take at shutdown.
    pub grace: Duration,
    /// How often the gauges are measured.
    pub gauges: Duration,
}

/// What an attempt is made for, which decides whose places it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A receiver that answered promptly the last time.
    Prompt,
    /// One that answered, but took its time.
    Slow,
    /// Any other one, for a delivery that was never attempted.
    New,
    /// Any other one, for a delivery that was attempted before.
    Again,
    /// Whatever an operator replays.
    Probe,
}

impl WorkerOptions {
    /// The most attempts at once, and so connections.
    #[must_use]
    pub const fn places(&self) -> usize {
        self.concurrency + self.stalled
    }

    /// The most attempts at once of a kind; those of [`Kind::Prompt`] share theirs with [`Kind::Slow`]. None takes another's, so that
    /// nobody waits for receivers that are less likely to answer.
    #[must_use]
    pub fn places_of(&self, kind: Kind) -> usize {
        let (all, new, again) = (self.places(), self.places() * 3 / 8, self.places() / 4);
        let answering = all - new - again;
        let places = match kind {
            Kind::Prompt => answering,
            Kind::Slow => answering.saturating_sub(self.concurrency),
            Kind::New => new,
            Kind::Again => again,
            Kind::Probe => all / 8,
        };
        places.max(1)
    }
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            concurrency: 256,
            stalled: 1_024,
            receivers: ReceiverLimits::default(),
            poll: Duration::from_secs(1),
            lease_margin: Duration::from_secs(15),
            grace: Duration::from_secs(30),
            gauges: Duration::from_secs(15),
        }
    }
}

/// Limits for each receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// Attempts at once to one that answers.
    pub per_receiver: u32,
    /// Attempts at once to receivers of one endpoint that are not known to answer; stalled ones do not count. Retries get half.
    pub per_endpoint: u32,
    /// How many more first attempts are made there at once for each that has stalled.
    pub per_stalled: u32,
    /// So many attempts at an endpoint make a crowd: of first attempts, receivers that failed the last time wait for the others; where
    /// so many have stalled at receivers that were prompt, none is taken for prompt any more.
    pub crowd: u32,
    /// A first attempt to a receiver that is not known to answer may have to give way to others after this time.
    pub gives_way: Duration,
    /// Failures to answer in a row that open its circuit.
    pub failures: u32,
    /// When so many attempts have ended within `window` and half of them or more in silence, that opens it as well: a
    /// receiver that answers every other time never fails often in a row.
    pub sample: usize,
    /// How far back `sample` looks.
    pub window: Duration,
    /// How long the circuit stays open at first; doubles with each probe that fails.
    pub open_first: Duration,
    /// The longest that it stays open.
    pub open_longest: Duration,
    /// An answer within this time makes a receiver prompt.
    pub patience: Duration,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self {
            per_receiver: 8,
            per_endpoint: 16,
            per_stalled: 8,
            crowd: 64,
            gives_way: Duration::from_millis(750),
            failures: 5,
            sample: 20,
            window: Duration::from_secs(60),
            open_first: Duration::from_secs(30),
            open_longest: Duration::from_secs(600),
            patience: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_takes_the_places_of_another_and_none_goes_without() {
        for (concurrency, stalled) in [(256, 1_024), (48, 200), (128, 128), (8, 8), (1, 1)] {
            let options = WorkerOptions {
                concurrency,
                stalled,
                ..WorkerOptions::default()
            };
            let kinds = [Kind::Prompt, Kind::Slow, Kind::New, Kind::Again, Kind::Probe];
            let [answering, slow, new, again, probes] = kinds.map(|kind| options.places_of(kind));
            assert!(slow <= answering && slow > 0 && new > 0 && again > 0 && probes > 0);
            if options.places() >= 8 {
                assert!(answering + new + again <= options.places(), "{options:?}");
            }
        }
    }
}
