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

/// Callers that are told, one request each, that there is no place for them: a third as many as are served, within these.
const BEYOND_MIN: u64 = 16;
const BEYOND_MAX: u64 = 1_024;

/// The most connections unless more are asked for: each takes memory.
const SERVED_MAX: u64 = 16_384;

/// The fewest that a service is worth starting for.
const SERVED_MIN: u64 = 8;

/// What a connection takes that is served and asks for little, and an attempt of a callback, in bytes.
const PER_CONNECTION: u64 = 16 * 1024;
/// So many are served however little memory there is.
const SERVED_BY_ANY_MEMORY: usize = 256;
const PER_CALLBACK: u64 = 64 * 1024;

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
            let held = count(memory / 2 / PER_CONNECTION).max(SERVED_BY_ANY_MEMORY);
            self.places.served = self.places.served.min(held);
            self.places.beyond = self.places.beyond.min(held);
        }
        self.callbacks = self.callbacks.min(count(memory / 8 / PER_CALLBACK)).max(2);
        self
    }

    fn divide(limit: u64, database: u64, asked: Option<usize>) -> Result<Self, StartError> {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let callbacks = (limit / 4).clamp(2, CALLBACKS_MAX);
        let own = OWN + PER_DATABASE_CONNECTION * (database + MORE_DATABASE_CONNECTIONS);
        let left = limit.saturating_sub(own + callbacks).max(SERVED_MIN + BEYOND_MIN);
        let beyond = |served: u64| (served / 3).clamp(BEYOND_MIN, BEYOND_MAX);
        let served = match asked {
            None => (left - beyond(left / 4 * 3)).min(SERVED_MAX),
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
            (512, 190),
            (1_024, 480),
            (4_096, 2_200),
            (1 << 20, 16_384),
        ] {
            let parts = Descriptors::divide(limit, 8, None).unwrap();
            let callers = parts.places.served + parts.places.beyond;
            assert!(
                (callers + parts.callbacks) as u64 + OWN < limit,
                "{limit}: {parts:?}"
            );
            assert!(parts.places.served >= least, "{limit}: {parts:?}");
        }
        // Too few for anything: it is tried.
        assert_eq!(Descriptors::divide(64, 8, None).unwrap().places.served, 8);
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
