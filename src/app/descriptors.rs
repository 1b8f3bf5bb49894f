//! Who may have how many file descriptors.
//!
//! Callers are the only ones who can take any number of them, so they are bounded below the system's limit: what is left is for files,
//! the database, storage and callbacks, which must not fail because somebody else came first.

use super::start_error::StartError;
use crate::config::Config;
use crate::http::server::Places;

/// What the process has open whatever it does, with a reserve: standard streams, the runtime's own, lock and key files, the guard,
/// NATS, a few connections to each storage.
const OWN: u64 = 64;

/// What a connection to the database may need: SQLite's has three files and a journal.
const PER_DATABASE_CONNECTION: u64 = 4;

/// The writer's connection, the log mover's and those for callbacks, beside `--database-connections`.
const MORE_DATABASE_CONNECTIONS: u64 = 6;

/// Attempts of callbacks at the same time: what the delivery allows itself at the most.
const CALLBACKS_MAX: u64 = 1_280;

/// Callers that are told, one request each, that there is no place for them, or have been answered and still send: a quarter as many
/// as are served, within these.
const BEYOND_MIN: u64 = 32;
const BEYOND_MAX: u64 = 1_024;

/// The most connections unless more are asked for: each takes memory.
const SERVED_MAX: u64 = 8_192;

/// The fewest that a service is worth starting for.
const SERVED_MIN: u64 = 8;

/// What a connection takes that asks for little, and an attempt of a callback, in bytes.
const PER_CONNECTION: u64 = 16 * 1024;
const PER_CALLBACK: u64 = 64 * 1024;

/// So many are served, and told that they are not, however little memory there is.
const SERVED_BY_ANY_MEMORY: usize = 192;
const BEYOND_BY_ANY_MEMORY: usize = 64;

/// The longest head of a request where memory is short, and where there is plenty, in bytes: with room for the longest path that is
/// told to be too long.
const SHORT_HEAD: usize = 16 * 1024;
const LONG_HEAD: usize = 128 * 1024;

/// More descriptors than anybody here will ever need; some systems' limit is beyond what can be set.
const ENOUGH: u64 = 1 << 20;

/// Who may have how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Callers.
    pub(super) places: Places,
    /// Attempts of callbacks.
    pub(super) callbacks: usize,
}

impl Descriptors {
    /// Raises the process's own limit as far as the system lets it, and divides what there is.
    ///
    /// # Errors
    /// [`StartError::Option`] where more connections are asked for than there are descriptors.
    pub(super) fn of(config: &Config, memory: u64) -> Result<Self, StartError> {
        let limit = raised_limit();
        let divided = Self::divide(
            limit,
            u64::from(config.database_connections),
            config.http.max_connections,
        )?;
        let parts = divided.within(memory, config.http.max_connections.is_some());
        let heads = (parts.callers() as u64).saturating_mul(parts.head_max(memory) as u64);
        if heads > memory {
            tracing::warn!(
                "--max-connections: the heads of requests on so many connections may take {} MiB together, more than requests may take \
                 (--memory-budget: {} MiB)",
                heads >> 20,
                memory >> 20,
            );
        }
        tracing::info!(
            descriptors = limit,
            connections = parts.places.served,
            callbacks = parts.callbacks,
            memory,
            "{} connections are served at the same time, with {} MiB for what they ask",
            parts.places.served,
            memory >> 20,
        );
        Ok(parts)
    }

    /// No more than a budget of memory holds beside what is asked: each takes some, too.
    fn within(mut self, memory: u64, asked: bool) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        if !asked {
            let (served, beyond) = (memory / 2 / PER_CONNECTION, memory / 8 / PER_CONNECTION);
            let served = count(served).max(SERVED_BY_ANY_MEMORY);
            let beyond = count(beyond).max(BEYOND_BY_ANY_MEMORY);
            self.places.served = self.places.served.min(served);
            self.places.beyond = self.places.beyond.min(beyond);
        }
        self.callbacks = self.callbacks.min(count(memory / 8 / PER_CALLBACK)).max(2);
        self
    }

    const fn callers(&self) -> usize {
        self.places.served + self.places.beyond
    }

    /// How long a request's head may be, in bytes, so that all callers' together take no more than a budget of memory: nobody has shown
    /// who they are before their heads have come.
    pub(super) fn head_max(&self, memory: u64) -> usize {
        let share = usize::try_from(memory).unwrap_or(usize::MAX) / self.callers().max(1);
        share.clamp(SHORT_HEAD, LONG_HEAD)
    }

    fn divide(limit: u64, database: u64, asked: Option<usize>) -> Result<Self, StartError> {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let callbacks = (limit / 4).clamp(2, CALLBACKS_MAX);
        let own = OWN + PER_DATABASE_CONNECTION * (database + MORE_DATABASE_CONNECTIONS);
        let left = limit.saturating_sub(own + callbacks).max(SERVED_MIN + BEYOND_MIN);
        let beyond = |served: u64| (served / 4).clamp(BEYOND_MIN, BEYOND_MAX);
        let served = match asked {
            None => (left - beyond(left / 5 * 4)).min(SERVED_MAX),
            Some(asked) if asked as u64 + BEYOND_MIN <= left => asked as u64,
            Some(asked) => {
                return Err(StartError::option(
                    "--max-connections",
                    format!(
                        "{asked} connections need {} file descriptors, and the process may have {limit} (`ulimit -n`): {} are possible",
                        own + callbacks + BEYOND_MIN + asked as u64,
                        left - BEYOND_MIN,
                    ),
                ));
            }
        };
        Ok(Self {
            places: Places {
                served: count(served),
                beyond: count(beyond(served).min(left - served)),
            },
            callbacks: count(callbacks),
        })
    }
}

/// The limit, raised to what the system allows.
fn raised_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let (soft, hard) = (limits.current.unwrap_or(ENOUGH), limits.maximum.unwrap_or(ENOUGH));
    let wanted = hard.min(ENOUGH);
    if soft >= wanted {
        return soft;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limits.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, "the limit of file descriptors stays at {soft}");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_limit_is_the_parts_stay_below_it_and_callers_get_most_of_it() {
        for (limit, least) in [
            (256, 40),
            (512, 200),
            (1_024, 500),
            (4_096, 2_300),
            (1 << 20, 8_192),
        ] {
            let parts = Descriptors::divide(limit, 8, None).unwrap();
            assert!(
                (parts.callers() + parts.callbacks) as u64 + OWN < limit,
                "{limit}: {parts:?}"
            );
            assert!(parts.places.served >= least, "{limit}: {parts:?}");
        }
        // Too few for anything: it is tried.
        assert_eq!(Descriptors::divide(64, 8, None).unwrap().places.served, 8);
    }

    #[test]
    fn the_heads_of_all_callers_together_stay_within_the_memory() {
        for memory in [
            4 << 20,
            12 << 20,
            44 << 20,
            64 << 20,
            256 << 20,
            1 << 30,
            16 << 30_u64,
        ] {
            for limit in [256, 1_024, 4_096, 1 << 20] {
                let parts = Descriptors::divide(limit, 8, None).unwrap().within(memory, false);
                let heads = parts.callers() as u64 * parts.head_max(memory) as u64;
                assert!(heads <= memory, "{memory}: {parts:?} {heads}");
            }
        }
        let few = Descriptors::divide(1_024, 8, None).unwrap();
        assert_eq!(few.head_max(1 << 30), LONG_HEAD);
    }

    #[test]
    fn more_connections_than_there_are_descriptors_are_refused_naming_the_option() {
        assert_eq!(
            Descriptors::divide(1_024, 8, Some(100)).unwrap().places.served,
            100
        );
        let refused = Descriptors::divide(1_024, 8, Some(1_000))
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with("--max-connections: 1000 connections need"),
            "{refused}"
        );
    }
}
